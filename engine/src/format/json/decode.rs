//! JSON records to columns, the slow way: serde_json's streaming deserialiser drives the columns directly, no value
//! tree between. Plain records never come here, `fast.rs` reads them; whatever is unusual does, and every fault.
//!
//! What surprises: fields that are not declared must be JSON, and are skipped however deep they are, without
//! recursion and without being parsed into anything. Deep nesting where a column is declared is refused at its first
//! wrong level. A key that occurs twice is refused only where its column is declared. The value of a column of numbers
//! is taken as text (`RawValue`): as a double, decimals, big integers and `float32` would lose digits on their way.

use std::fmt;

use arrow::array::{Array, BinaryArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::fast;
use super::rest::Rest;
use super::unknown::{Told, Watch};
use crate::batch::Payload;
use crate::codec::{BadRow, Decoded, Decoder, Undeclared, Unknown};
use crate::error::{Error, Result};
use crate::format::columns::{Column, Columns, Values, blame, sentence};
use crate::format::text::short;
use crate::format::{Good, too_large};

/// Decodes records of JSON.
pub(super) struct JsonDecoder {
    schema: SchemaRef,
    /// Those of the schema that are declared.
    columns: Columns,
    /// What nobody declared, which is the schema's last column.
    rest: Option<Rest>,
    /// Whether nothing else than what is declared may be in a record.
    strict: bool,
    /// Off in the test that compares the two ways.
    pub(super) fast: bool,
    /// Counts what no column takes; `None`: the columns are declared.
    watch: Option<Watch>,
}

impl JsonDecoder {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self> {
        let columns = Columns::new(schema.fields())?;
        Ok(Self { schema: schema.clone(), columns, rest: None, strict: false, fast: true, watch: None })
    }

    /// Counts and tells fields that no column takes.
    pub(super) fn watching(mut self, told: &Told) -> Self {
        let became = match (&self.rest, self.strict) {
            (Some(_), _) => Undeclared::Keep,
            (None, true) => Undeclared::DeadLetter,
            (None, false) => Undeclared::Drop,
        };
        self.watch = Some(Watch::new(told, became));
        self
    }

    /// A decoder whose last column is what nobody declared.
    pub(super) fn keeping(schema: &SchemaRef) -> Result<Self> {
        let Some((_, declared)) = schema.fields().split_last() else {
            return Err(Error::internal("a column for what nobody declared was expected"));
        };
        let columns = Columns::new(&declared.iter().cloned().collect())?;
        Ok(Self { columns, rest: Some(Rest::default()), ..Self::new(schema)? })
    }

    /// The same, which refuses records with anything that is not declared.
    pub(super) fn strictly(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Appends a record as row `row`, or says why not; half a row may be left behind then. `text`: the same bytes,
    /// where they are known to be UTF-8.
    fn record(&mut self, record: &[u8], text: Option<&str>, row: usize, number: usize) -> Result<(), String> {
        too_large(record)?;
        let text = match text {
            Some(text) => text,
            None => std::str::from_utf8(record)
                .map_err(|e| format!("the record is not UTF-8 (byte {})", e.valid_up_to() + 1))?,
        };
        let watch = self.watch.as_ref();
        if self.fast {
            watch.inspect(|watch| watch.begin(number));
            let rest = self.rest.as_mut();
            if fast::record(text, &mut self.columns, row, fast::Beside { watch, rest, strict: self.strict })
                .is_some()
            {
                watch.inspect(|watch| watch.take_record());
                return self.rest.as_mut().map_or(Ok(()), |rest| rest.complete(text.as_bytes()));
            }
            self.columns.truncate(row);
        }
        watch.inspect(|watch| watch.begin(number));
        self.slow(text, row)?;
        self.watch.as_ref().inspect(|watch| watch.take_record());
        Ok(())
    }

    /// The same record by serde_json, which decides whatever is unusual and words every fault.
    fn slow(&mut self, text: &str, row: usize) -> Result<(), String> {
        let watch = self.watch.as_ref();
        let beside = Beside { watch, strict: self.strict };
        let fields = Members { columns: &mut self.columns, row, what: "a JSON object", beside };
        let mut json = serde_json::Deserializer::from_str(text);
        json.deserialize_map(fields).and_then(|()| json.end()).map_err(|e| e.to_string())?;
        self.columns.complete(row)?;
        match &mut self.rest {
            Some(rest) => rest.walk(text, &self.columns),
            None => Ok(()),
        }
    }

    /// A record without a value.
    fn nothing(&mut self, row: usize) -> Result<(), String> {
        self.columns.complete(row)?;
        if let Some(rest) = &mut self.rest {
            rest.push_null();
        }
        Ok(())
    }

    fn values(&mut self, values: &BinaryArray) -> Result<Decoded> {
        let mut good = Good::new(values.len());
        let mut bad = Vec::new();
        let offsets = values.value_offsets();
        let (first, last) = (offsets[0] as usize, offsets[values.len()] as usize);
        // One check for the batch is cheaper than one for each record. Where it fails, each is looked at by itself.
        let text = std::str::from_utf8(&values.value_data()[first..last]).ok();
        for row in 0..values.len() {
            let record = values.is_valid(row).then(|| values.value(row));
            // `get`: a sign that is cut by the border of two records makes neither of them text.
            let within = (offsets[row] as usize - first)..(offsets[row + 1] as usize - first);
            let text = text.and_then(|text| text.get(within));
            let done = match record {
                Some(record) => self.record(record, text, good.count(), row),
                None => self.nothing(good.count()),
            };
            match done {
                Ok(()) => good.push(),
                Err(fault) => {
                    self.columns.truncate(good.count());
                    if let Some(rest) = &mut self.rest {
                        rest.truncate(good.count());
                    }
                    good.skip();
                    bad.push(BadRow { row: row as u32, message: sentence(&fault) });
                }
            }
        }
        self.columns.review();
        let mut arrays = self.columns.arrays()?;
        if let Some(rest) = &mut self.rest {
            arrays.push(rest.finish()?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(good.count()));
        let records = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map_err(|e| Error::internal(format!("decoded columns do not fit: {e}")))?;
        let good: Option<BooleanArray> = good.finish();
        Ok(Decoded { records, good, bad })
    }
}

impl Decoder for JsonDecoder {
    fn decode(&mut self, payload: &Payload) -> Result<Decoded> {
        match payload {
            Payload::Values(values) => self.values(values),
            Payload::Rows(_) => Err(Error::internal("the format json was given rows")),
        }
    }

    fn unknown(&mut self) -> Unknown {
        self.watch.as_ref().map(Watch::take).unwrap_or_default()
    }
}

/// What is done with members that no column takes.
#[derive(Clone, Copy)]
pub(super) struct Beside<'a> {
    pub(super) watch: Option<&'a Watch>,
    /// Whether they refuse their record.
    pub(super) strict: bool,
}

/// The members of an object, as row `row` of its columns.
struct Members<'a> {
    columns: &'a mut Columns,
    row: usize,
    what: &'static str,
    beside: Beside<'a>,
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
