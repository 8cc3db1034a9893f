//! The beginning of a file: what it is, its header, and the records that were committed.

use std::fs::File;
use std::io::BufReader;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::framing::{Frame, Frames};
use super::names::Id;
use super::watch::{Signs, Watched};
use crate::codec::Layout;
use crate::connector::position::{Mark, Unended};
use crate::error::{Code, Error, Result};
use crate::input::{self, Kind, Wants};
use crate::units::{FILE_ENDS_BYTES, READ_BUFFER_BYTES};

/// Records of a file of text that is open.
pub(super) struct Opened {
    pub frames: Frames,
    pub signs: Arc<Signs>,
    /// Whether what is appended to the file is appended to its text.
    pub plain: bool,
    /// Whether its lines are those of the text.
    pub lines: bool,
}

/// The records of a file, from its start.
pub(super) fn open(file: Arc<File>, layout: Layout, wants: Wants) -> Result<Opened> {
    let signs = Arc::new(Signs::default());
    let watched = Watched::new(Arc::clone(&file), Arc::clone(&signs)).map_err(|e| input::failed(&e))?;
    let text = input::open(Box::new(watched), wants)?;
    let bytes = BufReader::with_capacity(READ_BUFFER_BYTES, text.bytes);
    Ok(Opened { frames: Frames::new(Box::new(bytes), layout), signs, plain: text.plain, lines: text.lines })
}

/// The header of a CSV file, where it has one.
pub(super) fn header(path: &Path, layout: Layout) -> Result<Option<Vec<u8>>> {
    let Layout::Csv { header: true, .. } = layout else { return Ok(None) };
    let place = |e: Error| e.context(path.display().to_string());
    let mut frames = Frames::new(Box::new(input::text(path, false).map_err(place)?), layout);
    next_record(&mut frames).map_err(place)
}

/// The next record, where there is one.
pub(super) fn next_record(frames: &mut Frames) -> Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    loop {
        match frames.next(&mut line).map_err(|e| input::failed(&e))? {
            Frame::Record => return Ok(Some(line)),
            Frame::Blank => {}
            Frame::Wait | Frame::End => return Ok(None),
        }
    }
}

/// A checksum of records, one after the other.
pub(super) fn print(so_far: u32, records: &[u8]) -> u32 {
    let mut print = crc32fast::Hasher::new_with_initial(so_far);
    print.update(records);
    print.finalize()
}

/// What a file turned out to hold of the records that were committed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Past {
    /// All of them. What comes next is behind them.
    Whole(Behind),
    /// All of them, but the last one, which had no line end, has grown to this.
    Grown(Vec<u8>, Behind),
    /// Others: it is another file, or it was cut.
    Other,
    /// Fewer records, where nothing but their number is known.
    Short(i64),
}

/// The records that were passed over.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Behind {
    /// Their checksum, but for an unended one.
    pub print: u32,
    /// The last one, where it still has no line end.
    pub unended: Option<Unended>,
}

/// Reads past the records that were committed, and compares them with what is known of them.
pub(super) fn pass(frames: &mut Frames, next: i64, mark: Option<&Mark>) -> Result<Past> {
    let unended = mark.and_then(|mark| mark.unended);
    let whole = next - i64::from(unended.is_some());
    let mut behind = Behind::default();
    let mut records = Vec::new();
    for passed in 0..whole {
        loop {
            match frames.next(&mut records).map_err(|e| input::failed(&e))? {
                Frame::Record => break,
                Frame::Blank => {}
                Frame::Wait | Frame::End if mark.is_some() => return Ok(Past::Other),
                Frame::Wait | Frame::End => return Ok(Past::Short(passed)),
            }
        }
        if records.len() >= READ_BUFFER_BYTES {
            behind.print = print(behind.print, &records);
            records.clear();
        }
    }
    behind.print = print(behind.print, &records);
    if mark.is_some_and(|mark| mark.print != behind.print) {
        return Ok(Past::Other);
    }
    let Some(last) = unended else { return Ok(Past::Whole(behind)) };
    let Some(record) = next_record(frames)? else { return Ok(Past::Other) };
    let begins =
        record.get(..last.bytes as usize).is_some_and(|part| print(behind.print, part) == last.print);
    Ok(match begins {
        false => Past::Other,
        true if record.len() as u64 > last.bytes => Past::Grown(record, behind),
        true if frames.is_unended() => Past::Whole(Behind { unended: Some(last), ..behind }),
        true => Past::Whole(Behind { print: last.print, unended: None }),
    })
}

