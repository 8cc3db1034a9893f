//! The first lines of a file, for inferring columns: bounded, because a file may have no line end at all.

use std::io::{self, BufRead};

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
}
