//! Where the fields and the records of CSV end: sources cut records with it, the format cuts fields.
//!
//! RFC 4180: a quote within a quoted field is doubled, a quoted field may hold line ends, a quote elsewhere is an
//! ordinary sign. A record ends with CRLF, LF or CR. Beyond it: an escape sign within quotes, and lines of comment.
//!
//! A quote that goes wrong (text behind a closing quote, a quote that is never closed) costs the line in which the
//! record began, nothing else: what was read beyond it is put back and read again. That is bounded: a line that leaves
//! a quoted field as open as it found it never opens one when it is read as a record, so no byte is put back twice
//! for the same reason.

use std::io::{self, BufRead, Read};

/// The signs that a reader and a writer of CSV agree about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CsvSigns {
    /// Between fields.
    pub delimiter: u8,
    /// Around fields.
    pub quote: u8,
    /// Within quotes before a quote, or before itself, which then stand for themselves.
    pub escape: Option<u8>,
    /// At the start of a line that is no record.
    pub comment: Option<u8>,
}

impl Default for CsvSigns {
    fn default() -> Self {
        Self { delimiter: b',', quote: b'"', escape: None, comment: None }
    }
}

/// The place within records of CSV, as their bytes come.
#[derive(Debug, Clone)]
pub struct CsvFields {
    signs: CsvSigns,
    state: State,
    /// Whether the last record ended with a CR, to which an LF may still belong.
    after_cr: bool,
    /// The unquoted text of a field.
    text: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the start of a record.
    Fresh,
    /// At the start of another field.
    Start,
    /// In a field without quotes.
    Plain,
    /// Between quotes.
    Quoted,
    /// After an escape between quotes.
    Escaped,
    /// After a quote between quotes: the end, or the first of two.
    Closed,
    /// Behind text that follows a closing quote.
    Broken,
    /// In a line of comment.
    Comment,
}