/// Whether a file begins with what was committed of another one.
pub(super) fn holds(path: &Path, layout: Layout, wants: Wants, mark: &Mark, next: i64) -> bool {
    let whole = || -> Result<bool> {
        let file = File::open(path).map_err(|e| input::failed(&e))?;
        let mut opened = open(Arc::new(file), layout, wants)?;
        if matches!(layout, Layout::Csv { header: true, .. }) {
            next_record(&mut opened.frames)?;
        }
        Ok(matches!(pass(&mut opened.frames, next, Some(mark))?, Past::Whole(_) | Past::Grown(..)))
    };
    whole().unwrap_or(false)
}

/// Whether a file is compressed.
pub(super) fn is_packed(path: &Path) -> bool {
    let mut head = [0; 16];
    let read = File::open(path).and_then(|file| file.read_at(&mut head, 0));
    read.is_ok_and(|n| matches!(Kind::of(&head[..n], true), Kind::Gzip | Kind::Zstd))
}

/// A checksum of both ends of a file, and its length: where its columns are, and what they are, stands in them.
pub(super) fn ends(file: &File) -> std::io::Result<u32> {
    let len = file.metadata()?.len();
    let mut part = vec![0; FILE_ENDS_BYTES.min(usize::try_from(len).unwrap_or(FILE_ENDS_BYTES))];
    file.read_exact_at(&mut part, 0)?;
    let begin = print(print(0, &len.to_le_bytes()), &part);
    let rest = len - part.len() as u64;
    file.read_exact_at(&mut part, rest)?;
    Ok(print(begin, &part))
}

/// Opens the file that was found under a path, and answers the path that it has: it may have another name by now.
pub(super) fn find(path: &Path, id: &Id, again: impl Fn() -> Option<PathBuf>) -> Result<(File, PathBuf)> {
    let place = |e: Error| e.context(path.display().to_string());
    let same = |file: &File| file.metadata().is_ok_and(|found| Id::of(&found) == *id);
    let unread = |e: std::io::Error| Error::external(Code::S001, format!("cannot be opened: {e}"));
    match File::open(path) {
        Ok(file) if same(&file) => return Ok((file, path.to_owned())),
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(place(unread(e))),
    }
    let moved = again().and_then(|path| Some((File::open(&path).ok()?, path))).filter(|(file, _)| same(file));
    moved.ok_or_else(|| {
        let message = "was there when the run started, and was moved away or removed before it was read";
        place(Error::external(Code::S001, message).help("run again: what is there now is read then"))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn past(text: &str, next: i64, mark: Option<&Mark>) -> Past {
        pass(&mut Frames::new(Box::new(Cursor::new(text.to_owned())), Layout::Lines), next, mark).unwrap()
    }

    fn mark(records: &str, unended: Option<&str>) -> Mark {
        let so_far = print(0, records.as_bytes());
        let last =
            unended.map(|last| Unended { bytes: last.len() as u64, print: print(so_far, last.as_bytes()) });
        Mark { device: 1, inode: 1, born: None, print: so_far, unended: last, still: None }
    }

    #[test]
    fn records_are_compared_and_not_lines() {
        let whole =
            |records: &str| Past::Whole(Behind { print: print(0, records.as_bytes()), unended: None });
        let known = mark("abc", None);
        assert_eq!(past("a\nb\n\nc\nd\n", 3, Some(&known)), whole("abc"));
        assert_eq!(past("a\r\nb\nc", 3, Some(&known)), whole("abc"));
        for other in ["a\nb\nx\n", "a\nb\n", "", "x\n\n\n\n\n\n"] {
            assert_eq!(past(other, 3, Some(&known)), Past::Other, "{other:?}");
        }
        assert_eq!(past("a\nb\n", 2, None), whole("ab"), "a position of an earlier version");
        assert_eq!(past("a\n", 2, None), Past::Short(1));
    }

    #[test]
    fn a_last_record_that_grew_is_told_from_one_that_only_ended() {
        let known = mark("a", Some("bc"));
        let before = print(0, b"a");
        assert_eq!(
            past("a\nbc\nd\n", 2, Some(&known)),
            Past::Whole(Behind { print: print(0, b"abc"), unended: None })
        );
        assert_eq!(
            past("a\nbc", 2, Some(&known)),
            Past::Whole(Behind { print: before, unended: known.unended })
        );
        assert_eq!(
            past("a\nbcd\ne\n", 2, Some(&known)),
            Past::Grown(b"bcd".to_vec(), Behind { print: before, unended: None })
        );
        assert_eq!(past("a\nb\n", 2, Some(&known)), Past::Other);
        assert_eq!(past("a\nbx\n", 2, Some(&known)), Past::Other);
        assert_eq!(past("a\n", 2, Some(&known)), Past::Other);
    }
}
