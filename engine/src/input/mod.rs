//! What a file is by its first bytes, and the text that it holds: decompressed, as UTF-8, one JSON value a line.
//!
//! * [`Kind`] is what the first bytes say.
//! * `unpack` reads gzip and zstd, `utf16` makes UTF-8 of UTF-16, `values` makes lines of JSON values that lie in an
//!   array or go over several lines.

mod kind;
mod unpack;
mod utf16;
mod values;

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;

use crate::error::{Code, Error, Result};
use crate::units::{INPUT_LAYERS_MAX, SNIFF_BYTES};
pub use kind::Kind;

/// Bytes of an input.
pub type Bytes = Box<dyn Read + Send>;

/// What a reader of text expects.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Wants {
    /// Records are JSON values: an array of them, and values over several lines, are taken apart.
    pub json: bool,
    /// Records may be any bytes: UTF-16 is told by its byte order mark alone.
    pub binary: bool,
    /// The input may stay silent for long: what it gives first is all that is looked at.
    pub silent: bool,
}

/// The text of an input.
pub struct Text {
    /// The text.
    pub bytes: Bytes,
    /// Whether it is the input as it lies: what is appended to the input is appended to the text.
    pub plain: bool,
    /// Whether its lines are those of the input, once that is unpacked.
    pub lines: bool,
}

/// The text of a file, to look at its beginning.
pub fn text(path: &Path, json: bool) -> Result<BufReader<Bytes>> {
    let file = File::open(path).map_err(|e| Error::external(Code::S001, format!("cannot be opened: {e}")))?;
    Ok(BufReader::new(open(Box::new(file), Wants { json, ..Wants::default() })?.bytes))
}

/// The text of an input, whatever holds it. What is no text at all is an error that says what it is.
pub fn open(mut bytes: Bytes, wants: Wants) -> Result<Text> {
    let mut plain = true;
    for _ in 0..INPUT_LAYERS_MAX {
        let head = peek(&mut bytes, wants.silent).map_err(|e| failed(&e))?;
        let kind = Kind::of(&head, wants.binary);
        let is_values = wants.json && kind == Kind::Text && values::are_in(&head);
        bytes = Box::new(Cursor::new(head).chain(bytes));
        match kind {
            Kind::Gzip => bytes = unpack::gzip(bytes),
            Kind::Zstd => bytes = unpack::zstd(bytes).map_err(|e| failed(&e))?,
            Kind::Utf16 { big } => bytes = Box::new(utf16::Utf8::new(bytes, big)),
            Kind::Text if is_values => {
                return Ok(Text { bytes: Box::new(values::Lines::new(bytes)), plain: false, lines: false });
            }
            Kind::Text => return Ok(Text { bytes, plain, lines: true }),
            Kind::Parquet | Kind::ArrowFile | Kind::ArrowStream | Kind::Other(_) => {
                return Err(kind.unexpected(if wants.json { "JSON" } else { "text" }));
            }
        }
        plain = false;
    }
    Err(Error::user(Code::S010, format!("is packed more than {INPUT_LAYERS_MAX} times"))
        .help("unpack it first"))
}

/// What a whole file of columns is by its first bytes, where it is not of this kind: an error that says it.
pub fn expect_columns(path: &Path, expected: Kind) -> Result<()> {
    let unread = |e: io::Error| Error::external(Code::S001, format!("cannot be opened: {e}"));
    let mut bytes: Bytes = Box::new(File::open(path).map_err(unread)?);
    let head = peek(&mut bytes, false).map_err(|e| failed(&e))?;
    match Kind::of(&head, false) {
        found if found == expected => Ok(()),
        // The format itself says what is wrong with it.
        Kind::Text if !kind::is_text(&head) => Ok(()),
        found => Err(found.unexpected(expected.name())),
    }
}

/// The first bytes, as many as there are now. Of an input that may stay silent no more than it takes to tell what it is.
fn peek(bytes: &mut Bytes, silent: bool) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut part = vec![0; SNIFF_BYTES];
    while head.len() < SNIFF_BYTES && (!silent || kind::may_be_cut(&head)) {
        let room = SNIFF_BYTES - head.len();
        match bytes.read(&mut part[..room]) {
            Ok(0) => break,
            Ok(n) => head.extend_from_slice(&part[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) => return Err(e),
        }
    }
    Ok(head)
}

/// The error behind a failed read: ours, which a reader may have carried through, or the system's.
pub fn failed(e: &io::Error) -> Error {
    match e.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(own) => own.clone(),
        None => Error::external(Code::S002, format!("cannot be read: {e}")),
    }
}

/// Carries an error of ours through a reader.
pub fn carried(error: Error) -> io::Error {
    io::Error::other(error)
}