impl State {
    /// Whether a line end is text here.
    fn is_open(self) -> bool {
        matches!(self, Self::Quoted | Self::Escaped)
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// Length of the first line of `bytes` with its end; `None`: it goes on behind them.
fn line(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().position(|byte| is_line_end(*byte))?;
    Some(end + if bytes[end..].starts_with(b"\r\n") { 2 } else { 1 })
}

impl CsvFields {
    /// Fields with these signs.
    pub fn new(signs: CsvSigns) -> Self {
        Self { signs, state: State::Fresh, after_cr: false, text: Vec::new() }
    }

    fn step(&mut self, byte: u8) -> State {
        use State::{Broken, Closed, Comment, Escaped, Fresh, Plain, Quoted, Start};
        let CsvSigns { delimiter, quote, escape, comment } = self.signs;
        self.state = match self.state {
            Quoted if Some(byte) == escape => Escaped,
            Quoted if byte == quote => Closed,
            Quoted | Escaped => Quoted,
            Closed if byte == quote => Quoted,
            Closed if byte != delimiter => Broken,
            Broken => Broken,
            Comment => Comment,
            Fresh if Some(byte) == comment => Comment,
            Fresh | Start if byte == quote => Quoted,
            _ if byte == delimiter => Start,
            _ => Plain,
        };
        self.state
    }

    /// How many bytes at the start of `bytes` still belong to the end of the last record: an LF after its CR.
    pub fn rest_of_end(&mut self, bytes: &[u8]) -> usize {
        usize::from(std::mem::take(&mut self.after_cr) && bytes.first() == Some(&b'\n'))
    }

    /// Length of the part of `bytes` that belongs to the record whose start was given before, its line end included;
    /// `None`: all of it, and the record goes on. The state is kept for the next part, and for
    /// [`CsvFields::end`] where the record is over.
    pub fn end_of_record(&mut self, bytes: &[u8]) -> Option<usize> {
        for (i, byte) in bytes.iter().enumerate() {
            if is_line_end(*byte) && !self.state.is_open() {
                self.after_cr = *byte == b'\r';
                return Some(i + 1);
            }
            self.step(*byte);
        }
        None
    }

    /// As [`CsvFields::end_of_record`], whatever the quotes say: for what is too large, and for lines that are skipped.
    pub fn end_of_line(&mut self, bytes: &[u8]) -> Option<usize> {
        self.state = State::Plain;
        let end = bytes.iter().position(|byte| is_line_end(*byte))?;
        self.after_cr = bytes[end] == b'\r';
        Some(end + 1)
    }

    /// Ends the record under way, of which these are all bytes that were read: at its line end, at the end of the
    /// input, or because it is too large. Returns how many of them belong to it: where a quote went wrong, its first
    /// line. The others must be read again.
    pub fn end(&mut self, record: &[u8]) -> usize {
        let wrong = self.state.is_open() || self.state == State::Broken;
        self.state = State::Fresh;
        let own = if wrong { line(record).unwrap_or(record.len()) } else { record.len() };
        if own < record.len() {
            self.after_cr = false;
        }
        own
    }

    /// Whether what was cut is a line of comment.
    pub fn is_comment(&self, record: &[u8]) -> bool {
        self.signs.comment.is_some_and(|sign| record.first() == Some(&sign))
    }

    /// Whether the record under way is between quotes.
    pub fn is_open(&self) -> bool {
        self.state.is_open()
    }

    /// Calls `field` with the text of each field of a whole record and whether it was quoted; a line end after the
    /// record is none of its text. The error says what is wrong with the quotes or the lines.
    pub fn split(&mut self, record: &[u8], mut field: impl FnMut(&[u8], bool)) -> Result<(), String> {
        use State::{Broken, Closed, Comment, Escaped, Fresh, Quoted, Start};
        self.state = Fresh;
        self.text.clear();
        let mut quoted = false;
        for (i, byte) in record.iter().enumerate() {
            let before = self.state;
            if is_line_end(*byte) && !before.is_open() {
                if matches!(&record[i..], b"\n" | b"\r" | b"\r\n") {
                    break;
                }
                return Err("a line end outside quotes: a record is one line".to_owned());
            }
            match (before, self.step(*byte)) {
                (_, Start) => {
                    field(&self.text, quoted);
                    self.text.clear();
                    quoted = false;
                }
                (Fresh | Start, Quoted) => quoted = true,
                (Quoted, Escaped | Closed) => {}
                (Escaped, Quoted) => {
                    let escape = self.signs.escape.unwrap_or(self.signs.quote);
                    if *byte != self.signs.quote && *byte != escape {
                        self.text.push(escape);
                    }
                    self.text.push(*byte);
                }
                (_, Broken) => {
                    return Err(format!("a closing quote is followed by more text{}", self.hint(record)));
                }
                (_, Comment) => return Err("the record is a line of comment".to_owned()),
                _ => self.text.push(*byte),
            }
        }
        if self.state.is_open() {
            let lines = record.iter().filter(|byte| **byte == b'\n').count() + 1;
            let on =
                if lines > 1 { format!("; the record goes on for {lines} lines") } else { String::new() };
            return Err(format!("a quote is never closed{on}{}", self.hint(record)));
        }
        field(&self.text, quoted);
        Ok(())
    }

    /// What may be meant by a backslash before a quote.
    fn hint(&self, record: &[u8]) -> &'static str {
        let backslash = [b'\\', self.signs.quote];
        match self.signs.escape.is_none() && record.windows(2).any(|two| two == backslash) {
            true => " (`escape: \"\\\\\"` reads a quote behind a backslash as text)",
            false => "",
        }
    }
}

/// An input into which bytes can be put back.
#[derive(Debug)]
pub struct PutBack<R> {
    input: R,
    /// Bytes that come before those of the input, from `at` on.
    again: Vec<u8>,
    at: usize,
}

impl<R> PutBack<R> {
    /// Nothing is put back yet.
    pub fn new(input: R) -> Self {
        Self { input, again: Vec::new(), at: 0 }
    }

