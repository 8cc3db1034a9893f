//! Reads a file row group by row group: what its pages say of themselves is checked, then the library decodes them.

use std::collections::VecDeque;
use std::io::BufReader;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Type;
use parquet::column::page::PageReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, FileMetaData, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

use super::super::container::{Cursor, Source};
use super::verify::Pages;
use super::{int96, verify};
use crate::codec::{Limits, RowReader};
use crate::error::{Error, Result};
use crate::units::READ_BUFFER_BYTES;

/// The file as the library reads it.
struct Chunks(Source);

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.length()
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<Cursor>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::with_capacity(READ_BUFFER_BYTES, self.0.cursor(start)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.0.bytes(start, length).map(Bytes::from).map_err(|e| ParquetError::External(Box::new(e)))
    }
}

/// What the footer says.
pub(super) struct Footer {
    metadata: ArrowReaderMetadata,
    /// Where the columns end.
    end: u64,
}

impl Footer {
    pub fn read(source: &Source) -> Result<Self> {
        let (bytes, end) = verify::footer(source)?;
        let unread = |e: &ParquetError| source.broken(format!("its footer cannot be read: {}", said(e)));
        let metadata = ParquetMetaDataReader::decode_metadata(&bytes).map_err(|e| unread(&e))?;
        verify::metadata(source, &metadata, end)?;
        let metadata = Arc::new(counted(metadata));
        let plain = ArrowReaderMetadata::try_new(Arc::clone(&metadata), ArrowReaderOptions::new());
        let plain = plain.map_err(|e| unread(&e))?;
        let metadata = match int96::microseconds(plain.schema(), plain.parquet_schema()) {
            None => plain,
            Some(schema) => {
                let options = ArrowReaderOptions::new().with_schema(schema);
                ArrowReaderMetadata::try_new(metadata, options).map_err(|e| unread(&e))?
            }
        };
        Ok(Self { metadata, end })
    }

    pub fn schema(&self) -> SchemaRef {
        Arc::clone(self.metadata.schema())
    }
}

/// The footer with as many rows as its row groups have: that is what is there, and the library believes the footer.
fn counted(metadata: ParquetMetaData) -> ParquetMetaData {
    let rows = metadata.row_groups().iter().fold(0_i64, |rows, group| rows.saturating_add(group.num_rows()));
    let file = metadata.file_metadata();
    if file.num_rows() == rows {
        return metadata;
    }
    let file = FileMetaData::new(
        file.version(),
        rows,
        file.created_by().map(str::to_owned),
        file.key_value_metadata().cloned(),
        file.schema_descr_ptr(),
        file.column_orders().cloned(),
    );
    ParquetMetaData::new(file, metadata.row_groups().to_vec())
}

