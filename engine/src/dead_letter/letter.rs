//! A dead letter: the cause of a failure and the original record.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::cause;
use crate::batch::Header;

/// One line of a dead-letter file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are the `pipe.error.*` headers and the original record")]
pub struct Line<'a> {
    pub pipeline: Cow<'a, str>,
    /// Letters of the first version do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Cow<'a, str>>,
    pub stage: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<Cow<'a, str>>,
    pub kind: Cow<'a, str>,
    pub message: Cow<'a, str>,
    pub topic: Cow<'a, str>,
    pub partition: i32,
    pub offset: i64,
    /// Of the original, in milliseconds since 1970 in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    /// What the header of the file named the record's fields, where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Cow<'a, [String]>>,
    pub attempt: u32,
    /// In milliseconds since 1970 in UTC.
    pub failed_at: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// A dead letter that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Where it lies.
    pub place: Place,
    /// What it says.
    pub line: Line<'static>,
}

/// Where a dead letter lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Line of the file, from 1.
    Line(u64),
    /// Partition and offset in the topic.
    Record(i32, i64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "{line}"),
            Self::Record(partition, offset) => write!(f, "{partition}/{offset}"),
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is neither `PARTITION/OFFSET` nor the number of a line");
        match text.split_once('/') {
            Some((partition, offset)) => {
                let partition = partition.parse().map_err(|_| wrong())?;
                Ok(Self::Record(partition, offset.parse().map_err(|_| wrong())?))
            }
            None => match text.parse() {
                Ok(line) if line > 0 => Ok(Self::Line(line)),
                _ => Err(wrong()),
            },
        }
    }
}

impl Line<'static> {
    /// The letter in a record of a topic; `None` where the record is none. `failed_at` is the record's timestamp.
    pub fn of_record(
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
        failed_at: i64,
    ) -> Option<Self> {
        let (originals, causes) = split(headers)?;
        let text = |name: &str| told(&causes, name).map(|text| Cow::Owned(text.into_owned()));
        Some(Self {
            pipeline: text(cause::PIPELINE)?,
            source: text(cause::SOURCE),
            stage: text(cause::STAGE)?,
            component: text(cause::COMPONENT),
            kind: text(cause::KIND)?,
            message: text(cause::MESSAGE).unwrap_or_default(),
            topic: text(cause::TOPIC)?,
            partition: text(cause::PARTITION)?.parse().ok()?,
            offset: text(cause::OFFSET)?.parse().ok()?,
            timestamp: text(cause::TIMESTAMP).and_then(|t| t.parse().ok()),
            columns: text(cause::COLUMNS).and_then(|names| serde_json::from_str(&names).ok()).map(Cow::Owned),
            attempt: text(cause::ATTEMPT).and_then(|a| a.parse().ok()).unwrap_or(1),
            failed_at,
            key: key.map(Into::into),
            value: value.map(Into::into),
            headers: originals
                .into_iter()
                .map(|(name, value)| (name.into(), value.map(Into::into)))
                .collect(),
        })
    }

    /// What tells this failure of this record from every other: a record that was read anew and failed again has
    /// failed at another time. `stage`: a record that failed at several nodes counts for each of them.
    pub fn identity(&self, stage: bool) -> [u8; 16] {
        self.digest(stage, self.attempt, self.failed_at)
    }

    /// The same for all failures of a record.
    pub fn record(&self, stage: bool) -> [u8; 16] {
        self.digest(stage, 0, 0)
    }

    fn digest(&self, stage: bool, attempt: u32, failed_at: i64) -> [u8; 16] {
        let mut digest = Sha256::new();
        let mut part = |bytes: Option<&[u8]>| {
            let len = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64);
            digest.update(len.to_le_bytes());
            digest.update(bytes.unwrap_or_default());
        };
        part(self.source.as_deref().map(str::as_bytes));
        part(stage.then(|| self.stage.as_bytes()));
        part(Some(self.topic.as_bytes()));
        part(Some(&self.partition.to_le_bytes()));
        part(Some(&self.offset.to_le_bytes()));
        part(Some(&attempt.to_le_bytes()));
        part(Some(&failed_at.to_le_bytes()));
        part(self.timestamp.map(i64::to_le_bytes).as_ref().map(<[u8; 8]>::as_slice));
        part(self.key.as_ref().map(Bytes::as_slice));
        part(self.value.as_ref().map(Bytes::as_slice));
        let mut id = [0; 16];
        id.copy_from_slice(&digest.finalize()[..16]);
        id
    }
}

/// Headers of a record.
type Headers<'a> = Vec<Header<'a>>;