    /// Puts back the bytes that were consumed last.
    pub fn put_back(&mut self, bytes: Vec<u8>) {
        if self.at < self.again.len() {
            // They came from here, because the input goes on only behind these.
            self.at = self.at.saturating_sub(bytes.len());
        } else {
            (self.again, self.at) = (bytes, 0);
        }
    }
}

impl<R: BufRead> Read for PutBack<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for PutBack<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at < self.again.len() { Ok(&self.again[self.at..]) } else { self.input.fill_buf() }
    }

    fn consume(&mut self, bytes: usize) {
        if self.at == self.again.len() {
            return self.input.consume(bytes);
        }
        self.at += bytes;
        if self.at >= self.again.len() {
            // It may have been a whole record of the largest size.
            (self.again, self.at) = (Vec::new(), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(signs: CsvSigns, record: &[u8]) -> Result<Vec<(String, bool)>, String> {
        let mut found = Vec::new();
        CsvFields::new(signs).split(record, |text, quoted| {
            found.push((String::from_utf8_lossy(text).into_owned(), quoted));
        })?;
        Ok(found)
    }

    #[test]
    fn an_escape_stands_before_quotes_and_itself_within_quotes_alone() {
        let signs = CsvSigns { escape: Some(b'\\'), ..CsvSigns::default() };
        for (record, expected) in [
            (&br#""a\"b",c"#[..], &[("a\"b", true), ("c", false)][..]),
            (br#""6\"",x"#, &[("6\"", true), ("x", false)]),
            (br#""a\\","b""c""#, &[("a\\", true), ("b\"c", true)]),
            (br#""C:\new",\"x"#, &[("C:\\new", true), ("\\\"x", false)]),
            (b"\"a\\\nb\"", &[("a\\\nb", true)]),
            (br#""\\\"""#, &[("\\\"", true)]),
        ] {
            let found = fields(signs, record).unwrap();
            let found: Vec<_> = found.iter().map(|(text, quoted)| (text.as_str(), *quoted)).collect();
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(record));
        }
        for bad in [&br#""a\""#[..], br#""a\"#, br#""a\\"b"#] {
            fields(signs, bad).unwrap_err();
        }
        let fault = fields(CsvSigns::default(), br#"3,"5\" pipe""#).unwrap_err();
        assert!(fault.contains("escape:"), "{fault}");
    }

    #[test]
    fn a_comment_is_a_line_that_begins_with_its_sign() {
        let signs = CsvSigns { comment: Some(b'#'), ..CsvSigns::default() };
        assert!(fields(signs, b"# a,\"b").is_err());
        assert_eq!(fields(signs, b"\"# a\",#b").unwrap().len(), 2);
        let mut csv = CsvFields::new(signs);
        assert_eq!(csv.end_of_record(b"# it's \"open\na,b\n"), Some(13));
        assert_eq!(csv.end(b"# it's \"open\n"), 13);
        assert!(csv.is_comment(b"# it's \"open\n") && !csv.is_comment(b"a,#"));
    }

    #[test]
    fn what_is_put_back_is_read_again_in_order() {
        let mut input = PutBack::new(&b"abcdef"[..]);
        let take = |input: &mut PutBack<&[u8]>, count: usize| {
            let mut out = vec![0; count];
            input.read_exact(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(take(&mut input, 4), "abcd");
        input.put_back(b"bcd".to_vec());
        assert_eq!(take(&mut input, 2), "bc");
        input.put_back(b"c".to_vec());
        assert_eq!(take(&mut input, 3), "cde");
        input.put_back(b"de".to_vec());
        assert_eq!(take(&mut input, 3), "def");
        assert_eq!(input.fill_buf().unwrap(), b"");
    }
}
