//! What the records of a file or a topic are, where nobody has said it.

use std::fs::File;
use std::io::{BufRead, Read};
use std::path::Path;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::draft::options;
use crate::config::spec::KindSpec;
use crate::error::{Code, Error, Result};
use crate::format::{FORMATS, FormatKind};
use crate::input::{self, Kind};
use crate::units::SNIFF_BYTES;

/// Between fields of a file that calls itself CSV, the commonest first.
const DELIMITERS: &[u8] = b",;\t|";
/// Lines of text that are looked at for them.
const LINES: usize = 20;
/// First bytes of a record that a schema registry's serialiser wrote: a zero and the schema's number.
const FRAME_BYTES: usize = 5;

/// The kind that the ending of a path tells.
fn ending(path: &str) -> Option<&'static FormatKind> {
    let path = [".gz", ".zst"].iter().find_map(|packed| path.strip_suffix(packed)).unwrap_or(path);
    let ending = Path::new(path).extension()?.to_str()?.to_ascii_lowercase();
    FORMATS.iter().copied().find(|kind| kind.extensions.contains(&ending.as_str()))
}

/// The format that the paths of a file source tell.
pub(super) fn by_path(options: &Value) -> Option<KindSpec> {
    let paths: Vec<&str> = match options.get("path") {
        Some(Value::Array(paths)) => paths.iter().filter_map(Value::as_str).collect(),
        path => path.and_then(Value::as_str).into_iter().collect(),
    };
    let kind = ending(paths.first()?)?;
    let tab = kind
        .by_extension
        .iter()
        .filter(|(ending, ..)| paths[0].to_ascii_lowercase().contains(&format!(".{ending}")));
    let options: Map<String, Value> =
        tab.map(|(_, key, value)| ((*key).to_owned(), Value::from(*value))).collect();
    Some(KindSpec { name: kind.name.to_owned(), options: Value::Object(options) })
}

/// The format of a file: as named, by its ending, or by what it holds.
pub(super) fn file(path: &Path, named: Option<&str>) -> Result<KindSpec> {
    let place = |e: Error| e.context(path.display().to_string());
    // What is only called text may be anything.
    let by_ending = ending(&path.to_string_lossy()).map(|kind| kind.name).filter(|name| *name != "raw");
    let name = match named.or(by_ending) {
        Some(name) => name,
        None => by_content(path).map_err(place)?,
    };
    let mut spec = KindSpec { name: name.to_owned(), options: options(name) };
    if name == "csv"
        && let Some(delimiter) = delimiter(&head(path, false).map_err(place)?)
        && delimiter != b','
    {
        spec.options = json!({ "delimiter": char::from(delimiter).to_string() });
    }
    Ok(spec)
}

/// The beginning of a file's text.
fn head(path: &Path, json: bool) -> Result<Vec<u8>> {
    let mut text = input::text(path, json)?;
    let mut head = Vec::new();
    while head.len() < SNIFF_BYTES {
        let part = text.fill_buf().map_err(|e| input::failed(&e))?;
        if part.is_empty() {
            break;
        }
        let taken = part.len();
        head.extend_from_slice(part);
        text.consume(taken);
    }
    Ok(head)
}

fn by_content(path: &Path) -> Result<&'static str> {
    let mut first = Vec::new();
    let unread = |e: std::io::Error| Error::external(Code::S001, format!("cannot be read: {e}"));
    let file = File::open(path).map_err(unread)?;
    file.take(SNIFF_BYTES as u64).read_to_end(&mut first).map_err(unread)?;
    match Kind::of(&first, false) {
        Kind::Parquet => return Ok("parquet"),
        Kind::ArrowFile => return Ok("arrow_ipc"),
        found @ (Kind::ArrowStream | Kind::Other(_)) => {
            return Err(found.unexpected("JSON, CSV, Parquet or an Arrow file"));
        }
        Kind::Text | Kind::Gzip | Kind::Zstd | Kind::Utf16 { .. } => {}
    }
    let head = head(path, true)?;
    let text = head.trim_ascii_start();
    if text.is_empty() {
        return Err(Error::user(Code::S002, "is empty: there is nothing to look at"));
    }
    if text.starts_with(b"{") || text.starts_with(b"[") {
        return Ok("json");
    }
    let control = |byte: &u8| *byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b);
    if text.iter().any(control) {
        return Err(Error::user(Code::S010, "holds binary data of no format that is known here")
            .help("if each line is a record all the same, say `--format raw`"));
    }
    Ok(if delimiter(text).is_some() { "csv" } else { "raw" })
}

