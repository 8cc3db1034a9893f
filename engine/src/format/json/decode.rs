//! JSON records to columns, the slow way: serde_json's streaming deserialiser drives the columns directly, no value
//! tree between. Plain records never come here, `fast.rs` reads them; whatever is unusual does, and every fault.
//!
//! What surprises: fields that are not declared must be JSON, and are skipped however deep they are, without
//! recursion and without being parsed into anything. Deep nesting where a column is declared is refused at its first
//! wrong level. A key that occurs twice is refused only where its column is declared. The value of a column of numbers
//! is taken as text (`RawValue`): as a double, decimals, big integers and `float32` would lose digits on their way.

use std::sync::Arc;

use arrow::array::{Array, BinaryArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use serde::de::Deserializer;

use super::cell::{Beside, Members};
use super::rest::Rest;
use super::unknown::{Told, Watch};
use super::{fast, nan};
use crate::batch::Payload;
use crate::codec::{BadRow, Decoded, Decoder, Undeclared, Unknown};
use crate::error::{Error, Result};
use crate::format::accept::{Accept, Tally};
use crate::format::columns::{Columns, sentence};
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
    /// Counts what lenient columns read; `None`: there are none.
    tally: Option<Arc<Tally>>,
    /// Whether `NaN` and infinities may stand without quotes.
    bare_nan: bool,
}

impl JsonDecoder {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self> {
        let columns = Columns::new(schema.fields())?;
        Ok(Self {
            schema: schema.clone(),
            columns,
            rest: None,
            strict: false,
            fast: true,
            watch: None,
            tally: None,
            bare_nan: false,
        })
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
        if self.fast {
            self.begin(number);
            let (watch, rest) = (self.watch.as_ref(), self.rest.as_mut());
            if fast::record(text, &mut self.columns, row, fast::Beside { watch, rest, strict: self.strict })
                .is_some()
            {
                self.take_record();
                return self.rest.as_mut().map_or(Ok(()), |rest| rest.complete(text.as_bytes()));
            }
            self.columns.truncate(row);
        }
        self.begin(number);
        if let Err(fault) = self.slow(text, row) {
            match self.bare_nan.then(|| nan::quoted(text)).flatten() {
                Some(text) => {
                    self.columns.truncate(row);
                    self.begin(number);
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
    fn begin(&self, number: usize) {
        self.watch.as_ref().inspect(|watch| watch.begin(number));
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

    fn accepted(&mut self) -> Vec<(&'static str, u64)> {
        self.tally.as_ref().map(|tally| tally.take()).unwrap_or_default()
    }
}
