//! Records of CSV to columns.

use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::SchemaRef;

use super::Style;
use crate::batch::Payload;
use crate::codec::{BadRow, CsvFields, Decoded, Decoder};
use crate::error::{Error, Result};
use crate::format::accept::{Accept, Tally};
use crate::format::columns::{Column, Columns, Fault, blame, sentence};
use crate::format::{Good, too_large};

/// Decodes records of CSV.
pub(super) struct CsvDecoder {
    schema: SchemaRef,
    columns: Columns,
    positions: Vec<Option<usize>>,
    fields: CsvFields,
    style: Arc<Style>,
    /// Counts what lenient columns read; `None`: there are none.
    tally: Option<Arc<Tally>>,
}

impl CsvDecoder {
    /// A decoder to these columns; `positions` says for each field of a record which one it is.
    pub(super) fn new(schema: SchemaRef, positions: Vec<Option<usize>>, style: &Arc<Style>) -> Result<Self> {
        let columns = Columns::new(schema.fields())?;
        let fields = CsvFields::new(style.signs);
        Ok(Self { schema, columns, positions, fields, style: Arc::clone(style), tally: None })
    }

    /// Reads what is nearly right, too.
    pub(super) fn accepting(mut self, accept: &Accept) -> Self {
        if !accept.is_strict() {
            let tally = Arc::<Tally>::default();
            self.columns.soften(accept, &tally);
            self.tally = Some(tally);
        }
        self
    }

    fn record(&mut self, record: &[u8], row: usize) -> Result<(), String> {
        too_large(record)?;
        let (mut count, mut fault) = (0, None);
        let (columns, positions, style) = (&mut self.columns, &self.positions, &*self.style);
        self.fields.split(record, |text, quoted| {
            let at = positions.get(count).copied().flatten();
            count += 1;
            if let (Some(at), None) = (at, &fault) {
                let column = &mut columns.columns[at];
                let pushed = match std::str::from_utf8(text) {
                    Ok(text) => push(column, text, quoted, style),
                    Err(e) => Err(format!("not UTF-8: {e}")),
                };
                fault = pushed.err().map(|e| blame(&column.name, &e));
            }
        })?;
        if count != self.positions.len() {
            return Err(format!("{} fields were expected, not {count}", self.positions.len()));
        }
        match fault {
            Some(fault) => Err(fault),
            None => self.columns.complete(row),
        }
    }
}

impl Decoder for CsvDecoder {
    fn decode(&mut self, payload: &Payload) -> Result<Decoded> {
        let Payload::Values(values) = payload else {
            return Err(Error::internal("the format csv was given rows"));
        };
        let mut good = Good::new(values.len());
        let mut bad = Vec::new();
        for row in 0..values.len() {
            self.tally.as_ref().inspect(|tally| tally.begin());
            let done = match values.is_valid(row) {
                true => self.record(values.value(row), good.count()),
                false => self.columns.complete(good.count()),
            };
            match done {
                Ok(()) => {
                    good.push();
                    self.tally.as_ref().inspect(|tally| tally.take_record());
                }
                Err(fault) => {
                    self.columns.truncate(good.count());
                    good.skip();
                    bad.push(BadRow { row: row as u32, message: sentence(&fault) });
                }
            }
        }
        let records = self.columns.finish(&self.schema, good.count())?;
        Ok(Decoded { records, good: good.finish(), bad })
    }

    fn accepted(&mut self) -> Vec<(&'static str, u64)> {
        self.tally.as_ref().map(|tally| tally.take()).unwrap_or_default()
    }
}

/// Appends a field.
fn push(column: &mut Column, text: &str, quoted: bool, style: &Style) -> Result<(), Fault> {
    let bare = if column.is_text() { text } else { text.trim_ascii() };
    let word = style.is_null(bare.as_bytes());
    if (word && !quoted) || (bare.is_empty() && !column.is_text()) {
        return column.push_null();
    }
    match if style.comma { column.push_comma_field(text) } else { column.push_field(text) } {
        // Some writers put everything in quotes: what is no value of the type can only be the word of a null.
        Err(_) if word && !column.is_text() => column.push_null(),
        pushed => pushed,
    }
}
