//! The worker's state folder: committed positions of sources that no consumer group remembers.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::connector::position::{Kept, Mark, Partition, Positions};
use crate::error::{Code, Error, Result};

/// The positions file of one pipeline, locked while a worker has it.
pub(in crate::run) struct State {
    path: PathBuf,
    /// What the file holds: a run that reads nothing of a partition keeps its position. `None`: not read yet.
    known: Option<Contents>,
    /// Held, not read: the lock ends with it.
    _lock: File,
}

#[derive(Serialize, Deserialize, Default)]
struct Contents {
    sources: Vec<Source>,
}

#[derive(Serialize, Deserialize)]
struct Source {
    name: String,
    partitions: Vec<Position>,
}

#[derive(Serialize, Deserialize)]
struct Position {
    topic: String,
    partition: i32,
    next: i64,
    /// What a file is known by; earlier versions knew names alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<Mark>,
}

impl Contents {
    fn of(&mut self, name: &str) -> &mut Vec<Position> {
        let at = self.sources.iter().position(|s| s.name == name).unwrap_or_else(|| {
            self.sources.push(Source { name: name.to_owned(), partitions: Vec::new() });
            self.sources.len() - 1
        });
        &mut self.sources[at].partitions
    }

    /// What a source keeps itself, whole.
    fn replace(&mut self, name: &str, kept: Vec<Kept>) {
        let position = |kept: Kept| Position {
            topic: kept.partition.topic.to_string(),
            partition: kept.partition.partition,
            next: kept.next,
            file: kept.mark,
        };
        *self.of(name) = kept.into_iter().map(position).collect();
    }

    fn advance(&mut self, name: &str, positions: &Positions) {
        if positions.is_empty() {
            return;
        }
        let partitions = self.of(name);
        for (p, &next) in positions {
            let same = |known: &&mut Position| *known.topic == *p.topic && known.partition == p.partition;
            match partitions.iter_mut().find(same) {
                Some(known) => known.next = next,
                None => {
                    let topic = p.topic.to_string();
                    partitions.push(Position { topic, partition: p.partition, next, file: None });
                }
            }
        }
    }
}

impl State {
    /// Opens (and makes) the folder; two workers cannot share one pipeline's file.
    pub fn open(folder: &Path, pipeline: &str) -> Result<Self> {
        let failed = |what: &str, e: &dyn std::fmt::Display| {
            Error::external(Code::X003, format!("{what} {}: {e}", folder.display()))
                .help("choose another folder with `--state`")
        };
        std::fs::create_dir_all(folder).map_err(|e| failed("cannot make", &e))?;
        let lock = File::options()
            .create(true)
            .append(true)
            .open(folder.join(format!("{pipeline}.lock")))
            .map_err(|e| failed("cannot write to", &e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let text = format!("another worker of `{pipeline}` uses {}", folder.display());
                return Err(Error::user(Code::X003, text).help("give each worker its own `--state`"));
            }
            Err(std::fs::TryLockError::Error(e)) => return Err(failed("cannot lock", &e)),
        }
        Ok(Self { path: folder.join(format!("{pipeline}.positions.json")), known: None, _lock: lock })
    }

    /// Forgets what was saved.
    pub fn clear(&mut self) -> Result<()> {
        self.known = None;
        match std::fs::remove_file(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(self.failed("cannot remove", &e)),
            _ => Ok(()),
        }
    }

    fn failed(&self, what: &str, e: &dyn std::fmt::Display) -> Error {
        Error::external(Code::X003, format!("{what} {}: {e}", self.path.display()))
    }

    /// What was saved of a source, in the order in which it was; empty when nothing was.
    pub fn load(&self, source: &str) -> Result<Vec<Kept>> {
        let partitions =
            self.contents()?.sources.into_iter().find(|s| s.name == source).map(|s| s.partitions);
        let kept = |p: Position| Kept {
            partition: Partition { topic: Arc::from(p.topic), partition: p.partition },
            next: p.next,
            mark: p.file,
        };
        Ok(partitions.unwrap_or_default().into_iter().map(kept).collect())
    }

