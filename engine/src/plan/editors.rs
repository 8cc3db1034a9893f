//! The JSON Schema for editors. It describes the file as it is written, where the one that `check` uses describes it once
//! its variables are replaced: where a number, `true` or `false`, one of a few words or a text of a certain form is
//! expected, a variable may stand.

use serde_json::{Map, Value, json};

use super::schema::pipeline;

/// Texts with a variable in them, or that are one whole.
const PART: &str = "VariablePart";
const WHOLE: &str = "VariableWhole";

/// The schema (draft 2020-12) that `pipe schema` prints.
pub fn for_editors() -> Value {
    let mut schema = pipeline();
    widen(&mut schema);
    if let Some(Value::Object(definitions)) = schema.get_mut("$defs") {
        let part = r"\$\{[^}]+\}";
        definitions.insert(
            WHOLE.into(),
            json!({ "description": "A variable: `${VAR}`, `${VAR:-default}` or `${file:path}`, without quotes.",
                "type": "string", "pattern": format!("^{part}$") }),
        );
        definitions.insert(
            PART.into(),
            json!({ "description": "A text with variables: `${VAR}`, `${VAR:-default}` or `${file:path}`.",
                "type": "string", "pattern": part }),
        );
    }
    schema
}

/// Lets variables stand in a schema and in all that are within.
fn widen(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    // Names of kinds and nodes are keys, in which nothing is replaced: `propertyNames` stays as it is.
    for key in ["properties", "$defs", "patternProperties"] {
        if let Some(Value::Object(inner)) = map.get_mut(key) {
            inner.values_mut().for_each(widen);
        }
    }
    for key in ["additionalProperties", "items"] {
        if let Some(inner) = map.get_mut(key) {
            widen(inner);
        }
    }
    if let Some(variable) = choice(map, "oneOf").or_else(|| choice(map, "anyOf")) {
        let branches = map.remove("oneOf").or_else(|| map.remove("anyOf"));
        let Some(Value::Array(mut branches)) = branches else { return };
        branches.push(variable);
        // A word that holds no variable fits one branch as before.
        map.insert("anyOf".into(), Value::Array(branches));
        return;
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        if let Some(Value::Array(branches)) = map.get_mut(key) {
            branches.iter_mut().for_each(widen);
        }
    }
    if let Some(variable) = scalar(map) {
        let kept = ["description", "default", "title", "examples"];
        let (outer, inner): (Map<_, _>, Map<_, _>) =
            std::mem::take(map).into_iter().partition(|(key, _)| kept.contains(&key.as_str()));
        *map = outer;
        map.insert("anyOf".into(), json!([inner, variable]));
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

/// What may stand in place of one of a few words, each a branch of its own.
fn choice(map: &Map<String, Value>, key: &str) -> Option<Value> {
    let branches = map.get(key)?.as_array()?;
    let word = |branch: &Value| branch.get("const").is_some() || branch.get("enum").is_some();
    (!branches.is_empty() && branches.iter().all(word)).then(|| reference(PART))
}

/// What may stand in place of a scalar; `None` where any text may stand already, or no scalar at all.
fn scalar(map: &Map<String, Value>) -> Option<Value> {
    let types: Vec<&str> = match map.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let words = map.contains_key("enum") || map.contains_key("const");
    let text = types.contains(&"string");
    let narrowed = ["pattern", "format", "maxLength"].iter().any(|key| map.contains_key(*key));
    if words || (text && narrowed) {
        return Some(reference(PART));
    }
    let other = types.iter().any(|ty| ["number", "integer", "boolean"].contains(ty));
    (other && !text).then(|| reference(WHOLE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check::{check, compile};
    use crate::config::value_of;

    const WRITTEN: &str = "
name: ${NAME:-orders}
sources:
  in:
    kafka:
      brokers: ${BROKERS}
      topics: [\"${TOPIC}\"]
      start: ${START:-earliest}
      properties:
        session.timeout.ms: ${SESSION}
    format:
      csv:
        header: ${HEADER}
    metadata: [\"${META}\"]
    on_failure: ${ON_FAILURE}
  made:
    generate:
      count: ${COUNT}
      bad_rows: ${BAD:-0.1}
stages:
  few:
    from: [in, made]
    use: ${STAGE}
    limits:
      memory: ${MIB}MiB
      time: ${TIME}
      rows: ${ROWS}
    grants:
      env:
        PORT: ${PORT}
sinks:
  out:
    from: few
    kafka:
      brokers: b
      topic: t
      create: ${CREATE}
      partitions: ${PARTITIONS}
      compression: ${file:how}
    format: ${FORMAT}
delivery:
  guarantee: ${GUARANTEE:-at_least_once}
  commit_interval: ${INTERVAL}
batch:
  rows: ${BATCH}
  bytes: ${BYTES}
lanes: ${LANES:-2}
memory: ${MEMORY}
tracing:
  sample: ${SAMPLE}
";

    #[test]
    fn a_variable_may_stand_for_every_kind_of_scalar() {
        let value = value_of(WRITTEN).expect("YAML");
        assert_eq!(check(&value, &for_editors()).unwrap(), []);
        // Without it the same file is full of mistakes.
        assert!(check(&value, &pipeline()).unwrap().len() > 15);
    }

    #[test]
    fn what_is_no_variable_is_as_wrong_as_before() {
        let wrong = [
            ("lanes: ${LANES:-2}", "lanes: many"),
            ("lanes: ${LANES:-2}", "lanes: 2${LANES}"),
            ("start: ${START:-earliest}", "start: soon"),
            ("rows: ${BATCH}", "rows: 0"),
            ("bytes: ${BYTES}", "bytes: much"),
            ("create: ${CREATE}", "create: perhaps"),
            ("format: ${FORMAT}", "format: xml"),
            ("name: ${NAME:-orders}", "name: My Orders"),
            ("memory: ${MEMORY}", "memroy: 1GiB"),
        ];
        let schema = for_editors();
        for (before, after) in wrong {
            let text = WRITTEN.replacen(before, after, 1);
            let value = value_of(&text).unwrap_or_else(|| panic!("{after} is no YAML"));
            assert!(!check(&value, &schema).unwrap().is_empty(), "`{after}` is taken");
        }
    }

    /// Every schema in the whole of which a variable, and nothing else of that sort, could stand.
    fn scalars(schema: &Value, found: &mut Vec<Value>) {
        match schema {
            Value::Object(map) => {
                if scalar(map).is_some() && !map.contains_key("$ref") {
                    found.push(schema.clone());
                }
                map.iter().filter(|(key, _)| *key != "propertyNames").for_each(|(_, v)| scalars(v, found));
            }
            Value::Array(items) => items.iter().for_each(|item| scalars(item, found)),
            _ => {}
        }
    }

    #[test]
    fn each_scalar_of_the_schema_takes_a_variable_once_it_is_widened() {
        let mut found = Vec::new();
        scalars(&pipeline(), &mut found);
        assert!(found.len() > 30, "{}", found.len());
        for before in found {
            let mut after = before.clone();
            widen(&mut after);
            let definitions = for_editors()["$defs"].clone();
            after["$defs"] = definitions;
            assert!(!compile(&before).unwrap().is_valid(&json!("${X}")), "{before}");
            assert!(compile(&after).unwrap().is_valid(&json!("${X}")), "{after}");
        }
    }
}
