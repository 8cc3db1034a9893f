//! The bytes of a file that others may write, cut or replace while it is read.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::error::{Code, Error};
use crate::input;
use crate::units::{FILE_ENDS_BYTES, FILE_TIMES_TELL, LAST_LINE_QUIET};

/// What a [`Watched`] file and its reader tell each other.
#[derive(Default)]
pub(super) struct Signs {
    /// The reader wants the rest of a last line, where more may come.
    pub waits: AtomicBool,
    /// The file was cut or replaced while it was read.
    pub cut: AtomicBool,
}

/// A file, of which nothing is given that was not there when the rest was.
pub(super) struct Watched {
    file: Arc<File>,
    signs: Arc<Signs>,
    /// Bytes that were read, and the first of them.
    read: u64,
    head: Vec<u8>,
    /// The last of them.
    last: u8,
    /// When the file changed last, as far as was looked.
    changed: (i64, i64),
    clock: SystemClock,
    /// Length at the end, and since when it has been so long.
    end: Option<(u64, Duration)>,
}

/// When a file or its name changed last.
pub(super) fn changed(found: &Metadata) -> (i64, i64) {
    (found.ctime(), found.ctime_nsec())
}

impl Watched {
    pub(super) fn new(file: Arc<File>, signs: Arc<Signs>) -> io::Result<Self> {
        let changed = changed(&file.metadata()?);
        let clock = SystemClock::default();
        Ok(Self { file, signs, read: 0, head: Vec::new(), last: b'\n', changed, clock, end: None })
    }

    /// An error where the file is no longer the one whose bytes were read.
    fn check(&mut self, found: &Metadata) -> io::Result<()> {
        let is_shorter = found.len() < self.read;
        let now = self.clock.unix_ms();
        let is_other = !is_shorter && (changed(found) != self.changed || !tells(found, now)) && {
            let mut head = vec![0; self.head.len()];
            let read = self.file.read_exact_at(&mut head, 0);
            read.is_err() || head != self.head
        };
        if !is_shorter && !is_other {
            self.changed = changed(found);
            return Ok(());
        }
        self.signs.cut.store(true, Ordering::Release);
        let message = match is_shorter {
            true => format!(
                "became shorter while it was read: {} bytes were read, and {} are left; what was cut off unread is lost",
                self.read,
                found.len()
            ),
            false => "was written over while it was read: it no longer begins as it did".to_owned(),
        };
        let help =
            "the next run reads what is there now from its start; to rotate a log without loss, rename it";
        Err(input::carried(Error::external(Code::S002, message).help(help)))
    }

    /// Whether nobody has written to the file for a while.
    fn is_quiet(&mut self, found: &Metadata) -> bool {
        let quiet = LAST_LINE_QUIET;
        let age = self.clock.unix_ms() - (found.mtime() * 1_000 + found.mtime_nsec() / 1_000_000);
        if age >= quiet.as_millis() as i64 {
            return true;
        }
        // The clock of another machine may be ahead.
        let now = self.clock.now();
        match self.end {
            Some((len, since)) if len == found.len() => now >= since + quiet,
            _ => {
                self.end = Some((found.len(), now));
                false
            }
        }
    }
}

impl Read for Watched {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = (&*self.file).read(out)?;
        let found = self.file.metadata()?;
        self.check(&found)?;
        let read = &out[..n];
        if let Some(last) = read.last() {
            self.last = *last;
            let room = FILE_ENDS_BYTES - self.head.len();
            self.head.extend_from_slice(&read[..n.min(room)]);
            self.read += n as u64;
            return Ok(n);
        }
        let waits = self.signs.waits.load(Ordering::Acquire) && self.last != b'\n' && !out.is_empty();
        if waits && !self.is_quiet(&found) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(0)
    }
}

/// Length and last change of a file that was read to its end, where they tell whether it changes later.
pub(super) fn still(file: &File) -> Option<(u64, i64, i64)> {
    let found = file.metadata().ok()?;
    let (seconds, nanos) = changed(&found);
    tells(&found, SystemClock::default().unix_ms()).then_some((found.len(), seconds, nanos))
}

/// Whether a later change would change the time of the last one: times are no finer than a tick of the machine.
fn tells(found: &Metadata, now_ms: i64) -> bool {
    let (seconds, nanos) = changed(found);
    now_ms - (seconds * 1_000 + nanos / 1_000_000) > FILE_TIMES_TELL.as_millis() as i64
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn watched(path: &std::path::Path) -> (Watched, Arc<Signs>) {
        let signs = Arc::new(Signs::default());
        (Watched::new(Arc::new(File::open(path).unwrap()), Arc::clone(&signs)).unwrap(), signs)
    }

    #[test]
    fn a_file_that_is_cut_or_written_over_is_an_error_and_one_that_grows_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let mut part = [0; 4];
        let begin = || {
            std::fs::write(&path, "first line\n").unwrap();
            let (mut watched, signs) = watched(&path);
            assert_eq!(watched.read(&mut [0; 4]).unwrap(), 4);
            (watched, signs)
        };
        let (mut reader, signs) = begin();
        File::options().append(true).open(&path).unwrap().write_all(b"more\n").unwrap();
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "t line\nmore\n");
        assert!(!signs.cut.load(Ordering::Acquire));
        for (new, what) in [("", "shorter"), ("abc", "shorter"), ("another first line\n", "written over")] {
            let (mut reader, signs) = begin();
            std::fs::write(&path, new).unwrap();
            let error = input::failed(&reader.read(&mut part).unwrap_err());
            assert!(error.code() == Code::S002 && error.to_string().contains(what), "{error}");
            assert!(signs.cut.load(Ordering::Acquire));
        }
    }

    #[test]
    fn a_last_line_without_its_end_waits_while_the_file_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "a\nb").unwrap();
        let (mut reader, signs) = watched(&path);
        signs.waits.store(true, Ordering::Release);
        let mut part = [0; 16];
        assert_eq!(reader.read(&mut part).unwrap(), 3);
        assert_eq!(reader.read(&mut part).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"c\n").unwrap();
        assert_eq!(reader.read(&mut part).unwrap(), 2);
        assert_eq!(reader.read(&mut part).unwrap(), 0, "whole lines wait for nothing");
        file.write_all(b"d").unwrap();
        assert_eq!(reader.read(&mut part).unwrap(), 1);
        let old = std::time::SystemTime::now() - Duration::from_secs(60);
        file.set_times(std::fs::FileTimes::new().set_modified(old)).unwrap();
        assert_eq!(reader.read(&mut part).unwrap(), 0, "nobody writes to it any more");
    }
}
