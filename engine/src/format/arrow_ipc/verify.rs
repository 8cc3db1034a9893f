//! What a file says of itself, checked before Arrow's library sees it: the library believes lengths and offsets, and
//! panics or takes what memory they ask for.

use arrow::datatypes::{DataType, Field, Fields, Schema, UnionFields, UnionMode};
use arrow::ipc::{Block, CompressionType, MetadataVersion, RecordBatch};

use crate::units::{ARROW_HOLLOW_ITEMS_MAX, ARROW_LENGTH_MAX};

/// Where and what; the caller knows the file.
type Checked<T = ()> = Result<T, String>;

/// Every block lies between the magic and the footer, and no two share a byte: reading all of them is bounded by the
/// length of the file.
pub(super) fn blocks(dictionaries: &[Block], batches: &[Block], end: u64) -> Checked {
    let mut spans = Vec::with_capacity(dictionaries.len() + batches.len());
    for (what, blocks) in [("dictionary", dictionaries), ("record batch", batches)] {
        for (i, block) in blocks.iter().enumerate() {
            let number = |n: i64| u64::try_from(n).ok();
            let span = number(block.offset()).zip(number(block.metaDataLength().into()));
            let span = span.zip(number(block.bodyLength())).and_then(|((from, metadata), body)| {
                let to = from.checked_add(metadata)?.checked_add(body)?;
                (from >= super::MAGIC.len() as u64 && metadata >= 8 && to <= end).then_some((from, to))
            });
            let Some(span) = span else {
                let (at, metadata, body) = (block.offset(), block.metaDataLength(), block.bodyLength());
                return Err(format!(
                    "{what} {} of {} would be {metadata} + {body} bytes at {at}, and the file's blocks end at {end}",
                    i + 1,
                    blocks.len()
                ));
            };
            spans.push(span);
        }
    }
    spans.sort_unstable();
    match spans.windows(2).find(|pair| pair[1].0 < pair[0].1) {
        Some(pair) => Err(format!("two blocks of its footer overlap at {}", pair[1].0)),
        None => Ok(()),
    }
}

/// The types are ones that an array can be made of.
pub(super) fn schema(schema: &Schema) -> Checked {
    schema.fields().iter().try_for_each(|field| within(field).map_err(|e| column(field, &e)))
}

fn column(field: &Field, what: &str) -> String {
    format!("column `{}`: {what}", field.name())
}

fn within(field: &Field) -> Checked {
    let all = |fields: &Fields| fields.iter().try_for_each(|field| within(field));
    match field.data_type() {
        DataType::FixedSizeBinary(size) if *size < 0 => Err(format!("values of {size} bytes")),
        DataType::FixedSizeList(_, size) if *size < 0 => Err(format!("lists of {size} items")),
        DataType::Decimal32(precision, scale) => decimal(*precision, *scale, 9),
        DataType::Decimal64(precision, scale) => decimal(*precision, *scale, 18),
        DataType::Decimal128(precision, scale) => decimal(*precision, *scale, 38),
        DataType::Decimal256(precision, scale) => decimal(*precision, *scale, 76),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => within(item),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(parts) if parts.len() == 2 => all(parts),
            other => Err(format!("a map whose entries are {other}, not pairs")),
        },
        DataType::Struct(fields) => all(fields),
        DataType::Union(fields, _) => fields.iter().try_for_each(|(_, field)| within(field)),
        DataType::Dictionary(_, values) => within(&Field::new("", values.as_ref().clone(), true)),
        DataType::RunEndEncoded(ends, values) => {
            let known = matches!(ends.data_type(), DataType::Int16 | DataType::Int32 | DataType::Int64);
            if !known || ends.is_nullable() {
                return Err(format!("run ends of type {}", ends.data_type()));
            }
            within(values)
        }
        _ => Ok(()),
    }
}

fn decimal(precision: u8, scale: i8, most: u8) -> Checked {
    if precision == 0 || precision > most || scale > precision as i8 {
        return Err(format!("a decimal of {precision} digits, {scale} of them after the point"));
    }
    Ok(())
}

