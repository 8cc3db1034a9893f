//! What a sample of records says of their fields, and the columns that would hold them: for `pipe columns`.
//!
//! Inference (`json`'s own, CSV's own) must choose a type for each field; here it is told too how sure that is: in how
//! many records a field was, of which types, how wide. Numbers and texts are looked at as they are written.

use std::str::FromStr as _;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use indexmap::IndexMap;
use serde_json::value::RawValue;

use super::time::Temporal;
use crate::datatype;
use crate::units::{SCHEMA_DEPTH_MAX, SCHEMA_FIELDS_MAX};

/// Characters of an example that are kept.
const EXAMPLE_CHARS: usize = 60;
/// Members of one object that are looked at: as many as inference takes.
const MEMBERS_MAX: usize = SCHEMA_FIELDS_MAX / 4;
/// From so many members on, of which each is rare, an object is taken for a map: its keys are data.
const MAP_MEMBERS: usize = 64;
/// And rare is a member that fewer than one in so many objects has.
const MAP_RARE: u64 = 10;

/// A type that a column may have.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Type {
    Name(String),
    List(Box<Type>),
    Map(Box<Type>),
    Struct(Vec<(String, Type)>),
}

impl Type {
    fn text(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::List(item) => format!("list({})", item.text()),
            Self::Map(value) => format!("map(utf8, {})", value.text()),
            Self::Struct(fields) => {
                let each = fields.iter().map(|(name, ty)| format!("{}: {}", quoted(name), ty.text()));
                format!("struct({})", each.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// The name of a field as a type spells it.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    match !name.is_empty() && name.chars().all(plain) {
        true => name.to_owned(),
        false => serde_json::Value::from(name).to_string(),
    }
}

/// The type that takes any value.
const ANY: &str = "json";

/// What was seen of one field.
#[derive(Debug, Default)]
struct Shape {
    present: u64,
    nulls: u64,
    booleans: u64,
    integers: u64,
    fractions: u64,
    texts: u64,
    lists: u64,
    objects: u64,
    /// Whether a whole number was below zero, and whether one was beyond `int64`.
    negative: bool,
    large: bool,
    /// Texts that are moments in milliseconds, microseconds and nanoseconds.
    moments: [u64; 3],
    /// Bytes of the longest value, and an example.
    widest: usize,
    example: Option<String>,
    item: Option<Box<Shape>>,
    members: IndexMap<String, Shape>,
    /// Members that were not looked at.
    left_out: u64,
    /// The type that the file itself gives.
    given: Option<String>,
    /// Text holds all that there is, as in CSV.
    is_text: bool,
}

/// The columns that a sample suggests.
#[derive(Debug)]
pub struct Suggested {
    /// They, in the order of their first occurrence.
    pub fields: Vec<Field>,
    /// Members of objects that were not looked at because there are too many.
    pub left_out: u64,
}

/// A column, or a field within one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type as a pipeline file spells it.
    pub ty: String,
    /// The fields of a struct; empty for all else.
    pub fields: Vec<Field>,
    /// In how many records it was, and of how many.
    pub share: (u64, u64),
    /// Of which types its values were, and how many of each; nulls among them.
    pub kinds: Vec<(String, u64)>,
    /// Bytes of its longest value.
    pub widest: usize,
    /// A value, cut.
    pub example: Option<String>,
    /// Whether no type but one that takes anything holds all values.
    pub disagrees: bool,
    /// A type that holds all its texts, too.
    pub moment: Option<&'static str>,
}

/// What was seen of the records.
#[derive(Debug, Default)]
pub struct Profile {
    root: Shape,
    /// Records that are no objects, with the first of them.
    others: u64,
}

impl Profile {
    /// Looks at a record of JSON; false where it is no JSON object.
    pub fn see_json(&mut self, record: &[u8]) -> bool {
        let value: Option<&RawValue> = serde_json::from_slice(record).ok();
        let object = value.map(RawValue::get).filter(|text| text.starts_with('{'));
        match object {
            Some(text) => self.root.see(text, 0),
            None => self.others += 1,
        }
        object.is_some()
    }

    /// Looks at rows of CSV, all of whose columns are text.
    pub fn see_texts(&mut self, rows: &RecordBatch) {
        self.see_columns(rows, |shape, text| shape.see_text(text));
    }

    /// Looks at rows that have their types.
    pub fn see_rows(&mut self, rows: &RecordBatch) {
        self.see_columns(rows, Shape::see_value);
        for field in rows.schema().fields() {
            if let Some(shape) = self.root.members.get_mut(field.name()) {
                shape.given = Some(datatype::print(field.data_type()));
            }
        }
    }

