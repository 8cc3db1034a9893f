//! What the first bytes of a file say.

use crate::error::{Code, Error};

/// What a file is by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing that is known: text, as far as can be told.
    Text,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// UTF-16.
    Utf16 {
        /// Whether the high byte of each unit comes first.
        big: bool,
    },
    /// Apache Parquet.
    Parquet,
    /// Arrow's file format.
    ArrowFile,
    /// Arrow's stream format.
    ArrowStream,
    /// Something else that is no text, by its name.
    Other(&'static str),
}

/// First bytes that no text begins with.
const SIGNS: &[(&[u8], Kind)] = &[
    (b"\x1f\x8b\x08", Kind::Gzip),
    (b"\x28\xb5\x2f\xfd", Kind::Zstd),
    (b"\x00\x00\xfe\xff", Kind::Other("UTF-32 text")),
    (b"\xff\xfe\x00\x00", Kind::Other("UTF-32 text")),
    (b"\xfe\xff", Kind::Utf16 { big: true }),
    (b"\xff\xfe", Kind::Utf16 { big: false }),
    (b"\xfd7zXZ\x00", Kind::Other("xz data")),
    (b"\x04\x22\x4d\x18", Kind::Other("LZ4 data")),
    (b"\xff\x06\x00\x00sNaPpY", Kind::Other("framed Snappy data")),
    (b"7z\xbc\xaf\x27\x1c", Kind::Other("a 7z archive")),
];

/// First bytes that a text may begin with: what follows them must be no text.
const WORDS: &[(&[u8], Kind)] = &[
    (b"PAR1", Kind::Parquet),
    (b"PARE", Kind::Other("an encrypted Parquet file")),
    (b"ARROW1", Kind::ArrowFile),
    (b"BZh", Kind::Other("bzip2 data")),
    (b"PK\x03\x04", Kind::Other("a zip archive")),
    (b"Obj\x01", Kind::Other("an Avro file")),
    (b"ORC", Kind::Other("an ORC file")),
    (b"SQLite format 3\x00", Kind::Other("an SQLite database")),
];

/// Bytes behind a word in which a byte must be one that text does not hold.
const WORD_REACH: usize = 512;
/// The longest metadata of an Arrow stream's first message that is believed.
const ARROW_SCHEMA_BYTES_MAX: u32 = 16 << 20;

impl Kind {
    /// What begins with these bytes. `binary`: records may be any bytes, so UTF-16 needs its byte order mark.
    pub fn of(head: &[u8], binary: bool) -> Self {
        if let Some((_, kind)) = SIGNS.iter().find(|(sign, _)| head.starts_with(sign)) {
            return *kind;
        }
        let is_word = |sign: &&(&[u8], Self)| {
            head.starts_with(sign.0) && head.iter().take(WORD_REACH).any(|byte| is_control(*byte))
        };
        if let Some((_, kind)) = WORDS.iter().find(is_word) {
            return *kind;
        }
        match head {
            // A frame that zstd skips: parallel compressors begin with one.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xff, 0xff, 0xff, 0xff, a, b, c, d, _, ..]
                if (8..ARROW_SCHEMA_BYTES_MAX).contains(&u32::from_le_bytes([*a, *b, *c, *d])) =>
            {
                Self::ArrowStream
            }
            _ if binary => Self::Text,
            _ => unmarked(head).map_or(Self::Text, |big| Self::Utf16 { big }),
        }
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Gzip => "gzip data",
            Self::Zstd => "zstd data",
            Self::Utf16 { .. } => "UTF-16 text",
            Self::Parquet => "a Parquet file",
            Self::ArrowFile => "an Arrow file",
            Self::ArrowStream => "an Arrow stream",
            Self::Other(name) => name,
        }
    }

    /// The error of finding it where something else is expected.
    pub fn unexpected(self, expected: &str) -> Error {
        let help = match self {
            Self::Parquet => "read it with `format: parquet`",
            Self::ArrowFile => "read it with `format: arrow_ipc`",
            Self::ArrowStream => {
                "write it as an Arrow file (Feather 2), and read it with `format: arrow_ipc`"
            }
            Self::Text | Self::Utf16 { .. } => {
                "name the format that it has, such as `format: json` or `format: csv`"
            }
            Self::Other("UTF-32 text") => "convert it to UTF-8",
            Self::Other(
                "an encrypted Parquet file" | "an Avro file" | "an ORC file" | "an SQLite database",
            ) => "convert it to a format that `pipe docs` lists",
            Self::Gzip | Self::Zstd | Self::Other(_) => "unpack it first",
        };
        Error::user(Code::S010, format!("is {}, and {expected} was expected", self.name())).help(help)
    }
}

/// Whether more bytes may tell more: nothing is there, or the beginning of a sign.
pub(super) fn may_be_cut(head: &[u8]) -> bool {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    let signs = SIGNS.iter().map(|(sign, _)| *sign).chain([MARK, &[0xff; 4]]);
    signs.into_iter().any(|sign| sign.len() > head.len() && sign.starts_with(head))
}

/// A byte that text does not hold.
fn is_control(byte: u8) -> bool {
    byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b)
}

/// Whether these bytes are plainly text.
pub(super) fn is_text(head: &[u8]) -> bool {
    let whole = match std::str::from_utf8(head) {
        Ok(_) => true,
        // The last character may be cut.
        Err(e) => e.error_len().is_none(),
    };
    !head.is_empty() && whole && !head.iter().any(|byte| is_control(*byte))
}

/// Whether this is UTF-16 without a byte order mark, and of which order: its first characters are ASCII, as those of
/// JSON always are, so that every other byte is zero. No UTF-8 text begins so.
fn unmarked(head: &[u8]) -> Option<bool> {
    let pairs: Vec<[u8; 2]> = head.chunks_exact(2).take(4).map(|pair| [pair[0], pair[1]]).collect();
    let of =
        |low: usize| pairs.iter().all(|pair| pair[1 - low] == 0 && pair[low] != 0 && pair[low].is_ascii());
    match pairs.len() {
        0 | 1 => None,
        _ if of(0) => Some(false),
        _ if of(1) => Some(true),
        _ => None,
    }
}