/// The sign that each line has as often as the first: at least once.
fn delimiter(text: &[u8]) -> Option<u8> {
    let mut lines: Vec<&[u8]> =
        text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).take(LINES + 1).collect();
    // The last one may be cut.
    if lines.len() > 1 {
        lines.pop();
    }
    let count = |line: &[u8], sign: u8| {
        let mut quoted = false;
        let outside = line.iter().filter(|byte| {
            quoted ^= **byte == b'"';
            !quoted && **byte == sign
        });
        outside.count()
    };
    let first = *lines.first()?;
    let same = |sign: &u8| {
        let fields = count(first, *sign);
        fields > 0 && lines.iter().all(|line| count(line, *sign) == fields)
    };
    DELIMITERS.iter().copied().filter(same).max_by_key(|sign| count(first, *sign))
}

/// The format of values, and what is worth knowing about them.
pub(super) fn values<'a>(values: impl Iterator<Item = &'a [u8]>) -> (&'static str, Option<String>) {
    let (mut all, mut objects, mut framed) = (0_u32, 0_u32, 0_u32);
    for value in values.take(1_000) {
        all += 1;
        let found: Option<&RawValue> = serde_json::from_slice(value).ok();
        objects += u32::from(found.is_some_and(|found| found.get().starts_with('{')));
        framed += u32::from(value.len() > FRAME_BYTES && value[0] == 0);
    }
    if objects * 2 > all {
        return ("json", None);
    }
    let note = (framed * 2 > all).then(|| {
        "most values begin as those of a schema registry do (a zero and the schema's number): they are shown as bytes".to_owned()
    });
    ("raw", note)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, bytes: &[u8]) -> Result<(String, Value), Code> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        file(&path, None).map(|spec| (spec.name, spec.options)).map_err(|e| e.code())
    }

    #[test]
    fn a_file_is_known_by_its_ending_or_by_what_it_holds() {
        for (name, bytes, format) in [
            ("a.jsonl", &b"anything"[..], "json"),
            ("a", b"\n {\"a\":1}\n", "json"),
            ("a.log", b"[{\"a\":1},{\"a\":2}]", "json"),
            ("a.txt", b"a,b\n1,2\n", "csv"),
            ("a.txt", b"one line of text\nand another\n", "raw"),
            ("a.dat", b"PAR1\x15\x04", "parquet"),
        ] {
            assert_eq!(found(name, bytes).map(|found| found.0).as_deref(), Ok(format), "{name}");
        }
        for (bytes, code) in [
            (&b""[..], Code::S002),
            (b" \n", Code::S002),
            (b"\x7fELF\x02\x01\x01\0\0", Code::S010),
            (b"PK\x03\x04\0\0", Code::S010),
        ] {
            assert_eq!(found("a.bin", bytes), Err(code), "{bytes:?}");
        }
    }

    #[test]
    fn the_delimiter_is_the_sign_that_each_line_has() {
        for (text, sign) in [
            (&b"a;b;c\n1,5;2;3\n"[..], Some(b';')),
            (b"a\tb\n1\t2\n", Some(b'\t')),
            (b"a,b\n\"x;y\",2\n", Some(b',')),
            (b"no signs\nhere\n", None),
            (b"", None),
        ] {
            assert_eq!(delimiter(text), sign, "{}", String::from_utf8_lossy(text));
        }
        assert_eq!(found("a.csv", b"a;b\n1;2\n").unwrap().1, json!({ "delimiter": ";" }));
    }

    #[test]
    fn values_of_a_topic_are_json_or_bytes() {
        let of = |all: &[&[u8]]| values(all.iter().copied());
        assert_eq!(of(&[b"{}", b" {\"a\":1}", b"x"]), ("json", None));
        assert_eq!(of(&[b"text", b"[1]"]), ("raw", None));
        assert_eq!(of(&[]), ("raw", None));
        assert!(of(&[b"\0\0\0\0\x07abc"]).1.is_some_and(|note| note.contains("schema registry")));
    }
}
