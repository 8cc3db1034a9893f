//! A JSON Schema as a table of keys: type, default, example, description.

use std::fmt::Write;

use serde_json::{Map, Value};

/// How deep keys within keys are listed: `limits.memory` is two.
const DEPTH_MAX: usize = 3;

/// The table of an object's keys; a sentence where it has none. `linked`: keys that have pages of their own, which are
/// only named. `example`: a value of this schema, from which single examples are taken.
pub(super) fn table(
    schema: &Value,
    root: &Value,
    example: &Value,
    linked: &dyn Fn(&str) -> Option<String>,
) -> String {
    let mut table = Table { root, linked, rows: Vec::new() };
    table.collect(schema, example, "", 1);
    let rows = table.rows;
    if rows.is_empty() {
        return "It has no options.\n".to_owned();
    }
    let mut out = String::from("| key | type | default | example | |\n|---|---|---|---|---|\n");
    for Row { key, ty, default, example, text } in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "| `{key}` | {} | {} | {} | {} |",
            cell(&ty),
            cell(&default),
            cell(&example),
            cell(&text)
        );
    }
    out
}

struct Row {
    key: String,
    ty: String,
    default: String,
    example: String,
    text: String,
}

struct Table<'a> {
    root: &'a Value,
    linked: &'a dyn Fn(&str) -> Option<String>,
    rows: Vec<Row>,
}

impl Table<'_> {
    fn collect(&mut self, schema: &Value, example: &Value, prefix: &str, depth: usize) {
        let root = self.root;
        let schema = resolve(schema, root);
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let required = |key: &str| {
            let all = schema.get("required").and_then(Value::as_array);
            all.is_some_and(|all| all.iter().any(|name| name == key))
        };
        for (key, given) in properties {
            let name = format!("{prefix}{key}");
            if let Some(link) = (self.linked)(&name) {
                let text = description(given, root);
                let (default, example) = (String::new(), String::new());
                self.rows.push(Row { key: name, ty: link, default, example, text });
                continue;
            }
            let inner = resolve(given, root);
            let (default, text) = split_default(&description(given, root));
            let default = match inner.get("default").or_else(|| given.get("default")) {
                _ if required(key) => "required".to_owned(),
                Some(value) if default.is_empty() && is_telling(value) => code(value),
                _ => default,
            };
            let ty = type_name(given, root);
            let shown = example.get(key).unwrap_or(&Value::Null);
            let single = single(shown, inner, &default);
            self.rows.push(Row { key: name.clone(), ty, default, example: single, text });
            if depth < DEPTH_MAX {
                self.collect(inner, shown, &format!("{name}."), depth + 1);
                if let Some(items) = inner.get("items") {
                    let first = shown.get(0).unwrap_or(&Value::Null);
                    self.collect(items, first, &format!("{name}[]."), depth + 1);
                }
            }
        }
    }
}

/// What a key may be given: what the kind's example gives it, else what its type allows beside the default.
fn single(shown: &Value, schema: &Value, default: &str) -> String {
    match shown {
        Value::Null => {}
        Value::Object(map) if map.len() > 2 => {}
        _ => return code(shown),
    }
    if let Some(words) = words(schema) {
        return words.into_iter().find(|word| word != default).unwrap_or_default();
    }
    let word = match (own_type(schema), schema.get("type").and_then(Value::as_str)) {
        (Some((_, example)), _) => example,
        (None, Some("boolean")) if default.contains("true") => "`false`",
        (None, Some("boolean")) => "`true`",
        _ => "",
    };
    word.to_owned()
}

/// Our own two types of text, by what their descriptions begin with: name and example.
fn own_type(schema: &Value) -> Option<(&'static str, &'static str)> {
    let text = schema.get("description").and_then(Value::as_str)?;
    match text {
        _ if text.starts_with("A number of bytes") => Some(("size", "`64MiB`")),
        _ if text.starts_with("A length of time") => Some(("duration", "`250ms`")),
        _ => None,
    }
}

/// Whether a default says something: that nothing is there by default does not.
fn is_telling(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    }
}

fn code(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("`{text}`")
}

/// What a schema stands for: references followed, `or nothing` left out.
fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let mut here = schema;
    // A reference to a reference is possible, a circle is not.
    for _ in 0..8 {
        if let Some(reference) = here.get("$ref").and_then(Value::as_str) {
            match reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) {
                Some(target) => here = target,
                None => return here,
            }
        } else if let Some(only) = only_alternative(here) {
            here = only;
        } else {
            return here;
        }
    }
    here
}

/// The one alternative beside `null`.
fn only_alternative(schema: &Value) -> Option<&Value> {
    let all = schema.get("anyOf")?.as_array()?;
    let mut left = all.iter().filter(|one| one.get("type").and_then(Value::as_str) != Some("null"));
    let only = left.next()?;
    left.next().is_none().then_some(only)
}

