//! Arrow type names as they are written in a pipeline file, and the columns made of them.
//!
//! Lower case, parameters in parentheses: `int64`, `utf8`, `timestamp(ms, UTC)`, `list(utf8)`, `decimal128(10, 2)`,
//! `map(utf8, int64)`, `dictionary(int32, utf8)`, `struct(lat: float64, lon: float64)`. A trailing `!` forbids nulls
//! (`int64!`, `list(utf8!)`). A struct may also be a YAML mapping: `geo: { lat: float64, lon: float64 }`.

mod json;

use std::fmt::Write;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use schemars::SchemaGenerator;
use serde_json::Value;

pub use self::json::{holds_json, is_json, json};
use crate::error::Code;
use crate::problem::Problem;
use crate::units::{SCHEMA_DEPTH_MAX, SCHEMA_FIELDS_MAX};

/// Every type name, for suggestions and the manual.
pub const NAMES: &[&str] = &[
    "binary",
    "boolean",
    "date32",
    "date64",
    "decimal128",
    "decimal256",
    "dictionary",
    "duration",
    "fixed_size_binary",
    "fixed_size_list",
    "float16",
    "float32",
    "float64",
    "int16",
    "int32",
    "int64",
    "int8",
    "json",
    "large_binary",
    "large_list",
    "large_utf8",
    "list",
    "map",
    "null",
    "struct",
    "time32",
    "time64",
    "timestamp",
    "uint16",
    "uint32",
    "uint64",
    "uint8",
    "utf8",
];

/// Types without parameters.
const PLAIN: &[(&str, DataType)] = &[
    ("null", DataType::Null),
    ("boolean", DataType::Boolean),
    ("int8", DataType::Int8),
    ("int16", DataType::Int16),
    ("int32", DataType::Int32),
    ("int64", DataType::Int64),
    ("uint8", DataType::UInt8),
    ("uint16", DataType::UInt16),
    ("uint32", DataType::UInt32),
    ("uint64", DataType::UInt64),
    ("float16", DataType::Float16),
    ("float32", DataType::Float32),
    ("float64", DataType::Float64),
    ("utf8", DataType::Utf8),
    ("large_utf8", DataType::LargeUtf8),
    ("binary", DataType::Binary),
    ("large_binary", DataType::LargeBinary),
    ("date32", DataType::Date32),
    ("date64", DataType::Date64),
];

/// Reads one type name as a field of this name. The error is a sentence without a full stop.
pub fn parse(name: &str, text: &str) -> Result<Field, String> {
    let mut parser = Parser { rest: text, fields: 0 };
    let parsed = parser.field(name, 1)?;
    parser.space();
    if parser.rest.is_empty() {
        Ok(parsed)
    } else {
        Err(format!("`{}` follows the type in `{text}`", parser.rest))
    }
}

/// What is left to read of a type name.
struct Parser<'a> {
    rest: &'a str,
    fields: usize,
}

