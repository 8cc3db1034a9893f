//! `accept:` out of the options of a format: beside `columns:`, and within the mapping of a column.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::times::{AMBIGUOUS, Ambiguous, Pattern, UNITS, Zone};
use super::{Accept, Node, Read, Rules, Way};

use crate::config::suggestion;
use crate::datatype;
use crate::error::Code;
use crate::problem::Problem;

/// The words in their order, for help and for editors.
fn words() -> Vec<&'static str> {
    Way::words().map(Way::name).collect()
}

/// JSON Schema of `accept:`.
pub(in crate::format) fn json_schema(_: &mut SchemaGenerator) -> Value {
    json!({
        "description": "What is read beyond the types' own spellings, in columns that do not say it themselves: \
                        `text` (numbers and booleans out of strings), `numbers` (as text, and 0 and 1 as booleans), \
                        `booleans` (as text), `whole_floats` (`1.0` as an integer), `words` (`yes`, `off` as booleans), \
                        `empty` (an empty text as null), `nan` (NaN and infinities); for times `epoch` (numbers \
                        since 1970 in another unit), `pattern` (texts by a pattern of strftime) and `zone` (local times). \
                        A column has its own as `{ type: int64, accept: [text] }`.",
        "type": "array",
        "items": item_schema(),
        "default": [],
    })
}

fn item_schema() -> Value {
    let names = |of: Vec<&'static str>| json!({ "type": "string", "enum": of });
    let zone = json!({
        "description": "The zone of times without an offset: a name such as `Europe/Berlin`, `UTC`, or an offset such as \
                        `+01:00`.",
        "type": "string",
    });
    let mut ambiguous = names(AMBIGUOUS.iter().map(|(word, _)| *word).collect());
    ambiguous["description"] = "What becomes of local times that clocks show twice or never.".into();
    ambiguous["default"] = "reject".into();
    let mut epoch = names(UNITS.iter().map(|(unit, _)| *unit).collect());
    epoch["description"] = "The unit of numbers, which count since 1970 and may have a fraction.".into();
    let pattern = json!({
        "description": "A pattern of strftime, such as `%d.%m.%Y %H:%M`.",
        "type": "string",
        "minLength": 1,
    });
    let object = |properties: Value, key: &str| json!({ "type": "object", "required": [key], "properties": properties, "additionalProperties": false });
    json!({
        "anyOf": [
            names(words()),
            object(json!({ "epoch": epoch }), "epoch"),
            object(json!({ "pattern": pattern, "zone": zone, "ambiguous": ambiguous }), "pattern"),
            object(json!({ "zone": zone, "ambiguous": ambiguous }), "zone"),
        ],
    })
}

/// JSON Schema of `columns:` whose columns may say what they accept.
pub(in crate::format) fn columns_schema(generator: &mut SchemaGenerator) -> Value {
    let mut schema = datatype::json_schema(generator).to_value();
    schema["additionalProperties"] = json!({
        "type": ["string", "object"],
        "if": { "type": "object", "required": ["accept"], "properties": { "accept": { "type": "array" } } },
        "then": {
            "required": ["type"],
            "properties": {
                "type": { "description": "The column's type, such as `int64`.", "type": "string" },
                "accept": json_schema(generator),
            },
            "additionalProperties": false,
        },
    });
    schema
}

/// Reads `columns` and `accept` of a format's options.
pub(in crate::format) fn read(options: &Value, text_only: bool) -> Read {
    let mut reader = Reader { text_only, problems: Vec::new(), leaves: Vec::new() };
    let all = match options.get("accept") {
        None | Some(Value::Null) => Rules::default(),
        Some(items) => reader.rules(items, "/accept"),
    };
    let mut accept = Accept { all, columns: BTreeMap::new(), text_only };
    let mut columns = None;
    if let Some(value) = options.get("columns").filter(|value| !value.is_null()) {
        let (plain, nodes) = reader.split(value, "/columns");
        accept.columns = nodes;
        match datatype::columns(&plain) {
            Ok(schema) => {
                reader.check(schema.fields(), &accept.columns, "/columns");
                columns = Some(schema);
            }
            Err(problems) => {
                for problem in problems.into_iter().map(|problem| problem.below("/columns")) {
                    // The type of a column with rules stands one level deeper than that of the others.
                    let deeper = reader.leaves.contains(&problem.pointer);
                    let pointer = if deeper { format!("{}/type", problem.pointer) } else { problem.pointer };
                    reader.problems.push(Problem { pointer, ..problem });
                }
            }
        }
    }
    Read { columns, accept, problems: reader.problems }
}