    fn see_columns(&mut self, rows: &RecordBatch, see: impl Fn(&mut Shape, &str)) {
        self.root.present += rows.num_rows() as u64;
        self.root.objects += rows.num_rows() as u64;
        let schema = rows.schema();
        for (field, column) in schema.fields().iter().zip(rows.columns()) {
            let shape = self.root.members.entry(field.name().clone()).or_default();
            shape.is_text = true;
            let options = FormatOptions::default().with_display_error(true);
            let Ok(formatter) = ArrayFormatter::try_new(column, &options) else { continue };
            for row in 0..column.len() {
                shape.present += 1;
                match column.is_null(row) {
                    true => shape.nulls += 1,
                    false => see(shape, &formatter.value(row).to_string()),
                }
            }
        }
    }

    /// Records that were looked at and are objects or rows.
    pub fn records(&self) -> u64 {
        self.root.present
    }

    /// Records that are no JSON objects.
    pub fn others(&self) -> u64 {
        self.others
    }

    /// The columns.
    pub fn suggest(&self) -> Suggested {
        let mut fields = self.root.fields();
        if fields.iter().map(count).sum::<usize>() > SCHEMA_FIELDS_MAX {
            // No schema holds them all one by one.
            for field in fields.iter_mut().filter(|field| !field.fields.is_empty()) {
                (field.fields, field.ty, field.disagrees) = (Vec::new(), ANY.to_owned(), true);
            }
        }
        Suggested { fields, left_out: self.root.left_out() }
    }
}

fn count(field: &Field) -> usize {
    1 + field.fields.iter().map(count).sum::<usize>()
}

impl Shape {
    /// Looks at a JSON value.
    fn see(&mut self, text: &str, depth: usize) {
        let text = text.trim();
        self.present += 1;
        if text == "null" {
            self.nulls += 1;
            return;
        }
        self.widest = self.widest.max(text.len());
        self.keep(text);
        match text.as_bytes().first() {
            Some(b't' | b'f') => self.booleans += 1,
            Some(b'"') => {
                self.texts += 1;
                if let Ok(value) = serde_json::from_str::<String>(text) {
                    self.see_moment(&value);
                }
            }
            // Deeper than any schema: taken whole.
            Some(b'[' | b'{') if depth >= SCHEMA_DEPTH_MAX => self.texts += 1,
            Some(b'[') => {
                self.lists += 1;
                let items: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
                let item = self.item.get_or_insert_default();
                items.into_iter().for_each(|value| item.see(value.get(), depth + 1));
            }
            Some(b'{') => {
                self.objects += 1;
                let members: IndexMap<String, &RawValue> = serde_json::from_str(text).unwrap_or_default();
                for (name, value) in members {
                    if !self.members.contains_key(&name) && self.members.len() >= MEMBERS_MAX {
                        self.left_out += 1;
                        continue;
                    }
                    self.members.entry(name).or_default().see(value.get(), depth + 1);
                }
            }
            _ => self.see_number(text),
        }
    }

    fn keep(&mut self, text: &str) {
        if self.example.is_none() {
            self.example = Some(text.chars().take(EXAMPLE_CHARS).collect());
        }
    }

    fn see_number(&mut self, text: &str) {
        if let Ok(number) = i64::from_str(text) {
            self.integers += 1;
            self.negative |= number < 0;
        } else if u64::from_str(text).is_ok() {
            self.integers += 1;
            self.large = true;
        } else {
            self.fractions += 1;
        }
    }

    /// A moment has its offset, and no finer digits than the unit: nothing of it is lost or added.
    fn see_moment(&mut self, text: &str) {
        let clock = text.get(10..).unwrap_or_default();
        if !clock.ends_with(['Z', 'z']) && !clock.contains(['+', '-']) {
            return;
        }
        let digits =
            clock.split_once('.').map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
        for (at, (unit, _)) in MOMENTS.iter().enumerate().filter(|(at, _)| digits <= 3 * (at + 1)) {
            let parser = Temporal::new(&DataType::Timestamp(*unit, Some("UTC".into())));
            let read = parser.and_then(Result::ok).and_then(|parser| parser.parse(text));
            self.moments[at] += u64::from(read.is_some());
        }
    }

    /// Looks at a field of CSV. A number must be written as numbers are, as inference has it.
    fn see_text(&mut self, text: &str) {
        self.see_value(text);
        match text {
            "true" | "false" | "TRUE" | "FALSE" | "True" | "False" => self.booleans += 1,
            _ if text.parse::<i64>().is_ok_and(|number| number.to_string() == text) => self.see_number(text),
            _ if text.contains(['.', 'e', 'E'])
                && serde_json::from_str::<f64>(text).is_ok()
                && !text.contains(char::is_whitespace) =>
            {
                self.fractions += 1;
            }
            _ => {
                self.texts += 1;
                self.see_moment(text);
            }
        }
    }

