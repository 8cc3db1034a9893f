//! Reads dead letters: a file here, a topic in the Kafka connector; both end where they ended when they were opened.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::{Letter, Line, Place};
use crate::error::{Code, Error, Result};
use crate::units::DEAD_LETTER_LINE_BYTES_MAX;

/// What a reader found.
#[derive(Debug)]
pub enum Found {
    /// A dead letter.
    Letter(Box<Letter>),
    /// Something else, and why it is not taken for one.
    Other(Place, String),
}

/// Reads dead letters in order, each partition on its own.
pub trait Reader {
    /// The next one; `None` at the end.
    fn next(&mut self) -> Result<Option<Found>>;
    /// How much of all has been read, for a display: in what unit is the reader's affair.
    fn progress(&self) -> (u64, u64);
}

/// Lines of a file, up to its last line end.
struct Lines {
    path: PathBuf,
    file: BufReader<std::io::Take<File>>,
    number: u64,
    done: u64,
    all: u64,
}

/// Reads a file from a line on. A file that is not there holds none: nothing has failed yet.
pub fn open_file(path: &Path, from: Option<Place>) -> Result<Option<Box<dyn Reader>>> {
    let failed = |e: &std::io::Error| unreadable(path, e);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(&e)),
    };
    let all = file.metadata().map_err(|e| failed(&e))?.len();
    let file = BufReader::with_capacity(256 << 10, file.take(all));
    let mut lines = Lines { path: path.to_owned(), file, number: 0, done: 0, all };
    match from {
        None => {}
        Some(Place::Line(from)) => while lines.number + 1 < from && lines.line()?.is_some() {},
        Some(place) => {
            let text = format!("`{place}` is no line of {}", path.display());
            return Err(
                Error::user(Code::K005, text).help("these dead letters lie in a file: give a line's number")
            );
        }
    }
    Ok(Some(Box::new(lines)))
}

fn unreadable(path: &Path, e: &std::io::Error) -> Error {
    Error::external(Code::K005, format!("cannot read {}: {e}", path.display()))
}

impl Lines {
    /// The next whole line; what lies behind the last line end is still being written, or was cut by a crash.
    fn line(&mut self) -> Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let limit = DEAD_LETTER_LINE_BYTES_MAX;
        let read = (&mut self.file).take(limit).read_until(b'\n', &mut line);
        let read = read.map_err(|e| unreadable(&self.path, &e))?;
        self.done += read as u64;
        if line.last() != Some(&b'\n') {
            if read as u64 == limit {
                let text = format!(
                    "line {} of {} is longer than {limit} bytes",
                    self.number + 1,
                    self.path.display()
                );
                return Err(Error::external(Code::K005, text).help("this is no file of dead letters"));
            }
            return Ok(None);
        }
        self.number += 1;
        line.pop();
        Ok(Some(line))
    }
}

impl Reader for Lines {
    fn next(&mut self) -> Result<Option<Found>> {
        let Some(line) = self.line()? else { return Ok(None) };
        let place = Place::Line(self.number);
        Ok(Some(match serde_json::from_slice::<Line<'static>>(&line) {
            Ok(line) => Found::Letter(Box::new(Letter { place, line })),
            Err(e) => Found::Other(place, e.to_string()),
        }))
    }

    fn progress(&self) -> (u64, u64) {
        (self.done, self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"pipeline":"p","stage":"s","kind":"trap","message":"m","topic":"t","partition":0,"offset":1,"attempt":1,"failed_at":7,"key":null,"value":"v","headers":[]}"#;

    fn read(path: &Path, from: Option<Place>) -> Vec<(u64, bool)> {
        let Some(mut reader) = open_file(path, from).unwrap() else { return Vec::new() };
        let mut found = Vec::new();
        while let Some(next) = reader.next().unwrap() {
            found.push(match next {
                Found::Letter(letter) => (letter.place, true),
                Found::Other(place, _) => (place, false),
            });
        }
        let number = |place| if let Place::Line(n) = place { n } else { 0 };
        found.into_iter().map(|(place, letter)| (number(place), letter)).collect()
    }

    #[test]
    fn whole_lines_are_letters_and_all_else_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.jsonl");
        assert_eq!(read(&path, None), []);
        std::fs::write(&path, format!("{LINE}\nnot json\n{{}}\n{LINE}\n{{\"pipeline\":\"cut")).unwrap();
        assert_eq!(read(&path, None), [(1, true), (2, false), (3, false), (4, true)]);
        assert_eq!(read(&path, Some(Place::Line(3))), [(3, false), (4, true)]);
        assert_eq!(read(&path, Some(Place::Line(9))), []);
        assert_eq!(open_file(&path, Some(Place::Record(0, 1))).err().unwrap().code(), Code::K005);
    }

    #[test]
    fn what_comes_while_it_is_read_is_left_for_the_next_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.jsonl");
        std::fs::write(&path, format!("{LINE}\n")).unwrap();
        let mut reader = open_file(&path, None).unwrap().unwrap();
        std::fs::write(&path, format!("{LINE}\n{LINE}\n")).unwrap();
        assert!(reader.next().unwrap().is_some() && reader.next().unwrap().is_none());
    }
}
