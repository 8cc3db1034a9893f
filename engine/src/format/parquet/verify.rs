//! What a Parquet file says of itself, checked before its library sees it: the library takes what memory a page's header
//! asks for, and goes down by recursion as deep as the columns do.

use std::io::{self, BufReader, Read};

use flate2::read::MultiGzDecoder;
use parquet::basic::Compression;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

use super::super::container::Source;
use super::thrift::{Kind, Thrift};
use crate::error::{Error, Result};
use crate::units::{
    CONTAINER_FOOTER_BYTES_MAX, GZIP_RATIO_MAX, LZ4_RATIO_MAX, PARQUET_DEPTH_MAX,
    PARQUET_PAGE_HEADER_BYTES_MAX,
};

/// How a file begins and ends.
const MAGIC: &[u8] = b"PAR1";
/// And one whose footer is encrypted.
const ENCRYPTED: &[u8] = b"PARE";
/// The end of a file after its footer: the footer's length, and the magic again.
const TAIL: u64 = 8;
const DECRYPT: &str = "decrypt it before it is read";

/// The bytes of the footer and where it begins.
pub(super) fn footer(source: &Source) -> Result<(Vec<u8>, u64)> {
    let length = source.length();
    let begin = source.bytes(0, length.min(6) as usize)?;
    if !begin.starts_with(MAGIC) && !begin.starts_with(ENCRYPTED) {
        return Err(stranger(source, &begin));
    }
    let unfinished = || source.broken("it does not end as a Parquet file does: its writer did not finish it");
    if length < MAGIC.len() as u64 + TAIL {
        return Err(unfinished());
    }
    let tail = source.bytes(length - TAIL, TAIL as usize)?;
    let Some((size, magic)) = tail.split_first_chunk::<4>() else { return Err(unfinished()) };
    if magic == ENCRYPTED {
        return Err(source.refused("it is encrypted", DECRYPT));
    }
    if magic != MAGIC {
        return Err(unfinished());
    }
    let (size, room) = (u64::from(u32::from_le_bytes(*size)), length - TAIL - MAGIC.len() as u64);
    if size > room.min(CONTAINER_FOOTER_BYTES_MAX) {
        return Err(source.broken(format!("its footer would have {size} bytes, and {room} are there")));
    }
    let end = length - TAIL - size;
    let bytes = source.bytes(end, size as usize)?;
    let encrypted = look(&bytes).map_err(|e| source.broken(format!("its footer cannot be read: {e}")))?;
    if encrypted {
        return Err(source.refused("its columns are encrypted", DECRYPT));
    }
    Ok((bytes, end))
}

/// A file that does not begin as a Parquet file: which other one it is, where that is known.
fn stranger(source: &Source, begin: &[u8]) -> Error {
    let (what, help) = match begin {
        [] => ("it is empty", "leave it out of `path`"),
        b"ARROW1" => ("it is an Arrow file", "say `format: arrow_ipc`"),
        _ => (
            "it is not a Parquet file: it does not begin with PAR1",
            "say another `format:`, or leave it out",
        ),
    };
    source.refused(what, help)
}

/// Whether a footer says that columns are encrypted. Its columns are no deeper than the library may go.
fn look(footer: &[u8]) -> Result<bool, &'static str> {
    let mut encrypted = false;
    Thrift::new(footer).each(|thrift, id, kind| {
        encrypted |= id == 8;
        if id != 2 || kind != Kind::LIST {
            return Ok(false);
        }
        let (kind, length) = thrift.list()?;
        if kind != Kind::STRUCT {
            return Err("its columns are of another type");
        }
        // Children that are still to come, at each level.
        let mut open: Vec<i64> = Vec::new();
        for _ in 0..length {
            let mut children = 0;
            thrift.each(|thrift, id, kind| {
                let count = id == 5;
                if count {
                    children = thrift.expect_number(kind)?;
                }
                Ok(count)
            })?;
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
            if children < 0 || children as u64 > length {
                return Err("a column has more columns within it than there are");
            }
            open.push(children);
            while open.last() == Some(&0) {
                open.pop();
            }
            if open.len() > PARQUET_DEPTH_MAX {
                return Err("its columns go too deep");
            }
        }
        Ok(true)
    })?;
    Ok(encrypted)
}

