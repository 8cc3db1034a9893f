//! The first lines or CSV records of a file, for inferring columns: bounded, because a file may have no line end at all.

use std::io::{self, BufRead};

use crate::codec::CsvFields;

/// Lines of at most so many bytes together.
pub(super) struct Lines<R> {
    input: io::Take<R>,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R, bytes: u64) -> Self {
        Self { input: input.take(bytes), line: Vec::new() }
    }

    /// The next line that is not blank, without its end and without a byte order mark.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            self.line.clear();
            if self.input.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let line = self.line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.line);
        Ok(Some(line.trim_ascii_end()))
    }

    /// The next CSV record that is not empty, without a byte order mark; its line end may be there.
    pub(super) fn next_record(&mut self, fields: &mut CsvFields) -> io::Result<Option<&[u8]>> {
        loop {
            self.line.clear();
            loop {
                let bytes = match self.input.fill_buf() {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    other => other?,
                };
                let rest = fields.rest_of_end(bytes);
                let end = fields.end_of_record(&bytes[rest..]).map(|end| rest + end);
                let taken = end.unwrap_or(bytes.len());
                self.line.extend_from_slice(&bytes[rest..taken]);
                self.input.consume(taken);
                if end.is_some() || taken == 0 {
                    break;
                }
            }
            if self.line.is_empty() {
                return Ok(None);
            }
            if !matches!(self.line.as_slice(), b"\n" | b"\r") {
                break;
            }
        }
        Ok(Some(self.line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.line)))
    }
}
