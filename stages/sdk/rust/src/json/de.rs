//! serde's side of [`Json`].

use std::fmt;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Expected, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use super::Json;
use crate::error::{Error, Result};

/// Reads a value of a type; the error says where in one line.
pub(crate) fn from_str<T: DeserializeOwned>(text: &str) -> Result<T> {
    let json = Json::parse(text)?;
    T::deserialize(Reader(&json)).map_err(|error| Error::new(error.message()))
}

/// Why a value is not of a type, and where it is: `all[0].op`.
#[derive(Debug)]
pub(crate) struct Wrong {
    /// Steps from the value outwards.
    path: Vec<String>,
    what: String,
}

impl Wrong {
    #[cold]
    fn new(what: String) -> Self {
        Self { path: Vec::new(), what }
    }

    #[cold]
    fn at(mut self, step: String) -> Self {
        self.path.push(step);
        self
    }

    fn message(&self) -> String {
        let mut out = String::new();
        for step in self.path.iter().rev() {
            if !out.is_empty() && !step.starts_with('[') {
                out.push('.');
            }
            out.push_str(step);
        }
        if !out.is_empty() {
            out.push_str(": ");
        }
        out + &self.what
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())
    }
}

impl std::error::Error for Wrong {}

/// serde's own texts print floats, whose formatting alone is as large as all of this.
impl serde::de::Error for Wrong {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    #[cold]
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Bool(_) => "a boolean",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
            Unexpected::Float(_) => "a number",
            Unexpected::Str(_) => "a string",
            Unexpected::Unit | Unexpected::Option => "null",
            Unexpected::Seq => "a list",
            Unexpected::Map => "an object",
            _ => "another type",
        };
        Self::new(format!("{found} is not {expected}"))
    }

    #[cold]
    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Unsigned(value) => value.to_string(),
            Unexpected::Signed(value) => value.to_string(),
            Unexpected::Str(text) => format!("`{text}`"),
            found => return Self::invalid_type(found, expected),
        };
        Self::new(format!("{found} is not {expected}"))
    }

    #[cold]
    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("`{variant}` is none of {}", list(expected)))
    }

    #[cold]
    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("unknown key `{field}`; the keys are {}", list(expected)))
    }

    #[cold]
    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("the key `{field}` is missing"))
    }

    #[cold]
    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("the key `{field}` is there twice"))
    }
}

/// Names with commas between them; the library's own `join` is ten times as large.
fn list(names: &[&str]) -> String {
    let mut out = String::new();
    for name in names {
        if !out.is_empty() {
            out.push_str(", ");
        }
        out.push_str(name);
    }
    out
}

/// Names [`Json`] to a [`Reader`], which then hands the value over as text: serde knows no number as it was written.
const JSON: &str = "pipe_stage::Json";

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Json;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value of a stage's configuration")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Json, E> {
                Json::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_newtype_struct(JSON, Text)
    }
}

/// Methods of a deserializer that visit one kind of value.
macro_rules! only {
    ($($visit:ident: $($method:ident)*;)*) => {$($(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            self.$visit(visitor)
        }
    )*)*};
}

#[derive(Clone, Copy)]
struct Reader<'j>(&'j Json);

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Json::Null => visitor.visit_unit(),
            Json::Bool(_) => self.visit_bool(visitor),
            Json::Number(_) => self.visit_number(visitor),
            Json::Text(_) => self.visit_text(visitor),
            Json::List(_) => self.visit_list(visitor),
            Json::Object(_) => self.visit_object(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        if matches!(self.0, Json::Null) { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        if name == JSON { visitor.visit_str(&self.0.to_string()) } else { visitor.visit_newtype_struct(self) }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self.0 {
            Json::Text(text) => visitor.visit_enum(StrDeserializer::new(text)),
            Json::Object(members) if members.len() == 1 => {
                visitor.visit_enum(MapAccessDeserializer::new(Members { members, at: 0 }))
            }
            _ => Err(Wrong::new("a string is needed, or an object of one key".into())),
        }
    }

    forward_to_deserialize_any! { i128 u128 char bytes byte_buf unit unit_struct ignored_any }

    only! {
        visit_bool: deserialize_bool;
        visit_number: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64;
        visit_text: deserialize_str deserialize_string deserialize_identifier;
        visit_list: deserialize_seq;
        visit_object: deserialize_map;
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Wrong> {
        self.visit_list(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        self.visit_list(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        self.visit_object(visitor)
    }
}

/// Each of these makes code for one kind of value only, not for all that a visitor might be given: that halves the
/// code of a configuration.
impl Reader<'_> {
    fn visit_bool<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        if let Json::Bool(value) = self.0 { visitor.visit_bool(*value) } else { Err(self.misfit(&visitor)) }
    }

    fn visit_number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        if !matches!(self.0, Json::Number(_)) {
            Err(self.misfit(&visitor))
        } else if let Some(value) = self.0.as_u64() {
            visitor.visit_u64(value)
        } else if let Some(value) = self.0.as_i64() {
            visitor.visit_i64(value)
        } else if let Some(value) = self.0.as_f64() {
            visitor.visit_f64(value)
        } else {
            Err(Wrong::new(format!("{} is too large", self.0)))
        }
    }

    fn visit_text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        if let Json::Text(text) = self.0 { visitor.visit_str(text) } else { Err(self.misfit(&visitor)) }
    }

    fn visit_list<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Json::List(items) => visitor.visit_seq(Items { items, at: 0 }),
            _ => Err(self.misfit(&visitor)),
        }
    }

    fn visit_object<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Json::Object(members) => visitor.visit_map(Members { members, at: 0 }),
            _ => Err(self.misfit(&visitor)),
        }
    }

    #[cold]
    fn misfit(self, expected: &dyn Expected) -> Wrong {
        let found = match self.0 {
            Json::Null => Unexpected::Unit,
            Json::Bool(value) => Unexpected::Bool(*value),
            Json::Number(_) if self.0.as_i64().is_some() => Unexpected::Signed(0),
            Json::Number(_) => Unexpected::Float(0.0),
            Json::Text(text) => Unexpected::Str(text),
            Json::List(_) => Unexpected::Seq,
            Json::Object(_) => Unexpected::Map,
        };
        serde::de::Error::invalid_type(found, expected)
    }
}

