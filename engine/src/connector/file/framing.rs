//! Cuts records out of bytes: lines, or CSV records whose quotes may hold line ends and which may end with CR too.

use std::io::{self, BufRead};

use crate::codec::csv::PutBack;
use crate::codec::{CsvFields, Layout};
use crate::units::RECORD_BYTES_MAX;

/// Records of one input.
pub(super) struct Frames {
    input: PutBack<Box<dyn BufRead + Send>>,
    csv: Option<CsvFields>,
    /// Lines that are still to be skipped.
    skip_lines: u32,
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
    /// A blank line, or one of comment: nothing was appended, no record.
    Blank,
    /// A pipe has nothing more now: nothing was appended, and what it gave of a record is kept for the next call.
    Wait,
    /// The input is at its end.
    End,
}

impl Frames {
    pub(super) fn new(input: Box<dyn BufRead + Send>, layout: Layout) -> Self {
        let (csv, skip_lines) = match layout {
            Layout::Csv { skip_lines, signs, .. } => (Some(CsvFields::new(signs)), skip_lines),
            Layout::Lines | Layout::Container => (None, 0),
        };
        Self {
            input: PutBack::new(input),
            csv,
            skip_lines,
            fresh: true,
            partial: Vec::new(),
            began: 1,
            line: 1,
            unended: false,
        }
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
                if self.skip_lines > 0 {
                    let end = csv.end_of_line(bytes);
                    let taken = end.unwrap_or(bytes.len());
                    csv.end(&[]);
                    self.skip_lines -= u32::from(end.is_some());
                    self.line += u64::from(end.is_some());
                    self.input.consume(taken);
                    continue;
                }
            }
            any = true;
            let read = out.len() - start;
            let (end, seen) = match &mut self.csv {
                // A quote that takes more than a record with it goes wrong: the lines behind its own are read again.
                Some(csv) if read > RECORD_BYTES_MAX && csv.is_open() && has_line_end(&out[start..]) => break,
                Some(csv) if read > RECORD_BYTES_MAX => (csv.end_of_line(bytes), bytes.len()),
                Some(csv) => {
                    // No byte beyond the limit is taken yet, so that none is missing where it is read again.
                    let bytes = &bytes[..bytes.len().min(RECORD_BYTES_MAX + 1 - read)];
                    (csv.end_of_record(bytes), bytes.len())
                }
                None => (memchr(b'\n', bytes).map(|at| at + 1), bytes.len()),
            };
            let taken = end.unwrap_or(seen);
            let room = (RECORD_BYTES_MAX + 2).saturating_sub(read);
            out.extend_from_slice(&bytes[..taken.min(room)]);
            self.input.consume(taken);
            if end.is_some() {
                break;
            }
        }
        if let Some(csv) = &mut self.csv {
            let own = csv.end(&out[start..]);
            if start + own < out.len() {
                self.input.put_back(out.split_off(start + own));
                at_end = false;
            }
        }
        self.unended = at_end;
        self.began = self.line;
        self.line += if self.csv.is_some() { ends(&out[start..]) } else { 1 };
        if self.csv.as_ref().is_some_and(|csv| csv.is_comment(&out[start..])) {
            out.truncate(start);
            return Ok(Frame::Blank);
        }
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