/// Every row group lies within the file, and can be read by this program.
pub(super) fn metadata(source: &Source, metadata: &ParquetMetaData, end: u64) -> Result<()> {
    for (g, group) in metadata.row_groups().iter().enumerate() {
        let groups = metadata.num_row_groups();
        let place = |column: &ColumnChunkMetaData, what: String| place(g, groups, column, &what);
        if group.num_rows() < 0 {
            return Err(source.broken(format!("row group {} of {groups}: {} rows", g + 1, group.num_rows())));
        }
        for column in group.columns() {
            if let Some(path) = column.file_path() {
                let text = place(column, format!("it lies in another file, `{path}`"));
                return Err(source.refused(text, "write each file whole"));
            }
            if let Some(name) = unread_codec(column.compression()) {
                let text = place(column, format!("it is compressed with {name}, which pipe does not read"));
                return Err(source.refused(text, "write it with zstd, snappy, gzip or lz4_raw"));
            }
            if span(column, end).is_none() {
                let (from, size) = (first_page(column), column.compressed_size());
                let text = format!("it would be {size} bytes at {from}, and its columns end at {end}");
                return Err(source.broken(place(column, text)));
            }
            if column.num_values() < 0 {
                return Err(source.broken(place(column, format!("{} values", column.num_values()))));
            }
        }
    }
    Ok(())
}

fn place(group: usize, groups: usize, column: &ColumnChunkMetaData, what: &str) -> String {
    format!("row group {} of {groups}, column `{}`: {what}", group + 1, column.column_path().string())
}

fn unread_codec(codec: Compression) -> Option<&'static str> {
    match codec {
        Compression::BROTLI(_) => Some("brotli"),
        Compression::LZO => Some("lzo"),
        _ => None,
    }
}

fn first_page(column: &ColumnChunkMetaData) -> i64 {
    column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset())
}

/// Where a column's pages lie.
fn span(column: &ColumnChunkMetaData, end: u64) -> Option<(u64, u64)> {
    let from = u64::try_from(first_page(column)).ok()?;
    let to = from.checked_add(u64::try_from(column.compressed_size()).ok()?)?;
    // A column without a value may have no page.
    (to <= end && (from >= MAGIC.len() as u64 || to == from)).then_some((from, to))
}

/// What the pages of a row group say.
pub(super) struct Pages {
    /// Bytes that are held at once to read it.
    pub held: u64,
    /// For each column the bytes of its dictionary.
    pub dictionaries: Vec<u64>,
}

/// The header of a page.
#[derive(Default)]
struct Header {
    kind: i64,
    bytes: i64,
    compressed: i64,
    values: i64,
    /// Bytes of levels before what is compressed.
    levels: i64,
    /// Nothing is compressed.
    plain: bool,
}

const DICTIONARY: i64 = 2;
/// How a frame of LZ4 begins.
const LZ4_FRAME: &[u8] = &[0x04, 0x22, 0x4d, 0x18];

/// Looks at the header of each page of a row group: all of them lie within their column, and what is held at once, the
/// largest page and the dictionary of each column, is no more than may be.
pub(super) fn pages(
    source: &Source,
    metadata: &ParquetMetaData,
    g: usize,
    end: u64,
    most: u64,
) -> Result<Pages> {
    let (group, groups): (&RowGroupMetaData, _) = (metadata.row_group(g), metadata.num_row_groups());
    let mut pages = Pages { held: 0, dictionaries: Vec::with_capacity(group.num_columns()) };
    for column in group.columns() {
        let broken = |what: &str| source.broken(place(g, groups, column, what));
        let (from, to) = span(column, end).ok_or_else(|| broken("it lies outside the file"))?;
        let (mut at, mut largest, mut dictionary, mut number) = (from, 0, 0, 0_u64);
        while at < to {
            number += 1;
            let (header, size) = header(source, at, to).map_err(|e| match e {
                Trouble::Own(e) => e,
                Trouble::Bytes(e) => {
                    broken(&format!("the header of page {number} at {at} cannot be read: {e}"))
                }
            })?;
            let sizes = [header.bytes, header.compressed, header.values].map(u64::try_from);
            let [Ok(bytes), Ok(compressed), Ok(values)] = sizes else {
                return Err(broken(&format!("page {number} at {at} has a negative size")));
            };
            at += size;
            if compressed > to - at {
                return Err(broken(&format!(
                    "page {number} would end {compressed} bytes after {at}, its column at {to}"
                )));
            }
            if header.levels < 0 {
                return Err(broken(&format!("page {number} at {at} has a negative size")));
            }
            if let Some(what) = bomb(source, column.compression(), at, &header, most)? {
                return Err(broken(&format!("page {number} at {at} {what}")));
            }
            let held = bytes.saturating_add(compressed);
            if header.kind == DICTIONARY {
                if values > bytes {
                    return Err(broken(&format!("a dictionary of {values} values in {bytes} bytes")));
                }
                // The library keeps what it has decoded: texts with their offsets, numbers as they are.
                dictionary = held.saturating_add(bytes).saturating_add(8 * values);
                pages.dictionaries.push(bytes);
            }
            largest = held.max(largest);
            at += compressed;
        }
        if dictionary == 0 {
            pages.dictionaries.push(0);
        }
        pages.held = pages.held.saturating_add(largest).saturating_add(dictionary);
        if pages.held > most {
            let text = format!("its pages take {} bytes to read, and the reader may hold {most}", pages.held);
            let help = "write smaller pages or row groups, raise `memory` or lower `lanes`";
            return Err(source.refused(place(g, groups, column, &text), help));
        }
    }
    Ok(pages)
}

