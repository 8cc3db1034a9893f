//! UTF-16 to UTF-8. What is no character becomes bytes that are no UTF-8, so that its own record is rejected.

use std::io::{self, Read};

use super::Bytes;
use crate::units::READ_BUFFER_BYTES;

/// The UTF-8 of UTF-16.
pub(super) struct Utf8 {
    bytes: Bytes,
    big: bool,
    units: Vec<u8>,
    /// The first half of a pair.
    high: Option<u16>,
    text: Vec<u8>,
    used: usize,
}

impl Utf8 {
    pub(super) fn new(bytes: Bytes, big: bool) -> Self {
        Self { bytes, big, units: Vec::new(), high: None, text: Vec::new(), used: 0 }
    }

    /// Makes text of what comes next; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        self.text.clear();
        self.used = 0;
        let mut part = [0; READ_BUFFER_BYTES / 8];
        let n = self.bytes.read(&mut part)?;
        self.units.extend_from_slice(&part[..n]);
        let whole = self.units.len() / 2 * 2;
        for pair in self.units[..whole].chunks_exact(2) {
            let pair = [pair[0], pair[1]];
            let unit = if self.big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) };
            push(&mut self.text, &mut self.high, unit);
        }
        self.units.drain(..whole);
        if n == 0 {
            if let Some(high) = self.high.take() {
                lone(&mut self.text, high);
            }
            // Half a unit: what was cut is no character.
            if std::mem::take(&mut self.units).is_empty() {
                return Ok(!self.text.is_empty());
            }
            self.text.push(0xff);
        }
        Ok(true)
    }
}

fn push(text: &mut Vec<u8>, high: &mut Option<u16>, unit: u16) {
    if let Some(first) = high.take() {
        if let Some(Ok(c)) = char::decode_utf16([first, unit]).next() {
            return text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        lone(text, first);
    }
    match unit {
        0xd800..=0xdbff => *high = Some(unit),
        0xdc00..=0xdfff => lone(text, unit),
        _ => {
            let c = char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER);
            text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// Half of a pair, in the three bytes that it would have: no decoder of UTF-8 takes them.
fn lone(text: &mut Vec<u8>, unit: u16) {
    text.extend([0xe0 | (unit >> 12) as u8, 0x80 | (unit >> 6 & 0x3f) as u8, 0x80 | (unit & 0x3f) as u8]);
}

impl Read for Utf8 {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.used == self.text.len() {
            if !self.fill()? {
                return Ok(0);
            }
        }
        let n = (&self.text[self.used..]).read(out)?;
        self.used += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn text(units: &[u16], odd: bool) -> Vec<u8> {
        let mut bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        bytes.extend(odd.then_some(b'x'));
        let mut text = Vec::new();
        Utf8::new(Box::new(Cursor::new(bytes)), false).read_to_end(&mut text).unwrap();
        text
    }

    #[test]
    fn what_is_no_character_is_no_utf8_and_its_neighbours_stand() {
        assert_eq!(text(&[0x61, 0xd83d, 0xde00, 0x0a], false), "a\u{1f600}\n".as_bytes());
        for wrong in [text(&[0xd800, 0x0a, 0x62], false), text(&[0xdc00, 0x0a, 0x62], false)] {
            let lines: Vec<&[u8]> = wrong.split(|byte| *byte == b'\n').collect();
            assert!(std::str::from_utf8(lines[0]).is_err() && lines[1] == b"b", "{wrong:?}");
        }
        assert!(std::str::from_utf8(&text(&[0x61], true)).is_err(), "half a unit at the end");
        assert!(std::str::from_utf8(&text(&[0xd800], false)).is_err(), "half a pair at the end");
        assert_eq!(text(&[], false), b"");
    }
}
