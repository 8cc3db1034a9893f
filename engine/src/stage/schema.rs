//! The JSON Schema that a stage publishes for its configuration: other people's input to a validator that recurses.
//!
//! References that come back to themselves without going a step into the configuration would never end, and
//! definitions that each name the next one twice would not end in anyone's lifetime, so both are refused before a
//! validator sees them.

use std::collections::HashMap;

use serde_json::Value;

use crate::units::{STAGE_SCHEMA_BYTES_MAX, STAGE_SCHEMA_DEPTH_MAX, STAGE_SCHEMA_STEPS_MAX};

/// Keywords whose schemas apply to the same value.
const SAME_VALUE: &[&str] = &["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"];
/// Keywords that change what a reference means; a schema of options needs none of them.
const REFUSED: &[&str] = &["$dynamicRef", "$recursiveRef"];

/// Checks a `config-schema` that is not empty: the error says what is wrong with it.
pub(super) fn check(text: &str) -> Result<(), String> {
    if text.len() > STAGE_SCHEMA_BYTES_MAX {
        return Err(format!("it is larger than {STAGE_SCHEMA_BYTES_MAX} bytes"));
    }
    let root: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let mut steps = Steps { root: &root, known: HashMap::new() };
    let mut open = vec![&root];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(map) => {
                steps.of(value, 0)?;
                open.extend(map.values());
            }
            _ => {}
        }
    }
    Ok(())
}

/// How many schemas one value is checked against.
struct Steps<'a> {
    root: &'a Value,
    /// By address of the schema; `None`: being counted, so that coming back is noticed.
    known: HashMap<*const Value, Option<usize>>,
}

impl<'a> Steps<'a> {
    fn of(&mut self, schema: &'a Value, depth: usize) -> Result<usize, String> {
        let Some(map) = schema.as_object() else { return Ok(1) };
        match self.known.get(&std::ptr::from_ref(schema)) {
            Some(Some(steps)) => return Ok(*steps),
            Some(None) => return Err("a `$ref` comes back to itself".to_owned()),
            None if depth > STAGE_SCHEMA_DEPTH_MAX => {
                return Err(format!("it nests deeper than {STAGE_SCHEMA_DEPTH_MAX}"));
            }
            None => {}
        }
        if let Some(key) = REFUSED.iter().find(|key| map.contains_key(**key)) {
            return Err(format!("`{key}` is not possible here"));
        }
        self.known.insert(schema, None);
        let mut steps = 1usize;
        if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
            steps += self.of(self.target(reference)?, depth + 1)?;
        }
        for key in SAME_VALUE {
            let within: Vec<&Value> = match map.get(*key) {
                Some(Value::Array(all)) => all.iter().collect(),
                Some(Value::Object(all)) if *key == "dependentSchemas" => all.values().collect(),
                Some(one) => vec![one],
                None => Vec::new(),
            };
            for schema in within {
                steps = steps.saturating_add(self.of(schema, depth + 1)?);
            }
        }
        if steps > STAGE_SCHEMA_STEPS_MAX {
            return Err(format!("one value is checked against more than {STAGE_SCHEMA_STEPS_MAX} schemas"));
        }
        self.known.insert(schema, Some(steps));
        Ok(steps)
    }

    fn target(&self, reference: &str) -> Result<&'a Value, String> {
        let pointer = reference.strip_prefix('#').filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let found = pointer.and_then(|pointer| self.root.pointer(pointer));
        let short = crate::secret::cut(reference, 200);
        found.ok_or_else(|| format!("`$ref` names `{short}`, which is no part of it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubling(levels: usize) -> String {
        let definition = |n: usize| {
            let next = format!("{{\"$ref\":\"#/$defs/d{}\"}}", n + 1);
            format!("\"d{n}\":{{\"allOf\":[{next},{next}]}}")
        };
        let all: Vec<String> = (0..levels).map(definition).collect();
        format!("{{\"$ref\":\"#/$defs/d0\",\"$defs\":{{{},\"d{levels}\":{{}}}}}}", all.join(","))
    }

    #[test]
    fn what_would_not_end_is_refused() {
        let chain: Vec<String> =
            (0..5_000).map(|n| format!("\"d{n}\":{{\"$ref\":\"#/$defs/d{}\"}}", n + 1)).collect();
        let chain = format!("{{\"$ref\":\"#/$defs/d0\",\"$defs\":{{{},\"d5000\":{{}}}}}}", chain.join(","));
        for (text, part) in [
            ("{\"$ref\":\"#\"}", "comes back"),
            ("{\"allOf\":[{\"not\":{\"$ref\":\"#\"}}]}", "comes back"),
            (&*doubling(25), "more than"),
            (&*chain, "deeper"),
            ("{\"$ref\":\"#/$defs/none\"}", "no part"),
            ("{\"$ref\":\"file:///etc/passwd\"}", "no part"),
            ("{\"$dynamicRef\":\"#a\"}", "not possible"),
            ("{", "EOF"),
            (&*"[".repeat(100_000), "recursion"),
            (&*" ".repeat(STAGE_SCHEMA_BYTES_MAX + 1), "larger"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(part), "{error} / {part}");
        }
    }

    #[test]
    fn a_schema_may_refer_to_its_parts_and_recurse_into_the_value() {
        let tree =
            "{\"$ref\":\"#/$defs/t\",\"$defs\":{\"t\":{\"properties\":{\"l\":{\"$ref\":\"#/$defs/t\"}}}}}";
        for text in [tree, "true", "{\"enum\":[{\"$ref\":1}]}", &doubling(5)] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }
}
