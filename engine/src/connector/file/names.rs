//! Paths and globs to files. Names need not be UTF-8.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::connector::source::Own;
use crate::error::{Code, Error, Result};

/// Where records are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    Stdin,
    /// A named pipe.
    Pipe(PathBuf),
    File(PathBuf, Id),
}

/// What the file system knows a file by, however it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub device: u64,
    pub inode: u64,
    /// When the inode was taken, in nanoseconds since 1970, where the file system knows it: inodes are used again.
    pub born: Option<i64>,
}

impl Id {
    pub(super) fn of(file: &Metadata) -> Self {
        let born = file.created().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let born = born.and_then(|since| i64::try_from(since.as_nanos()).ok());
        Self { device: file.dev(), inode: file.ino(), born }
    }

    /// Whether both are one file. The number of a device may change when a machine starts.
    pub(super) fn is(&self, other: &Self) -> bool {
        let place = match (self.born, other.born) {
            (Some(one), Some(other)) => one == other,
            _ => self.device == other.device,
        };
        self.inode == other.inode && place
    }
}

impl Input {
    /// The partition's topic.
    pub(super) fn name(&self) -> Arc<str> {
        match self {
            Self::Stdin => "-".into(),
            Self::Pipe(path) | Self::File(path, _) => spelled(path).into(),
        }
    }

    /// The path of a file.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path, _) => Some(path),
            Self::Stdin | Self::Pipe(_) => None,
        }
    }

    /// Whether it can be read once only, and may stay silent.
    pub(super) fn is_pipe(&self) -> bool {
        matches!(self, Self::Stdin | Self::Pipe(_))
    }
}

/// A path as text. One that is not UTF-8 is a URL, its bytes escaped: other paths begin with `/`, so that no two files
/// have one name.
pub(super) fn spelled(path: &Path) -> String {
    if let Some(text) = path.to_str() {
        return text.to_owned();
    }
    let mut name = "file://".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' | b'~' => {
                name.push(*byte as char);
            }
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

/// Paths and globs.
#[derive(Debug, Clone, Default)]
pub(super) struct Patterns {
    /// Folder that relative ones are relative to.
    pub base: PathBuf,
    pub given: Vec<String>,
    /// What the pipeline itself writes: a glob leaves it out.
    pub own: Vec<Own>,
}

