//! The members of a JSON object as places in its text: nothing is built of them.
//!
//! `None` means that it is no JSON, or nested deeper than the scanner goes.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::value::RawValue;

use super::scan::Scan;

/// Reads the members of an object one after another.
pub(super) struct Members<'a> {
    scan: Scan<'a>,
    /// Whether a member was read: a comma comes next, or the end.
    later: bool,
}

/// The key of a member.
pub(super) struct Key {
    /// The end of the value before it, or of the object's start.
    pub(super) before: usize,
    /// Where it lies, with its quotes.
    pub(super) place: Range<usize>,
}

impl<'a> Members<'a> {
    /// Those of the object that the text is, behind blanks.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let mut scan = Scan { bytes, at: 0 };
        scan.blanks()?;
        scan.take(b'{')?;
        Some(Self { scan, later: false })
    }

    /// The place behind what was read.
    pub(super) fn at(&self) -> usize {
        self.scan.at
    }

    /// The next key, and what stands before its value; the inner `None` is the object's end.
    pub(super) fn key(&mut self) -> Option<Option<Key>> {
        let before = self.scan.at;
        match self.scan.blanks()? {
            b'}' => {
                self.scan.at += 1;
                self.later = true;
                return Some(None);
            }
            b',' if self.later => {
                self.scan.at += 1;
                self.scan.blanks()?;
            }
            _ if !self.later => {}
            _ => return None,
        }
        let start = self.scan.at;
        if self.scan.peek()? != b'"' {
            return None;
        }
        self.scan.string()?;
        let place = start..self.scan.at;
        self.scan.blanks()?;
        self.scan.take(b':')?;
        self.scan.blanks()?;
        self.later = true;
        Some(Some(Key { before, place }))
    }

    /// Whether the value that comes is an object.
    pub(super) fn begins_object(&self) -> bool {
        self.scan.peek() == Some(b'{')
    }

    /// Goes into that object: its members come next, and behind its end those of the one around it.
    pub(super) fn enter(&mut self) -> Option<()> {
        self.scan.take(b'{')?;
        self.later = false;
        Some(())
    }

    /// Reads past a value, and answers its end.
    pub(super) fn skip(&mut self) -> Option<usize> {
        self.scan.skip()?;
        Some(self.scan.at)
    }
}

impl Members<'_> {
    /// Reads past a value, however deep it is, and answers its end.
    pub(super) fn skip_any(&mut self) -> Option<usize> {
        let start = self.scan.at;
        if self.skip().is_none() {
            let mut values =
                serde_json::Deserializer::from_slice(self.scan.bytes.get(start..)?).into_iter::<&RawValue>();
            values.next()?.ok()?;
            self.scan.at = start + values.byte_offset();
        }
        Some(self.scan.at)
    }

    /// Whether nothing but blanks follows.
    pub(super) fn ends(&mut self) -> bool {
        self.scan.blanks().is_none()
    }
}

/// The name that a key means, whose place includes its quotes; `None` where it is no text.
pub(super) fn name_of(key: &str) -> Option<Cow<'_, str>> {
    let inner = key.get(1..key.len().checked_sub(1)?)?;
    if inner.contains('\\') {
        serde_json::from_str::<String>(key).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}
