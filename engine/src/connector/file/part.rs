//! One file under way. Its writer fills a buffer in memory and never sees the disk; the buffer is written to the
//! disk by steps that can be tried again, so that a full disk neither loses nor repeats a row.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;

use crate::batch::Batch;
use crate::codec::{Format, RowWriter};
use crate::error::{Code, Error, Result};
use crate::units::WRITE_BUFFER_BYTES;

/// Bytes that the writer gave and the disk has not taken.
#[derive(Clone, Default)]
struct Waiting(Arc<Mutex<Vec<u8>>>);

impl Write for Waiting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One file under way.
pub(super) struct Part {
    hidden: PathBuf,
    visible: PathBuf,
    /// Closed once the file is complete: many may wait for their epoch.
    file: Option<File>,
    waiting: Waiting,
    writer: Box<dyn RowWriter>,
    finished: bool,
    rows: u64,
    /// Bytes on the disk.
    written: u64,
}

impl Part {
    pub(super) fn create(folder: &Path, name: &str, format: &dyn Format, schema: &SchemaRef) -> Result<Self> {
        let hidden = folder.join(format!(".{name}.tmp"));
        let visible = folder.join(name);
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(&hidden)
            .map_err(|e| failed("created", &hidden, &e))?;
        Self::over(file, hidden, visible, format, schema)
    }

    fn over(
        file: File,
        hidden: PathBuf,
        visible: PathBuf,
        format: &dyn Format,
        schema: &SchemaRef,
    ) -> Result<Self> {
        let waiting = Waiting::default();
        let writer = format.writer(schema.clone(), Box::new(waiting.clone()))?;
        Ok(Self { hidden, visible, file: Some(file), waiting, writer, finished: false, rows: 0, written: 0 })
    }

    /// Bytes so far, in memory or on the disk.
    pub(super) fn bytes(&self) -> u64 {
        self.writer.bytes()
    }

    /// Takes rows; only memory is written.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<()> {
        self.writer.write(batch)?;
        self.rows += batch.len() as u64;
        Ok(())
    }

    /// Writes to the disk once enough waits.
    pub(super) fn drain(&mut self) -> Result<()> {
        let waiting = self.waiting.0.lock().unwrap_or_else(PoisonError::into_inner).len();
        if waiting >= WRITE_BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes everything to the disk. What it took before an error is not written again.
    fn flush(&mut self) -> Result<()> {
        let mut waiting = self.waiting.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut at = 0;
        let done = loop {
            if at == waiting.len() {
                break Ok(());
            }
            match file.write(&waiting[at..]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => at += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break Err(e),
            }
        };
        waiting.drain(..at);
        self.written += at as u64;
        done.map_err(|e| failed("written", &self.hidden, &e))
    }

    /// Completes the file, makes it durable and closes it; it stays hidden.
    pub(super) fn finish(&mut self) -> Result<()> {
        if !self.finished {
            self.writer.finish()?;
            self.finished = true;
        }
        self.flush()?;
        if let Some(file) = &self.file {
            file.sync_all().map_err(|e| failed("synced", &self.hidden, &e))?;
        }
        self.file = None;
        Ok(())
    }

    /// Makes it visible, under this path where that is free; returns its rows and bytes. The folder is the caller's to
    /// sync.
    pub(super) fn publish(&mut self, given: Option<&Path>) -> Result<(u64, u64)> {
        self.finish()?;
        if let Some(given) = given {
            // A link is never made over a file, whoever makes one at the same moment.
            match std::fs::hard_link(&self.hidden, given) {
                Ok(()) => {
                    std::fs::remove_file(&self.hidden).map_err(|e| failed("renamed", &self.hidden, &e))?;
                    return Ok((self.rows, self.written));
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    let (taken, other) = (given.display(), self.visible.display());
                    tracing::warn!(%taken, %other, "the name is taken, and the rows are in another file beside it");
                }
                // A file system without links.
                Err(_) if !given.exists() => self.visible = given.to_owned(),
                Err(e) => return Err(failed("renamed", &self.hidden, &e)),
            }
        }
        std::fs::rename(&self.hidden, &self.visible).map_err(|e| failed("renamed", &self.hidden, &e))?;
        Ok((self.rows, self.written))
    }

    /// Removes it.
    pub(super) fn discard(self) -> Result<()> {
        match std::fs::remove_file(&self.hidden) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("removed", &self.hidden, &e)),
            _ => Ok(()),
        }
    }
}

/// Makes renames durable.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failed("synced", folder, &e))
}

/// A full disk may be emptied and a limit raised; anything else is final.
fn failed(what: &str, path: &Path, e: &io::Error) -> Error {
    let message = format!("`{}` cannot be {what}: {e}", path.display());
    match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::passing(Code::K002, message),
        _ => Error::external(Code::K002, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl RowWriter for Nothing {
        fn write(&mut self, _: &Batch) -> Result<()> {
            Ok(())
        }
        fn bytes(&self) -> u64 {
            0
        }
        fn finish(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_passes_and_keeps_what_waits() {
        let dir = tempfile::tempdir().unwrap();
        let hidden = dir.path().join(".a.tmp");
        let mut waiting = Waiting::default();
        let mut part = Part {
            visible: dir.path().join("a"),
            file: Some(File::options().write(true).open("/dev/full").unwrap()),
            waiting: waiting.clone(),
            writer: Box::new(Nothing),
            finished: false,
            rows: 1,
            written: 0,
            hidden: hidden.clone(),
        };
        waiting.write_all(b"row\n").unwrap();
        for _ in 0..2 {
            let e = part.finish().unwrap_err();
            assert!(e.is_passing() && e.code() == Code::K002, "{e}");
        }
        // The disk has room again.
        part.file = Some(File::create(&hidden).unwrap());
        assert_eq!(part.publish(None).unwrap(), (1, 4));
        assert_eq!(std::fs::read(dir.path().join("a")).unwrap(), b"row\n");
    }
}
