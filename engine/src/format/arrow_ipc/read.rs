//! Reads a file block by block: what a block says of itself is checked, then Arrow's library decodes it.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::{Buffer, MutableBuffer};
use arrow::datatypes::{DataType, Field, Fields, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::FileDecoder;
use arrow::ipc::{Block, Message, MessageHeader, MetadataVersion, root_as_footer, root_as_message};

use super::super::container::Source;
use super::{MAGIC, verify};
use crate::codec::{Limits, RowReader};
use crate::error::{Error, Result};
use crate::units::CONTAINER_FOOTER_BYTES_MAX;

/// What the footer says.
pub(super) struct Footer {
    pub schema: SchemaRef,
    version: MetadataVersion,
    dictionaries: Vec<Block>,
    batches: Vec<Block>,
}

/// The end of a file after its footer: the footer's length, and the magic again.
const TAIL: u64 = 10;

impl Footer {
    pub fn read(source: &Source) -> Result<Self> {
        let length = source.length();
        let begin = source.bytes(0, length.min(MAGIC.len() as u64) as usize)?;
        if begin != MAGIC {
            return Err(stranger(source, &begin));
        }
        let unfinished =
            || source.broken("it does not end as an Arrow file does: its writer did not finish it");
        if length < MAGIC.len() as u64 + TAIL {
            return Err(unfinished());
        }
        let tail = source.bytes(length - TAIL, TAIL as usize)?;
        let Some(([a, b, c, d], MAGIC)) = tail.split_first_chunk::<4>() else { return Err(unfinished()) };
        let size = i32::from_le_bytes([*a, *b, *c, *d]);
        let room = length - TAIL - MAGIC.len() as u64;
        let end = u64::try_from(size).ok().filter(|size| *size <= room.min(CONTAINER_FOOTER_BYTES_MAX));
        let Some(end) = end.map(|size| length - TAIL - size) else {
            return Err(source.broken(format!("its footer would have {size} bytes, and {room} are there")));
        };
        let bytes = source.bytes(end, size as usize)?;
        let footer =
            root_as_footer(&bytes).map_err(|e| source.broken(format!("its footer cannot be read: {e}")))?;
        let (Some(schema), Some(batches)) = (footer.schema(), footer.recordBatches()) else {
            return Err(source.broken("its footer names no columns or no record batches"));
        };
        if !schema.endianness().equals_to_target_endianness() {
            let help = "write it again on a machine of the usual byte order";
            return Err(source.refused("its numbers have the byte order of big-endian machines", help));
        }
        let schema = arrow::ipc::convert::try_fb_to_schema(schema)
            .map_err(|e| source.broken(format!("its columns cannot be read: {}", said(&e))))?;
        verify::schema(&schema).map_err(|e| source.broken(e))?;
        let batches: Vec<Block> = batches.iter().copied().collect();
        let dictionaries: Vec<Block> = footer.dictionaries().iter().flatten().copied().collect();
        verify::blocks(&dictionaries, &batches, end).map_err(|e| source.broken(e))?;
        Ok(Self { schema: schema.into(), version: footer.version(), dictionaries, batches })
    }
}

/// A file that does not begin as an Arrow file: which other one it is, where that is known.
fn stranger(source: &Source, begin: &[u8]) -> Error {
    let (what, help) = match begin {
        [] => ("it is empty", "leave it out of `path`"),
        [0xff, 0xff, 0xff, 0xff, ..] => (
            "it is an Arrow stream, not an Arrow file",
            "write it as a file (in Python `pyarrow.ipc.new_file` instead of `new_stream`)",
        ),
        [b'F', b'E', b'A', b'1', ..] => {
            ("it is a Feather file of version 1", "write it again as Feather 2, which is an Arrow file")
        }
        [b'P', b'A', b'R', b'1', ..] => ("it is a Parquet file", "say `format: parquet`"),
        _ => (
            "it is not an Arrow file: it does not begin with ARROW1",
            "say another `format:`, or leave it out",
        ),
    };
    source.refused(what, help)
}

/// What Arrow's library says, without the kind of its error.
fn said(e: &ArrowError) -> String {
    let text = e.to_string();
    text.split_once(": ").map_or(text.clone(), |(_, rest)| rest.to_owned())
}

/// Reads the rows of a file in order.
pub(super) struct Reader {
    source: Source,
    footer: Footer,
    decoder: FileDecoder,
    limits: Limits,
    /// Bytes that the dictionaries take.
    dictionaries: u64,
    /// Number of the next batch.
    next: usize,
    /// Rows to leave out before the next one.
    skip: u64,
    /// What is left of a batch larger than was asked for.
    rest: Option<RecordBatch>,
}

impl Reader {
    pub fn open(source: Source, from_row: u64, limits: Limits) -> Result<Self> {
        let footer = Footer::read(&source)?;
        let decoder = FileDecoder::new(footer.schema.clone(), footer.version);
        let mut reader =
            Self { source, footer, decoder, limits, dictionaries: 0, next: 0, skip: from_row, rest: None };
        for number in 0..reader.footer.dictionaries.len() {
            reader.dictionary(number)?;
        }
        Ok(reader)
    }

    pub fn schema(&self) -> SchemaRef {
        self.footer.schema.clone()
    }

    fn place(&self, what: &str, number: usize, of: usize, e: &str) -> Error {
        self.source.broken(format!("{what} {} of {of}: {e}", number + 1))
    }

    /// The metadata of a block.
    fn metadata(&self, block: &Block) -> Result<Vec<u8>> {
        self.source.bytes(block.offset() as u64, block.metaDataLength() as usize)
    }

    /// The whole of a block, aligned as arrays need it.
    fn whole(&self, what: &str, number: usize, block: &Block) -> Result<Buffer> {
        let bytes = block.bodyLength() as u64 + block.metaDataLength() as u64;
        self.fits(what, number, bytes)?;
        let mut buffer = MutableBuffer::from_len_zeroed(bytes as usize);
        self.source.fill(&mut buffer, block.offset() as u64).map_err(|e| self.source.unread(&e))?;
        Ok(buffer.into())
    }

    fn fits(&self, what: &str, number: usize, bytes: u64) -> Result<()> {
        // Rows of the block before may still be on their way, and keep all of it.
        let all = self.dictionaries.saturating_add(bytes.saturating_mul(2));
        let most = self.limits.held as u64;
        if all <= most {
            return Ok(());
        }
        let text =
            format!("{what} {}: it takes {all} bytes to read, and the reader may hold {most}", number + 1);
        Err(self.source.refused(text, "write smaller record batches, raise `memory` or lower `lanes`"))
    }

    /// Rows of a batch whose bytes are about as many as a batch may have.
    fn rows_of(&self, batch: &RecordBatch) -> usize {
        let row: usize = batch.columns().iter().map(row_bytes).sum();
        self.limits.bytes / row.max(1)
    }

    fn dictionary(&mut self, number: usize) -> Result<()> {
        const WHAT: &str = "dictionary";
        let block = self.footer.dictionaries[number];
        let of = self.footer.dictionaries.len();
        let buffer = self.whole(WHAT, number, &block)?;
        let (metadata, body) = buffer.split_at(block.metaDataLength() as usize);
        let taken = message(metadata, block.bodyLength()).and_then(|(message, version)| {
            let batch = message.header_as_dictionary_batch().ok_or("its message is of another kind")?;
            let data = batch.data().ok_or("its message has no data")?;
            let values = values_of(&self.footer.schema, batch.id())?;
            verify::batch(&data, &Fields::from(vec![values]), body, version)
        });
        let taken = taken.map_err(|e| self.place(WHAT, number, of, &e))?;
        let bytes = taken.saturating_add(buffer.len() as u64);
        self.fits(WHAT, number, bytes)?;
        let read = self.decoder.read_dictionary(&block, &buffer);
        read.map_err(|e| self.place(WHAT, number, of, &said(&e)))?;
        self.dictionaries = self.dictionaries.saturating_add(bytes);
        Ok(())
    }

    /// The next batch as it lies in the file, without the rows to leave out.
    fn batch(&mut self, number: usize) -> Result<Option<RecordBatch>> {
        const WHAT: &str = "record batch";
        let block = self.footer.batches[number];
        let of = self.footer.batches.len();
        let metadata = self.metadata(&block)?;
        let place = |e: &str| self.place(WHAT, number, of, e);
        let (message, version) = message(&metadata, block.bodyLength()).map_err(|e| place(&e))?;
        let header =
            message.header_as_record_batch().ok_or_else(|| place("its message is of another kind"))?;
        let rows = u64::try_from(header.length()).map_err(|_| place("a negative number of rows"))?;
        if rows <= self.skip {
            self.skip -= rows;
            return Ok(None);
        }
        let buffer = self.whole(WHAT, number, &block)?;
        let body = &buffer[block.metaDataLength() as usize..];
        let taken =
            verify::batch(&header, self.footer.schema.fields(), body, version).map_err(|e| place(&e))?;
        self.fits(WHAT, number, taken.saturating_add(buffer.len() as u64))?;
        let batch = self.decoder.read_record_batch(&block, &buffer).map_err(|e| place(&said(&e)))?;
        let batch = batch.ok_or_else(|| place("its message is of another kind"))?;
        let skipped = std::mem::take(&mut self.skip) as usize;
        Ok(Some(batch.slice(skipped, batch.num_rows() - skipped)))
    }
}

/// Bytes that a row of a column takes on average, once what rows share is written for each.
fn row_bytes(column: &ArrayRef) -> usize {
    let average =
        |array: &dyn Array| array.to_data().get_slice_memory_size().unwrap_or(0).div_ceil(array.len().max(1));
    match column.as_any_dictionary_opt() {
        Some(dictionary) => average(dictionary.values()) + 8,
        None => average(column),
    }
}

/// The message of a block and its version.
fn message(metadata: &[u8], body: i64) -> Result<(Message<'_>, MetadataVersion), String> {
    let message = root_as_message(verify::message(metadata)?)
        .map_err(|e| format!("its message cannot be read: {e}"))?;
    if message.bodyLength() < 0 || message.bodyLength() > body {
        return Err(format!("its message says {} bytes follow, its block {body}", message.bodyLength()));
    }
    if !matches!(message.header_type(), MessageHeader::RecordBatch | MessageHeader::DictionaryBatch) {
        return Err("its message is of another kind".to_owned());
    }
    let version = message.version();
    Ok((message, version))
}

/// What the values of a dictionary are, as a column.
fn values_of(schema: &arrow::datatypes::Schema, id: i64) -> Result<Field, String> {
    #[expect(
        deprecated,
        reason = "the library keeps the ids of a file's dictionaries there and nowhere else"
    )]
    let fields = schema.fields_with_dict_id(id);
    match fields.first().map(|field| field.data_type()) {
        Some(DataType::Dictionary(_, values)) => Ok(Field::new("", values.as_ref().clone(), true)),
        _ => Err(format!("none of the columns has the dictionary {id}")),
    }
}

impl RowReader for Reader {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let batch = loop {
            if let Some(rest) = self.rest.take() {
                break rest;
            }
            if self.next == self.footer.batches.len() {
                return Ok(None);
            }
            let number = self.next;
            self.next += 1;
            if let Some(batch) = self.batch(number)?.filter(|batch| batch.num_rows() > 0) {
                break batch;
            }
        };
        let taken = batch.num_rows().min(self.limits.rows).min(self.rows_of(&batch)).max(1);
        if taken < batch.num_rows() {
            self.rest = Some(batch.slice(taken, batch.num_rows() - taken));
        }
        Ok(Some(batch.slice(0, taken)))
    }
}