fn is_magic(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

impl Patterns {
    pub(super) fn describe(&self) -> String {
        let whole = |pattern: &String| match pattern.as_str() {
            "-" => "-".to_owned(),
            pattern => self.base.join(pattern).display().to_string(),
        };
        self.given.iter().map(whole).collect::<Vec<_>>().join(", ")
    }

    /// Whether it reads whatever comes on a pipe.
    pub(super) fn is_stdin(&self) -> bool {
        self.given.iter().any(|pattern| pattern == "-")
    }

    /// The files that are there now, sorted and each once; an error where a pattern has none.
    pub(super) fn expand(&self) -> Result<Vec<Input>> {
        if self.is_stdin() {
            return Ok(vec![Input::Stdin]);
        }
        let mut files: Vec<PathBuf> = Vec::new();
        for pattern in &self.given {
            let before = files.len();
            let found = self.matches(pattern)?;
            let own = self.find(&found, pattern, &mut files)?;
            if files.len() == before {
                let name = self.base.join(pattern);
                let but = if own { " but what the pipeline writes itself" } else { "" };
                return Err(Error::user(Code::S001, format!("there is no file `{}`{but}", name.display())));
            }
        }
        files.sort();
        files.dedup();
        let (mut inputs, mut ids) = (Vec::new(), BTreeSet::new());
        for path in files {
            let input = match path.metadata() {
                Ok(found) if found.file_type().is_fifo() || found.file_type().is_char_device() => {
                    Input::Pipe(path)
                }
                Ok(found) => Input::File(path, Id::of(&found)),
                Err(e) => {
                    return Err(Error::external(Code::S001, format!("cannot be opened: {e}"))
                        .context(path.display().to_string()));
                }
            };
            // A file of two names is one file.
            if !matches!(&input, Input::File(_, id) if !ids.insert(*id)) {
                inputs.push(input);
            }
        }
        Ok(inputs)
    }

    /// Adds what a pattern found; answers whether any of it is the pipeline's own.
    fn find(&self, found: &[PathBuf], pattern: &str, files: &mut Vec<PathBuf>) -> Result<bool> {
        let mut any = false;
        for path in found {
            if path.is_dir() {
                if is_magic(pattern) {
                    continue;
                }
                let message = format!("`{}` is a folder", path.display());
                return Err(
                    Error::user(Code::S001, message).help("name its files, for example by `/*.jsonl`")
                );
            }
            // One name a file, however the pipeline, its folder or a link spells it.
            let path = path.canonicalize().unwrap_or_else(|_| path.clone());
            if is_magic(pattern) && self.own.iter().any(|own| own.is(&path)) {
                any = true;
                tracing::debug!(path = %path.display(), "left out: the pipeline writes it itself");
                continue;
            }
            files.push(path);
        }
        Ok(any)
    }

    /// The paths that a pattern matches.
    fn matches(&self, pattern: &str) -> Result<Vec<PathBuf>> {
        let wrong = |e: glob::PatternError| Error::user(Code::C005, format!("`{pattern}` is no glob: {e}"));
        let mut found = vec![if Path::new(pattern).is_absolute() { "/".into() } else { self.base.clone() }];
        for part in Path::new(pattern).components() {
            let name = match part {
                Component::Normal(name) => name,
                Component::ParentDir => {
                    found.iter_mut().for_each(|path| path.push(".."));
                    continue;
                }
                _ => continue,
            };
            found = match name.to_str() {
                Some("**") => found.into_iter().flat_map(|path| below(&path)).collect(),
                Some(text) if is_magic(text) => {
                    let glob = glob::Pattern::new(text).map_err(wrong)?;
                    let mut next = Vec::new();
                    for folder in found {
                        let names = entries(&folder)?;
                        next.extend(
                            names.into_iter().filter(|n| glob.matches(&mapped(n))).map(|n| folder.join(n)),
                        );
                    }
                    next
                }
                _ => {
                    let joined = found.into_iter().map(|path| path.join(name));
                    joined.filter(|path| path.symlink_metadata().is_ok()).collect()
                }
            };
        }
        if pattern.ends_with('/') {
            found.retain(|path| path.is_dir());
        }
        found.sort();
        Ok(found)
    }
}

/// The names in a folder, sorted; none where it is no folder.
fn entries(folder: &Path) -> Result<Vec<OsString>> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let failed = |e: std::io::Error| {
        Error::external(Code::S001, format!("the folder `{}` cannot be read: {e}", folder.display()))
    };
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name());
    }
    names.sort();
    Ok(names)
}

/// A folder and all folders below it; links are not followed, so that there is an end.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    let mut at = 0;
    while let Some(folder) = found.get(at).cloned() {
        let names = entries(&folder).unwrap_or_default();
        let folders = names.into_iter().map(|name| folder.join(name));
        found.extend(folders.filter(|path| path.symlink_metadata().is_ok_and(|found| found.is_dir())));
        at += 1;
    }
    found
}

/// A name for a glob: bytes that are no UTF-8 become characters that no name has, so that `*` and `?` match them.
fn mapped(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(
            chunk.invalid().iter().map(|byte| char::from_u32(0x10_ff00 + u32::from(*byte)).unwrap_or('?')),
        );
    }
    text
}