/// The flatbuffer of an encapsulated message.
pub(super) fn message(metadata: &[u8]) -> Checked<&[u8]> {
    let word = |at: usize| metadata.get(at..).and_then(|bytes| bytes.first_chunk::<4>().copied());
    let (length, from): (_, usize) = match word(0) {
        Some([0xff, 0xff, 0xff, 0xff]) => (word(4), 8),
        // The form before Arrow 0.15.
        short => (short, 4),
    };
    let length = length.and_then(|length| usize::try_from(i32::from_le_bytes(length)).ok());
    let message = length.and_then(|length| metadata.get(from..from.checked_add(length)?));
    message.ok_or_else(|| "the length of its metadata is not that of its block".to_owned())
}

/// What a batch takes in memory once it is read, beside its block. Every length is one that Arrow knows, every buffer
/// lies within the body.
pub(super) fn batch(
    batch: &RecordBatch<'_>,
    columns: &Fields,
    body: &[u8],
    version: MetadataVersion,
) -> Checked<u64> {
    let (Some(nodes), Some(buffers)) = (batch.nodes(), batch.buffers()) else {
        return Err("its message names no columns or no buffers".to_owned());
    };
    let compressed = match batch.compression().map(|compression| compression.codec()) {
        None => false,
        Some(CompressionType::LZ4_FRAME | CompressionType::ZSTD) => true,
        Some(other) => return Err(format!("its codec has number {}, which is none of Arrow's", other.0)),
    };
    let rows = batch.length();
    if !(0..=ARROW_LENGTH_MAX).contains(&rows) {
        return Err(format!("{rows} rows: a batch has 0 to {ARROW_LENGTH_MAX}"));
    }
    let mut walk = Walk {
        nodes: nodes.iter().map(|node| (node.length(), node.null_count())),
        buffers: buffers.iter().map(|buffer| (buffer.offset(), buffer.length())),
        counts: batch.variadicBufferCounts().into_iter().flatten(),
        body,
        compressed,
        old: version < MetadataVersion::V5,
        hollow: rows.max(ARROW_HOLLOW_ITEMS_MAX),
        taken: 0,
    };
    for field in columns {
        let length = walk.array(field.data_type()).map_err(|e| column(field, &e))?;
        if length != rows {
            return Err(column(field, &format!("it has {length} rows, the batch {rows}")));
        }
    }
    if walk.buffers.next().is_some() || walk.nodes.next().is_some() {
        return Err("its message names more columns or buffers than its schema has".to_owned());
    }
    Ok(walk.taken)
}

/// Bytes of an offset.
fn offset_width(data_type: &DataType) -> u64 {
    match data_type {
        DataType::LargeUtf8 | DataType::LargeBinary | DataType::LargeList(_) | DataType::LargeListView(_) => {
            8
        }
        _ => 4,
    }
}

/// Goes through nodes and buffers in the order in which the library takes them.
struct Walk<'a, N, B, C> {
    /// Lengths and numbers of nulls.
    nodes: N,
    /// Offsets and lengths.
    buffers: B,
    counts: C,
    body: &'a [u8],
    compressed: bool,
    /// Unions have a validity buffer.
    old: bool,
    /// Items that an array without a byte for each may have.
    hollow: i64,
    /// Bytes of what was compressed.
    taken: u64,
}