struct Items<'j> {
    items: &'j [Json],
    at: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        let Some(item) = self.items.get(self.at) else { return Ok(None) };
        let step = self.at;
        self.at += 1;
        seed.deserialize(Reader(item)).map(Some).map_err(|error| error.at(format!("[{step}]")))
    }
}

struct Members<'j> {
    members: &'j [(String, Json)],
    at: usize,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        let Some((key, _)) = self.members.get(self.at) else { return Ok(None) };
        seed.deserialize(StrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let Some((key, value)) = self.members.get(self.at) else {
            return Err(Wrong::new("a value was read without its key".into()));
        };
        self.at += 1;
        seed.deserialize(Reader(value)).map_err(|error| error.at(key.clone()))
    }
}

#[cfg(test)]
mod tests {
    use serde::de::Error as _;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        name: String,
        #[serde(default)]
        limit: Option<f64>,
        parts: Vec<Part>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case", deny_unknown_fields)]
    enum Part {
        Whole,
        Slice { from: i8, until: Json },
    }

    #[test]
    fn structs_options_lists_and_enums_are_read() {
        let text = r#"{"name":"a","parts":["whole",{"slice":{"from":-3,"until":1.50}}],"limit":2}"#;
        let slice = Part::Slice { from: -3, until: Json::Number("1.50".into()) };
        let expected = Settings { name: "a".into(), limit: Some(2.0), parts: vec![Part::Whole, slice] };
        assert_eq!(from_str::<Settings>(text).unwrap(), expected);
        let absent = from_str::<Settings>(r#"{"name":"a","parts":[],"limit":null}"#).unwrap();
        assert_eq!(absent.limit, None);
    }

    #[test]
    fn errors_say_what_is_wrong_and_where() {
        let slice = |text: &str| format!(r#"{{"name":"a","parts":["whole",{{"slice":{text}}}]}}"#);
        for (text, message) in [
            ("{".to_owned(), "this is not JSON at byte 1"),
            ("1".to_owned(), "an integer is not struct Settings"),
            (r#"{"nme":"a"}"#.to_owned(), "unknown key `nme`; the keys are name, limit, parts"),
            (r#"{"name":"a"}"#.to_owned(), "the key `parts` is missing"),
            (r#"{"name":"a","name":"b"}"#.to_owned(), "the key `name` is there twice"),
            (r#"{"name":1}"#.to_owned(), "name: an integer is not a string"),
            (r#"["a"]"#.to_owned(), "a list is not struct Settings"),
            (r#"{"name":"a","parts":["none"]}"#.to_owned(), "parts[0]: `none` is none of whole, slice"),
            (
                r#"{"name":"a","parts":[7]}"#.to_owned(),
                "parts[0]: a string is needed, or an object of one key",
            ),
            (slice(r#"{"from":300}"#), "parts[1].slice.from: 300 is not i8"),
            (slice(r#"{"from":1.5}"#), "parts[1].slice.from: a number is not i8"),
            (slice(r#"{"from":1e999}"#), "parts[1].slice.from: 1e999 is too large"),
        ] {
            assert_eq!(from_str::<Settings>(&text).unwrap_err().to_string(), message, "{text}");
        }
        assert_eq!(from_str::<String>("[]").unwrap_err().to_string(), "a list is not a string");
        assert!(Wrong::custom("x").to_string() == "x" && from_str::<()>("null").is_ok());
    }
}
