//! The fast way from a record to columns: it knows plain records only, and gives up on all that is unusual.
//!
//! Why it is sound: it either appends exactly what the slow way (`decode.rs`) would append, or says `None`, whereupon
//! the row is taken back and the slow way decides. It rejects nothing and words no message. A test compares the two.
//!
//! Keys are compared with those of the records before, to the letter and with the blanks around them ([`Habit`]); what
//! no column wants is checked and skipped (`scan.rs`) without being built.
//!
//! [`Habit`]: crate::format::columns::Habit

use serde::de::DeserializeSeed;

use super::cell::{self, Cell};
use super::rest::Rest;
use super::scan::Scan;
use super::unknown::Watch;
use crate::format::columns::{Column, Columns, Values};

/// What is done with members that no column takes.
pub(super) struct Beside<'a> {
    pub(super) watch: Option<&'a Watch>,
    /// Where they are kept.
    pub(super) rest: Option<&'a mut Rest>,
    /// Whether they refuse their record: the slow way says which does.
    pub(super) strict: bool,
}

/// Appends a record as row `row`. With `None` a part of it may have been appended.
pub(super) fn record(text: &str, columns: &mut Columns, row: usize, beside: Beside<'_>) -> Option<()> {
    let Beside { watch, mut rest, strict } = beside;
    if let Some(rest) = &mut rest {
        rest.begin();
    }
    let mut reader = Reader { text, scan: Scan { bytes: text.as_bytes(), at: 0 }, watch, rest, strict };
    reader.scan.blanks()?;
    let given = reader.members(columns, row)?;
    // Blanks up to the end are all that may follow.
    if reader.scan.at != text.len() && reader.scan.blanks().is_some() {
        return None;
    }
    if given == columns.columns.len() { Some(()) } else { columns.complete(row).ok() }
}

struct Reader<'a> {
    text: &'a str,
    scan: Scan<'a>,
    watch: Option<&'a Watch>,
    rest: Option<&'a mut Rest>,
    strict: bool,
}