    fn see_value(&mut self, text: &str) {
        self.widest = self.widest.max(text.len());
        self.keep(text);
    }

    fn left_out(&self) -> u64 {
        let item = self.item.as_ref().map_or(0, |item| item.left_out());
        self.left_out + item + self.members.values().map(Self::left_out).sum::<u64>()
    }

    fn numbers(&self) -> u64 {
        self.integers + self.fractions
    }

    /// The type of its numbers: what inference makes of them.
    fn number(&self) -> &'static str {
        match () {
            () if self.fractions > 0 => "float64",
            () if self.large && self.negative => "decimal128(20, 0)",
            () if self.large => "uint64",
            () => "int64",
        }
    }

    /// Whether its values are of several kinds.
    fn disagrees(&self) -> bool {
        let kinds = [self.booleans, self.numbers(), self.texts, self.lists, self.objects];
        let several = kinds.iter().filter(|kind| **kind > 0).count() > 1;
        several && !self.is_text || self.item.as_ref().is_some_and(|item| item.disagrees())
    }

    fn is_map(&self) -> bool {
        let all: u64 = self.members.values().map(|member| member.present).sum();
        self.members.len() >= MAP_MEMBERS && all * MAP_RARE < self.objects * self.members.len() as u64
    }

    fn data_type(&self) -> Type {
        let name = |name: &str| Type::Name(name.to_owned());
        if let Some(given) = &self.given {
            return name(given);
        }
        let kinds = [self.booleans, self.numbers(), self.texts, self.lists, self.objects];
        match kinds.map(|kind| kind > 0) {
            [true, false, false, false, false] => name("boolean"),
            [false, true, false, false, false] => name(self.number()),
            [false, false, false, true, false] => {
                let item = self.item.as_ref().map(|item| item.data_type());
                Type::List(Box::new(item.unwrap_or_else(|| name("utf8"))))
            }
            [false, false, false, false, true] => {
                let fields: Vec<(String, Type)> =
                    self.members.iter().map(|(name, shape)| (name.clone(), shape.data_type())).collect();
                match fields.split_first() {
                    None if ANY != "utf8" => name(ANY),
                    Some(((_, first), rest)) if self.is_map() && rest.iter().all(|(_, ty)| ty == first) => {
                        Type::Map(Box::new(first.clone()))
                    }
                    _ if self.is_map() && ANY != "utf8" => name(ANY),
                    _ => Type::Struct(fields),
                }
            }
            [_, _, _, false, false] if self.is_text => name("utf8"),
            [false, false, _, false, false] => name("utf8"),
            _ => name(ANY),
        }
    }

    fn kinds(&self) -> Vec<(String, u64)> {
        let numbers: &[(&str, u64)] = match (self.fractions, self.integers) {
            (0, integers) => &[(self.number(), integers)],
            (fractions, integers) => &[("int64", integers), ("float64", fractions)],
        };
        let given = self.given.as_deref().map(|given| (given, self.present - self.nulls));
        let first = [("boolean", self.booleans)];
        let last =
            [("utf8", self.texts), ("list", self.lists), ("struct", self.objects), ("null", self.nulls)];
        let all = given.into_iter().chain(first).chain(numbers.iter().copied()).chain(last);
        all.filter(|(_, count)| *count > 0).map(|(kind, count)| (kind.to_owned(), count)).collect()
    }

    fn fields(&self) -> Vec<Field> {
        self.members.iter().map(|(name, shape)| shape.field(name, self.objects)).collect()
    }

    fn field(&self, name: &str, of: u64) -> Field {
        let ty = self.data_type();
        let all = |taken: u64| taken > 0 && taken == self.texts;
        let moment = self.moments.iter().position(|taken| all(*taken)).map(|at| MOMENTS[at].1);
        Field {
            name: name.to_owned(),
            fields: if matches!(ty, Type::Struct(_)) { self.fields() } else { Vec::new() },
            ty: ty.text(),
            share: (self.present, of),
            kinds: self.kinds(),
            widest: self.widest,
            example: self.example.clone(),
            disagrees: self.disagrees(),
            moment: moment.filter(|_| ty == Type::Name("utf8".to_owned()) && !self.disagrees()),
        }
    }
}

