//! JSON records to columns: the parser drives the columns directly, no value tree between.
//!
//! What surprises: fields that are not declared must be JSON, and are skipped however deep they are, without
//! recursion and without being parsed into anything. Deep nesting where a column is declared is refused at its first
//! wrong level. A key that occurs twice is refused only where its column is declared.

use arrow::array::{Array, BinaryArray, BooleanArray};
use arrow::datatypes::SchemaRef;

use super::parse::{Kind, Parser};
use crate::batch::Payload;
use crate::codec::{BadRow, Decoded, Decoder};
use crate::error::{Error, Result};
use crate::format::columns::{Column, Columns, Values, blame, sentence};
use crate::format::{Good, too_large};
use crate::units::SCRATCH_BYTES;

/// Decodes records of JSON.
pub(super) struct JsonDecoder {
    schema: SchemaRef,
    columns: Columns,
    work: Work,
}

/// Memory that is used again for each record.
#[derive(Default)]
struct Work {
    /// A string that had escapes.
    text: String,
    /// The brackets of a value that is skipped.
    open: Vec<u8>,
}

impl JsonDecoder {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self> {
        Ok(Self { schema: schema.clone(), columns: Columns::new(schema.fields())?, work: Work::default() })
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
        let mut reader = Reader { json: Parser::new(text), work: &mut self.work };
        reader.record(&mut self.columns, row)
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
        // One huge record is no reason to hold its size for ever.
        self.work.text.shrink_to(SCRATCH_BYTES);
        self.work.open.shrink_to(SCRATCH_BYTES);
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
}

/// Reads a record into columns.
struct Reader<'a> {
    json: Parser<'a>,
    work: &'a mut Work,
}

impl Reader<'_> {
    /// One object and nothing after it.
    fn record(&mut self, columns: &mut Columns, row: usize) -> Result<(), String> {
        if self.json.kind() != Ok(Kind::Object) {
            return Err(self.json.unexpected("a JSON object"));
        }
        self.fields(columns, row)?;
        self.json.end()?;
        columns.complete(row)
    }

    /// The members of an object, as row `row` of its columns.
    fn fields(&mut self, columns: &mut Columns, row: usize) -> Result<(), String> {
        self.json.open();
        let (mut hint, mut first) = (0, true);
        while self.json.more(first, b'}')? {
            first = false;
            let Some(at) = columns.find(self.json.key(&mut self.work.text)?, hint) else {
                self.json.skip(&mut self.work.open)?;
                continue;
            };
            let column = &mut columns.columns[at];
            if column.len() > row {
                return Err(blame(&column.name, "the key occurs twice"));
            }
            self.value(column).map_err(|fault| blame(&column.name, &fault))?;
            hint = at + 1;
        }
        Ok(())
    }

    /// One value of a column. It recurses as deep as the column's type is, no deeper.
    fn value(&mut self, column: &mut Column) -> Result<(), String> {
        match self.json.kind()? {
            Kind::String => column.push_str(self.json.string(&mut self.work.text)?),
            Kind::Number => column.push_number(self.json.number()?, "the number "),
            Kind::Null => {
                self.json.literal(Kind::Null)?;
                column.push_null()
            }
            kind @ (Kind::True | Kind::False) => {
                self.json.literal(kind)?;
                column.push_bool(kind == Kind::True)
            }
            Kind::Array => self.list(column),
            Kind::Object => self.object(column),
        }
    }

    fn list(&mut self, column: &mut Column) -> Result<(), String> {
        let (Values::List { item, .. } | Values::FixedList { item, .. }) = &mut column.values else {
            return Err(column.wrong("an array"));
        };
        self.json.open();
        let mut items = 0;
        while self.json.more(items == 0, b']')? {
            self.value(item).map_err(|fault| blame(&format!("[{items}]"), &fault))?;
            items += 1;
        }
        column.close_list(items)
    }

    fn object(&mut self, column: &mut Column) -> Result<(), String> {
        let row = column.len();
        match &mut column.values {
            Values::Struct(fields) => {
                self.fields(fields, row)?;
                column.close_struct()
            }
            Values::Map { key, value, .. } => {
                self.json.open();
                let mut first = true;
                while self.json.more(first, b'}')? {
                    first = false;
                    key.push_field(self.json.key(&mut self.work.text)?)?;
                    self.value(value).map_err(|fault| blame("value", &fault))?;
                }
                column.close_list(0)
            }
            _ => Err(column.wrong("an object")),
        }
    }
}