/// The description of a key: its own, else that of what it refers to.
fn description(schema: &Value, root: &Value) -> String {
    let text = |value: &Value| value.get("description").and_then(Value::as_str).map(str::to_owned);
    let text = text(schema).or_else(|| text(resolve(schema, root))).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The sentence of a description that begins with `Default`, and the rest of it.
fn split_default(text: &str) -> (String, String) {
    let Some(start) =
        ["Default: ", "Default "].iter().find_map(|word| text.find(word).map(|at| (at, word.len())))
    else {
        return (String::new(), text.to_owned());
    };
    let (at, length) = start;
    let rest = &text[at + length..];
    let end = rest.find(". ").map_or(rest.len(), |end| end + 1);
    let default = rest[..end].trim().trim_end_matches('.').to_owned();
    let left = format!("{} {}", text[..at].trim(), rest[end..].trim());
    (default, left.trim().to_owned())
}

/// The type of a key in words.
fn type_name(given: &Value, root: &Value) -> String {
    let schema = resolve(given, root);
    if let Some(words) = words(schema) {
        return words.join(", ");
    }
    if let Some((name, _)) = own_type(schema) {
        return name.to_owned();
    }
    if let Some(all) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array)
        && schema.get("properties").is_none()
    {
        let mut names: Vec<String> =
            all.iter().map(|one| type_name(one, root)).filter(|n| n != "nothing").collect();
        names.dedup();
        return names.join(" or ");
    }
    let one = |name: &str| match name {
        "string" => "text".to_owned(),
        "integer" => "whole number".to_owned(),
        "number" => "number".to_owned(),
        "boolean" => "`true` or `false`".to_owned(),
        "null" => "nothing".to_owned(),
        "array" => match schema.get("items") {
            Some(items) => format!("list of {}", type_name(items, root)),
            None => "list".to_owned(),
        },
        _ => "mapping".to_owned(),
    };
    match schema.get("type") {
        Some(Value::String(name)) => one(name),
        Some(Value::Array(names)) => {
            let names = names.iter().filter_map(Value::as_str).filter(|name| *name != "null").map(one);
            names.collect::<Vec<_>>().join(" or ")
        }
        _ if schema.get("properties").is_some() => "mapping".to_owned(),
        _ => "any".to_owned(),
    }
}

/// The words that a schema allows, where it lists them.
fn words(schema: &Value) -> Option<Vec<String>> {
    if let Some(all) = schema.get("enum").and_then(Value::as_array) {
        return Some(all.iter().filter(|one| !one.is_null()).map(code).collect());
    }
    let all = schema.get("oneOf")?.as_array()?;
    let mut found = Vec::new();
    for one in all {
        match one.get("const") {
            Some(word) => found.push(code(word)),
            None => found.extend(one.get("enum")?.as_array()?.iter().map(code)),
        }
    }
    (!found.is_empty()).then_some(found)
}

/// Text that cannot end its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_types_defaults_and_descriptions_become_rows() {
        let schema = json!({
            "type": "object", "required": ["path"],
            "properties": {
                "path": { "type": "string", "description": "Where it is." },
                "size": { "anyOf": [{ "$ref": "#/$defs/Size" }, { "type": "null" }],
                    "description": "Bytes at most. Default: 1 MiB. More is cut." },
                "mode": { "oneOf": [{ "const": "a" }, { "const": "b|c" }], "default": "a" },
                "all": { "type": "array", "items": { "type": "integer" }, "default": [] },
                "inner": { "type": "object", "properties": { "on": { "type": "boolean" } } },
                "each": { "type": "array", "items": { "type": "object", "properties": { "x": { "type": "string" } } } },
                "kind": { "type": "object", "description": "Another page.", "properties": { "x": {} } },
            },
            "$defs": { "Size": { "type": "string", "description": "A number of bytes: `64MiB`." } },
        });
        let linked = |key: &str| (key == "kind").then(|| "[there](there.md)".to_owned());
        let lines = [
            "| key | type | default | example | |",
            "|---|---|---|---|---|",
            "| `path` | text | required | `a/b` | Where it is. |",
            "| `size` | size | 1 MiB | `64MiB` | Bytes at most. More is cut. |",
            "| `mode` | `a`, `b\\|c` | `a` | `b\\|c` |  |",
            "| `all` | list of whole number |  | `[1]` |  |",
            "| `inner` | mapping |  |  |  |",
            "| `inner.on` | `true` or `false` |  | `true` |  |",
            "| `each` | list of mapping |  |  |  |",
            "| `each[].x` | text |  |  |  |",
            "| `kind` | [there](there.md) |  |  | Another page. |",
        ];
        let example = json!({ "path": "a/b", "all": [1] });
        assert_eq!(table(&schema, &schema, &example, &linked).lines().collect::<Vec<_>>(), lines);
        assert_eq!(table(&json!({}), &json!({}), &example, &linked), "It has no options.\n");
    }
}
