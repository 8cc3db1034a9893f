//! JSON records to columns, the slow way: serde_json's streaming deserialiser drives the columns directly, no value
//! tree between. Plain records never come here, `fast.rs` reads them; whatever is unusual does, and every fault.
//!
//! What surprises: fields that are not declared must be JSON, and are skipped however deep they are, without
//! recursion and without being parsed into anything. Deep nesting where a column is declared is refused at its first
//! wrong level. A key that occurs twice is refused only where its column is declared. The value of a column of numbers
//! is taken as text (`RawValue`): as a double, decimals, big integers and `float32` would lose digits on their way.

use arrow::array::{Array, BinaryArray, BooleanArray};
use arrow::datatypes::SchemaRef;
use serde::de::Deserializer;

use super::cell::Members;
use super::fast;
use super::unknown::{Told, Watch};
use crate::batch::Payload;
use crate::codec::{BadRow, Decoded, Decoder, Unknown};
use crate::error::{Error, Result};
use crate::format::columns::{Columns, sentence};
use crate::format::{Good, too_large};

/// Decodes records of JSON.
pub(super) struct JsonDecoder {
    schema: SchemaRef,
    columns: Columns,
    /// Off in the test that compares the two ways.
    pub(super) fast: bool,
    /// Counts what no column takes; `None`: the columns are declared.
    watch: Option<Watch>,
}

impl JsonDecoder {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self> {
        Ok(Self { schema: schema.clone(), columns: Columns::new(schema.fields())?, fast: true, watch: None })
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
        let watch = self.watch.as_ref();
        if self.fast {
            watch.inspect(|watch| watch.begin());
            if fast::record(text, &mut self.columns, row, watch).is_some() {
                watch.inspect(|watch| watch.take_record());
                return Ok(());
            }
            self.columns.truncate(row);
        }
        watch.inspect(|watch| watch.begin());
        self.slow(text, row)?;
        self.watch.as_ref().inspect(|watch| watch.take_record());
        Ok(())
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
}
