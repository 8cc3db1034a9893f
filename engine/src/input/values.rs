//! JSON values that lie in an array or go over several lines, as one value a line.
//!
//! Values follow each other, and an array of values stands for its elements. Within a value only quotes and brackets are
//! followed: whether it is JSON is the decoder's to say, record by record. Between values nothing but what JSON allows
//! may stand, and a text that goes over the end of a line is one whose quote was never closed: both are errors with
//! their line, because nobody can tell where the next record begins.

use std::io::{self, Read};

use serde::de::IgnoredAny;

use super::{Bytes, again, carried};
use crate::error::{Code, Error};
use crate::units::READ_BUFFER_BYTES;

/// Whether a text that begins so is an array of objects, or an object over several lines. One line of either is left to
/// the decoder where it says less about the file than about itself.
pub(super) fn are_in(head: &[u8]) -> bool {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii();
    let first = |text: &[u8]| {
        let mut values = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
        match values.next() {
            Some(Ok(_)) => Some(values.byte_offset()),
            Some(Err(e)) if e.is_eof() => Some(text.len()),
            _ => None,
        }
    };
    match text {
        [b'[', rest @ ..] => match rest.trim_ascii_start() {
            [b'{', ..] => true,
            [b']', rest @ ..] => rest.is_empty(),
            // An array of several lines, whatever it holds.
            [] => true,
            _ => first(text).is_some_and(|len| text[..len].contains(&b'\n')),
        },
        [b'{', ..] => first(text).is_some_and(|len| text[..len].contains(&b'\n')),
        _ => false,
    }
}

/// Where the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Outside of any array.
    Top,
    /// After `[`.
    First,
    /// After a comma.
    Next,
    /// After an element.
    After,
    /// Within an object or an array that is a record.
    Nested,
    /// Within a text, number or word that is a record.
    Scalar,
}

/// One value a line.
pub(super) struct Lines {
    bytes: Bytes,
    at: At,
    in_array: bool,
    /// Line at which the array began.
    array: u64,
    depth: u64,
    in_text: bool,
    escaped: bool,
    /// Line of the file that is read, from 1, and the one at which the record began.
    line: u64,
    began: u64,
    out: Vec<u8>,
    used: usize,
    /// What was wrong behind `out`.
    fault: Option<io::Error>,
    ended: bool,
}

impl Lines {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self {
            bytes,
            at: At::Top,
            in_array: false,
            array: 1,
            depth: 0,
            in_text: false,
            escaped: false,
            line: 1,
            began: 1,
            out: Vec::new(),
            used: 0,
            fault: None,
            ended: false,
        }
    }

    fn fill(&mut self) {
        self.out.clear();
        self.used = 0;
        let mut part = [0; READ_BUFFER_BYTES / 8];
        let n = match self.bytes.read(&mut part) {
            Ok(n) => n,
            Err(e) => return self.fault = Some(e),
        };
        let done = if n == 0 { self.end() } else { part[..n].iter().try_for_each(|byte| self.step(*byte)) };
        self.fault = done.err();
    }

    fn end(&mut self) -> io::Result<()> {
        self.ended = true;
        let (what, began) = match self.at {
            At::Top => return Ok(()),
            At::Nested | At::Scalar if !self.in_array => ("a record", self.began),
            At::Nested | At::Scalar => ("a record of its JSON array", self.began),
            At::First | At::Next | At::After => ("its JSON array", self.array),
        };
        let message =
            format!("ends within {what} that begins in line {began}: it was cut, or is still written");
        Err(carried(Error::user(Code::S002, message).help("read it once it is whole")))
    }

    fn wrong(&self, what: &str) -> io::Error {
        let message = format!("line {}: {what}", self.line);
        carried(Error::user(Code::S002, message).help("mend that place, or write one JSON object a line"))
    }

    fn step(&mut self, byte: u8) -> io::Result<()> {
        let done = match self.at {
            At::Nested => self.nested(byte),
            At::Scalar => self.scalar(byte),
            _ => self.between(byte),
        };
        self.line += u64::from(byte == b'\n');
        done
    }

    fn between(&mut self, byte: u8) -> io::Result<()> {
        match (self.at, byte) {
            (_, b' ' | b'\t' | b'\n' | b'\r') => {}
            // A byte order mark, where it may stand.
            (At::Top, 0xef | 0xbb | 0xbf) if self.line == 1 => {}
            (At::Top, b'[') => {
                (self.at, self.in_array, self.array) = (At::First, true, self.line);
            }
            (At::Top, b'{') | (At::First | At::Next, b'{' | b'[') => {
                (self.at, self.depth, self.began) = (At::Nested, 1, self.line);
                self.out.push(byte);
            }
            (At::Top, _) => return Err(self.wrong("an object or an array was expected")),
            (At::First | At::After, b']') => (self.at, self.in_array) = (At::Top, false),
            (At::After, b',') => self.at = At::Next,
            (At::After, _) => return Err(self.wrong("`,` or `]` was expected behind a record of the array")),
            (_, b',' | b']' | b'}' | b':') => return Err(self.wrong("a record was expected in the array")),
            _ => {
                (self.at, self.began) = (At::Scalar, self.line);
                self.in_text = byte == b'"';
                self.out.push(byte);
            }
        }
        Ok(())
    }

    /// A byte within a text.
    fn text(&mut self, byte: u8) -> io::Result<()> {
        match byte {
            b'\n' => {
                return Err(self.wrong("a text goes over the end of the line: its quote is never closed"));
            }
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => self.in_text = false,
            _ => {}
        }
        self.out.push(byte);
        Ok(())
    }

    fn nested(&mut self, byte: u8) -> io::Result<()> {
        if self.in_text {
            return self.text(byte);
        }
        match byte {
            b'"' => self.in_text = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        self.out.push(if matches!(byte, b'\n' | b'\r') { b' ' } else { byte });
        if self.depth == 0 {
            self.complete();
        }
        Ok(())
    }

    fn scalar(&mut self, byte: u8) -> io::Result<()> {
        if self.in_text {
            return self.text(byte);
        }
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b']') {
            self.complete();
            return self.between(byte);
        }
        self.in_text = byte == b'"';
        self.out.push(byte);
        Ok(())
    }

    fn complete(&mut self) {
        self.out.push(b'\n');
        self.at = if self.in_array { At::After } else { At::Top };
    }
}

