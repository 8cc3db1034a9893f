//! What the readers of containers share. Libraries read them, on a thread of their own: a panic there, or a call that
//! never ends, is an error that names the file.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use arrow::array::RecordBatch;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::codec::RowReader;
use crate::error::{Code, Error, Result};
use crate::units::{CONTAINER_BYTES_PER_SECOND, CONTAINER_LOOK, CONTAINER_STACK_BYTES, CONTAINER_STALL};

/// The name of the threads on which libraries read: a panic there is caught and is no defect of ours.
pub const THREAD: &str = "container reader";

/// What to do about a file that is broken.
const HELP: &str = "write the file again, or leave it out of `path`";

/// A file that is read at places, and that tells how far reading is.
#[derive(Clone)]
pub(super) struct Source {
    file: Arc<File>,
    length: u64,
    place: Arc<str>,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Progress {
    reads: AtomicU64,
    bytes: AtomicU64,
    reading: AtomicBool,
}

impl Source {
    fn open(path: &Path) -> Result<Self> {
        let place: Arc<str> = path.display().to_string().into();
        let unopened = |e: io::Error| {
            Error::external(Code::S001, format!("cannot be opened: {e}")).context(place.to_string())
        };
        let file = File::open(path).map_err(unopened)?;
        let length = file.metadata().map_err(unopened)?.len();
        Ok(Self { file: Arc::new(file), length, place, progress: Arc::default() })
    }

    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Fills a buffer from a place on.
    pub fn fill(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let progress = &self.progress;
        progress.reading.store(true, Ordering::Release);
        let read = self.file.read_exact_at(buffer, at);
        progress.bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        progress.reads.fetch_add(1, Ordering::Relaxed);
        progress.reading.store(false, Ordering::Release);
        read
    }

    /// So many bytes from a place on, which lie within the file.
    pub fn bytes(&self, at: u64, length: usize) -> Result<Vec<u8>> {
        if at.checked_add(length as u64).is_none_or(|end| end > self.length) {
            let text = format!("it ends at {}, before the {length} bytes at {at}", self.length);
            return Err(self.broken(text));
        }
        let mut buffer = vec![0; length];
        self.fill(&mut buffer, at).map_err(|e| self.unread(&e))?;
        Ok(buffer)
    }

    /// A read failed, or the file has become shorter.
    pub fn unread(&self, e: &io::Error) -> Error {
        if e.kind() == io::ErrorKind::UnexpectedEof {
            return self.broken("it became shorter while it was read");
        }
        Error::external(Code::S002, format!("cannot be read: {e}")).context(self.place.to_string())
    }

    /// The contents contradict each other or themselves.
    pub fn broken(&self, what: impl std::fmt::Display) -> Error {
        broken(&self.place, what)
    }

    /// The file is whole, but not for this worker.
    pub fn refused(&self, what: impl Into<String>, help: impl Into<String>) -> Error {
        Error::user(Code::S002, what).context(self.place.to_string()).help(help)
    }
}

fn broken(place: &str, what: impl std::fmt::Display) -> Error {
    Error::user(Code::S002, format!("is damaged: {what}")).context(place.to_owned()).help(HELP)
}

/// Reads from a place on, through a buffer of the caller's.
pub(super) struct Cursor {
    source: Source,
    at: u64,
}

impl Source {
    /// Reads from a place on.
    pub fn cursor(&self, at: u64) -> Cursor {
        Cursor { source: self.clone(), at }
    }
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.source.length.saturating_sub(self.at);
        let n = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.source.fill(&mut buffer[..n], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// Waits for what the thread of a library answers.
struct Watch {
    place: Arc<str>,
    progress: Arc<Progress>,
}

impl Watch {
    fn of(source: &Source) -> Self {
        Self { place: Arc::clone(&source.place), progress: Arc::clone(&source.progress) }
    }

    /// The answer, or an error where nothing was read of the file for long. A read that the system does not answer is
    /// waited for: that is no matter of what is in the file.
    fn answer<T>(&self, answers: &Receiver<Result<T>>) -> Result<T> {
        let Progress { reads, bytes, reading } = &*self.progress;
        let begin = bytes.load(Ordering::Relaxed);
        let (mut seen, mut looks) = (reads.load(Ordering::Relaxed), 0);
        loop {
            match answers.recv_timeout(CONTAINER_LOOK) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(broken(&self.place, "the library that reads it ended without an answer"));
                }
                Err(RecvTimeoutError::Timeout) => looks += 1,
            }
            let now = reads.load(Ordering::Relaxed);
            if now != seen || reading.load(Ordering::Acquire) {
                (seen, looks) = (now, 0);
            }
            let read = bytes.load(Ordering::Relaxed) - begin;
            let allowed = CONTAINER_STALL.as_secs() + read / CONTAINER_BYTES_PER_SECOND;
            if CONTAINER_LOOK * looks >= std::time::Duration::from_secs(allowed) {
                let text = format!("the library that reads it came no further for {allowed} s");
                return Err(broken(&self.place, text));
            }
        }
    }
}

/// Calls a library; its panic is an error.
fn caught<T>(place: &str, call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it says nothing");
        Err(broken(place, format!("the library that reads it gave up ({said})")))
    })
}

