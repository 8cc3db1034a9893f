//! What is known of the files of a source: where each goes on, what it is known by, what is committed.
//!
//! A file is known by what the file system knows it by, and by a checksum of the records that were read of it. Its name
//! may change, another file may have its name, and its contents may move to another file (a log that is copied and cut,
//! or packed): positions follow the records.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::names::{Id, Input, path_of};
use crate::connector::position::{Kept, Mark, Partition, Positions};
use crate::connector::source::Control;
use crate::error::{Error, Result};
use crate::units::FILES_REMEMBERED_MAX;

/// The files of a source; the part that its lanes share.
#[derive(Default)]
pub(super) struct Known(Mutex<State>);

#[derive(Default)]
struct State {
    /// Files that are not there now: their names may return.
    unseen: Vec<Kept>,
    files: BTreeMap<Partition, Progress>,
    /// What ends the run once all that was read of this file is committed.
    fault: Option<(Partition, Error)>,
}

#[derive(Default)]
struct Progress {
    /// What is committed.
    at: i64,
    mark: Option<Mark>,
    /// What was handed out since, batch by batch.
    later: VecDeque<(i64, Mark)>,
    handed: i64,
}

impl Known {
    pub(super) fn new(files: Vec<Kept>, unseen: Vec<Kept>) -> Self {
        let progress = |kept: Kept| {
            let (at, mark) = (kept.next, kept.mark);
            (kept.partition, Progress { at, mark, later: VecDeque::new(), handed: at })
        };
        Self(Mutex::new(State { unseen, files: files.into_iter().map(progress).collect(), fault: None }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the file is known by at a position.
    pub(super) fn mark(&self, partition: &Partition, next: i64) -> Option<Mark> {
        let state = self.lock();
        let progress = state.files.get(partition)?;
        if progress.at == next {
            return progress.mark.clone();
        }
        progress.later.iter().rev().find(|(at, _)| *at == next).map(|(_, mark)| mark.clone())
    }

    /// A batch was handed out.
    pub(super) fn handed(&self, partition: &Partition, next: i64, mark: Mark) {
        let mut state = self.lock();
        let progress = state.files.entry(partition.clone()).or_default();
        progress.later.push_back((next, mark));
        progress.handed = next;
    }

    /// The file was read to its end, and did not change before.
    pub(super) fn ended(&self, partition: &Partition, still: Option<(u64, i64, i64)>) {
        let mut state = self.lock();
        let Some(progress) = state.files.get_mut(partition) else { return };
        let mark = progress.later.back_mut().map(|(_, mark)| mark).or(progress.mark.as_mut());
        if let Some(mark) = mark {
            mark.still = still;
        }
    }

    /// What was handed out since a position is void.
    pub(super) fn back(&self, partition: &Partition, to: i64) {
        let mut state = self.lock();
        if let Some(progress) = state.files.get_mut(partition) {
            progress.later.clear();
            progress.handed = to;
        }
    }

    /// Ends the run with this error, once all that was read of the file is committed.
    pub(super) fn fail(&self, partition: Partition, error: Error) {
        self.lock().fault.get_or_insert((partition, error));
    }
}

impl Control for Known {
    fn poll(&self, wait: Duration) -> Result<()> {
        std::thread::sleep(wait);
        let state = self.lock();
        let Some((partition, fault)) = &state.fault else { return Ok(()) };
        let is_committed = state.files.get(partition).is_none_or(|file| file.handed == file.at);
        if is_committed { Err(fault.clone()) } else { Ok(()) }
    }

    fn commit(&self, positions: &Positions) -> Result<()> {
        let mut state = self.lock();
        for (partition, at) in positions {
            let Some(progress) = state.files.get_mut(partition) else { continue };
            while let Some((next, mark)) = progress.later.pop_front_if(|(next, _)| *next <= *at) {
                (progress.at, progress.mark) = (next, Some(mark));
            }
        }
        Ok(())
    }

    fn kept(&self) -> Option<Vec<Kept>> {
        let state = self.lock();
        let unseen = state.unseen.len().saturating_sub(FILES_REMEMBERED_MAX);
        let seen = state.files.iter().filter(|(_, progress)| progress.at > 0);
        let seen = seen.map(|(partition, progress)| Kept {
            partition: partition.clone(),
            next: progress.at,
            mark: progress.mark.clone(),
        });
        Some(state.unseen[unseen..].iter().cloned().chain(seen).collect())
    }

    fn close(&self) -> Result<()> {
        self.lock().fault.clone().map_or(Ok(()), |(_, fault)| Err(fault))
    }
}

/// Which position belongs to which file, and those that belong to none.
///
/// `holds` tells whether a file begins with the records of a mark, and `is_packed` whether it is compressed.
pub(super) fn recall(
    inputs: &[Input],
    kept: Vec<Kept>,
    holds: &dyn Fn(&Path, &Mark, i64) -> bool,
    is_packed: &dyn Fn(&Path) -> bool,
) -> (Vec<Kept>, Vec<Kept>) {
    let mut kept: Vec<Option<Kept>> = kept.into_iter().map(Some).collect();
    let mut found: Vec<Option<Kept>> = inputs.iter().map(|_| None).collect();
    let mut pass = |fits: &dyn Fn(&Kept, &str, &Id) -> bool| {
        for (input, found) in inputs.iter().zip(&mut found) {
            let Input::File(_, id) = input else { continue };
            if found.is_none() {
                let name = input.name();
                // The latest one: an inode may have been used more than once.
                let at =
                    kept.iter().rposition(|kept| kept.as_ref().is_some_and(|kept| fits(kept, &name, id)));
                *found = at.and_then(|at| kept[at].take());
            }
        }
    };
    pass(&|kept, name, id| is_of(kept, id) && &*kept.partition.topic == name);
    pass(&|kept, _, id| is_of(kept, id));
    // Positions of earlier versions know names alone.
    pass(&|kept, name, _| kept.mark.is_none() && &*kept.partition.topic == name);
    for at in 0..inputs.len() {
        let Input::File(path, id) = &inputs[at] else { continue };
        if found[at].is_some() {
            continue;
        }
        // A log that was copied and cut: the copy goes on where the log was, and the log begins again.
        let copied = (0..inputs.len()).filter(|other| {
            let (Input::File(from, _), Some(kept)) = (&inputs[*other], &found[*other]) else { return false };
            let Some(mark) = kept.mark.as_ref().filter(|_| kept.next > 0) else { return false };
            are_related(from, path) && !holds(from, mark, kept.next) && holds(path, mark, kept.next)
        });
        let copied = copied.max_by_key(|other| found[*other].as_ref().map(|kept| kept.next));
        // A log that was packed: it is gone, and the packed one holds what was read.
        let packed = || {
            let is_it = |kept: &Kept| {
                let mark = kept.mark.as_ref().filter(|_| kept.next > 0);
                mark.is_some_and(|mark| {
                    are_related(&path_of(&kept.partition.topic), path) && holds(path, mark, kept.next)
                })
            };
            let all = (0..kept.len()).filter(|at| kept[*at].as_ref().is_some_and(is_it));
            all.max_by_key(|at| kept[*at].as_ref().map(|kept| kept.next))
        };
        let moved = match copied {
            Some(other) => found[other].take(),
            None if is_packed(path) => packed().and_then(|at| kept[at].take()),
            None => None,
        };
        found[at] = moved.map(|kept| Kept { mark: kept.mark.map(|mark| moved_to(mark, id)), ..kept });
    }
    let named = |(input, found): (&Input, Option<Kept>)| {
        let partition = Partition { topic: input.name(), partition: 0 };
        found.map_or(Kept { partition: partition.clone(), next: 0, mark: None }, |kept| Kept {
            partition,
            ..kept
        })
    };
    (inputs.iter().zip(found).map(named).collect(), kept.into_iter().flatten().collect())
}

fn is_of(kept: &Kept, id: &Id) -> bool {
    let own = kept.mark.as_ref().map(|mark| Id { device: mark.device, inode: mark.inode, born: mark.born });
    own.is_some_and(|own| own.is(id))
}

fn moved_to(mark: Mark, id: &Id) -> Mark {
    Mark { device: id.device, inode: id.inode, born: id.born, still: None, ..mark }
}

/// Whether one file may have been rotated to the other: `app.log` to `app.log.1`, `app.1.log` or `app-20261129.log.gz`.
fn are_related(from: &Path, to: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let (Some(from_name), Some(to_name)) = (from.file_name(), to.file_name()) else { return false };
    let (from_name, to_name) = (from_name.as_bytes(), to_name.as_bytes());
    let stem = from_name.split(|byte| *byte == b'.').next().unwrap_or_default();
    let rest = to_name.strip_prefix(stem).filter(|_| !stem.is_empty());
    let is_same = rest.is_some_and(|rest| !rest.first().is_some_and(u8::is_ascii_alphanumeric));
    is_same && from.parent() == to.parent()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(inode: u64) -> Id {
        Id { device: 1, inode, born: None }
    }

    fn file(name: &str, inode: u64) -> Input {
        Input::File(name.into(), id(inode))
    }

    fn kept(name: &str, inode: u64, next: i64) -> Kept {
        let mark = Mark { device: 1, inode, born: None, print: next as u32, unended: None, still: None };
        Kept { partition: Partition { topic: name.into(), partition: 0 }, next, mark: Some(mark) }
    }

    /// What goes on where, where only these files hold what was read of them.
    fn recalled(inputs: &[Input], all: Vec<Kept>, held: &[(&str, i64)]) -> (Vec<i64>, usize) {
        let holds = |path: &Path, _: &Mark, next: i64| held.contains(&(path.to_str().unwrap(), next));
        let is_packed = |path: &Path| path.to_str().unwrap().ends_with(".gz");
        let (found, unseen) = recall(inputs, all, &holds, &is_packed);
        for (input, found) in inputs.iter().zip(&found) {
            assert_eq!(input.name(), found.partition.topic);
        }
        (found.iter().map(|kept| kept.next).collect(), unseen.len())
    }

    #[test]
    fn positions_follow_the_file_through_its_names() {
        let rotated = [file("/l/app.log", 2), file("/l/app.log.1", 1)];
        assert_eq!(recalled(&rotated, vec![kept("/l/app.log", 1, 3)], &[]), (vec![0, 3], 0));
        // One that is no longer seen is remembered.
        assert_eq!(recalled(&rotated[..1], vec![kept("/l/app.log", 1, 3)], &[]), (vec![0], 1));
        let both = vec![kept("/l/app.log", 1, 3), kept("/l/app.log", 2, 5)];
        assert_eq!(recalled(&rotated, both, &[]), (vec![5, 3], 0), "two of one name");
        let old = Kept { mark: None, ..kept("/l/app.log", 0, 7) };
        assert_eq!(recalled(&rotated, vec![old], &[]), (vec![7, 0], 0), "a position of an earlier version");
        let linked = [file("/l/a", 1), file("/l/b", 2)];
        assert_eq!(
            recalled(&linked, vec![kept("/l/b", 1, 3), kept("/l/a", 2, 4)], &[]),
            (vec![3, 4], 0),
            "swapped"
        );
    }

    #[test]
    fn a_log_that_was_copied_and_cut_or_packed_is_followed_to_its_copy() {
        let inputs = [file("/l/app.log", 1), file("/l/app.log.1", 2), file("/l/apple.log", 3)];
        let all = || vec![kept("/l/app.log", 1, 3)];
        assert_eq!(recalled(&inputs, all(), &[("/l/app.log.1", 3), ("/l/apple.log", 3)]), (vec![0, 3, 0], 0));
        assert_eq!(
            recalled(&inputs, all(), &[("/l/app.log", 3), ("/l/app.log.1", 3)]),
            (vec![3, 0, 0], 0),
            "a copy"
        );
        assert_eq!(
            recalled(&inputs, all(), &[]),
            (vec![3, 0, 0], 0),
            "cut without a copy: its reader finds out"
        );
        let packed = [file("/l/app.log", 5), file("/l/app.log.2.gz", 4), file("/l/other.log.gz", 6)];
        let all = vec![kept("/l/app.log.1", 1, 3), kept("/l/app.log", 5, 2)];
        assert_eq!(
            recalled(&packed, all, &[("/l/app.log.2.gz", 3), ("/l/other.log.gz", 3)]),
            (vec![2, 3, 0], 0)
        );
    }

    #[test]
    fn a_commit_keeps_the_mark_of_its_position_and_a_fault_waits_for_it() {
        let partition = Partition { topic: "/a".into(), partition: 0 };
        let known = Known::new(vec![Kept { next: 0, mark: None, partition: partition.clone() }], Vec::new());
        let mark = |next: i64| kept("/a", 1, next).mark.unwrap();
        for next in [2, 4, 6] {
            known.handed(&partition, next, mark(next));
        }
        known.fail(partition.clone(), Error::internal("cut"));
        known.commit(&Positions::from([(partition.clone(), 4)])).unwrap();
        assert_eq!(known.kept().unwrap(), [kept("/a", 1, 4)]);
        assert_eq!((known.mark(&partition, 4), known.mark(&partition, 6)), (Some(mark(4)), Some(mark(6))));
        assert!(known.poll(Duration::ZERO).is_ok(), "two records are not committed");
        known.commit(&Positions::from([(partition.clone(), 6)])).unwrap();
        assert!(known.poll(Duration::ZERO).is_err() && known.close().is_err());
        known.back(&partition, 6);
        known.ended(&partition, Some((9, 1, 1)));
        assert_eq!(known.kept().unwrap()[0].mark.as_ref().unwrap().still, Some((9, 1, 1)));
    }
}
