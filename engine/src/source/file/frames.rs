//! Cuts records out of bytes: lines, or CSV records whose quotes may hold line ends and which may end with CR too.

use std::io::{self, BufRead};

use crate::codec::{CsvFields, Layout};
use crate::units::RECORD_BYTES_MAX;

/// Records of one input.
pub(super) struct Frames {
    input: Box<dyn BufRead + Send>,
    csv: Option<CsvFields>,
    /// Whether no byte was read yet: a byte order mark may come.
    fresh: bool,
    /// The start of a record whose rest a pipe has not given yet.
    partial: Vec<u8>,
    /// Line, from 1, at which the last record began, and at which the next one does.
    began: u64,
    line: u64,
    /// Whether the last record ended with the input, without a line end.
    unended: bool,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A record was appended.
    Record,
    /// A blank line: nothing was appended, no record.
    Blank,
    /// A pipe has nothing more now: nothing was appended, and what it gave of a record is kept for the next call.
    Wait,
    /// The input is at its end.
    End,
}

impl Frames {
    pub(super) fn new(input: Box<dyn BufRead + Send>, layout: Layout) -> Self {
        let csv = match layout {
            Layout::Csv { delimiter, quote, .. } => Some(CsvFields::new(delimiter, quote)),
            Layout::Lines | Layout::Container => None,
        };
        Self { input, csv, fresh: true, partial: Vec::new(), began: 1, line: 1, unended: false }
    }

    /// Line, from 1, at which the last record began.
    pub(super) fn began(&self) -> u64 {
        self.began
    }

    /// Whether the last record ended with the input, without a line end.
    pub(super) fn is_unended(&self) -> bool {
        self.unended
    }

    /// Appends the next record without its line end. One beyond [`RECORD_BYTES_MAX`] is read through, and its first
    /// `RECORD_BYTES_MAX + 1` bytes are appended: the decoder refuses it by that length, so it is counted and goes
    /// to the dead letters.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> io::Result<Frame> {
        let start = out.len();
        let mut any = !self.partial.is_empty();
        out.append(&mut self.partial);
        let mut at_end = false;
        loop {
            let bytes = match self.input.fill_buf() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.partial = out.split_off(start);
                    return Ok(Frame::Wait);
                }
                other => other?,
            };
            if bytes.is_empty() {
                if let Some(csv) = &mut self.csv {
                    csv.reset();
                }
                if !any {
                    return Ok(Frame::End);
                }
                at_end = true;
                break;
            }
            let mark = std::mem::take(&mut self.fresh) && bytes.starts_with(b"\xef\xbb\xbf");
            if mark {
                self.input.consume(3);
                continue;
            }
            if let Some(csv) = &mut self.csv {
                let rest = csv.rest_of_end(bytes);
                if rest > 0 {
                    self.input.consume(rest);
                    continue;
                }
            }
            any = true;
            let end = match &mut self.csv {
                Some(csv) if out.len() - start > RECORD_BYTES_MAX => csv.end_of_line(bytes),
                Some(csv) => csv.end_of_record(bytes),
                None => memchr(b'\n', bytes).map(|at| at + 1),
            };
            let taken = end.unwrap_or(bytes.len());
            let room = (RECORD_BYTES_MAX + 2).saturating_sub(out.len() - start);
            out.extend_from_slice(&bytes[..taken.min(room)]);
            self.input.consume(taken);
            if end.is_some() {
                break;
            }
        }
        self.unended = at_end;
        self.began = self.line;
        self.line += if self.csv.is_some() { ends(&out[start..]) } else { 1 };
        for sign in [b'\n', b'\r'] {
            if out.len() > start && out.last() == Some(&sign) {
                out.pop();
            }
        }
        out.truncate(start + RECORD_BYTES_MAX + 1);
        // To CSV blanks are text, and a delimiter may be a blank: only what is empty is no record.
        let record = if self.csv.is_some() { &out[start..] } else { out[start..].trim_ascii() };
        Ok(if record.is_empty() {
            out.truncate(start);
            Frame::Blank
        } else {
            Frame::Record
        })
    }
}