/// More are not tried.
const PATTERNS_MAX: usize = 16;

struct Reader {
    text_only: bool,
    problems: Vec<Problem>,
    /// Pointers of the columns that say themselves what they accept.
    leaves: Vec<String>,
}

fn step(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

impl Reader {
    fn problem(&mut self, at: &str, code: Code, message: String, help: impl Into<String>) {
        self.problems.push(Problem::new(code, at, message).help(help));
    }

    /// Columns without their rules, and these rules. A mapping with a list under `accept` is a column: in a struct each
    /// key is a field, and no list is a type.
    fn split(&mut self, columns: &Value, at: &str) -> (Value, BTreeMap<String, Node>) {
        let Value::Object(map) = columns else { return (columns.clone(), BTreeMap::new()) };
        let (mut plain, mut nodes) = (Map::new(), BTreeMap::new());
        for (name, value) in map {
            let at = step(at, name);
            let of = match value.as_object().map(|column| (column, column.get("accept"))) {
                None => value.clone(),
                Some((column, Some(items @ Value::Array(_)))) => {
                    let rules = self.rules(items, &format!("{at}/accept"));
                    nodes.insert(name.clone(), Node::Rules(rules));
                    self.column(column, &at)
                }
                Some((column, accept)) => {
                    if let Some(Value::String(word)) = accept
                        && words().contains(&word.as_str())
                    {
                        let message = format!("a list was expected, not the text `{word}`");
                        self.problem(
                            &format!("{at}/accept"),
                            Code::C005,
                            message,
                            format!("write `[{word}]`"),
                        );
                        plain.insert(name.clone(), column.get("type").cloned().unwrap_or_default());
                        continue;
                    }
                    let (fields, within) = self.split(value, &at);
                    if !within.is_empty() {
                        nodes.insert(name.clone(), Node::Fields(within));
                    }
                    fields
                }
            };
            plain.insert(name.clone(), of);
        }
        (Value::Object(plain), nodes)
    }

    /// The type of a column with rules.
    fn column(&mut self, column: &Map<String, Value>, at: &str) -> Value {
        for key in column.keys().filter(|key| !matches!(key.as_str(), "type" | "accept")) {
            let help = "beside `accept` a column has `type` alone; fields of a struct go into the type, \
                        `struct(lat: float64)`";
            self.problem(&step(at, key), Code::C003, format!("unknown key `{key}`"), help);
        }
        self.leaves.push(at.to_owned());
        match column.get("type") {
            Some(name @ Value::String(_)) => name.clone(),
            None => {
                self.problem(at, Code::C004, "`type` is missing".into(), "such as `type: int64`");
                Value::from("null")
            }
            Some(_) => {
                let message = "beside `accept` the type is a text".to_owned();
                self.problem(
                    &format!("{at}/type"),
                    Code::C005,
                    message,
                    "write a struct as `struct(lat: float64)`",
                );
                Value::from("null")
            }
        }
    }

    fn rules(&mut self, items: &Value, at: &str) -> Rules {
        let mut rules = Rules::default();
        let Value::Array(items) = items else {
            self.problem(
                at,
                Code::C005,
                format!("a list was expected, not {items}"),
                format!("a list of {}", words().join(", ")),
            );
            return rules;
        };
        for (i, item) in items.iter().enumerate() {
            let at = format!("{at}/{i}");
            let word = match item {
                Value::String(word) => word,
                Value::Object(item) => {
                    self.times(item, &at, &mut rules);
                    continue;
                }
                _ => {
                    self.problem(
                        &at,
                        Code::C005,
                        format!("a word or a mapping was expected, not {item}"),
                        format!(
                            "one of {}, or a mapping with `epoch`, `pattern` or `zone`",
                            words().join(", ")
                        ),
                    );
                    continue;
                }
            };
            match Way::words().find(|way| way.name() == word) {
                Some(way) if rules.has(way) => {
                    self.problem(&at, Code::C005, format!("`{word}` is given twice"), "give it once");
                }
                Some(way) => rules.add(way),
                None => {
                    let help = suggestion(word, words(), "words");
                    self.problem(&at, Code::C005, format!("there is nothing to accept by `{word}`"), help);
                }
            }
        }
        rules
    }

    /// An item that is a mapping: how times are read.
    fn times(&mut self, item: &Map<String, Value>, at: &str, rules: &mut Rules) {
        let allowed: &[&str] = match item {
            _ if item.contains_key("epoch") => &["epoch"],
            _ if item.contains_key("pattern") => &["pattern", "zone", "ambiguous"],
            _ if item.contains_key("zone") => &["zone", "ambiguous"],
            _ => {
                let message = "one of `epoch`, `pattern`, `zone` is missing".to_owned();
                return self.problem(at, Code::C004, message, "such as `{ epoch: ms }`");
            }
        };
        for key in item.keys().filter(|key| !allowed.contains(&key.as_str())) {
            let help = suggestion(key, allowed.iter().copied(), "keys");
            self.problem(&step(at, key), Code::C003, format!("unknown key `{key}`"), help);
        }
        let known = self.problems.len();
        let ambiguous = self.word(item, "ambiguous", AMBIGUOUS, at).unwrap_or(Ambiguous::Reject);
        let zone = self.zone(item, ambiguous, at);
        if zone.is_none() && item.contains_key("ambiguous") && !item.contains_key("zone") {
            let message = "without a `zone` no time is ambiguous".to_owned();
            self.problem(&format!("{at}/ambiguous"), Code::P009, message, "say the `zone`, or leave it out");
        }
        let times = Arc::make_mut(&mut rules.times);
        let (way, twice) = if allowed.contains(&"epoch") {
            let twice = times.epoch.is_some();
            times.epoch = self.word(item, "epoch", UNITS, at);
            (Way::Epoch, twice)
        } else if allowed.contains(&"pattern") {
            if self.problems.len() > known {
                return;
            }
            let Some(Value::String(pattern)) = item.get("pattern") else {
                let message = "a text was expected".to_owned();
                return self.problem(
                    &format!("{at}/pattern"),
                    Code::C005,
                    message,
                    "such as `\"%d.%m.%Y %H:%M\"`",
                );
            };
            match Pattern::new(pattern, zone) {
                Ok(_) if times.patterns.len() == PATTERNS_MAX => {
                    let message = format!("there are more than {PATTERNS_MAX} patterns");
                    return self.problem(at, Code::C005, message, "each one is tried with each text");
                }
                Ok(pattern) => times.patterns.push(pattern),
                Err(fault) => {
                    let message = format!("the pattern cannot be used: {fault}");
                    let help =
                        "patterns are those of strftime; which directives are read is in docs/formats.md";
                    return self.problem(&format!("{at}/pattern"), Code::C005, message, help);
                }
            }
            (Way::Pattern, false)
        } else {
            let twice = times.zone.is_some();
            times.zone = zone;
            (Way::Zone, twice)
        };
        if twice {
            self.problem(at, Code::C005, format!("`{}` is given twice", way.name()), "give it once");
        }
        rules.add(way);
    }

    /// One of a few words.
    fn word<T: Copy>(
        &mut self,
        item: &Map<String, Value>,
        key: &str,
        all: &[(&str, T)],
        at: &str,
    ) -> Option<T> {
        let value = item.get(key)?;
        let found = value.as_str().and_then(|word| all.iter().find(|(name, _)| *name == word));
        if found.is_none() {
            let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
            let message = format!("{value} is not one of the values allowed here");
            self.problem(&format!("{at}/{key}"), Code::C005, message, format!("one of {}", names.join(", ")));
        }
        found.map(|(_, meant)| *meant)
    }

    fn zone(&mut self, item: &Map<String, Value>, ambiguous: Ambiguous, at: &str) -> Option<Zone> {
        let value = item.get("zone")?;
        let name = value.as_str().unwrap_or_default();
        let zone = Zone::new(name, ambiguous);
        if zone.is_none() {
            let help = match Zone::nearest(name) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "take a name of the time zone database such as `Europe/Berlin`, `UTC`, or an offset such as \
                         `+01:00`"
                    .to_owned(),
            };
            self.problem(&format!("{at}/zone"), Code::C005, format!("there is no time zone {value}"), help);
        }
        zone
    }

    /// Refuses what changes nothing in the column that asks for it.
    fn check(&mut self, fields: &Fields, nodes: &BTreeMap<String, Node>, at: &str) {
        for field in fields {
            let at = step(at, field.name());
            match (nodes.get(field.name()), field.data_type()) {
                (Some(Node::Fields(within)), DataType::Struct(fields)) => self.check(fields, within, &at),
                (Some(Node::Rules(rules)), _) => self.check_column(field, rules, &at),
                _ => {}
            }
        }
    }

    fn check_column(&mut self, field: &FieldRef, rules: &Rules, at: &str) {
        let text_only = self.text_only;
        let parts = parts(field);
        let fits = |way: Way| parts.iter().any(|part| way.fits(part, text_only));
        let date = |part: &FieldRef| matches!(part.data_type(), DataType::Date32 | DataType::Date64);
        if rules.has(Way::Text) && !rules.has(Way::Epoch) && parts.iter().all(date) {
            let message =
                format!("`text` changes nothing in a column of {} alone", datatype::print_field(field));
            let help = "it reads numbers with `{ epoch: s }`, and other texts with `{ pattern: .. }`";
            self.problem(&format!("{at}/accept"), Code::P009, message, help);
        }
        for pattern in rules.times.patterns.iter().filter(|one| !parts.iter().any(|part| one.fits(part))) {
            let message =
                format!("the pattern `{pattern}` does not fit a column of {}", datatype::print_field(field));
            let help = "a timestamp takes a date, with a time of day or without, and a `zone` where its type has one \
                        (`timestamp(ms, UTC)`); `date32` takes a date alone, `time32` and `time64` a time of day alone";
            self.problem(&format!("{at}/accept"), Code::P009, message, help);
        }
        for way in Way::ALL.into_iter().filter(|way| rules.has(*way) && !fits(*way)) {
            let name = datatype::print_field(field);
            let others: Vec<&str> = Way::ALL.into_iter().filter(|way| fits(*way)).map(Way::name).collect();
            let help = match (way, others.as_slice()) {
                (Way::Empty, _) if !field.is_nullable() => {
                    "an empty text would be null, which the `!` forbids".to_owned()
                }
                (Way::Text | Way::Nan | Way::Booleans, _) if text_only => {
                    "this format has only text: such values are read anyway".to_owned()
                }
                (Way::Zone, _) if matches!(field.data_type(), DataType::Timestamp(_, None)) => {
                    "a type such as `timestamp(ms, UTC)` holds moments; this one holds local times as they are".to_owned()
                }
                (_, []) => "leave `accept` out: the column is a plain type".to_owned(),
                (_, others) => format!("{name} takes {}", others.join(", ")),
            };
            let message = format!("`{}` changes nothing in a column of {name}", way.name());
            self.problem(&format!("{at}/accept"), Code::P009, message, help);
        }
    }
}

/// The columns without parts that a column is made of.
fn parts(field: &Field) -> Vec<FieldRef> {
    match field.data_type() {
        DataType::Struct(fields) => fields.iter().flat_map(|field| parts(field)).collect(),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => parts(item),
        DataType::Map(entries, _) => match entries.data_type() {
            // Keys are read as they are.
            DataType::Struct(pair) if pair.len() == 2 => parts(&pair[1]),
            _ => Vec::new(),
        },
        _ => vec![FieldRef::new(field.clone())],
    }
}
