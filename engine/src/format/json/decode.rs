//! JSON records to columns, the slow way: serde_json's streaming deserialiser drives the columns directly, no value
//! tree between. Plain records never come here, `fast.rs` reads them; whatever is unusual does, and every fault.
//!
//! What surprises: fields that are not declared must be JSON, and are skipped however deep they are, without
//! recursion and without being parsed into anything. Deep nesting where a column is declared is refused at its first
//! wrong level. A key that occurs twice is refused only where its column is declared. The value of a column of numbers
//! is taken as text (`RawValue`): as a double, decimals, big integers and `float32` would lose digits on their way.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, BinaryArray, BooleanArray};
use arrow::datatypes::SchemaRef;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::unknown::{Told, Watch};
use super::{fast, nan};
use crate::batch::Payload;
use crate::codec::{BadRow, Decoded, Decoder, Unknown};
use crate::error::{Error, Result};
use crate::format::accept::{Accept, Tally};
use crate::format::columns::{Column, Columns, Values, blame, sentence};
use crate::format::{Good, too_large};

/// Decodes records of JSON.
pub(super) struct JsonDecoder {
    schema: SchemaRef,
    columns: Columns,
    /// Off in the test that compares the two ways.
    pub(super) fast: bool,
    /// Counts what no column takes; `None`: the columns are declared.
    watch: Option<Watch>,
    /// Counts what lenient columns read; `None`: there are none.
    tally: Option<Arc<Tally>>,
    /// Whether `NaN` and infinities may stand without quotes.
    bare_nan: bool,
}

impl JsonDecoder {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self> {
        let columns = Columns::new(schema.fields())?;
        let (tally, bare_nan) = (None, false);
        Ok(Self { schema: schema.clone(), columns, fast: true, watch: None, tally, bare_nan })
    }

    /// Reads what is nearly right, too.
    pub(super) fn accepting(mut self, accept: &Accept) -> Self {
        if !accept.is_strict() {
            let tally = Arc::<Tally>::default();
            self.columns.soften(accept, &tally);
            self.bare_nan = tally.expects_nan();
            self.tally = Some(tally);
        }
        self
    }

    /// Counts fields that no column takes.
    pub(super) fn watching(mut self, told: &Told) -> Self {
        self.watch = Some(Watch::new(told));
        self
    }

    /// Appends a record as row `row`, or says why not; half a row may be left behind then. `text`: the same bytes,
    /// where they are known to be UTF-8.
    fn record(&mut self, record: &[u8], text: Option<&str>, row: usize) -> Result<(), String> {
        too_large(record)?;
        let text = match text {
            Some(text) => text,
            None => std::str::from_utf8(record)
                .map_err(|e| format!("the record is not UTF-8 (byte {})", e.valid_up_to() + 1))?,
        };
        if self.fast {
            self.begin();
            if fast::record(text, &mut self.columns, row, self.watch.as_ref()).is_some() {
                self.take_record();
                return Ok(());
            }
            self.columns.truncate(row);
        }
        self.begin();
        if let Err(fault) = self.slow(text, row) {
            match self.bare_nan.then(|| nan::quoted(text)).flatten() {
                Some(text) => {
                    self.columns.truncate(row);
                    self.begin();
                    self.slow(&text, row)?;
                }
                None => return Err(fault),
            }
        }
        self.take_record();
        Ok(())
    }

    /// A record begins, maybe once more.
    #[inline]
    fn begin(&self) {
        self.watch.as_ref().inspect(|watch| watch.begin());
        self.tally.as_ref().inspect(|tally| tally.begin());
    }

    /// What the record had counts.
    #[inline]
    fn take_record(&self) {
        self.watch.as_ref().inspect(|watch| watch.take_record());
        self.tally.as_ref().inspect(|tally| tally.take_record());
    }

    /// The same record by serde_json, which decides whatever is unusual and words every fault.
    fn slow(&mut self, text: &str, row: usize) -> Result<(), String> {
        let watch = self.watch.as_ref();
        let fields = Members { columns: &mut self.columns, row, what: "a JSON object", watch };
        let mut json = serde_json::Deserializer::from_str(text);
        json.deserialize_map(fields).and_then(|()| json.end()).map_err(|e| e.to_string())?;
        self.columns.complete(row)
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
                Some(record) => self.record(record, text, good.count()),
                None => self.columns.complete(good.count()),
            };
            match done {
                Ok(()) => good.push(),
                Err(fault) => {
                    self.columns.truncate(good.count());
                    good.skip();
                    bad.push(BadRow { row: row as u32, message: sentence(&fault) });
                }
            }
        }
        self.columns.review();
        let records = self.columns.finish(&self.schema, good.count())?;
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

    fn accepted(&mut self) -> Vec<(&'static str, u64)> {
        self.tally.as_ref().map(|tally| tally.take()).unwrap_or_default()
    }
}

/// The members of an object, as row `row` of its columns.
struct Members<'a> {
    columns: &'a mut Columns,
    row: usize,
    what: &'static str,
    watch: Option<&'a Watch>,
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut hint = 0;
        while let Some(found) = map.next_key_seed(Key { columns: self.columns, hint, watch: self.watch })? {
            let Some(at) = found else {
                self.watch.inspect(|watch| watch.add());
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let column = &mut self.columns.columns[at];
            if column.len() > self.row {
                return Err(A::Error::custom(blame(&column.name, "the key occurs twice")));
            }
            if let Err(e) = map.next_value_seed(Cell(&mut *column, self.watch)) {
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
    watch: Option<&'a Watch>,
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

    fn visit_str<E>(self, key: &str) -> Result<Option<usize>, E> {
        let found = self.columns.find(key, self.hint);
        if let (None, Some(watch)) = (found, self.watch) {
            watch.meet(key);
        }
        Ok(found)
    }
}

/// One value of a column. It recurses as deep as the column's type is, no deeper.
pub(super) struct Cell<'a>(pub(super) &'a mut Column, pub(super) Option<&'a Watch>);

impl<'de> DeserializeSeed<'de> for Cell<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if !self.0.takes_numbers() {
            return deserializer.deserialize_any(self);
        }
        let text = <&RawValue>::deserialize(deserializer)?.get();
        let column = self.0;
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
                Members { columns, row, what: "an object", watch: self.1 }.visit_map(map)?;
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