/// The path that a name of [`spelled`] stands for.
pub(super) fn path_of(name: &str) -> PathBuf {
    let Some(escaped) = name.strip_prefix("file://") else { return PathBuf::from(name) };
    let mut bytes = Vec::new();
    let mut rest = escaped.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).filter(|_| *first == b'%').and_then(|d| std::str::from_utf8(d).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(base: &Path, given: &[&str]) -> Patterns {
        let given = given.iter().map(|pattern| (*pattern).to_owned()).collect();
        Patterns { base: base.canonicalize().unwrap(), given, own: Vec::new() }
    }

    fn names(patterns: &Patterns) -> Vec<String> {
        let short = |name: Arc<str>| name.rsplit('/').next().unwrap_or_default().to_owned();
        patterns.expand().unwrap().iter().map(|input| short(input.name())).collect()
    }

    #[test]
    fn names_that_are_not_utf8_are_found_and_spelled_without_loss() {
        let dir = tempfile::tempdir().unwrap();
        let odd = OsString::from_vec(b"caf\xe9 %.log".to_vec());
        std::fs::write(dir.path().join(&odd), "1\n").unwrap();
        std::fs::write(dir.path().join("caf%E9%20%25.log"), "2\n").unwrap();
        let folder = dir.path().join(OsString::from_vec(b"\xff".to_vec()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("in.log"), "3\n").unwrap();
        for pattern in ["*.log", "caf*.log", "caf?*.log"] {
            assert_eq!(names(&patterns(dir.path(), &[pattern])), ["caf%E9%20%25.log"; 2], "{pattern}");
        }
        let found = patterns(dir.path(), &["*.log"]).expand().unwrap();
        let all: Vec<Arc<str>> = found.iter().map(Input::name).collect();
        assert!(all[0] != all[1] && all.iter().any(|name| name.starts_with("file:///")), "{all:?}");
        for input in &found {
            let Input::File(path, _) = input else { panic!("{input:?}") };
            assert_eq!(path_of(&input.name()), *path);
        }
        assert_eq!(names(&patterns(&folder, &["in.log"])), ["in.log"], "below a folder of such a name");
        assert_eq!(names(&patterns(dir.path(), &["**/in.log"])), ["in.log"]);
    }

    #[test]
    fn globs_match_as_shells_do() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a1.log", "b.log", "sub/a2.log", "sub/deep/a3.log", "[x].log"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let cases: [(&str, &[&str]); 8] = [
            ("*.log", &["[x].log", "a1.log", "b.log"]),
            ("a?.log", &["a1.log"]),
            ("[ab]*.log", &["a1.log", "b.log"]),
            ("**/a*.log", &["a1.log", "a2.log", "a3.log"]),
            ("sub/**/*.log", &["a2.log", "a3.log"]),
            ("*/a2.log", &["a2.log"]),
            ("sub/../b.log", &["b.log"]),
            ("[[]x].log", &["[x].log"]),
        ];
        for (pattern, expected) in cases {
            assert_eq!(names(&patterns(dir.path(), &[pattern])), expected, "{pattern}");
        }
        let absolute = dir.path().join("b.log");
        assert_eq!(names(&patterns(Path::new("/"), &[absolute.to_str().unwrap()])), ["b.log"]);
    }

    #[test]
    fn a_file_has_one_name_however_it_is_spelled() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("a.txt"), "1\n2\n").unwrap();
        std::os::unix::fs::symlink(dir.path().join("a.txt"), dir.path().join("b.txt")).unwrap();
        std::fs::hard_link(dir.path().join("a.txt"), dir.path().join("c.txt")).unwrap();
        let spelled = |path: &str| patterns(dir.path(), &[path]).expand().unwrap();
        assert_eq!(spelled("a.txt"), spelled("sub/../a.txt"));
        assert_eq!(spelled("*.txt"), spelled("a.txt"), "a link to it is no second file");
    }

    #[test]
    fn a_glob_leaves_out_what_the_pipeline_writes() {
        let dir = tempfile::tempdir().unwrap();
        for name in
            ["in.jsonl", "p.dead-letters.jsonl", "x.out.w.0.1-000000.jsonl", "x.outer.jsonl", "x.jsonl"]
        {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let own = |name: &str, rest| Own { folder: dir.path().into(), name: name.into(), rest };
        let mut patterns = patterns(dir.path(), &["*.jsonl"]);
        patterns.own = vec![own("p.dead-letters.jsonl", false), own("x.out.", true), own("x.jsonl", false)];
        assert_eq!(names(&patterns), ["in.jsonl", "x.outer.jsonl"]);
        patterns.given = vec!["p.*.jsonl".into()];
        assert!(patterns.expand().unwrap_err().to_string().contains("writes itself"));
        patterns.given = vec!["x.jsonl".into()];
        assert_eq!(names(&patterns), ["x.jsonl"], "what is named is meant");
    }
}