impl<'a> Parser<'a> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, sign: char) -> bool {
        self.space();
        self.rest.strip_prefix(sign).map(|rest| self.rest = rest).is_some()
    }

    fn expect(&mut self, sign: char) -> Result<(), String> {
        if self.eat(sign) {
            return Ok(());
        }
        let found = self.rest.chars().next().map_or("the end".to_owned(), |c| format!("`{c}`"));
        Err(format!("`{sign}` was expected, not {found}"))
    }

    /// Letters, digits and the signs that occur in names of types, units and time zones.
    fn word(&mut self) -> &'a str {
        self.space();
        let end = self.rest.find(|c: char| "(),:!\" \t\n".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, String> {
        let word = self.word();
        word.parse().map_err(|_| format!("{what} was expected, not `{word}`"))
    }

    fn unit(&mut self, allowed: &[TimeUnit]) -> Result<TimeUnit, String> {
        let word = self.word();
        let unit = allowed.iter().find(|unit| unit_name(unit) == word);
        unit.copied().ok_or_else(|| {
            let names: Vec<&str> = allowed.iter().map(unit_name).collect();
            format!("a unit ({}) was expected, not `{word}`", names.join(", "))
        })
    }

    fn field(&mut self, field: &str, depth: usize) -> Result<Field, String> {
        self.fields += 1;
        if depth > SCHEMA_DEPTH_MAX {
            return Err(format!("the type is nested deeper than {SCHEMA_DEPTH_MAX} levels"));
        }
        if self.fields > SCHEMA_FIELDS_MAX {
            return Err(format!("the type has more than {SCHEMA_FIELDS_MAX} fields"));
        }
        let name = self.word();
        let data_type = match PLAIN.iter().find(|(plain, _)| *plain == name) {
            Some((_, data_type)) => data_type.clone(),
            None if name == "json" => return Ok(json(field, !self.eat('!'))),
            None if NAMES.contains(&name) => {
                self.expect('(')?;
                let data_type = self.with_parameters(name, depth)?;
                self.expect(')')?;
                data_type
            }
            None => return Err(unknown(name)),
        };
        Ok(Field::new(field, data_type, !self.eat('!')))
    }

    fn child(&mut self, name: &str, depth: usize) -> Result<FieldRef, String> {
        Ok(Arc::new(self.field(name, depth + 1)?))
    }

    /// A type of which nothing but the type counts.
    fn bare(&mut self, depth: usize) -> Result<DataType, String> {
        let field = self.field("", depth)?;
        if is_json(&field) {
            return Err("json can be neither the key of a map nor a part of a dictionary".to_owned());
        }
        Ok(field.data_type().clone())
    }

    fn with_parameters(&mut self, name: &str, depth: usize) -> Result<DataType, String> {
        use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
        Ok(match name {
            "fixed_size_binary" => DataType::FixedSizeBinary(self.size()?),
            "time32" => DataType::Time32(self.unit(&[Second, Millisecond])?),
            "time64" => DataType::Time64(self.unit(&[Microsecond, Nanosecond])?),
            "duration" => DataType::Duration(self.unit(&[Second, Millisecond, Microsecond, Nanosecond])?),
            "timestamp" => {
                let unit = self.unit(&[Second, Millisecond, Microsecond, Nanosecond])?;
                let zone = if self.eat(',') { Some(self.zone()?) } else { None };
                DataType::Timestamp(unit, zone)
            }
            "decimal128" => {
                let (precision, scale) = self.decimal(38)?;
                DataType::Decimal128(precision, scale)
            }
            "decimal256" => {
                let (precision, scale) = self.decimal(76)?;
                DataType::Decimal256(precision, scale)
            }
            "list" => DataType::List(self.child("item", depth)?),
            "large_list" => DataType::LargeList(self.child("item", depth)?),
            "fixed_size_list" => {
                let child = self.child("item", depth)?;
                self.expect(',')?;
                DataType::FixedSizeList(child, self.size()?)
            }
            "struct" => DataType::Struct(self.fields(depth)?),
            "map" => {
                let key = self.bare(depth + 2)?;
                self.expect(',')?;
                let value = self.child("value", depth + 1)?;
                map_of(key, value)
            }
            _ => self.dictionary(depth)?,
        })
    }

    fn size(&mut self) -> Result<i32, String> {
        let size: i32 = self.number("a size")?;
        if size < 0 { Err(format!("a size cannot be {size}")) } else { Ok(size) }
    }

    /// A UTC offset or a name. Only its shape is looked at here: which names are known is a format's affair.
    fn zone(&mut self) -> Result<Arc<str>, String> {
        self.space();
        let end = self.rest.find([')', ',', '(']).unwrap_or(self.rest.len());
        let (zone, rest) = self.rest.split_at(end);
        self.rest = rest;
        match zone.trim() {
            "" => Err("a time zone such as `UTC` or `+01:00` was expected".to_owned()),
            zone => Ok(zone.into()),
        }
    }

    fn decimal(&mut self, max: u8) -> Result<(u8, i8), String> {
        let precision: u8 = self.number("a precision")?;
        if precision == 0 || precision > max {
            return Err(format!("the precision must be 1 to {max}, not {precision}"));
        }
        let scale: i8 = if self.eat(',') { self.number("a scale")? } else { 0 };
        if scale.unsigned_abs() > precision {
            return Err(format!("the scale {scale} is beyond the precision {precision}"));
        }
        Ok((precision, scale))
    }

    fn fields(&mut self, depth: usize) -> Result<Fields, String> {
        let mut fields: Vec<FieldRef> = Vec::new();
        self.space();
        while !self.rest.starts_with(')') {
            let name = self.field_name()?;
            if fields.iter().any(|field| *field.name() == name) {
                return Err(format!("the field `{name}` is there twice"));
            }
            self.expect(':')?;
            fields.push(self.child(&name, depth)?);
            if !self.eat(',') {
                break;
            }
            self.space();
        }
        Ok(fields.into())
    }

    /// A bare word, or any text as a JSON string.
    fn field_name(&mut self) -> Result<String, String> {
        self.space();
        if !self.rest.starts_with('"') {
            return match self.word() {
                "" => Err("the name of a field was expected".to_owned()),
                word => Ok(word.to_owned()),
            };
        }
        let mut names = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
        match names.next() {
            Some(Ok(name)) => {
                self.rest = &self.rest[names.byte_offset()..];
                Ok(name)
            }
            _ => Err("the quoted name of a field has no end".to_owned()),
        }
    }

    fn dictionary(&mut self, depth: usize) -> Result<DataType, String> {
        let key = self.bare(depth + 1)?;
        if !key.is_dictionary_key_type() {
            return Err(format!("the keys of a dictionary are integers, not {}", print(&key)));
        }
        self.expect(',')?;
        let value = self.bare(depth + 1)?;
        if value.is_nested() {
            return Err(format!("the values of a dictionary cannot be {}", print(&value)));
        }
        Ok(DataType::Dictionary(Box::new(key), Box::new(value)))
    }
}

