//! Values whose text needs no second look, pushed without a message for what does not fit: `None` leaves that to the
//! slow way, which reads the value again and words the fault.

use std::ops::Range;

use super::{Column, Columns, Values};

/// How many keys of a writer are remembered.
const KEYS_MAX: usize = 256;
/// Longer ones are not.
const KEY_BYTES_MAX: usize = 256;
/// How many remembered keys a record may leave out at one place.
const LEFT_OUT: usize = 8;

/// The keys in the order in which a writer puts them: most records of a topic have the same ones.
#[derive(Default)]
pub(in crate::format) struct Habit {
    keys: Vec<Habitual>,
    /// Keys since the last [`Habit::review`], and how many of them were foreseen.
    seen: usize,
    foreseen: usize,
}

/// A key with all that a writer puts around it.
struct Habitual {
    /// From the end of the value before it to the start of its own: `,"name": `.
    token: Box<[u8]>,
    /// Its first bytes, and which of these sixteen they are: comparing a whole word is cheaper than as many as there are.
    head: u128,
    mask: u128,
    /// The key within it, its quotes included.
    key: (usize, usize),
    column: Option<usize>,
}

impl Habitual {
    fn new(token: &[u8], key: (usize, usize), column: Option<usize>) -> Self {
        let mut head = [0; 16];
        head.iter_mut().zip(token).for_each(|(to, byte)| *to = *byte);
        let mask = 1u128.checked_shl(token.len() as u32 * 8).map_or(u128::MAX, |bit| bit - 1);
        Self { token: token.into(), head: u128::from_le_bytes(head), mask, key, column }
    }

    #[inline(always)]
    fn begins(&self, rest: &[u8]) -> bool {
        match rest.first_chunk() {
            Some(chunk) => {
                (u128::from_le_bytes(*chunk) ^ self.head) & self.mask == 0
                    && (self.token.len() <= 16 || rest.get(16..self.token.len()) == self.token.get(16..))
            }
            None => rest.starts_with(&self.token),
        }
    }
}

impl Habit {
    /// The column of the key at place `at`, and the length of what stands before its value, where `rest` goes on with
    /// that key to the letter.
    #[inline(always)]
    pub(in crate::format) fn next(&mut self, at: usize, rest: &[u8]) -> Option<(Option<usize>, usize)> {
        let habitual = self.keys.get(at)?;
        if !habitual.begins(rest) {
            return None;
        }
        self.seen += 1;
        self.foreseen += 1;
        Some((habitual.column, habitual.token.len()))
    }

    /// The place and the column of a key that did not come to the letter; it is looked for a few places on.
    pub(in crate::format) fn find(&mut self, at: usize, key: &[u8]) -> Option<(usize, Option<usize>)> {
        self.seen += 1;
        let ahead = self.keys.get(at..)?.iter().take(LEFT_OUT);
        let matches = |habitual: &Habitual| &habitual.token[habitual.key.0..habitual.key.1] == key;
        let found = ahead.enumerate().find(|(_, habitual)| matches(habitual));
        let (skipped, habitual) = found?;
        self.foreseen += 1;
        Some((at + skipped, habitual.column))
    }

    /// Remembers a key behind all others, if it came there; whether it did. Place 0 is that of an object's first key.
    pub(in crate::format) fn learn(
        &mut self,
        at: usize,
        token: &[u8],
        key: (usize, usize),
        column: Option<usize>,
    ) -> bool {
        let learned = at == self.keys.len() && at < KEYS_MAX && token.len() <= KEY_BYTES_MAX;
        if learned {
            self.keys.push(Habitual::new(token, key, column));
        }
        learned
    }

    /// Forgets the keys if they were learned of a record that was unlike those that followed.
    pub(super) fn review(&mut self) {
        if self.foreseen < self.seen / 2 {
            self.keys.clear();
        }
        (self.seen, self.foreseen) = (0, 0);
    }
}

/// A number as it was scanned.
#[derive(Clone, Copy)]
pub(in crate::format) struct Scanned {
    /// Its digits as one number, without the point.
    pub(in crate::format) digits: u64,
    /// How many of them are behind the point.
    pub(in crate::format) decimals: usize,
    pub(in crate::format) negative: bool,
    /// Whether the number is written as a whole one: no point.
    pub(in crate::format) whole: bool,
}

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

impl Scanned {
    fn integer(self) -> Option<i64> {
        let digits = i64::try_from(self.digits).ok()?;
        self.whole.then_some(if self.negative { -digits } else { digits })
    }

    /// The nearest double: both sides of the division are exact, and it rounds once.
    fn float(self) -> Option<f64> {
        if self.digits >= 1 << 53 {
            return None;
        }
        let value = self.digits as f64 / POWERS.get(self.decimals)?;
        Some(if self.negative { -value } else { value })
    }
}

impl Columns {
    /// Once for each batch.
    pub(in crate::format) fn review(&mut self) {
        self.habit.review();
        self.columns.iter_mut().for_each(Column::review);
    }
}

impl Column {
    fn review(&mut self) {
        match &mut self.values {
            Values::Struct(columns) => columns.review(),
            Values::List { item, .. } => item.review(),
            _ => {}
        }
    }

    /// A string without escapes, which is a part of a text.
    #[inline]
    pub(in crate::format) fn quick_str(&mut self, text: &str, place: Range<usize>) -> Option<()> {
        let value = text.get(place.clone())?;
        if let Values::Bytes { offsets, data, hex: false } = &mut self.values {
            let end = data.len() + value.len();
            offsets.push(super::end(end).ok()?);
            // Moving a block and taking back what was too much is cheaper than moving as many bytes as there are.
            match text.as_bytes().get(place.start..).and_then(|rest| rest.first_chunk::<16>()) {
                Some(block) if value.len() <= 16 => {
                    data.extend_from_slice(block);
                    data.truncate(end);
                }
                _ => data.extend_from_slice(value.as_bytes()),
            }
            self.nulls.append_non_null();
            return Some(());
        }
        if self.is_json() {
            // With its quotes.
            return self.push_json(text.get(place.start.checked_sub(1)?..place.end + 1)?).ok();
        }
        self.push_str(value).ok()
    }

    /// A number of at most 18 digits without an exponent.
    #[inline]
    pub(in crate::format) fn quick_number(&mut self, number: Scanned, text: &str) -> Option<()> {
        match &mut self.values {
            Values::Int64(v) => v.push(number.integer()?),
            Values::Float64(v) => match number.float() {
                Some(value) => v.push(value),
                None => return self.push_number(text, "").ok(),
            },
            Values::Int32(v) => v.push(number.integer()?.try_into().ok()?),
            Values::Int16(v) => v.push(number.integer()?.try_into().ok()?),
            Values::Int8(v) => v.push(number.integer()?.try_into().ok()?),
            Values::UInt64(v) => v.push(number.integer()?.try_into().ok()?),
            Values::UInt32(v) => v.push(number.integer()?.try_into().ok()?),
            Values::UInt16(v) => v.push(number.integer()?.try_into().ok()?),
            Values::UInt8(v) => v.push(number.integer()?.try_into().ok()?),
            Values::Temporal(v, temporal) => {
                let value = number.integer()?;
                if !temporal.holds(value) {
                    return None;
                }
                v.push(value);
            }
            _ => return self.push_number(text, "").ok(),
        }
        self.nulls.append_non_null();
        Some(())
    }
}