    fn contents(&self) -> Result<Contents> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Contents::default()),
            Err(e) => return Err(self.failed("cannot read", &e)),
        };
        serde_json::from_str(&text)
            .map_err(|e| self.failed("cannot understand", &e).help("start over with `--fresh`"))
    }

    /// Adds positions and replaces the file whole, durably: a crash leaves the old or the new. Positions of other
    /// partitions and sources stay as they were saved, but where a source says itself what is kept of it.
    pub fn save<'a>(
        &mut self,
        sources: impl Iterator<Item = (&'a str, &'a Positions, Option<Vec<Kept>>)>,
    ) -> Result<()> {
        let mut contents = match self.known.take() {
            Some(contents) => contents,
            None => self.contents()?,
        };
        sources.for_each(|(name, positions, kept)| match kept {
            Some(kept) => contents.replace(name, kept),
            None => contents.advance(name, positions),
        });
        let written = self.write(&contents);
        self.known = Some(contents);
        written
    }

    fn write(&self, contents: &Contents) -> Result<()> {
        if contents.sources.is_empty() {
            return Ok(());
        }
        // A full disk may be emptied; anything else stays, and a worker that waits for it would wait for ever.
        let failed = |e: &std::io::Error| {
            let text = format!("cannot write {}: {e}", self.path.display());
            match e.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    Error::passing(Code::X003, text)
                }
                _ => Error::external(Code::X003, text).help("choose another folder with `--state`"),
            }
        };
        let text = serde_json::to_vec_pretty(contents).map_err(|e| Error::internal(e.to_string()))?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|e| failed(&e))?;
        file.write_all(&text).map_err(|e| failed(&e))?;
        file.as_file().sync_data().map_err(|e| failed(&e))?;
        file.persist(&self.path).map_err(|e| failed(&e.error))?;
        File::open(folder).and_then(|f| f.sync_all()).map_err(|e| failed(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(at: i64) -> Positions {
        Positions::from([(Partition { topic: Arc::from("a.jsonl"), partition: 0 }, at)])
    }

    fn kept(next: i64, mark: Option<Mark>) -> Vec<Kept> {
        vec![Kept { partition: Partition { topic: Arc::from("a.jsonl"), partition: 0 }, next, mark }]
    }

    #[test]
    fn a_source_says_itself_what_is_kept_of_its_files_and_earlier_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = State::open(folder.path(), "p").unwrap();
        let earlier =
            r#"{"sources":[{"name":"s","partitions":[{"topic":"a.jsonl","partition":0,"next":7}]}]}"#;
        std::fs::write(&state.path, earlier).unwrap();
        assert_eq!(state.load("s").unwrap(), kept(7, None));
        let unended = Some(crate::connector::position::Unended { bytes: 2, print: 3 });
        let mark =
            Mark { device: 1, inode: u64::MAX, born: Some(-4), print: 5, unended, still: Some((6, 7, 8)) };
        let both = [kept(3, Some(mark.clone())), kept(9, Some(mark))].concat();
        state.save([("s", &Positions::new(), Some(both.clone()))].into_iter()).unwrap();
        drop(state);
        assert_eq!(
            State::open(folder.path(), "p").unwrap().load("s").unwrap(),
            both,
            "two files of one name"
        );
    }

    #[test]
    fn what_was_saved_is_loaded_and_fresh_forgets_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = State::open(folder.path(), "p").unwrap();
        assert!(state.load("s").unwrap().is_empty());
        state.save([("s", &positions(7), None), ("t", &positions(9), None)].into_iter()).unwrap();
        assert_eq!(state.load("s").unwrap(), kept(7, None));
        assert_eq!(state.load("t").unwrap(), kept(9, None));
        assert!(state.load("u").unwrap().is_empty());
        // A run that reads nothing, or one partition only, keeps what the runs before it committed.
        drop(state);
        let mut state = State::open(folder.path(), "p").unwrap();
        state.save([("s", &Positions::new(), None), ("t", &positions(11), None)].into_iter()).unwrap();
        assert_eq!((state.load("s").unwrap(), state.load("t").unwrap()), (kept(7, None), kept(11, None)));
        state.clear().unwrap();
        assert!(state.load("s").unwrap().is_empty());
    }

    #[test]
    fn a_folder_that_was_removed_is_an_error_and_no_endless_wait() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("state");
        let mut state = State::open(&inner, "p").unwrap();
        std::fs::remove_dir_all(&inner).unwrap();
        let error = state.save([("s", &positions(7), None)].into_iter()).err().unwrap();
        assert!(error.code() == Code::X003 && !error.is_passing(), "{error}");
    }

    #[test]
    fn a_second_worker_is_refused_and_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let first = State::open(folder.path(), "p").unwrap();
        let second = State::open(folder.path(), "p").err().unwrap();
        assert_eq!(second.code(), Code::X003);
        assert!(second.to_string().contains("--state"));
        drop(first);
        State::open(folder.path(), "p").unwrap();
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path(), "p").unwrap();
        std::fs::write(&state.path, "{").unwrap();
        assert!(state.load("s").err().unwrap().to_string().contains("--fresh"));
    }
}