/// Types of moments, from the coarsest on.
const MOMENTS: [(TimeUnit, &str); 3] = [
    (TimeUnit::Millisecond, "timestamp(ms, UTC)"),
    (TimeUnit::Microsecond, "timestamp(us, UTC)"),
    (TimeUnit::Nanosecond, "timestamp(ns, UTC)"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn suggested(records: &[&str]) -> Vec<Field> {
        let mut profile = Profile::default();
        for record in records {
            profile.see_json(record.as_bytes());
        }
        profile.suggest().fields
    }

    fn types(records: &[&str]) -> Vec<String> {
        suggested(records).iter().map(|f| format!("{}: {}", f.name, f.ty)).collect()
    }

    #[test]
    fn each_field_has_the_type_that_holds_all_of_its_values() {
        let records = [
            r#"{"id":1,"big":18446744073709551615,"f":1,"t":"x","b":true,"n":null,"l":[1,2],"o":{"a":1}}"#,
            r#"{"id":-2,"big":7,"f":1.10,"t":"y","b":false,"n":null,"l":[],"o":{"a":2,"c d":"z"}}"#,
        ];
        assert_eq!(
            types(&records),
            [
                "id: int64",
                "big: uint64",
                "f: float64",
                "t: utf8",
                "b: boolean",
                "n: utf8",
                "l: list(int64)",
                "o: struct(a: int64, \"c d\": utf8)"
            ]
        );
        let fields = suggested(&records);
        assert_eq!(fields[7].fields.len(), 2);
        assert_eq!(fields[7].fields[1].share, (1, 2));
        assert_eq!(fields[2].kinds, [("int64".to_owned(), 1), ("float64".to_owned(), 1)]);
        assert_eq!((fields[2].widest, fields[2].example.as_deref()), (4, Some("1")));
        assert!(fields.iter().all(|field| !field.disagrees));
        datatype::columns(&serde_json::json!({ "o": fields[7].ty })).unwrap();
    }

    #[test]
    fn values_of_several_types_are_told() {
        for records in [
            [r#"{"a":1}"#, r#"{"a":"x"}"#],
            [r#"{"a":[1]}"#, r#"{"a":{"b":1}}"#],
            [r#"{"a":[1,"x"]}"#, r#"{"a":[]}"#],
        ] {
            let fields = suggested(&records);
            assert!(fields[0].disagrees, "{records:?}");
            assert!(fields[0].ty.contains(ANY), "{}", fields[0].ty);
        }
        let fields = suggested(&[r#"{"a":1}"#, r#"{"a":null}"#, "{}"]);
        assert_eq!((fields[0].disagrees, fields[0].share), (false, (2, 3)), "a null is of any type");
    }

    #[test]
    fn what_is_no_object_is_counted_and_hostile_text_is_only_text() {
        let deep = format!("{{\"d\":{}1{}}}", "[".repeat(400), "]".repeat(400));
        let mut profile = Profile::default();
        for record in [&b"[1]"[..], b"", b"\xff\xfe", b"{\"a\":", b"7", deep.as_bytes(), b" {\"a\\n\":1} "] {
            profile.see_json(record);
        }
        assert_eq!((profile.records(), profile.others()), (2, 5));
        let names: Vec<String> = profile.suggest().fields.into_iter().map(|field| field.name).collect();
        assert_eq!(names, ["d", "a\n"]);
    }

    #[test]
    fn keys_that_are_data_make_a_map() {
        let records: Vec<String> =
            (0..200).map(|n| format!("{{\"by_user\":{{\"u{n}\":{n}}},\"same\":{{\"a\":1}}}}")).collect();
        let records: Vec<&str> = records.iter().map(String::as_str).collect();
        assert_eq!(types(&records), ["by_user: map(utf8, int64)", "same: struct(a: int64)"]);
    }

    #[test]
    fn more_members_than_a_schema_holds_are_counted() {
        let many: Vec<String> = (0..MEMBERS_MAX + 5).map(|n| format!("\"k{n}\":1")).collect();
        let mut profile = Profile::default();
        profile.see_json(format!("{{{}}}", many.join(",")).as_bytes());
        let suggested = profile.suggest();
        assert_eq!((suggested.fields.len(), suggested.left_out), (MEMBERS_MAX, 5));
    }

    #[test]
    fn texts_that_are_moments_are_told() {
        let moment = |records: &[&str]| suggested(records)[0].moment;
        assert_eq!(moment(&[r#"{"t":"2026-01-31T12:00:00Z"}"#]), Some("timestamp(ms, UTC)"));
        assert_eq!(moment(&[r#"{"t":"2026-01-31T12:00:00Z"}"#, r#"{"t":"soon"}"#]), None);
        assert_eq!(moment(&[r#"{"t":"2026"}"#]), None);
        assert_eq!(moment(&[r#"{"t":"2026-01-31T12:00:00"}"#]), None, "of which zone?");
        let finer = [r#"{"t":"2026-01-31T12:00:00Z"}"#, r#"{"t":"2026-01-31T12:00:00.123456+01:00"}"#];
        assert_eq!(moment(&finer), Some("timestamp(us, UTC)"));
    }
}
