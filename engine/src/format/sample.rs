//! The first lines or CSV records of a file, for inferring columns: bounded, because a file may have no line end at all.

use std::io::{self, BufRead};

use crate::codec::CsvFields;
use crate::codec::csv::PutBack;

/// Lines of at most so many bytes together.
pub(super) struct Lines<R> {
    input: PutBack<io::Take<R>>,
    line: Vec<u8>,
    /// Whether no byte was read yet: a byte order mark may come.
    fresh: bool,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R, bytes: u64) -> Self {
        Self { input: PutBack::new(input.take(bytes)), line: Vec::new(), fresh: true }
    }

    /// The next line that is not blank, without its end and without a byte order mark.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.begin()?;
        loop {
            self.line.clear();
            if self.input.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        Ok(Some(self.line.trim_ascii_end()))
    }

    /// Reads past a byte order mark at the start of the file.
    fn begin(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.fresh) && self.fill()?.starts_with(b"\xef\xbb\xbf") {
            self.input.consume(3);
        }
        Ok(())
    }

    fn fill(&mut self) -> io::Result<&[u8]> {
        while let Err(e) = self.input.fill_buf() {
            if e.kind() != io::ErrorKind::Interrupted {
                return Err(e);
            }
        }
        self.input.fill_buf()
    }

    /// Reads past the lines that a CSV file begins with.
    pub(super) fn skip_lines(&mut self, fields: &mut CsvFields, lines: u32) -> io::Result<()> {
        self.begin()?;
        let mut left = lines;
        while left > 0 {
            let bytes = self.fill()?;
            let rest = fields.rest_of_end(bytes);
            let end = fields.end_of_line(&bytes[rest..]);
            let taken = end.map_or(bytes.len(), |end| rest + end);
            left -= u32::from(end.is_some());
            if taken == 0 {
                break;
            }
            self.input.consume(taken);
        }
        fields.end(&[]);
        Ok(())
    }

    /// The next CSV record that is not empty and no comment, without a byte order mark; its line end may be there.
    pub(super) fn next_record(&mut self, fields: &mut CsvFields) -> io::Result<Option<&[u8]>> {
        self.begin()?;
        loop {
            self.line.clear();
            loop {
                self.fill()?;
                let bytes = self.input.fill_buf()?;
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
            let own = fields.end(&self.line);
            if own < self.line.len() {
                self.input.put_back(self.line.split_off(own));
            }
            if !matches!(self.line.as_slice(), b"\n" | b"\r" | b"\r\n") && !fields.is_comment(&self.line) {
                break;
            }
        }
        Ok(Some(&self.line))
    }
}