/// Two codecs go on to the end of what they are given, whatever the header says: where that could be more than may be
/// held, it is looked at.
fn bomb(
    source: &Source,
    codec: Compression,
    at: u64,
    header: &Header,
    most: u64,
) -> Result<Option<&'static str>> {
    let (levels, compressed, bytes) = (header.levels as u64, header.compressed as u64, header.bytes as u64);
    if header.plain || levels >= compressed {
        return Ok(None);
    }
    match codec {
        Compression::GZIP(_) if compressed.saturating_mul(GZIP_RATIO_MAX) > most => {
            let body = BufReader::new(source.cursor(at + levels)).take(compressed - levels);
            let mut body = MultiGzDecoder::new(body).take(bytes.saturating_sub(levels).saturating_add(1));
            // What is no gzip at all is the library's to tell.
            let size = io::copy(&mut body, &mut io::sink()).unwrap_or(0);
            Ok((size > bytes.saturating_sub(levels)).then_some("decompresses to more than its header says"))
        }
        Compression::LZ4 if compressed.saturating_mul(LZ4_RATIO_MAX) > most => {
            let begin = source.bytes(at + levels, (compressed - levels).min(4) as usize)?;
            Ok((begin == LZ4_FRAME).then_some("is a frame of LZ4, whose size is not known"))
        }
        _ => Ok(None),
    }
}

enum Trouble {
    Own(Error),
    Bytes(&'static str),
}

/// The header of the page at a place, and its length.
fn header(source: &Source, at: u64, to: u64) -> Result<(Header, u64), Trouble> {
    let mut guess = 256;
    loop {
        let size = guess.min(usize::try_from(to - at).unwrap_or(usize::MAX));
        let bytes = source.bytes(at, size).map_err(Trouble::Own)?;
        let mut thrift = Thrift::new(&bytes);
        let mut header = Header::default();
        let read = thrift.each(|thrift, id, kind| {
            match id {
                1 => header.kind = thrift.expect_number(kind)?,
                2 => header.bytes = thrift.expect_number(kind)?,
                3 => header.compressed = thrift.expect_number(kind)?,
                5 | 7 | 8 if kind == Kind::STRUCT => {
                    let second = id == 8;
                    thrift.each(|thrift, id, kind| {
                        match id {
                            1 => header.values = thrift.expect_number(kind)?,
                            5 | 6 if second => {
                                header.levels += thrift.expect_number(kind)?.clamp(-1, 1 << 32);
                            }
                            7 if second => header.plain = kind == Kind::FALSE,
                            _ => return Ok(false),
                        }
                        Ok(true)
                    })?;
                }
                _ => return Ok(false),
            }
            Ok(true)
        });
        match read {
            Ok(()) => return Ok((header, thrift.at() as u64)),
            Err(e) if size < guess || size >= PARQUET_PAGE_HEADER_BYTES_MAX => return Err(Trouble::Bytes(e)),
            // It may hold long values of its statistics.
            Err(_) => guess *= 16,
        }
    }
}
