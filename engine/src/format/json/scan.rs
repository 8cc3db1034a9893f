//! Looks for the ends of JSON values, eight bytes at a time, and checks them: what is skipped is valid JSON too.
//!
//! `None` means doubt, not a fault: serde_json reads the record again and decides. What is let through is what it lets
//! through where it ignores values.

use crate::format::columns::Scanned;
use crate::units::JSON_DEPTH_MAX;

/// Containers within a skipped value; deeper ones are left to serde_json.
const DEPTH_MAX: u32 = JSON_DEPTH_MAX as u32;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// A place in a record.
pub(super) struct Scan<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

/// Marks bytes that end the plain part of a string: quotes, backslashes, control characters. Exact up to the lowest.
#[inline(always)]
fn marks(word: u64) -> u64 {
    let quotes = word ^ (ONES * b'"' as u64);
    let slashes = word ^ (ONES * b'\\' as u64);
    let found = (quotes.wrapping_sub(ONES) & !quotes)
        | (slashes.wrapping_sub(ONES) & !slashes)
        | (word.wrapping_sub(ONES * 0x20) & !word);
    found & HIGH
}

/// How many of a word's lowest bytes are digits.
#[inline(always)]
fn leading_digits(word: u64) -> usize {
    let other = ((word & (ONES * 0xf0)) ^ (ONES * 0x30))
        | ((word.wrapping_add(ONES * 0x06) & (ONES * 0xf0)) ^ (ONES * 0x30));
    // Additions carry only out of bytes that are no digits, towards higher ones.
    (other.trailing_zeros() / 8) as usize
}

/// The number that eight digits are.
#[inline(always)]
fn eight(word: u64) -> u64 {
    let pairs = (word & (ONES * 0x0f)).wrapping_mul(2_561) >> 8;
    let fours = (pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul(6_553_601) >> 16;
    (fours & 0x0000_ffff_0000_ffff).wrapping_mul(42_949_672_960_001) >> 32
}

const TENS: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

impl Scan<'_> {
    #[inline(always)]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline(always)]
    fn word(&self) -> Option<u64> {
        self.bytes.get(self.at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
    }

    /// The next byte behind blanks.
    #[inline(always)]
    pub(super) fn blanks(&mut self) -> Option<u8> {
        loop {
            match self.peek()? {
                b' ' | b'\n' | b'\t' | b'\r' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    /// Takes one byte, if it is the next one.
    #[inline(always)]
    pub(super) fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Takes a word such as `null`.
    #[inline(always)]
    pub(super) fn literal(&mut self, literal: &[u8]) -> Option<()> {
        let end = self.at + literal.len();
        (self.bytes.get(self.at..end)? == literal).then(|| self.at = end)
    }

    /// Takes a string from its first quote to its last. Whether it is plain: without escapes.
    #[inline(always)]
    pub(super) fn string(&mut self) -> Option<bool> {
        self.at += 1;
        let mut plain = true;
        loop {
            let byte = loop {
                let Some(word) = self.word() else {
                    match self.peek()? {
                        byte @ (b'"' | b'\\' | ..0x20) => break byte,
                        _ => self.at += 1,
                    }
                    continue;
                };
                let found = marks(word);
                if found != 0 {
                    let skipped = found.trailing_zeros() / 8;
                    self.at += skipped as usize;
                    break (word >> (skipped * 8)) as u8;
                }
                self.at += 8;
            };
            self.at += 1;
            match byte {
                b'"' => return Some(plain),
                b'\\' => self.escape()?,
                _ => return None,
            }
            plain = false;
        }
    }

    fn escape(&mut self) -> Option<()> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let digits = self.bytes.get(self.at..self.at + 4)?;
                self.at += 4;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(())
            }
            _ => None,
        }
    }

    /// Takes digits onto a number, which wraps beyond 19 of them. How many they were.
    #[inline(always)]
    fn digits(&mut self, number: &mut u64) -> usize {
        let start = self.at;
        while let Some(word) = self.word() {
            let count = leading_digits(word);
            if count < 8 {
                if count > 0 {
                    // Zeros in front move the digits to where eight would be.
                    let digits = (word << (64 - 8 * count)) & (ONES * 0x0f);
                    *number = number.wrapping_mul(TENS[count]).wrapping_add(eight(digits));
                    self.at += count;
                }
                return self.at - start;
            }
            *number = number.wrapping_mul(100_000_000).wrapping_add(eight(word));
            self.at += 8;
        }
        while let Some(byte @ b'0'..=b'9') = self.peek() {
            *number = number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
            self.at += 1;
        }
        self.at - start
    }

    /// Takes a number. What it is is told where it has at most 18 digits and no exponent.
    #[inline(always)]
    pub(super) fn number(&mut self) -> Option<Option<Scanned>> {
        let mut scanned = Scanned { digits: 0, decimals: 0, negative: false, whole: true };
        if self.peek()? == b'-' {
            scanned.negative = true;
            self.at += 1;
        }
        let first = self.peek()?;
        let mut count = self.digits(&mut scanned.digits);
        if count == 0 || (first == b'0' && count > 1) {
            return None;
        }
        let mut next = self.peek();
        if next == Some(b'.') {
            self.at += 1;
            scanned.whole = false;
            scanned.decimals = self.digits(&mut scanned.digits);
            count += scanned.decimals;
            if scanned.decimals == 0 {
                return None;
            }
            next = self.peek();
        }
        if !matches!(next, Some(b'e' | b'E')) {
            return Some((count <= 18).then_some(scanned));
        }
        self.at += 1;
        if matches!(self.peek()?, b'+' | b'-') {
            self.at += 1;
        }
        (self.digits(&mut 0) > 0).then_some(None)
    }

    /// Takes a value, whatever it is.
    #[inline(always)]
    pub(super) fn skip(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'-' | b'0'..=b'9' => self.number().map(drop),
            _ => self.skip_other(),
        }
    }

    fn skip_other(&mut self) -> Option<()> {
        // A bit for each open container, the innermost lowest: whether it is an object.
        let (mut open, mut depth) = (0u64, 0);
        loop {
            match self.blanks()? {
                b'"' => drop(self.string()?),
                b'-' | b'0'..=b'9' => drop(self.number()?),
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                byte @ (b'{' | b'[') => {
                    self.at += 1;
                    let object = byte == b'{';
                    let next = self.blanks()?;
                    if next == if object { b'}' } else { b']' } {
                        // It is a level like one that holds something.
                        if depth == DEPTH_MAX {
                            return None;
                        }
                        self.at += 1;
                    } else {
                        (open, depth) = ((open << 1) | u64::from(object), depth + 1);
                        if depth > DEPTH_MAX {
                            return None;
                        }
                        if object {
                            self.skip_key()?;
                        }
                        continue;
                    }
                }
                _ => return None,
            }
            // Behind a value.
            loop {
                if depth == 0 {
                    return Some(());
                }
                let object = open & 1 == 1;
                let byte = self.blanks()?;
                self.at += 1;
                match byte {
                    b',' if object => {
                        self.blanks()?;
                        self.skip_key()?;
                        break;
                    }
                    b',' => break,
                    b'}' if object => (open, depth) = (open >> 1, depth - 1),
                    b']' if !object => (open, depth) = (open >> 1, depth - 1),
                    _ => return None,
                }
            }
        }
    }

    /// Takes a key and its colon.
    fn skip_key(&mut self) -> Option<()> {
        if self.peek()? != b'"' {
            return None;
        }
        self.string()?;
        self.blanks()?;
        self.take(b':')
    }
}
