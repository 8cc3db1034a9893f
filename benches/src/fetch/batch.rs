//! Record batches (format 2) taken apart. Nothing of what came is trusted: each length is checked against what is there.

use std::io::Read;

use bytes::Bytes;

use super::Result;
use super::column::{Column, Columns};

/// Bytes of a batch's header.
const HEADER: usize = 61;
/// Where the part begins that the checksum is over.
const CHECKED: usize = 21;
/// Bytes that a batch may have when it is decompressed.
const DECOMPRESSED_MAX: u64 = 256 << 20;

/// What the header of a batch says.
#[derive(Debug)]
struct Header {
    base_offset: i64,
    /// The whole batch, header included.
    bytes: usize,
    crc: u32,
    attributes: i16,
    last_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    records: i32,
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

impl Header {
    /// The header at the start of these bytes; `None` where the batch is not all here: brokers cut the last one.
    fn read(bytes: &[u8]) -> Result<Option<Self>> {
        let Some(header) = bytes.get(..HEADER) else { return Ok(None) };
        let odd = "a batch's header is cut";
        let long = |at| field(header, at).map(i64::from_be_bytes).ok_or(odd);
        let int = |at| field(header, at).map(i32::from_be_bytes).ok_or(odd);
        let length = usize::try_from(int(8)?)? + 12;
        if length < HEADER || header[16] != 2 {
            return Err(format!("a batch of {length} bytes and format {}", header[16]).into());
        }
        if bytes.len() < length {
            return Ok(None);
        }
        Ok(Some(Self {
            base_offset: long(0)?,
            bytes: length,
            crc: int(17)? as u32,
            attributes: field(header, 21).map(i16::from_be_bytes).ok_or(odd)?,
            last_delta: int(23)?,
            base_timestamp: long(27)?,
            max_timestamp: long(35)?,
            records: int(57)?,
        }))
    }

    fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }
}

/// The offset after the last whole batch: where the next fetch goes on. Looks at headers only.
pub fn next_offset(mut records: &[u8]) -> Result<Option<i64>> {
    let mut next = None;
    while let Some(header) = Header::read(records)? {
        next = Some(header.base_offset + i64::from(header.last_delta) + 1);
        records = &records[header.bytes..];
    }
    Ok(next)
}

/// Appends the records of all whole batches from offset `from` on. A fetch gives whole batches, so the first one may
/// hold records that were read before.
pub fn decode<C: Column>(
    records: &Bytes,
    from: i64,
    check_crc: bool,
    columns: &mut Columns<C>,
) -> Result<()> {
    let (mut at, mut plain) = (0, false);
    while let Some(header) = Header::read(&records[at..])? {
        let batch = records.slice(at..at + header.bytes);
        at += header.bytes;
        if check_crc && crc32c::crc32c(&batch[CHECKED..]) != header.crc {
            return Err(format!("the batch at offset {} is damaged", header.base_offset).into());
        }
        // Control batches mark the ends of transactions.
        if header.is_control() {
            continue;
        }
        match header.attributes & 7 {
            0 => {
                // All batches that are not compressed lie in one block: the response.
                if !plain {
                    columns.keys.block(records);
                    columns.values.block(records);
                    plain = true;
                }
                take(&header, records, at - header.bytes + HEADER, at, from, columns)?;
            }
            3 => {
                let block = lz4(&batch[HEADER..])?;
                columns.keys.block(&block);
                columns.values.block(&block);
                plain = false;
                take(&header, &block, 0, block.len(), from, columns)?;
            }
            other => return Err(format!("compression {other} is not part of the experiment").into()),
        }
    }
    Ok(())
}

fn lz4(bytes: &[u8]) -> Result<Bytes> {
    // Text shrinks to a third or so: most blocks need no second allocation.
    let mut block = Vec::with_capacity(bytes.len() * 4);
    let mut frames = lz4_flex::frame::FrameDecoder::new(bytes).take(DECOMPRESSED_MAX);
    frames.read_to_end(&mut block)?;
    Ok(Bytes::from(block))
}

/// The records of a batch, which lie in `block` between `at` and `end`.
fn take<C: Column>(
    header: &Header,
    block: &Bytes,
    at: usize,
    end: usize,
    from: i64,
    columns: &mut Columns<C>,
) -> Result<()> {
    let mut cursor = Cursor { bytes: &block[..end], at };
    let append_time = header.attributes & 8 != 0;
    let count = usize::try_from(header.records)?;
    // A record has seven bytes at least: a wrong count reserves no more than there can be.
    let room = count.min((end - at) / 7 + 1);
    columns.offsets.reserve(room);
    columns.timestamps.reserve(room);
    for _ in 0..count {
        let length = usize::try_from(cursor.varint()?)?;
        let stop = cursor.at.checked_add(length).filter(|stop| *stop <= end).ok_or(CUT)?;
        cursor.at += 1; // Attributes: none is in use.
        let timestamp = header.base_timestamp.wrapping_add(cursor.varint()?);
        let offset = header.base_offset + cursor.varint()?;
        if offset >= from {
            columns.offsets.push(offset);
            columns.timestamps.push(if append_time { header.max_timestamp } else { timestamp });
            let (key, start) = cursor.bytes()?;
            columns.keys.push(key, start)?;
            let (value, start) = cursor.bytes()?;
            columns.values.push(value, start)?;
            columns.bytes += value.map_or(0, <[u8]>::len);
            if cursor.varint()? > 0 {
                let headers = block.get(cursor.at..stop).ok_or(CUT)?;
                columns.headers.push((columns.offsets.len() - 1, block.slice_ref(headers)));
            }
        }
        cursor.at = stop;
    }
    if cursor.at != end { Err("bytes are left behind the last record".into()) } else { Ok(()) }
}

