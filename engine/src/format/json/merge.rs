//! The members of `_rest` back into the row that they came with: declared columns first, then the rest, deep.
//!
//! A column and a member of one name: the column wins, but for a struct, into whose object the members go that it does
//! not have itself.

use std::ops::Range;

use arrow::array::StringArray;
use arrow::datatypes::{DataType, Fields};

use super::bare;
use super::span::{Members, name_of};

/// The column that holds what nobody declared.
pub(super) const REST: &str = "_rest";

/// What a row has beside its columns.
pub(super) struct Beside<'a> {
    rest: &'a StringArray,
    fields: &'a Fields,
    /// The members that no column has, with commas between.
    pub(super) tail: Vec<u8>,
    /// Columns of structs, and where in the text the members of each lie.
    nested: Vec<(usize, Range<usize>)>,
    row: usize,
}

impl<'a> Beside<'a> {
    /// That of the rows of these columns.
    pub(super) fn new(rest: &'a StringArray, fields: &'a Fields) -> Self {
        Self { rest, fields, tail: Vec::new(), nested: Vec::new(), row: 0 }
    }

    /// Takes what a row has.
    pub(super) fn take(&mut self, row: usize) {
        use arrow::array::Array as _;
        self.row = row;
        self.tail.clear();
        self.nested.clear();
        if self.rest.is_null(row) {
            return;
        }
        let text = self.rest.value(row);
        if split(text, self.fields, &mut self.tail, &mut self.nested).is_none() {
            // A stage made it, and no object: it is a column like another.
            self.tail.clear();
            self.nested.clear();
            self.tail.extend_from_slice(b"\"_rest\":");
            bare::write(text, &mut self.tail);
        }
    }

    /// Puts what belongs into a column of structs into its object, which was written from `start` on.
    pub(super) fn complete(&self, column: usize, start: usize, out: &mut Vec<u8>) {
        let text = self.rest.value(self.row);
        for (_, place) in self.nested.iter().filter(|(at, _)| *at == column) {
            let object = out.split_off(start);
            let DataType::Struct(fields) = self.fields[column].data_type() else { return };
            let written = std::str::from_utf8(&object).ok();
            if written.and_then(|written| merged(written, fields, &text[place.clone()], out)).is_none() {
                out.truncate(start);
                out.extend_from_slice(&object);
            }
        }
    }
}

/// Parts the members of an object by whether a field of the row has their name. `None`: it is no object.
fn split(
    text: &str,
    fields: &Fields,
    tail: &mut Vec<u8>,
    nested: &mut Vec<(usize, Range<usize>)>,
) -> Option<()> {
    let mut members = Members::new(text.as_bytes())?;
    let mut run = 0..0;
    let mut copy = |run: &Range<usize>| {
        if !run.is_empty() {
            if !tail.is_empty() {
                tail.push(b',');
            }
            tail.extend_from_slice(&text.as_bytes()[run.clone()]);
        }
    };
    while let Some(key) = members.key()? {
        let name = name_of(text.get(key.place.clone())?);
        let column =
            name.and_then(|name| fields.iter().position(|field| *field.name() == *name && *name != *REST));
        let (start, is_object) = (members.at(), members.begins_object());
        let end = members.skip_any()?;
        match column {
            Some(at) if is_object && matches!(fields[at].data_type(), DataType::Struct(_)) => {
                nested.push((at, start..end));
            }
            Some(_) => {}
            None if run.end == key.before && !run.is_empty() => run.end = end,
            None => {
                copy(&run);
                run = key.place.start..end;
            }
        }
    }
    copy(&run);
    members.ends().then_some(())
}

/// Appends an object that was written from a struct, with the members of another that its fields do not have. It
/// recurses as deep as the struct is.
fn merged(written: &str, fields: &Fields, rest: &str, out: &mut Vec<u8>) -> Option<()> {
    let (mut tail, mut nested) = (Vec::new(), Vec::new());
    split(rest, fields, &mut tail, &mut nested)?;
    let mut copied = 0;
    if !nested.is_empty() {
        let mut members = Members::new(written.as_bytes())?;
        while let Some(key) = members.key()? {
            let (start, is_object) = (members.at(), members.begins_object());
            let end = members.skip_any()?;
            let name = name_of(written.get(key.place)?)?;
            let own = nested.iter().find(|(at, _)| is_object && *fields[*at].name() == *name);
            let Some((at, place)) = own else { continue };
            let DataType::Struct(inner) = fields[*at].data_type() else { continue };
            out.extend_from_slice(&written.as_bytes()[copied..start]);
            merged(&written[start..end], inner, &rest[place.clone()], out)?;
            copied = end;
        }
    }
    out.extend_from_slice(&written.as_bytes()[copied..written.len().checked_sub(1)?]);
    if !tail.is_empty() {
        // No value ends with what an object begins with.
        if out.last() != Some(&b'{') {
            out.push(b',');
        }
        out.extend_from_slice(&tail);
    }
    out.push(b'}');
    Some(())
}