fn start(place: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    // Nobody waits for this thread: it ends with its reader, or with the process if it is endless.
    let builder = thread::Builder::new().name(THREAD.into()).stack_size(CONTAINER_STACK_BYTES);
    builder.spawn(work).map(|_| ()).map_err(|e| {
        Error::external(Code::S002, format!("no thread to read it: {e}")).context(place.to_owned())
    })
}

/// Asks a library one question about a file.
pub(super) fn ask<T: Send + 'static>(
    path: &Path,
    question: impl FnOnce(&Source) -> Result<T> + Send + 'static,
) -> Result<T> {
    let source = Source::open(path)?;
    let watch = Watch::of(&source);
    let (give, answers) = bounded(1);
    start(&watch.place, move || {
        // Whoever asked may have given up.
        let _ = give.send(caught(&source.place, || question(&source)));
    })?;
    watch.answer(&answers)
}

/// Reads a file by a library.
pub(super) fn read<R: RowReader + 'static>(
    path: &Path,
    open: impl FnOnce(Source) -> Result<R> + Send + 'static,
) -> Result<Box<dyn RowReader>> {
    let source = Source::open(path)?;
    let watch = Watch::of(&source);
    let (ask, asked) = bounded(1);
    let (give, answers) = bounded(1);
    start(&watch.place, move || serve(source, open, &asked, &give))?;
    watch.answer(&answers)?;
    Ok(Box::new(Reader { watch, ask, answers }))
}

/// Opens a file, then reads a batch for each question.
fn serve<R: RowReader>(
    source: Source,
    open: impl FnOnce(Source) -> Result<R>,
    asked: &Receiver<()>,
    give: &Sender<Result<Option<RecordBatch>>>,
) {
    let place = Arc::clone(&source.place);
    let mut reader = match caught(&place, || open(source)) {
        Ok(reader) => reader,
        Err(e) => return drop(give.send(Err(e))),
    };
    let mut answer = Ok(None);
    loop {
        let failed = answer.is_err();
        if give.send(answer).is_err() || failed || asked.recv().is_err() {
            return;
        }
        answer = caught(&place, || reader.next());
    }
}

/// The side of the reader that the lane holds.
struct Reader {
    watch: Watch,
    ask: Sender<()>,
    answers: Receiver<Result<Option<RecordBatch>>>,
}

impl RowReader for Reader {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        // A thread that is gone has answered with its error before; the wait tells.
        let _ = self.ask.send(());
        self.watch.answer(&self.answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"0123456789").unwrap();
        file
    }

    #[test]
    fn a_library_that_panics_or_loops_is_an_error_that_names_the_file() {
        let file = file();
        let name = file.path().display().to_string();
        let panics: Result<()> = ask(file.path(), |_| panic!("slice index 7"));
        let loops: Result<()> = ask(file.path(), |_| {
            loop {
                thread::park();
            }
        });
        for (error, what) in [(panics.unwrap_err(), "slice index 7"), (loops.unwrap_err(), "no further")] {
            assert_eq!(error.code(), Code::S002);
            assert!(error.to_string().contains(what) && error.to_string().contains(&name), "{error}");
        }
    }

    #[test]
    fn a_reader_that_panics_fails_and_is_not_asked_again() {
        struct Once(bool);
        impl RowReader for Once {
            fn next(&mut self) -> Result<Option<RecordBatch>> {
                assert!(std::mem::take(&mut self.0), "second");
                Ok(None)
            }
        }
        let file = file();
        let mut reader = read(file.path(), |_| Ok(Once(true))).unwrap();
        assert!(reader.next().unwrap().is_none());
        for _ in 0..2 {
            assert_eq!(reader.next().unwrap_err().code(), Code::S002);
        }
    }

    #[test]
    fn a_file_that_becomes_shorter_is_noticed() {
        let file = file();
        let error = ask(file.path(), {
            let path = file.path().to_owned();
            move |source| {
                assert_eq!(source.bytes(8, 2)?, b"89");
                assert!(source.bytes(8, 3).unwrap_err().to_string().contains("before the 3 bytes"));
                File::options().write(true).open(&path).unwrap().set_len(5).unwrap();
                source.bytes(8, 2)
            }
        });
        assert!(error.unwrap_err().to_string().contains("shorter"));
    }
}