/// The headers of a letter in a topic: those of its original, and its causes. `None`: the record is no letter.
///
/// Causes are written last, from the pipeline's name on, so that what an original has under their names is its own.
pub fn split<'a>(headers: &[Header<'a>]) -> Option<(Headers<'a>, Headers<'a>)> {
    let begin = headers.iter().rposition(|(name, _)| *name == cause::PIPELINE.as_bytes())?;
    let (before, rest) = headers.split_at(begin);
    // Whoever copied the letter may have added headers of its own.
    let (causes, added): (Headers<'a>, Headers<'a>) =
        rest.iter().partition(|(name, _)| name.starts_with(cause::PREFIX.as_bytes()));
    let is_number = |name| told(&causes, name).is_some_and(|text| text.parse::<i64>().is_ok());
    let is_there = |name| told(&causes, name).is_some();
    let named = is_there(cause::STAGE) && is_there(cause::KIND) && is_there(cause::TOPIC);
    if !(named && is_number(cause::PARTITION) && is_number(cause::OFFSET)) {
        return None;
    }
    let mut originals = [before, &added].concat();
    for (name, bytes) in &causes {
        let number = name.strip_prefix(cause::NAME.as_bytes()).and_then(|n| std::str::from_utf8(n).ok());
        if let (Some(at), Some(bytes)) = (number.and_then(|n| n.parse::<usize>().ok()), bytes)
            && let Some((name, _)) = originals.get_mut(at)
        {
            *name = bytes;
        }
    }
    Some((originals, causes))
}

/// The text of a cause.
pub fn told<'a>(causes: &[Header<'a>], name: &str) -> Option<Cow<'a, str>> {
    let (_, value) = causes.iter().find(|(own, _)| *own == name.as_bytes())?;
    value.map(String::from_utf8_lossy)
}

/// Bytes in JSON without loss: text as it is, anything else as `{"base64": "…"}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes(Vec<u8>);

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", &BASE64.encode(&self.0))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Base64 { base64: String },
        }
        match Form::deserialize(deserializer)? {
            Form::Text(text) => Ok(Self(text.into_bytes())),
            Form::Base64 { base64 } => BASE64.decode(base64).map(Self).map_err(D::Error::custom),
        }
    }
}

impl Bytes {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_printed() {
        for text in ["1", "77", "0/0", "3/123456789012"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        for text in ["", "0", "-1", "a", "1/", "/1", "1/2/3", "1.5"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_record_of_a_topic_is_read_back_byte_for_byte() {
        let headers: Vec<Header<'_>> = vec![
            (b"h", Some(b"")),
            ("\u{fffd}".as_bytes(), None),
            (b"pipe.error.kind", Some(b"the original's own")),
            (b"pipe.error.name.0", None),
            (b"pipe.error.pipeline", Some(b"p")),
            (b"pipe.error.stage", Some(b"s")),
            (b"pipe.error.kind", Some(b"trap")),
            (b"pipe.error.topic", Some(b"t")),
            (b"pipe.error.partition", Some(b"3")),
            (b"pipe.error.offset", Some(b"42")),
            (b"pipe.error.name.1", Some(&[0xff, b'x'])),
            (b"pipe.error.columns", Some(br#"["a,b","c"]"#)),
            (b"pipe.error.name.99", Some(b"nowhere")),
            (b"a copier's", Some(b"x")),
        ];
        let line = Line::of_record(None, Some(b""), &headers, 9).unwrap();
        assert_eq!((line.partition, line.offset, line.attempt, line.failed_at), (3, 42, 1, 9));
        assert_eq!((&line.key, line.value.as_ref().map(Bytes::as_slice)), (&None, Some(b"".as_slice())));
        let own: Vec<(Bytes, Option<Bytes>)> = vec![
            (b"h".as_slice().into(), Some(b"".as_slice().into())),
            ([0xff, b'x'].as_slice().into(), None),
            (b"pipe.error.kind".as_slice().into(), Some(b"the original's own".as_slice().into())),
            (b"pipe.error.name.0".as_slice().into(), None),
            (b"a copier's".as_slice().into(), Some(b"x".as_slice().into())),
        ];
        assert_eq!(line.headers, own);
        assert_eq!(
            (&*line.kind, line.columns.as_deref()),
            ("trap", Some(["a,b".to_owned(), "c".to_owned()].as_slice()))
        );
        // What lacks its cause is no dead letter.
        assert!((0..10).all(|end| Line::of_record(None, None, &headers[..end], 9).is_none()));
    }

    #[test]
    fn identities_tell_failures_apart_and_not_their_copies() {
        let text = r#"{"pipeline":"p","source":"in","stage":"s","kind":"trap","message":"m","topic":"t","partition":0,
            "offset":1,"attempt":1,"failed_at":7,"key":null,"value":{"base64":"/wA="},"headers":[["h",null]]}"#;
        let line: Line<'static> = serde_json::from_str(text).unwrap();
        assert_eq!(line.value.as_ref().unwrap().as_slice(), [0xff, 0]);
        let copy = Line { message: "n".into(), ..line.clone() };
        assert_eq!(line.identity(true), copy.identity(true));
        let other = Line { stage: "t".into(), ..line.clone() };
        assert_eq!(line.identity(false), other.identity(false));
        assert_ne!(line.identity(true), other.identity(true));
        let later = Line { attempt: 2, failed_at: 8, ..line.clone() };
        assert_eq!(line.record(true), later.record(true));
        let changed = [
            Line { failed_at: 8, ..line.clone() },
            Line { attempt: 2, ..line.clone() },
            Line { offset: 2, ..line.clone() },
            Line { value: None, ..line.clone() },
            Line { key: Some(b"".as_slice().into()), ..line.clone() },
        ];
        assert!(changed.iter().all(|c| c.identity(false) != line.identity(false)));
    }
}
