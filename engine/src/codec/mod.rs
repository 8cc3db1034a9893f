//! What a format must do, seen by sources and sinks: push decoders and encoders, no IO of their own.
//!
//! The implementations and their table are in `format/`; sources and sinks hold them only through these traits.
//! [`csv`] is what sources and the format of CSV share.

pub mod csv;

use std::io::Write;
use std::path::Path;

use arrow::array::{BinaryArray, BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;

pub use self::csv::{CsvFields, CsvSigns};
use crate::batch::{Batch, Payload, SourceBatch};
use crate::error::{Code, Error, Result};
use crate::problem::Problem;

/// Reads a kind's options into its type. The JSON Schema has found most mistakes by then, with better places; what
/// is left (a size that does not parse) is placed at the whole.
pub fn options<T: serde::de::DeserializeOwned>(options: &serde_json::Value) -> Result<T, Vec<Problem>> {
    T::deserialize(options).map_err(|e| vec![Problem::new(Code::C005, "", e.to_string())])
}

/// How the records of a format lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One record a line (JSON lines, raw).
    Lines,
    /// Records as CSV frames them: quotes may hold line ends, the first record may be a header.
    Csv {
        /// Lines at the start of a file that are no part of it.
        skip_lines: u32,
        /// Whether the first record names the columns.
        header: bool,
        /// What stands between and around fields.
        signs: CsvSigns,
    },
    /// The file is one whole that only the format can read (Parquet, Arrow IPC).
    Container,
}

/// What the reader of a container may give and hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Rows of a batch.
    pub rows: usize,
    /// Bytes of a batch, as far as its rows tell before they are read; a larger row passes alone.
    pub bytes: usize,
    /// Bytes that it holds at once to read: a block, pages and dictionaries.
    pub held: usize,
}

/// A format with its options resolved.
pub trait Format: Send + Sync {
    /// How records lie in a file.
    fn layout(&self) -> Layout;

    /// The columns that a decoder gives; `None` where only a file itself can say.
    fn schema(&self) -> Option<SchemaRef>;

    /// The columns of a local file, read from it (containers) or inferred from its first records.
    fn infer(&self, path: &Path) -> Result<SchemaRef>;

    /// The columns of several local files that are read as one; an error where they do not fit each other. Formats of
    /// records take those of the first: their decoders find the columns of each record by name.
    fn infer_all(&self, paths: &[&Path]) -> Result<SchemaRef> {
        match paths.first() {
            Some(first) => self.infer(first),
            None => Err(Error::internal("columns of no file")),
        }
    }

    /// What the header of the file that [`Format::infer`] read names the fields of a record: records lie in that
    /// order. `None` where records, or the options, say it themselves.
    fn header(&self) -> Option<&[String]> {
        None
    }

    /// A decoder to these columns.
    fn decoder(&self, schema: SchemaRef) -> Result<Box<dyn Decoder>>;

    /// An encoder of one byte string a row; an error where the format has none (containers).
    fn encoder(&self, schema: SchemaRef) -> Result<Box<dyn Encoder>>;

    /// Reads a container from a row on, as these columns. Only called for `Layout::Container`.
    fn reader(
        &self,
        _path: &Path,
        _from_row: u64,
        _columns: &SchemaRef,
        _limits: Limits,
    ) -> Result<Box<dyn RowReader>> {
        Err(Error::internal("this format is not a container"))
    }

    /// Writes a whole file of this format.
    fn writer(&self, schema: SchemaRef, out: Box<dyn Write + Send>) -> Result<Box<dyn RowWriter>>;

    /// Whether its records are JSON values, which a file may hold in an array or over several lines.
    fn is_json(&self) -> bool {
        false
    }

    /// Whether it leaves out what nobody declared of a record, and nobody has said that it is to do so.
    fn leaves_out(&self) -> bool {
        false
    }

    /// Whether it writes each record as it came, whatever its columns: value, key, headers and time.
    fn is_original(&self) -> bool {
        false
    }

    /// Extension of files it writes, without the dot.
    fn extension(&self) -> &'static str;
}

/// A record that could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Row in the source batch.
    pub row: u32,
    /// The cause, with the column where one is to blame.
    pub message: String,
}

/// What a decoder made of a source batch.
#[derive(Debug)]
pub struct Decoded {
    /// The good rows, in order; the schema is the decoder's.
    pub records: RecordBatch,
    /// Which rows of the source batch they are; `None`: all of them. No nulls.
    pub good: Option<BooleanArray>,
    /// The others, in order of rows.
    pub bad: Vec<BadRow>,
}

/// Fields of records that no column took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unknown {
    /// How many fields were left out of good records, because the columns were guessed without them.
    pub fields: u64,
    /// Their keys, each told once, and no more than a few; with the row of the source batch that had it first.
    pub keys: Vec<(String, u32)>,
    /// What became of them.
    pub became: Undeclared,
}

/// What becomes of the fields of a record that nobody declared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Undeclared {
    /// They are left out.
    #[default]
    Drop,
    /// They are kept in a column.
    Keep,
    /// They make a dead letter of the record.
    DeadLetter,
}

/// Bytes in, rows out. One bad record never touches its neighbours: good + bad = rows of the batch, always.
pub trait Decoder: Send {
    /// Decodes every record of a payload. A null value becomes a row of nulls; tombstones that pass are not given to it.
    fn decode(&mut self, payload: &Payload) -> Result<Decoded>;

    /// What no column took since the last call, where that is watched.
    fn unknown(&mut self) -> Unknown {
        Unknown::default()
    }

    /// How many values of good records were read by each leniency (`accept:`) since the last call, by its name.
    fn accepted(&mut self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// Rows in, one byte string a row out.
pub trait Encoder: Send {
    /// As many values as there are rows, in order. A row is never a null, but in `raw` and `original`.
    fn encode(&mut self, batch: &Batch) -> Result<BinaryArray>;
}

/// Reads rows of a container.
pub trait RowReader: Send {
    /// The next rows; `None` at the end.
    fn next(&mut self) -> Result<Option<RecordBatch>>;
}

/// Writes rows to a file of its format.
pub trait RowWriter: Send {
    /// Appends rows.
    fn write(&mut self, batch: &Batch) -> Result<()>;
    /// Bytes written or buffered so far, for rolling by size.
    fn bytes(&self) -> u64;
    /// Completes the file (header, footer) and flushes it; syncing is the sink's.
    fn finish(&mut self) -> Result<()>;
}

/// The originals of a batch as bytes, for dead letters: a payload that was columns has none.
pub fn original_value(batch: &SourceBatch, row: usize) -> Option<&[u8]> {
    use arrow::array::Array;
    match &batch.payload {
        Payload::Values(values) if values.is_valid(row) => Some(values.value(row)),
        _ => None,
    }
}