impl<N, B, C> Walk<'_, N, B, C>
where
    N: Iterator<Item = (i64, i64)>,
    B: Iterator<Item = (i64, i64)>,
    C: Iterator<Item = i64>,
{
    fn node(&mut self) -> Checked<i64> {
        let (length, nulls) = self.nodes.next().ok_or("its message has no node for it")?;
        if !(0..=ARROW_LENGTH_MAX).contains(&length) || !(0..=length).contains(&nulls) {
            return Err(format!("a length of {length} with {nulls} nulls"));
        }
        Ok(length)
    }

    /// One without a byte for each of its items.
    fn hollow_node(&mut self) -> Checked<i64> {
        let length = self.node()?;
        if length > self.hollow {
            return Err(format!("{length} items that no byte of the file stands for"));
        }
        Ok(length)
    }

    /// The length of the next buffer, decompressed.
    fn buffer(&mut self) -> Checked<u64> {
        let (offset, length) = self.buffers.next().ok_or("its message has no buffer for it")?;
        let body = usize::try_from(offset).ok().zip(usize::try_from(length).ok());
        let body = body.and_then(|(from, length)| self.body.get(from..from.checked_add(length)?));
        let Some(body) = body else {
            let all = self.body.len();
            return Err(format!("a buffer of {length} bytes at {offset}, and its body has {all}"));
        };
        if offset % 8 != 0 && !body.is_empty() {
            return Err(format!("a buffer at {offset}, and buffers begin at multiples of 8"));
        }
        if !self.compressed || body.is_empty() {
            return Ok(body.len() as u64);
        }
        let size = body.first_chunk::<8>().map(|size| i64::from_le_bytes(*size));
        match size {
            Some(-1) => Ok(body.len() as u64 - 8),
            Some(size) if size >= 0 => {
                self.taken = self.taken.saturating_add(size as u64);
                Ok(size as u64)
            }
            _ => Err("a compressed buffer that does not say how long it is".to_owned()),
        }
    }

    /// A buffer that the library takes for numbers of this width.
    fn numbers(&mut self, width: u64) -> Checked {
        let size = self.buffer()?;
        if !size.is_multiple_of(width) {
            return Err(format!("a buffer of {size} bytes for numbers of {width}"));
        }
        Ok(())
    }

    fn skip(&mut self, buffers: usize) -> Checked {
        (0..buffers).try_for_each(|_| self.buffer().map(|_| ()))
    }

    /// One array and all within it; its length.
    fn array(&mut self, data_type: &DataType) -> Checked<i64> {
        let length = match data_type {
            DataType::Null => return self.hollow_node(),
            DataType::Utf8View | DataType::BinaryView => {
                let count = self.counts.next().and_then(|count| usize::try_from(count).ok());
                // The nulls and the views are not counted.
                self.skip(1)?;
                self.numbers(16)?;
                self.skip(count.ok_or("its message does not say how many buffers it has")?)?;
                return self.node();
            }
            DataType::RunEndEncoded(ends, values) => {
                let length = self.hollow_node()?;
                self.array(ends.data_type())?;
                self.array(values.data_type())?;
                return Ok(length);
            }
            DataType::FixedSizeBinary(0) | DataType::FixedSizeList(_, 0) => self.hollow_node()?,
            DataType::Struct(fields) if fields.is_empty() => self.hollow_node()?,
            _ => self.node()?,
        };
        match data_type {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => {
                self.skip(1)?;
                self.numbers(offset_width(data_type))?;
                self.skip(1)?;
            }
            DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => {
                self.skip(1)?;
                self.numbers(offset_width(data_type))?;
                self.array(item.data_type())?;
            }
            DataType::ListView(item) | DataType::LargeListView(item) => {
                self.skip(1)?;
                self.numbers(offset_width(data_type))?;
                self.numbers(offset_width(data_type))?;
                self.array(item.data_type())?;
            }
            DataType::Dictionary(keys, _) => {
                self.skip(1)?;
                self.numbers(keys.primitive_width().unwrap_or(1) as u64)?;
            }
            DataType::Int16 | DataType::Int32 | DataType::Int64 => {
                self.skip(1)?;
                self.numbers(data_type.primitive_width().unwrap_or(1) as u64)?;
            }
            DataType::FixedSizeList(item, _) => {
                self.skip(1)?;
                self.array(item.data_type())?;
            }
            DataType::Struct(fields) => {
                self.skip(1)?;
                for field in fields {
                    self.array(field.data_type())?;
                }
            }
            DataType::Union(fields, mode) => self.union(fields, *mode, length)?,
            _ => self.skip(2)?,
        }
        Ok(length)
    }

    fn union(&mut self, fields: &UnionFields, mode: UnionMode, length: i64) -> Checked {
        self.skip(usize::from(self.old))?;
        // The library takes slices of this length without a look.
        let mut enough = self.buffer()? >= length as u64;
        if mode == UnionMode::Dense {
            enough &= self.buffer()? >= 4 * length as u64;
        }
        if !enough {
            return Err(format!("a buffer that is too short for its {length} values"));
        }
        fields.iter().try_for_each(|(_, field)| self.array(field.data_type()).map(|_| ()))
    }
}