/// A map as this engine names its parts.
fn map_of(key: DataType, value: FieldRef) -> DataType {
    let entries = Fields::from(vec![Arc::new(Field::new("key", key, false)), value]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

fn unknown(name: &str) -> String {
    let alias = match name.to_ascii_lowercase().as_str() {
        "string" | "str" | "text" | "varchar" => Some("utf8"),
        "bool" => Some("boolean"),
        "int" | "integer" | "long" | "bigint" => Some("int64"),
        "float" => Some("float32"),
        "double" | "number" => Some("float64"),
        "bytes" => Some("binary"),
        "date" => Some("date32"),
        "datetime" => Some("timestamp(ms, UTC)"),
        "decimal" | "numeric" => Some("decimal128"),
        "array" => Some("list"),
        "object" | "record" => Some("struct"),
        "jsonb" | "variant" | "any" => Some("json"),
        _ => None,
    };
    let lower = name.to_ascii_lowercase();
    let signs = |text: &str| {
        let mut signs: Vec<char> = text.chars().collect();
        signs.sort_unstable();
        signs
    };
    // Among equals, signs that were swapped are likelier than another sign: `int46` is `int64`, not `int16`.
    let distance =
        |candidate: &str| (strsim::damerau_levenshtein(&lower, candidate), signs(&lower) != signs(candidate));
    let near = NAMES
        .iter()
        .map(|candidate| (distance(candidate), *candidate))
        .min()
        .filter(|((distance, _), _)| *distance <= 3)
        .map(|(_, candidate)| candidate);
    match alias.or(near) {
        Some(near) => format!("there is no type `{name}`; did you mean `{near}`?"),
        None => format!("there is no type `{name}`"),
    }
}

fn unit_name(unit: &TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

/// Writes a type as [`parse`] reads it. Types that no pipeline file can name print as Arrow prints them.
pub fn print(data_type: &DataType) -> String {
    if let Some((name, _)) = PLAIN.iter().find(|(_, plain)| plain == data_type) {
        return (*name).to_owned();
    }
    match data_type {
        DataType::FixedSizeBinary(size) => format!("fixed_size_binary({size})"),
        DataType::Time32(unit) => format!("time32({})", unit_name(unit)),
        DataType::Time64(unit) => format!("time64({})", unit_name(unit)),
        DataType::Duration(unit) => format!("duration({})", unit_name(unit)),
        DataType::Timestamp(unit, None) => format!("timestamp({})", unit_name(unit)),
        DataType::Timestamp(unit, Some(zone)) => format!("timestamp({}, {zone})", unit_name(unit)),
        DataType::Decimal128(precision, scale) => format!("decimal128({precision}, {scale})"),
        DataType::Decimal256(precision, scale) => format!("decimal256({precision}, {scale})"),
        DataType::List(child) => format!("list({})", print_field(child)),
        DataType::LargeList(child) => format!("large_list({})", print_field(child)),
        DataType::FixedSizeList(child, size) => format!("fixed_size_list({}, {size})", print_field(child)),
        DataType::Struct(fields) => {
            let mut text = String::from("struct(");
            for (i, field) in fields.iter().enumerate() {
                let comma = if i == 0 { "" } else { ", " };
                // Writing to a string cannot fail.
                let _ = write!(text, "{comma}{}: {}", print_name(field.name()), print_field(field));
            }
            text.push(')');
            text
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(parts) if parts.len() == 2 => {
                format!("map({}, {})", print(parts[0].data_type()), print_field(&parts[1]))
            }
            _ => data_type.to_string(),
        },
        DataType::Dictionary(key, value) => format!("dictionary({}, {})", print(key), print(value)),
        other => other.to_string(),
    }
}

/// The type of a field, with `!` when it forbids nulls.
pub fn print_field(field: &Field) -> String {
    let required = if field.is_nullable() { "" } else { "!" };
    let data_type = if is_json(field) { "json".to_owned() } else { print(field.data_type()) };
    format!("{data_type}{required}")
}

fn print_name(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    if bare { name.to_owned() } else { Value::from(name).to_string() }
}

/// Columns from a mapping of names to types; pointers of problems are relative to it.
pub fn columns(value: &Value) -> Result<SchemaRef, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut left = SCHEMA_FIELDS_MAX;
    let fields = mapping(value, "", 1, &mut left, &mut problems);
    if problems.is_empty() { Ok(Arc::new(Schema::new(fields))) } else { Err(problems) }
}

fn mapping(value: &Value, at: &str, depth: usize, left: &mut usize, problems: &mut Vec<Problem>) -> Fields {
    let Value::Object(map) = value else {
        problems.push(Problem::new(Code::C005, at, "columns are a mapping of names to types"));
        return Fields::empty();
    };
    if map.is_empty() {
        problems.push(Problem::new(Code::C005, at, "at least one column was expected"));
    }
    if depth > SCHEMA_DEPTH_MAX {
        let message = format!("the columns are nested deeper than {SCHEMA_DEPTH_MAX} levels");
        problems.push(Problem::new(Code::C005, at, message));
        return Fields::empty();
    }
    let mut fields = Vec::with_capacity(map.len());
    for (name, value) in map {
        if *left == 0 {
            problems.push(Problem::new(
                Code::C005,
                at,
                format!("there are more than {SCHEMA_FIELDS_MAX} columns"),
            ));
            break;
        }
        *left -= 1;
        let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        match value {
            Value::String(text) => match parse(name, text) {
                Ok(field) => fields.push(field),
                Err(message) => problems.push(Problem::new(Code::C009, at, message)),
            },
            Value::Object(_) => {
                let children = mapping(value, &at, depth + 1, left, problems);
                fields.push(Field::new(name, DataType::Struct(children), true));
            }
            Value::Null => problems.push(Problem::new(Code::C009, at, "the type is missing")),
            other => problems.push(Problem::new(Code::C009, at, format!("`{other}` is not a type name"))),
        }
    }
    fields.into()
}

/// JSON Schema of a `columns:` mapping.
pub fn json_schema(_: &mut SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "description": "Columns: names to Arrow types in lower case (`int64`, `timestamp(ms, UTC)`, `list(utf8)`, \
                        `struct(lat: float64)`, `map(utf8, int64)`; a trailing `!` forbids nulls), or to a mapping, which \
                        is a struct.",
        "type": "object",
        "minProperties": 1,
        "additionalProperties": { "type": ["string", "object"] },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_the_design_parse() {
        let cases = [
            ("int64", DataType::Int64, true),
            ("utf8!", DataType::Utf8, false),
            ("timestamp(ms, UTC)", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
            ("timestamp(ns,+01:00)", DataType::Timestamp(TimeUnit::Nanosecond, Some("+01:00".into())), true),
            ("decimal128( 10 , 2 )", DataType::Decimal128(10, 2), true),
            ("list(utf8)", DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))), true),
            (
                "dictionary(int32, utf8)",
                DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
                true,
            ),
        ];
        for (text, data_type, nullable) in cases {
            assert_eq!(parse("x", text), Ok(Field::new("x", data_type, nullable)), "{text}");
        }
        for text in [
            "map(utf8, int64!)",
            "json",
            "json!",
            "list(json)",
            "map(utf8, json!)",
            "struct(a: json, b: utf8)",
        ] {
            assert_eq!(print_field(&parse("x", text).unwrap()), text);
        }
        assert_eq!(parse("x", "json"), Ok(json("x", true)));
        assert!(is_json(&json("x", true)) && !is_json(&Field::new("x", DataType::Utf8, true)));
    }

    #[test]
    fn mistakes_name_the_nearest() {
        for (text, part) in [
            ("strng", "there is no type"),
            ("string", "`utf8`"),
            ("Int64", "`int64`"),
            ("int46", "`int64`"),
            ("timestamp", "`(` was expected"),
            ("timestamp(hours)", "s, ms, us, ns"),
            ("list(utf8", "`)` was expected"),
            ("int64 x", "follows"),
            ("decimal128(39, 2)", "1 to 38"),
            ("dictionary(utf8, utf8)", "integers"),
            ("struct(a: int8, a: int8)", "twice"),
            ("map(json, utf8)", "key of a map"),
            ("dictionary(int8, json)", "part of a dictionary"),
            ("jsonb", "`json`"),
            ("variant", "`json`"),
            ("", "there is no type"),
        ] {
            let message = parse("x", text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
        let deep = format!("{}int8{}", "list(".repeat(10_000), ")".repeat(10_000));
        assert!(parse("x", &deep).unwrap_err().contains("deeper"));
    }

    #[test]
    fn all_mistakes_of_a_mapping_are_reported_with_pointers() {
        let value = serde_json::json!({"a": "int46", "geo": {"lat": "flot64", "lon": "float64"}, "b": 3});
        let pointers: Vec<String> = columns(&value).unwrap_err().into_iter().map(|p| p.pointer).collect();
        assert_eq!(pointers, ["/a", "/geo/lat", "/b"]);
    }

    fn any_type() -> impl Strategy<Value = DataType> {
        let units = prop_oneof![
            Just(TimeUnit::Second),
            Just(TimeUnit::Millisecond),
            Just(TimeUnit::Microsecond),
            Just(TimeUnit::Nanosecond)
        ];
        let zones = prop_oneof![Just(None), Just(Some("UTC".into())), Just(Some("+05:30".into()))];
        let leaf = prop_oneof![
            (0..PLAIN.len()).prop_map(|i| PLAIN[i].1.clone()),
            (units.clone(), zones).prop_map(|(unit, zone)| DataType::Timestamp(unit, zone)),
            units.prop_map(DataType::Duration),
            Just(DataType::Time32(TimeUnit::Second)),
            Just(DataType::Time64(TimeUnit::Nanosecond)),
            (1u8..=38, 0i8..10).prop_map(|(p, s)| DataType::Decimal128(p, s.min(p as i8))),
            (1u8..=76, -3i8..1).prop_map(|(p, s)| DataType::Decimal256(p, s.max(-(p as i8)))),
            (0i32..99).prop_map(DataType::FixedSizeBinary),
            Just(DataType::Dictionary(Box::new(DataType::UInt8), Box::new(DataType::LargeUtf8))),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let item = (inner.clone(), any::<bool>());
            let item = item.prop_map(|(t, nullable)| Arc::new(Field::new("item", t, nullable)));
            let name = prop_oneof!["[a-z_]{1,6}", "\\PC{0,5}"];
            prop_oneof![
                item.clone().prop_map(DataType::List),
                item.clone().prop_map(DataType::LargeList),
                (item.clone(), 0i32..9).prop_map(|(item, n)| DataType::FixedSizeList(item, n)),
                prop::collection::btree_map(name, (inner.clone(), any::<bool>()), 0..4).prop_map(|fields| {
                    let fields =
                        fields.into_iter().map(|(name, (t, nullable))| Field::new(name, t, nullable));
                    DataType::Struct(fields.collect())
                }),
                (inner, item).prop_map(|(key, value)| {
                    map_of(key, Arc::new(value.as_ref().clone().with_name("value")))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn printing_and_parsing_agree(data_type in any_type(), nullable in any::<bool>()) {
            let text = print_field(&Field::new("x", data_type.clone(), nullable));
            prop_assert_eq!(parse("x", &text), Ok(Field::new("x", data_type, nullable)), "{}", text);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = parse("x", &text);
        }
    }
}