impl Reader<'_> {
    /// Takes an object, as row `row` of its columns. How many of them got a value.
    fn members(&mut self, columns: &mut Columns, row: usize) -> Option<usize> {
        let (mut place, mut hint, mut given) = (0, 0, 0);
        loop {
            let before = self.scan.at;
            let coming = self.scan.bytes.get(before..)?;
            let found = match columns.habit.next(place, coming) {
                Some((found, length)) => {
                    self.scan.at += length;
                    place += 1;
                    found
                }
                None => match self.key(columns, place, hint)? {
                    Some((found, next)) => {
                        place = next;
                        found
                    }
                    None => return Some(given),
                },
            };
            let Some(at) = found else {
                if self.strict {
                    return None;
                }
                self.scan.skip()?;
                if let Some(watch) = self.watch {
                    watch.add();
                }
                if let Some(rest) = &mut self.rest {
                    rest.member(self.scan.bytes, before, key_from(self.scan.bytes, before), self.scan.at);
                }
                continue;
            };
            let column = columns.columns.get_mut(at)?;
            if column.len() > row {
                return None;
            }
            if self.rest.is_some() && matches!(column.values, Values::Struct(_)) {
                self.within(column, before)?;
            } else {
                self.value(column)?;
            }
            hint = at + 1;
            given += 1;
        }
    }

    /// Takes the value of a struct, whose key stands behind `before`: what nobody declared of it is kept under its name.
    #[inline(never)]
    fn within(&mut self, column: &mut Column, before: usize) -> Option<()> {
        let start = key_from(self.scan.bytes, before);
        let mut key = Scan { bytes: self.scan.bytes, at: start };
        key.string()?;
        let bytes = self.scan.bytes;
        if let Some(rest) = &mut self.rest {
            rest.enter(bytes, start..key.at);
        }
        self.value(column)?;
        if let Some(rest) = &mut self.rest {
            rest.leave(bytes);
        }
        Some(())
    }

    /// Takes what stands before a value, its key not being the one that was foreseen: the key's column, and the place
    /// of the next key. The inner `None` is the object's end.
    fn key(
        &mut self,
        columns: &mut Columns,
        place: usize,
        hint: usize,
    ) -> Option<Option<(Option<usize>, usize)>> {
        let start = self.scan.at;
        let first = place == 0;
        if first {
            self.scan.take(b'{')?;
        }
        match self.scan.blanks()? {
            b'}' => {
                self.scan.at += 1;
                return Some(None);
            }
            b',' if !first => {
                self.scan.at += 1;
                self.scan.blanks()?;
            }
            _ if first => {}
            _ => return None,
        }
        let from = self.scan.at;
        if self.scan.peek()? != b'"' || !self.scan.string()? {
            return None;
        }
        let to = self.scan.at;
        self.scan.blanks()?;
        self.scan.take(b':')?;
        self.scan.blanks()?;
        let (key, token) = (self.scan.bytes.get(from..to)?, self.scan.bytes.get(start..self.scan.at)?);
        if let Some((at, column)) = columns.habit.find(place, key) {
            return Some(Some((column, at + 1)));
        }
        let name = self.text.get(from + 1..to - 1)?;
        let column = columns.find(name, hint);
        if let (None, Some(watch)) = (column, self.watch) {
            watch.meet(name);
        }
        let learned = columns.habit.learn(place, token, (from - start, to - start), column);
        // Never 0 again: only the first key has the object's start before it.
        Some(Some((column, if learned { place + 1 } else { place.max(1) })))
    }

    /// Takes a value and appends it to its column. It recurses as deep as the column's type is, no deeper.
    #[inline]
    fn value(&mut self, column: &mut Column) -> Option<()> {
        let start = self.scan.at;
        match self.scan.peek()? {
            b'"' => {
                if self.scan.string()? {
                    column.quick_str(self.text, start + 1..self.scan.at - 1)
                } else {
                    self.again(column, start)
                }
            }
            b'-' | b'0'..=b'9' => match self.scan.number()? {
                Some(number) => column.quick_number(number, self.text.get(start..self.scan.at)?),
                None => column.push_number(self.text.get(start..self.scan.at)?, "").ok(),
            },
            b't' => {
                self.scan.literal(b"true")?;
                column.push_bool(true).ok()
            }
            b'f' => {
                self.scan.literal(b"false")?;
                column.push_bool(false).ok()
            }
            b'n' => {
                self.scan.literal(b"null")?;
                column.push_null().ok()
            }
            b' ' | b'\n' | b'\t' | b'\r' => {
                self.scan.blanks()?;
                self.value(column)
            }
            b'{' if matches!(column.values, Values::Struct(_)) => {
                let row = column.len();
                let Values::Struct(columns) = &mut column.values else { return None };
                self.members(columns, row)?;
                column.close_struct().ok()
            }
            b'[' if matches!(column.values, Values::List { .. } | Values::FixedList { .. }) => {
                self.list(column)
            }
            _ => {
                self.scan.skip()?;
                self.again(column, start)
            }
        }
    }

    fn list(&mut self, column: &mut Column) -> Option<()> {
        let (Values::List { item, .. } | Values::FixedList { item, .. }) = &mut column.values else {
            return None;
        };
        self.scan.at += 1;
        let mut items = 0;
        if self.scan.blanks()? == b']' {
            self.scan.at += 1;
            return column.close_list(items).ok();
        }
        loop {
            self.scan.blanks()?;
            self.value(item)?;
            items += 1;
            let byte = self.scan.blanks()?;
            self.scan.at += 1;
            match byte {
                b',' => {}
                b']' => return column.close_list(items).ok(),
                _ => return None,
            }
        }
    }

    /// A value that was scanned from `start`: kept as it is, or read by serde_json: escapes, maps.
    fn again(&self, column: &mut Column, start: usize) -> Option<()> {
        if column.is_json() {
            return column.push_json(self.text.get(start..self.scan.at)?).ok();
        }
        let mut json = serde_json::Deserializer::from_str(self.text.get(start..self.scan.at)?);
        let beside = cell::Beside { watch: self.watch, strict: self.strict };
        Cell(column, beside).deserialize(&mut json).ok()
    }
}

/// Where the key starts that comes behind a value, or behind the start of an object.
#[inline(always)]
fn key_from(bytes: &[u8], before: usize) -> usize {
    before + bytes[before..].iter().position(|byte| *byte == b'"').unwrap_or(0)
}