impl Read for Lines {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.used == self.out.len() {
            match &self.fault {
                Some(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {
                    return Err(self.fault.take().unwrap_or_else(|| io::ErrorKind::Interrupted.into()));
                }
                Some(e) => return Err(again(e)),
                None if self.ended => return Ok(0),
                None => self.fill(),
            }
        }
        let n = (&self.out[self.used..]).read(out)?;
        self.used += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::input::failed;

    /// Gives one byte at a time.
    struct Slow(Cursor<Vec<u8>>);

    impl Read for Slow {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let n = out.len().min(1);
            self.0.read(&mut out[..n])
        }
    }

    fn lines(text: &str) -> (String, Option<String>) {
        let read = |bytes: Bytes| {
            let mut out = Vec::new();
            let fault = Lines::new(bytes).read_to_end(&mut out).err();
            (String::from_utf8(out).unwrap(), fault.map(|e| failed(&e).to_string()))
        };
        let whole = read(Box::new(Cursor::new(text.as_bytes().to_vec())));
        assert_eq!(whole, read(Box::new(Slow(Cursor::new(text.as_bytes().to_vec())))), "{text}");
        whole
    }

    #[test]
    fn values_become_lines() {
        for (text, expected) in [
            ("[{\"n\":1},{\"n\":2}]", "{\"n\":1}\n{\"n\":2}\n"),
            ("[\n{\"n\":1},\n{\"n\":[1,\n2]}\n]\n", "{\"n\":1}\n{\"n\":[1, 2]}\n"),
            ("\u{feff}{\n\"a\": \"}\\\"]\"\n}\n\n{\"b\":1}", "{ \"a\": \"}\\\"]\" }\n{\"b\":1}\n"),
            ("[]\n[1, \"a,]\", null,[2]] [{}]", "1\n\"a,]\"\nnull\n[2]\n{}\n"),
            (" \n ", ""),
        ] {
            assert_eq!(lines(text), (expected.to_owned(), None), "{text}");
        }
    }

    #[test]
    fn a_place_that_is_wrong_is_told_with_its_line_after_what_came_before() {
        for (text, before, what) in [
            ("[\n{\"n\":1}\n{\"n\":2}]", "{\"n\":1}\n", "line 3: `,` or `]`"),
            ("[\n{\"n\":1},\n]", "{\"n\":1}\n", "line 3: a record was expected"),
            ("[{\"n\":1},\n{\"n\":\"2}\n]", "{\"n\":1}\n", "line 2: a text goes over"),
            ("[{\"n\":1},\n{\"n\":2", "{\"n\":1}\n", "record of its JSON array that begins in line 2"),
            ("[{\"n\":1}", "{\"n\":1}\n", "its JSON array that begins in line 1"),
            ("{\n\"n\":1", "", "a record that begins in line 1"),
            ("{\n}\nx", "{ }\n", "line 3: an object or an array"),
        ] {
            let (out, fault) = lines(text);
            assert!(out.starts_with(before), "{text}: {out}");
            let fault = fault.unwrap_or_default();
            assert!(fault.contains(what) && fault.starts_with("S002"), "{text}: {fault}");
        }
    }

    #[test]
    fn lines_of_records_stay_lines() {
        for (text, expected) in [
            ("[{\"n\":1}", true),
            ("[\n  {", true),
            ("\u{feff} [ ]\n", true),
            ("{\n  \"n\": 1,", true),
            ("{ \"n\": 1,\n \"m\": 2 }", true),
            ("[1,\n2]", true),
            ("[1,2]\n{\"n\":1}\n", false),
            ("[]\n{\"n\":1}\n", false),
            ("{\"n\":1}\n{\"n\":2}\n", false),
            ("{\"n\":1\n{\"n\":2}\n", false),
            ("{\"n\":1,\"s\":\"ab", false),
            ("{\"n\":1,\"s\":\"ab\n", false),
            ("", false),
            ("nonsense\n{", false),
        ] {
            assert_eq!(are_in(text.as_bytes()), expected, "{text}");
        }
    }
}
