//! One value of a record, by serde_json: driven straight into its column, as deep as the column's type is.

use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::unknown::Watch;
use crate::format::columns::{Column, Columns, Values, blame};
use crate::format::text::short;

/// What is done with members that no column takes.
#[derive(Clone, Copy)]
pub(super) struct Beside<'a> {
    pub(super) watch: Option<&'a Watch>,
    /// Whether they refuse their record.
    pub(super) strict: bool,
}

/// The members of an object, as row `row` of its columns.
pub(super) struct Members<'a> {
    pub(super) columns: &'a mut Columns,
    pub(super) row: usize,
    pub(super) what: &'static str,
    pub(super) beside: Beside<'a>,
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut hint = 0;
        while let Some(found) = map.next_key_seed(Key { columns: self.columns, hint, beside: self.beside })? {
            let Some(at) = found else {
                self.beside.watch.inspect(|watch| watch.add());
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let column = &mut self.columns.columns[at];
            if column.len() > self.row {
                return Err(A::Error::custom(blame(&column.name, "the key occurs twice")));
            }
            if let Err(e) = map.next_value_seed(Cell(&mut *column, self.beside)) {
                return Err(A::Error::custom(blame(&column.name, &e.to_string())));
            }
            hint = at + 1;
        }
        Ok(())
    }
}

/// A key, looked up in place: nothing is allocated for it.
struct Key<'a> {
    columns: &'a Columns,
    hint: usize,
    beside: Beside<'a>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Option<usize>, E> {
        let found = self.columns.find(key, self.hint);
        if let (None, Some(watch)) = (found, self.beside.watch) {
            watch.meet(key);
        }
        if found.is_none() && self.beside.strict {
            return Err(E::custom(blame(
                &short(key),
                "nobody declared this field, and `unknown: dead_letter` takes no other",
            )));
        }
        Ok(found)
    }
}

/// One value of a column. It recurses as deep as the column's type is, no deeper.
pub(super) struct Cell<'a>(pub(super) &'a mut Column, pub(super) Beside<'a>);

impl<'de> DeserializeSeed<'de> for Cell<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if !self.0.takes_numbers() {
            return deserializer.deserialize_any(self);
        }
        let text = <&RawValue>::deserialize(deserializer)?.get();
        let column = self.0;
        if column.is_json() {
            let pushed = if text == "null" { column.push_null() } else { column.push_any_json(text) };
            return pushed.map_err(D::Error::custom);
        }
        // The text of one value of valid JSON: its first byte says which.
        let pushed = match text.as_bytes().first() {
            Some(b'"') => match serde_json::from_str::<&str>(text) {
                Ok(plain) => column.push_str(plain),
                // Escapes: the text cannot be borrowed.
                Err(_) => match serde_json::from_str::<String>(text) {
                    Ok(text) => column.push_str(&text),
                    Err(e) => Err(e.to_string()),
                },
            },
            Some(b'n') => column.push_null(),
            Some(b't' | b'f') => column.push_bool(text == "true"),
            Some(b'[') => Err(column.wrong("an array")),
            Some(b'{') => Err(column.wrong("an object")),
            _ => column.push_number(text, "the number "),
        };
        pushed.map_err(D::Error::custom)
    }
}

impl<'de> Visitor<'de> for Cell<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.wrong("this"))
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.0.push_bool(value).map_err(E::custom)
    }

    // Numbers come here only where none is wanted.
    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        Err(E::custom(self.0.wrong(&format!("the number `{value}`"))))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        Err(E::custom(self.0.wrong(&format!("the number `{value}`"))))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        Err(E::custom(self.0.wrong(&format!("the number `{value}`"))))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.0.push_str(value).map_err(E::custom)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.0.push_null().map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let (Values::List { item, .. } | Values::FixedList { item, .. }) = &mut self.0.values else {
            return Err(A::Error::custom(self.0.wrong("an array")));
        };
        let mut items = 0;
        loop {
            match seq.next_element_seed(Cell(&mut *item, self.1)) {
                Ok(Some(())) => items += 1,
                Ok(None) => break,
                Err(e) => return Err(A::Error::custom(blame(&format!("[{items}]"), &e.to_string()))),
            }
        }
        self.0.close_list(items).map_err(A::Error::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let row = self.0.len();
        match &mut self.0.values {
            Values::Struct(columns) => {
                Members { columns, row, what: "an object", beside: self.1 }.visit_map(map)?;
                self.0.close_struct().map_err(A::Error::custom)
            }
            Values::Map { key, value, .. } => {
                while map.next_key_seed(MapKey(&mut *key))?.is_some() {
                    if let Err(e) = map.next_value_seed(Cell(&mut *value, self.1)) {
                        return Err(A::Error::custom(blame("value", &e.to_string())));
                    }
                }
                self.0.close_list(0).map_err(A::Error::custom)
            }
            _ => Err(A::Error::custom(self.0.wrong("an object"))),
        }
    }
}

/// A key of a map column, appended to its keys.
struct MapKey<'a>(&'a mut Column);

impl<'de> DeserializeSeed<'de> for MapKey<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for MapKey<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<(), E> {
        self.0.push_field(key).map_err(E::custom)
    }
}
