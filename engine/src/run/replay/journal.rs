//! Which dead letters have been replayed: a file of their identities in the state folder, one a line.
//!
//! Positions would not do: a replay takes the letters that its filters choose, a file of letters may be removed and
//! begun anew, and a letter may have been written twice.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Result};

/// Names a failure of a record.
pub type Identity = [u8; 16];

/// Letters that have been replayed.
pub struct Replayed {
    path: PathBuf,
    known: HashSet<Identity>,
    /// What is added is written here; `None`: only looked at.
    file: Option<File>,
    /// Held, not read: the lock ends with it.
    _lock: Option<File>,
}

impl Replayed {
    /// What has been replayed, to look at.
    pub fn look(folder: &Path, pipeline: &str) -> Result<Self> {
        let path = folder.join(format!("{pipeline}.replayed"));
        let mut replayed = Self { path, known: HashSet::new(), file: None, _lock: None };
        match File::open(&replayed.path) {
            Ok(file) => {
                replayed.read(&file)?;
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(replayed.failed("read", &e)),
        }
        Ok(replayed)
    }

    /// The same to add to; makes the folder. Two replays of one pipeline at a time would do the same letters.
    pub fn open(folder: &Path, pipeline: &str) -> Result<Self> {
        let failed = |e: std::io::Error| {
            Error::external(Code::X003, format!("cannot write to {}: {e}", folder.display()))
                .help("choose another folder with `--state`")
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let name = folder.join(format!("{pipeline}.replay.lock"));
        let lock = File::options().create(true).append(true).open(name).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let text = format!("another replay of `{pipeline}` is running in {}", folder.display());
                return Err(Error::external(Code::K006, text).help("wait until it has ended"));
            }
            Err(std::fs::TryLockError::Error(e)) => return Err(failed(e)),
        }
        let path = folder.join(format!("{pipeline}.replayed"));
        let file = File::options().create(true).read(true).write(true).truncate(false).open(&path);
        let mut file = file.map_err(failed)?;
        let mut replayed = Self { path, known: HashSet::new(), file: None, _lock: Some(lock) };
        let whole = replayed.read(&file)?;
        // A line that a crash cut short is written anew by the replay that comes again.
        let cut = file.set_len(whole).and_then(|()| file.seek(SeekFrom::End(0)));
        cut.map_err(|e| replayed.failed("mend", &e))?;
        replayed.file = Some(file);
        Ok(replayed)
    }

    fn failed(&self, what: &str, e: &std::io::Error) -> Error {
        Error::external(Code::X003, format!("cannot {what} {}: {e}", self.path.display()))
    }

    /// Reads all whole lines; answers where they end.
    fn read(&mut self, file: &File) -> Result<u64> {
        let mut reader = BufReader::new(file);
        let (mut line, mut whole) = (Vec::new(), 0);
        loop {
            line.clear();
            let len = reader.read_until(b'\n', &mut line).map_err(|e| self.failed("read", &e))?;
            if line.pop() != Some(b'\n') {
                return Ok(whole);
            }
            let Some(identity) = parse(&line) else {
                let text = format!("{} holds something else than it should", self.path.display());
                return Err(
                    Error::external(Code::X003, text).help("remove it: all letters can be replayed then")
                );
            };
            self.known.insert(identity);
            whole += len as u64;
        }
    }

    /// Whether it has been replayed.
    pub fn contains(&self, identity: &Identity) -> bool {
        self.known.contains(identity)
    }

    /// Remembers letters, durably.
    pub fn add(&mut self, identities: impl Iterator<Item = Identity>) -> Result<()> {
        let mut text = String::new();
        for identity in identities.filter(|identity| self.known.insert(*identity)) {
            identity.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
            text.push('\n');
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
        written.map_err(|e| self.failed("write", &e))
    }
}

fn parse(line: &[u8]) -> Option<Identity> {
    let text = std::str::from_utf8(line).ok()?;
    let number = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32)?;
    Some(number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_replayed_is_remembered_and_a_cut_line_is_mended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.replayed");
        assert!(!Replayed::look(folder.path(), "p").unwrap().contains(&[0; 16]));
        let mut first = Replayed::open(folder.path(), "p").unwrap();
        assert_eq!(Replayed::open(folder.path(), "p").err().unwrap().code(), Code::K006);
        first.add([[0; 16], [0xfe; 16], [0; 16]].into_iter()).unwrap();
        drop(first);
        let mut text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        text.push_str("0102");
        std::fs::write(&path, text).unwrap();
        let mut again = Replayed::open(folder.path(), "p").unwrap();
        assert!(again.contains(&[0; 16]) && again.contains(&[0xfe; 16]) && !again.contains(&[1; 16]));
        again.add([[1; 16]].into_iter()).unwrap();
        assert!(Replayed::look(folder.path(), "p").unwrap().contains(&[1; 16]));
    }

    #[test]
    fn another_file_is_not_taken_for_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p.replayed"), "precious\n").unwrap();
        for error in [Replayed::look(folder.path(), "p").err(), Replayed::open(folder.path(), "p").err()] {
            assert_eq!(error.unwrap().code(), Code::X003);
        }
    }
}
