//! The file of dead letters: JSON lines, appended by one worker.

use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::Line;
use crate::error::{Code, Error, Result};

/// Appends dead letters to a file of JSON lines, durable at each `sync`.
pub struct File {
    path: PathBuf,
    file: BufWriter<std::fs::File>,
    /// Length at the last `sync`: what an abort goes back to.
    durable: u64,
    pending: u64,
}

impl File {
    /// Opens or makes the file. A line that a crash cut short is cut off: its record comes again.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |what: &str, e: std::io::Error| {
            Error::external(Code::K004, format!("cannot {what} {}: {e}", path.display()))
                .help("choose another file with `dead_letters: { file: { path: … } }`")
        };
        let mut file = std::fs::File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(path)
            .map_err(|e| failed("open", e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let text = format!("another worker writes its dead letters to {}", path.display());
                return Err(Error::user(Code::K004, text)
                    .help("give each worker a file of its own: `dead_letters: { file: { path: … } }`, for example by `--set`"));
            }
            Err(std::fs::TryLockError::Error(e)) => return Err(failed("lock", e)),
        }
        let durable = whole_lines(&mut file).map_err(|e| failed("read", e))?;
        file.set_len(durable).map_err(|e| failed("mend", e))?;
        file.seek(SeekFrom::End(0)).map_err(|e| failed("append to", e))?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file), durable, pending: 0 })
    }

    /// Whether a worker writes to the file now.
    pub fn is_taken(path: &Path) -> bool {
        let open = std::fs::File::options().read(true).write(true).open(path);
        open.is_ok_and(|file| matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
    }

    fn failed(&self, e: &std::io::Error) -> Error {
        Error::external(Code::K004, format!("cannot write {}: {e}", self.path.display()))
    }

    /// Appends one letter; durable at the next `sync`.
    pub fn append(&mut self, letter: &Line<'_>) -> Result<()> {
        let mut line = serde_json::to_vec(letter).map_err(|e| Error::internal(e.to_string()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(|e| self.failed(&e))?;
        self.pending += 1;
        Ok(())
    }

    /// Makes everything durable; answers how many letters that were.
    pub fn sync(&mut self) -> Result<u64> {
        if self.pending > 0 {
            self.file.flush().map_err(|e| self.failed(&e))?;
            self.file.get_ref().sync_data().map_err(|e| self.failed(&e))?;
            self.durable = self.file.stream_position().map_err(|e| self.failed(&e))?;
        }
        Ok(std::mem::take(&mut self.pending))
    }

    /// Takes back what was appended since the last `sync`.
    pub fn abort(&mut self) -> Result<()> {
        self.pending = 0;
        self.file.flush().map_err(|e| self.failed(&e))?;
        self.file.get_ref().set_len(self.durable).map_err(|e| self.failed(&e))?;
        self.file.seek(SeekFrom::Start(self.durable)).map_err(|e| self.failed(&e))?;
        Ok(())
    }
}

/// What every line of ours begins with.
const BEGIN: &[u8] = b"{\"pipeline\":";

/// Length of a file up to its last line end. What lies behind it is a line of ours that a crash cut short; anything
/// else is another's file, and an error.
fn whole_lines(file: &mut std::fs::File) -> std::io::Result<u64> {
    const BLOCK: u64 = 64 << 10;
    let len = file.metadata()?.len();
    let mut end = len;
    let mut block = vec![0; BLOCK as usize];
    let mut whole = 0;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let part = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            whole = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    let ours = |file: &mut std::fs::File, at: u64, len: u64| -> std::io::Result<bool> {
        let mut begin = vec![0; len.min(BEGIN.len() as u64) as usize];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut begin)?;
        Ok(BEGIN.starts_with(&begin))
    };
    if !ours(file, 0, len)? || !ours(file, whole, len - whole)? {
        return Err(std::io::Error::other("it holds something else than dead letters"));
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(message: &str, value: &[u8]) -> Line<'static> {
        Line {
            pipeline: "p".into(),
            source: Some("in".into()),
            stage: "s".into(),
            component: None,
            kind: "decode".into(),
            message: message.to_owned().into(),
            topic: "t".into(),
            partition: 3,
            offset: 42,
            timestamp: Some(7),
            columns: None,
            attempt: 1,
            failed_at: 9,
            key: None,
            value: Some(value.into()),
            headers: vec![(b"h".as_slice().into(), None)],
        }
    }

    #[test]
    fn letters_are_lines_and_bytes_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.jsonl");
        let mut file = File::open(&path).unwrap();
        file.append(&letter("a", b"text \"quoted\"\n")).unwrap();
        file.append(&letter("b", &[0xff, 0x00])).unwrap();
        assert_eq!(file.sync().unwrap(), 2);
        let lines: Vec<serde_json::Value> = std::fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0]["value"], "text \"quoted\"\n");
        assert_eq!(lines[1]["value"]["base64"], "/wA=");
        assert_eq!((&lines[1]["offset"], &lines[1]["kind"]), (&42.into(), &"decode".into()));
    }

    #[test]
    fn an_abort_takes_back_and_a_cut_line_is_mended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.jsonl");
        let mut file = File::open(&path).unwrap();
        file.append(&letter("kept", b"1")).unwrap();
        file.sync().unwrap();
        file.append(&letter("void", b"2")).unwrap();
        file.abort().unwrap();
        file.append(&letter("next", b"3")).unwrap();
        file.sync().unwrap();
        drop(file);
        let mut text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("kept") && text.contains("next") && !text.contains("void"));
        text.push_str("{\"pipeline\":\"p\", cut");
        std::fs::write(&path, &text).unwrap();
        let mut file = File::open(&path).unwrap();
        file.append(&letter("last", b"4")).unwrap();
        file.sync().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    }

    #[test]
    fn a_file_of_something_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keep.json");
        for text in ["{\"precious\": 1}", "{\"precious\": 1}\n", "a\nb"] {
            std::fs::write(&path, text).unwrap();
            let error = File::open(&path).err().unwrap();
            assert!(error.to_string().contains("something else"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn two_workers_never_share_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.jsonl");
        let first = File::open(&path).unwrap();
        let error = File::open(&path).err().unwrap();
        assert!(error.to_string().contains("another worker"), "{error}");
        drop(first);
        File::open(&path).unwrap();
    }
}