/// What the library says, without the kind of its error.
fn said(e: &ParquetError) -> String {
    match e {
        ParquetError::General(text)
        | ParquetError::NYI(text)
        | ParquetError::EOF(text)
        | ParquetError::ArrowError(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Reads the rows of a file in order.
pub(super) struct Reader {
    source: Source,
    footer: Footer,
    limits: Limits,
    /// Row groups that are still to be read.
    groups: VecDeque<usize>,
    /// Rows to leave out before the next one.
    skip: u64,
    current: Option<Group>,
}

/// The row group that is read.
struct Group {
    number: usize,
    rows: ParquetRecordBatchReader,
    /// Rows that it still has, as its metadata says.
    left: u64,
}

impl Reader {
    pub fn open(source: Source, from_row: u64, limits: Limits) -> Result<Self> {
        let footer = Footer::read(&source)?;
        let groups = (0..footer.metadata.metadata().num_row_groups()).collect();
        Ok(Self { source, footer, limits, groups, skip: from_row, current: None })
    }

    pub fn schema(&self) -> SchemaRef {
        self.footer.schema()
    }

    fn place(&self, group: usize, what: &str) -> Error {
        let groups = self.footer.metadata.metadata().num_row_groups();
        self.source.broken(format!("row group {} of {groups}: {what}", group + 1))
    }

    /// Opens a row group; `None`: all of its rows are left out.
    fn group(&mut self, number: usize) -> Result<Option<Group>> {
        let metadata = Arc::clone(self.footer.metadata.metadata());
        let group = metadata.row_group(number);
        // The sum over the groups is what is there, whatever the footer says.
        let rows = group.num_rows() as u64;
        if rows <= self.skip {
            self.skip -= rows;
            return Ok(None);
        }
        let held = self.limits.held as u64;
        let pages = verify::pages(&self.source, &metadata, number, self.footer.end, held)?;
        let batch = self.batch_rows(number, &pages)?;
        let skipped = std::mem::take(&mut self.skip);
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(
            Chunks(self.source.clone()),
            self.footer.metadata.clone(),
        );
        let builder = builder.with_row_groups(vec![number]).with_batch_size(batch);
        let builder = if skipped > 0 { builder.with_offset(skipped as usize) } else { builder };
        let rows_of = builder.build().map_err(|e| self.place(number, &said(&e)))?;
        Ok(Some(Group { number, rows: rows_of, left: rows - skipped }))
    }

    /// Rows of a batch of a group, so that its bytes are bounded: by what the columns take on average, and by the longest
    /// text of a dictionary, which any number of rows may share.
    fn batch_rows(&self, number: usize, pages: &Pages) -> Result<usize> {
        let metadata = self.footer.metadata.metadata();
        let group = metadata.row_group(number);
        let rows = (group.num_rows() as u64).max(1);
        let (mut average, mut longest) = (1, 1_u64);
        for (i, column) in group.columns().iter().enumerate() {
            average += column.uncompressed_size().max(0) as u64 / rows;
            let items = (column.num_values() as u64).div_ceil(rows).max(1);
            let dictionary = pages.dictionaries.get(i).copied().unwrap_or(0);
            let worst = items.saturating_mul(dictionary).saturating_mul(self.limits.rows as u64);
            // Most dictionaries are so small that their texts need no look.
            if column.column_type() == Type::BYTE_ARRAY && worst > self.limits.held as u64 {
                longest = longest.saturating_add(items.saturating_mul(self.longest(number, i, column)?));
            }
        }
        let bytes = self.limits.bytes as u64;
        let most = (bytes / average).min((self.limits.held as u64 / 2).max(bytes) / longest);
        Ok(usize::try_from(most).unwrap_or(usize::MAX).clamp(1, self.limits.rows.max(1)))
    }

    /// The longest text of a column's dictionary.
    fn longest(&self, group: usize, i: usize, column: &ColumnChunkMetaData) -> Result<u64> {
        let rows = self.footer.metadata.metadata().row_group(group).num_rows() as usize;
        let chunks = Arc::new(Chunks(self.source.clone()));
        let page = SerializedPageReader::new(chunks, column, rows, None).and_then(|mut r| r.get_next_page());
        let column = column.column_path().string();
        let page = page.map_err(|e| self.place(group, &format!("column `{column}`: {}", said(&e))))?;
        let Some(page) = page else {
            return Err(self.place(group, &format!("column {} has no page", i + 1)));
        };
        Ok(texts(page.buffer()).map(|text| text.len() as u64).max().unwrap_or(0))
    }
}

/// The texts of a dictionary: each with its length before it.
fn texts(mut bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        bytes = rest.get(length..)?;
        let begin = at + 4;
        at = begin + length;
        Some(begin..at)
    })
}

impl RowReader for Reader {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(mut group) = self.current.take() {
                let number = group.number;
                match group.rows.next().transpose().map_err(|e| self.place(number, &arrow_said(&e)))? {
                    Some(rows) => {
                        group.left = group.left.saturating_sub(rows.num_rows() as u64);
                        self.current = Some(group);
                        if rows.num_rows() > 0 {
                            return Ok(Some(rows));
                        }
                        continue;
                    }
                    None if group.left > 0 => {
                        return Err(self.place(number, &format!("its last {} rows are missing", group.left)));
                    }
                    None => {}
                }
            }
            let Some(number) = self.groups.pop_front() else { return Ok(None) };
            self.current = self.group(number)?;
        }
    }
}

fn arrow_said(e: &ArrowError) -> String {
    match e {
        ArrowError::ParquetError(text) => text.clone(),
        other => other.to_string(),
    }
}