fn has_line_end(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r'))
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
    use std::sync::Arc;

    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::codec::CsvSigns;

    fn csv(signs: CsvSigns) -> Layout {
        Layout::Csv { skip_lines: 0, header: false, signs }
    }

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
        let layout = csv(CsvSigns::default());
        for buffer in [1, 2, 5, 64] {
            let text = b"a,\"b\r\n\"\"c\"\r\nd\"x,e\n\"open\n";
            assert_eq!(all(text, layout, buffer), [&b"a,\"b\r\n\"\"c\""[..], b"d\"x,e", b"\"open"]);
        }
    }

    #[test]
    fn records_of_csv_end_with_any_line_end() {
        let layout = csv(CsvSigns { delimiter: b'\t', ..CsvSigns::default() });
        for buffer in [1, 2, 3, 64] {
            let text = b"a\tb\r\nc\td\r\r\ne\t\"f\r\"\n\n\r\n\t\n  \ng";
            let expected = [&b"a\tb"[..], b"c\td", b"e\t\"f\r\"", b"\t", b"  ", b"g"];
            assert_eq!(all(text, layout, buffer), expected, "{buffer}");
        }
    }

    #[test]
    fn a_quote_that_goes_wrong_costs_its_line() {
        let layout = csv(CsvSigns::default());
        for (text, expected) in [
            // Text behind a closing quote: on its own line, or on one that a quote was open up to.
            (&b"1,\"x\"y\n2,\"z\"\n"[..], &[&b"1,\"x\"y"[..], b"2,\"z\""][..]),
            (b"5,\"6\"\"\n6,s\r\n8,\"n\"\n9,e", &[b"5,\"6\"\"", b"6,s", b"8,\"n\"", b"9,e"]),
            (b"5,\"6\r6,s\r8,\"n\"\r\r9,e\n", &[b"5,\"6", b"6,s", b"8,\"n\"", b"9,e"]),
            // A quote that is never closed, and one more behind it.
            (b"1,\"a\n2,b\n\n3,c\n", &[b"1,\"a", b"2,b", b"3,c"]),
            (b"1,\"a\r\n2,b\r\n3,\"c\"d\n4,\"e", &[b"1,\"a", b"2,b", b"3,\"c\"d", b"4,\"e"]),
            // One that is closed later is none of these.
            (b"1,\"a\n2,b\n3,c\"\n4,d\n", &[b"1,\"a\n2,b\n3,c\"", b"4,d"]),
        ] {
            for buffer in [1, 2, 3, 7, 64] {
                assert_eq!(all(text, layout, buffer), expected, "{buffer} {}", String::from_utf8_lossy(text));
            }
        }
    }

    #[test]
    fn a_quote_that_takes_more_than_a_record_costs_its_line() {
        let layout = csv(CsvSigns::default());
        let mut text = b"1,a\n2,\"b\n".to_vec();
        while text.len() <= RECORD_BYTES_MAX + (1 << 17) {
            text.extend_from_slice(b"3,not swallowed\n");
        }
        let lines = text.len() / 16;
        text.extend_from_slice(b"4,c\n5,\"d\"\n");
        let records = all(&text, layout, 1 << 16);
        assert_eq!(records[..3], [&b"1,a"[..], b"2,\"b", b"3,not swallowed"]);
        assert!(records.len() >= lines, "the lines behind it are records");
        assert_eq!(records[records.len() - 2..], [&b"4,c"[..], b"5,\"d\""]);
        // A line of that size is cut, open quote or not, and the next one stands.
        let mut text = b"1,\"".to_vec();
        text.resize(RECORD_BYTES_MAX + 1_000, b'x');
        text.extend_from_slice(b"\n2,b\n");
        let records = all(&text, layout, 1 << 16);
        assert_eq!(records.iter().map(Vec::len).collect::<Vec<_>>(), [RECORD_BYTES_MAX + 1, 3]);
    }

    #[test]
    fn lines_that_are_skipped_and_comments_are_no_records() {
        let signs = CsvSigns { comment: Some(b'#'), ..CsvSigns::default() };
        let layout = Layout::Csv { skip_lines: 2, header: false, signs };
        for buffer in [1, 2, 5, 64] {
            let text = b"\xef\xbb\xbfit's \"open\r\n\r\n# \"c\na,\"#b\n#c\"\r\n#d\re,#f\n#\n";
            assert_eq!(all(text, layout, buffer), [&b"a,\"#b\n#c\""[..], b"e,#f"], "{buffer}");
            assert!(all(b"one\ntwo", layout, buffer).is_empty());
        }
    }

    #[test]
    fn an_endless_line_is_cut_and_the_next_one_stands() {
        let mut text = vec![b'x'; RECORD_BYTES_MAX + 1_000];
        text.extend_from_slice(b"\nnext\n");
        let records = all(&text, Layout::Lines, 1 << 20);
        assert_eq!(records.iter().map(Vec::len).collect::<Vec<_>>(), [RECORD_BYTES_MAX + 1, 4]);
    }

    /// A file that is written with some options.
    #[derive(Debug, Clone)]
    struct Written {
        options: serde_json::Value,
        rows: Vec<(Option<String>, Option<i64>, Option<f64>)>,
        buffer: usize,
    }

    fn written() -> impl Strategy<Value = Written> {
        let text = proptest::string::string_regex("[ab,;\t\"'\\\\#.NA\n\r \u{feff}]{0,6}|NA|\\\\N").unwrap();
        let row = (
            option::of(text),
            option::of(-20i64..20),
            option::of((-8i32..8).prop_map(|n| f64::from(n) / 4.0)),
        );
        let sign = |signs: &'static [&'static str]| proptest::sample::select(signs);
        let options = (
            sign(&[",", ";", "\t"]),
            sign(&["\"", "'"]),
            option::of(sign(&["\\", "\"", "'"])),
            option::of(sign(&["#", "-", "N"])),
            sign(&[".", ","]),
            sign(&["", "NA", "\\N", "0"]),
            any::<bool>(),
        );
        let options = options.prop_map(|(delimiter, quote, escape, comment, decimal, word, header)| {
            serde_json::json!({
                "columns": { "s": "utf8", "n": "int64", "f": "float64" },
                "delimiter": delimiter, "quote": quote, "escape": escape, "comment": comment, "decimal": decimal,
                "nulls": [word, "nothing"], "header": header,
            })
        });
        (options, proptest::collection::vec(row, 0..8), 1usize..40)
            .prop_map(|(options, rows, buffer)| Written { options, rows, buffer })
    }

    #[derive(Clone, Default)]
    struct Shared(Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    proptest! {
        /// A file of CSV holds the rows that were written, whatever the options are.
        #[test]
        fn files_of_csv_hold_what_was_written(case in written()) {
            let Ok(format) = (crate::format::csv::KIND.prepare)(&case.options) else {
                // Two signs are one, or a word of a null cannot be read.
                return Ok(());
            };
            let columns: Vec<arrow::array::ArrayRef> = vec![
                Arc::new(case.rows.iter().map(|row| row.0.clone()).collect::<arrow::array::StringArray>()),
                Arc::new(case.rows.iter().map(|row| row.1).collect::<arrow::array::Int64Array>()),
                Arc::new(case.rows.iter().map(|row| row.2).collect::<arrow::array::Float64Array>()),
            ];
            let schema = format.schema().unwrap();
            let rows = arrow::array::RecordBatch::try_new(schema.clone(), columns).unwrap();
            let out = Shared::default();
            let mut writer = format.writer(schema.clone(), Box::new(out.clone())).unwrap();
            writer.write(&crate::batch::Batch::of_columns(rows.clone())).unwrap();
            writer.finish().unwrap();
            let bytes = out.0.lock().unwrap().clone();
            let mut records = all(&bytes, format.layout(), case.buffer);
            if case.options["header"] == true {
                records.remove(0);
            }
            let values = arrow::array::BinaryArray::from_iter_values(records);
            let decoded = format.decoder(schema).unwrap().decode(&crate::batch::Payload::Values(values)).unwrap();
            prop_assert_eq!(decoded.bad, vec![], "{}", String::from_utf8_lossy(&bytes));
            prop_assert_eq!(decoded.records, rows, "{}", String::from_utf8_lossy(&bytes));
        }

        /// However quotes go wrong, every byte is cut once, and buffers change nothing.
        #[test]
        fn whatever_the_quotes_say_every_line_is_cut(
            text in "[ab,\"\\\\#\n\r]{0,40}", escape in any::<bool>(), buffer in 1usize..9,
        ) {
            let signs = CsvSigns { escape: escape.then_some(b'\\'), ..CsvSigns::default() };
            let records = all(text.as_bytes(), csv(signs), buffer);
            prop_assert_eq!(&records, &all(text.as_bytes(), csv(signs), 64));
            let plain = |text: &[u8]| text.iter().copied().filter(|b| !b"\n\r".contains(b)).collect::<Vec<_>>();
            prop_assert_eq!(plain(&records.concat()), plain(text.as_bytes()));
            for record in &records {
                let whole = CsvFields::new(signs).split(record, |_, _| {}).is_ok();
                prop_assert!(whole || !has_line_end(record), "what goes wrong is one line");
            }
        }
    }
}