/// Line ends in a record, its own among them: LF, CRLF or CR.
fn ends(record: &[u8]) -> u64 {
    let of = |(i, byte): (usize, &u8)| match byte {
        b'\n' => true,
        b'\r' => record.get(i + 1).is_none_or(|next| *next != b'\n'),
        _ => false,
    };
    record.iter().enumerate().filter(|at| of(*at)).count() as u64
}

/// The first place of a byte; the standard library searches a slice by words.
fn memchr(byte: u8, bytes: &[u8]) -> Option<usize> {
    let mut reader = bytes;
    match reader.skip_until(byte) {
        Ok(n) if n > 0 && bytes[n - 1] == byte => Some(n - 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Cursor};

    use super::*;

    fn all(text: &[u8], layout: Layout, buffer: usize) -> Vec<Vec<u8>> {
        let input = BufReader::with_capacity(buffer, Cursor::new(text.to_vec()));
        let mut frames = Frames::new(Box::new(input), layout);
        let mut records = Vec::new();
        loop {
            let mut out = Vec::new();
            match frames.next(&mut out).unwrap() {
                Frame::Record => records.push(out),
                Frame::Blank => assert!(out.is_empty()),
                Frame::Wait => panic!("no pipe"),
                Frame::End => return records,
            }
        }
    }

    #[test]
    fn lines_with_any_ends() {
        for buffer in [3, 4, 7, 64] {
            let text = b"\xef\xbb\xbfa\r\n\n  \r\nb\xff\n\nc\0d";
            assert_eq!(all(text, Layout::Lines, buffer), [&b"a"[..], b"b\xff", b"c\0d"]);
        }
        assert!(all(b"", Layout::Lines, 8).is_empty());
    }

    #[test]
    fn quotes_of_csv_hold_line_ends() {
        let layout = Layout::Csv { header: false, delimiter: b',', quote: b'"' };
        for buffer in [1, 2, 5, 64] {
            let text = b"a,\"b\r\n\"\"c\"\r\nd\"x,e\n\"open\n";
            assert_eq!(all(text, layout, buffer), [&b"a,\"b\r\n\"\"c\""[..], b"d\"x,e", b"\"open"]);
        }
    }

    #[test]
    fn records_of_csv_end_with_any_line_end() {
        let layout = Layout::Csv { header: false, delimiter: b'\t', quote: b'"' };
        for buffer in [1, 2, 3, 64] {
            let text = b"a\tb\r\nc\td\r\r\ne\t\"f\r\"\n\n\r\n\t\n  \ng";
            let expected = [&b"a\tb"[..], b"c\td", b"e\t\"f\r\"", b"\t", b"  ", b"g"];
            assert_eq!(all(text, layout, buffer), expected, "{buffer}");
        }
    }

    #[test]
    fn a_quote_that_is_never_closed_takes_no_more_than_a_record() {
        let layout = Layout::Csv { header: false, delimiter: b',', quote: b'"' };
        let mut text = b"1,a\n2,\"b\n".to_vec();
        while text.len() <= RECORD_BYTES_MAX + (1 << 17) {
            text.extend_from_slice(b"3,swallowed\n");
        }
        text.extend_from_slice(b"4,c\n5,d\n");
        let records = all(&text, layout, 1 << 16);
        assert_eq!(records[0], b"1,a");
        assert_eq!(records[1].len(), RECORD_BYTES_MAX + 1);
        assert!(records.len() > 1_000, "the lines after it are records again");
        assert!(records[2..].iter().all(|record| record.len() <= 11), "whole lines");
        assert_eq!(records[records.len() - 1], b"5,d");
    }

    #[test]
    fn an_endless_line_is_cut_and_the_next_one_stands() {
        let mut text = vec![b'x'; RECORD_BYTES_MAX + 1_000];
        text.extend_from_slice(b"\nnext\n");
        let records = all(&text, Layout::Lines, 1 << 20);
        assert_eq!(records.iter().map(Vec::len).collect::<Vec<_>>(), [RECORD_BYTES_MAX + 1, 4]);
    }
}