/// The same error once more: an `io::Error` cannot be cloned.
fn again(e: &io::Error) -> io::Error {
    match e.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(own) => carried(own.clone()),
        None => io::Error::new(e.kind(), e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const JSON: Wants = Wants { json: true, binary: false, silent: false };

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    fn read(bytes: &[u8], wants: Wants) -> Result<String> {
        let mut text = String::new();
        let mut found = open(Box::new(Cursor::new(bytes.to_vec())), wants)?;
        found.bytes.read_to_string(&mut text).map_err(|e| failed(&e))?;
        Ok(text)
    }

    #[test]
    fn what_holds_text_is_taken_off() {
        let lines = "{\"n\":1}\n{\"s\":\"\u{fc}\u{1f600}\"}\n";
        let packed = gzip(lines.as_bytes());
        assert_eq!(read(&packed, JSON).unwrap(), lines);
        let members = [gzip(b"{\"n\":1}\n"), gzip(b""), gzip(b"{\"n\":2}\n")].concat();
        assert_eq!(read(&members, JSON).unwrap(), "{\"n\":1}\n{\"n\":2}\n", "several members");
        let zstd = zstd::encode_all(lines.as_bytes(), 3).unwrap();
        assert_eq!(read(&[zstd.clone(), zstd].concat(), JSON).unwrap(), lines.repeat(2), "several frames");
        for (mark, big) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut bytes = Vec::new();
            let units = lines.encode_utf16();
            for unit in mark.then_some(0xfeff).into_iter().chain(units) {
                bytes.extend(if big { unit.to_be_bytes() } else { unit.to_le_bytes() });
            }
            assert_eq!(read(&bytes, JSON).unwrap().trim_start_matches('\u{feff}'), lines, "{mark} {big}");
            assert_eq!(read(&gzip(&bytes), JSON).unwrap().trim_start_matches('\u{feff}'), lines);
        }
        assert_eq!(read(&gzip(b"[{\"n\":1},{\"n\":2}]"), JSON).unwrap(), "{\"n\":1}\n{\"n\":2}\n");
    }

    #[test]
    fn packed_data_that_is_cut_or_damaged_is_an_error_after_what_came_before() {
        let lines: String = (0..40_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        // Without a checksum zstd cannot tell what was damaged.
        let mut checked = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        checked.include_checksum(true).unwrap();
        checked.write_all(lines.as_bytes()).unwrap();
        for packed in [gzip(lines.as_bytes()), checked.finish().unwrap()] {
            let cut = &packed[..packed.len() - 20];
            let mut found = open(Box::new(Cursor::new(cut.to_vec())), JSON).unwrap();
            let mut text = Vec::new();
            let error = failed(&found.bytes.read_to_end(&mut text).unwrap_err());
            assert_eq!(error.code(), Code::S002, "{error}");
            assert!(error.to_string().contains("ends too early"), "{error}");
            assert!(lines.as_bytes().starts_with(&text) && text.len() > 1_000, "{}", text.len());
            let mut damaged = packed.clone();
            let at = damaged.len() / 2;
            damaged[at..at + 9].fill(0xa5);
            let error = read(&damaged, JSON).unwrap_err();
            assert!(error.code() == Code::S002 && error.to_string().contains("damaged"), "{error}");
        }
        let garbage = [gzip(b"{\"n\":1}\n"), b"garbage behind its end".to_vec()].concat();
        assert!(read(&garbage, JSON).unwrap_err().to_string().contains("damaged"));
    }

    #[test]
    fn what_is_no_text_is_named_with_what_to_do() {
        let stream = [&[0xff; 4][..], &[0x78, 0, 0, 0, 0x10, 0, 0, 0]].concat();
        let files: [(&[u8], &str, &str); 7] = [
            (b"PAR1\x15\x04\x15\x00", "Parquet", "format: parquet"),
            (b"ARROW1\0\0\xff\xff\xff\xff", "an Arrow file", "format: arrow_ipc"),
            (&stream, "an Arrow stream", "arrow_ipc"),
            (b"\xfd7zXZ\0\0", "xz", "unpack"),
            (b"BZh91AY&SY\x01", "bzip2", "unpack"),
            (b"\x04\x22\x4d\x18\x60", "LZ4", "unpack"),
            (b"PK\x03\x04\x14\0", "zip", "unpack"),
        ];
        for (bytes, name, help) in files {
            let error = read(bytes, JSON).unwrap_err();
            assert_eq!(error.code(), Code::S010);
            assert!(error.to_string().contains(name) && error.to_string().contains(help), "{error}");
        }
        let mut packed = b"x\n".to_vec();
        for _ in 0..INPUT_LAYERS_MAX {
            packed = gzip(&packed);
        }
        assert_eq!(read(&packed, JSON).unwrap_err().code(), Code::S010);
        for text in ["PAR1,a\n", "ORC,1\n", "PK\n", "Obj", "", "\n", "x"] {
            assert_eq!(read(text.as_bytes(), JSON).unwrap(), text, "a text like any other");
        }
    }

    proptest::proptest! {
        /// Whatever comes behind whatever sign: it is read or refused, in the same way however it comes.
        #[test]
        fn any_bytes_are_read_or_refused(
            sign in proptest::sample::select(vec![
                &b""[..], b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xff\xfe", b"\xfe\xff", b"{\0", b"[{", b"{\n", b"\xff\xff\xff\xff",
            ]),
            rest in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
            text in "[\\[\\]{}:, \"\\\\n1a\n]{0,80}",
            json: bool,
        ) {
            for rest in [&rest[..], text.as_bytes()] {
                let bytes = [sign, rest].concat();
                let wants = Wants { json, ..Wants::default() };
                let all = |bytes: Bytes| {
                    let mut out = Vec::new();
                    let mut text = open(bytes, wants)?;
                    text.bytes.read_to_end(&mut out).map_err(|e| failed(&e))?;
                    Ok::<_, Error>(out)
                };
                let whole = all(Box::new(Cursor::new(bytes.clone())));
                let slow = all(Box::new(Slow(Cursor::new(bytes))));
                proptest::prop_assert_eq!(
                    whole.as_ref().map_err(ToString::to_string),
                    slow.as_ref().map_err(ToString::to_string)
                );
            }
        }
    }

    /// Gives a few bytes at a time.
    struct Slow(Cursor<Vec<u8>>);

    impl Read for Slow {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let n = out.len().min(3);
            self.0.read(&mut out[..n])
        }
    }
}