const CUT: &str = "a record reaches beyond its batch";

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// A number of variable length, zigzag.
    #[inline]
    fn varint(&mut self) -> Result<i64> {
        let (mut number, mut shift) = (0u64, 0);
        loop {
            let byte = *self.bytes.get(self.at).ok_or(CUT)?;
            self.at += 1;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
            shift += 7;
            if shift > 63 {
                return Err("a number is longer than it may be".into());
            }
        }
    }

    /// Bytes with their length before them, and where they start; a length below zero is a null.
    #[inline]
    fn bytes(&mut self) -> Result<(Option<&'a [u8]>, usize)> {
        let length = self.varint()?;
        let start = self.at;
        let Ok(length) = usize::try_from(length) else { return Ok((None, start)) };
        let stop = start.checked_add(length).ok_or(CUT)?;
        let bytes = self.bytes.get(start..stop).ok_or(CUT)?;
        self.at = stop;
        Ok((Some(bytes), start))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tally;
    use super::super::column::{Copied, Viewed};
    use super::*;

    fn zigzag(out: &mut Vec<u8>, number: i64) {
        let mut left = ((number << 1) ^ (number >> 63)) as u64;
        while left >= 0x80 {
            out.push(left as u8 | 0x80);
            left >>= 7;
        }
        out.push(left as u8);
    }

    /// A batch of three records: with key, without, and a tombstone with a header.
    fn batch(base: i64) -> Vec<u8> {
        let mut records = Vec::new();
        let long = vec![b'x'; 300];
        for (delta, key, value, headers) in [
            (0, Some(&b"k"[..]), Some(&long[..]), false),
            (1, None, Some(&b"short"[..]), false),
            (2, Some(&b""[..]), None, true),
        ] {
            let mut record = vec![0];
            zigzag(&mut record, delta * 10);
            zigzag(&mut record, delta);
            for bytes in [key, value] {
                zigzag(&mut record, bytes.map_or(-1, |b| b.len() as i64));
                record.extend_from_slice(bytes.unwrap_or_default());
            }
            zigzag(&mut record, i64::from(headers));
            if headers {
                record.extend_from_slice(b"\x02h\x01");
            }
            zigzag(&mut records, record.len() as i64);
            records.extend(record);
        }
        let mut checked = vec![0, 0];
        checked.extend(2i32.to_be_bytes());
        checked.extend(1_000i64.to_be_bytes());
        checked.extend(1_020i64.to_be_bytes());
        checked.extend([0xFF; 14]);
        checked.extend(3i32.to_be_bytes());
        checked.extend(records);
        let mut all = base.to_be_bytes().to_vec();
        all.extend((checked.len() as i32 + 9).to_be_bytes());
        all.extend([0, 0, 0, 0, 2]);
        all.extend(crc32c::crc32c(&checked).to_be_bytes());
        all.extend(checked);
        all
    }

    fn tally<C: Column>(
        bytes: &[u8],
        from: i64,
        count: fn(Columns<C>, &mut Tally) -> Result<()>,
    ) -> Result<Tally> {
        let (mut columns, mut tally) = (Columns::<C>::default(), Tally::new(true));
        decode(&Bytes::copy_from_slice(bytes), from, true, &mut columns)?;
        count(columns, &mut tally)?;
        Ok(tally)
    }

    #[test]
    fn copied_and_viewed_columns_hold_the_records() {
        let long = vec![b'x'; 300];
        let mut expected = Tally::new(true);
        for base in [40, 43] {
            expected.add(base, 1_000, Some(b"k"), Some(&long));
            expected.add(base + 1, 1_010, None, Some(b"short"));
            expected.add(base + 2, 1_020, Some(b""), None);
        }
        let mut bytes = [batch(40), batch(43)].concat();
        // The last batch is cut, as brokers do.
        bytes.extend(&batch(46)[..100]);
        let copied = tally::<Copied>(&bytes, 0, |c, t| c.tally(t).map(drop)).unwrap();
        let viewed = tally::<Viewed>(&bytes, 0, |c, t| c.tally(t).map(drop)).unwrap();
        assert_eq!([copied, viewed], [expected; 2]);
        assert_eq!(next_offset(&bytes).unwrap(), Some(46));
        let later = tally::<Copied>(&bytes, 44, |c, t| c.tally(t).map(drop)).unwrap();
        assert_eq!(later.records, 2);
    }

    #[test]
    fn damage_is_an_error_and_no_panic() {
        let whole = batch(7);
        for at in 0..whole.len() {
            for bit in [0x01, 0x80] {
                let mut bytes = whole.clone();
                bytes[at] ^= bit;
                let read = tally::<Viewed>(&bytes, 0, |c, t| c.tally(t).map(drop));
                // What the checksum is not over: offset, length, leader epoch.
                assert!(at < 16 || read.is_err(), "flipped at {at}");
                let unchecked = decode(&bytes.into(), 0, false, &mut Columns::<Copied>::default());
                drop(unchecked);
            }
        }
    }
}
