//! The column `_rest`: the members of records that nobody declared, to the byte and in their order, those of a declared
//! struct under its name. Members that follow each other are copied as one.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, NullBufferBuilder, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer};

use super::span::{Members, name_of};
use crate::error::{Error, Result};
use crate::format::columns::{Columns, Values, blame};
use crate::units::JSON_DEPTH_MAX;

/// The column under construction.
pub(super) struct Rest {
    data: Vec<u8>,
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
    /// The keys of the structs that the reader is in, with their quotes.
    path: Vec<Range<usize>>,
    /// Objects that were begun for this record: its own, and those of the path.
    open: usize,
    /// Members that are not copied yet.
    run: Range<usize>,
}

impl Default for Rest {
    fn default() -> Self {
        Self {
            data: Vec::new(),
            offsets: vec![0],
            nulls: NullBufferBuilder::new(0),
            path: Vec::new(),
            open: 0,
            run: 0..0,
        }
    }
}

impl Rest {
    /// A record begins; what one before it left that was not completed is forgotten.
    pub(super) fn begin(&mut self) {
        self.data.truncate(self.offsets[self.offsets.len() - 1] as usize);
        self.path.clear();
        (self.open, self.run) = (0, 0..0);
    }

    /// The reader goes into a declared struct, whose key lies there.
    pub(super) fn enter(&mut self, text: &[u8], key: Range<usize>) {
        self.flush(text);
        self.path.push(key);
    }

    /// The reader leaves it.
    pub(super) fn leave(&mut self, text: &[u8]) {
        self.flush(text);
        if self.open > self.path.len() {
            self.data.push(b'}');
            self.open -= 1;
        }
        self.path.pop();
    }

    /// Takes a member: `before` is the end of the value before it, `key` the start of its key, `end` that of its value.
    #[inline]
    pub(super) fn member(&mut self, text: &[u8], before: usize, key: usize, end: usize) {
        if self.run.is_empty() || self.run.end != before {
            self.flush(text);
            self.run.start = key;
        }
        self.run.end = end;
    }

    /// Copies the members that wait.
    #[inline]
    fn flush(&mut self, text: &[u8]) {
        if self.run.is_empty() {
            return;
        }
        while self.open <= self.path.len() {
            if let Some(level) = self.open.checked_sub(1) {
                self.comma();
                self.data.extend_from_slice(&text[self.path[level].clone()]);
                self.data.push(b':');
            }
            self.data.push(b'{');
            self.open += 1;
        }
        self.comma();
        self.data.extend_from_slice(&text[self.run.clone()]);
        self.run = 0..0;
    }

    fn comma(&mut self) {
        // No value ends with what an object begins with.
        if self.data.last() != Some(&b'{') {
            self.data.push(b',');
        }
    }

    /// The record was taken: its row is complete.
    pub(super) fn complete(&mut self, text: &[u8]) -> Result<(), String> {
        self.flush(text);
        if self.open == 0 {
            self.offsets.push(self.offsets[self.offsets.len() - 1]);
            self.nulls.append_null();
            return Ok(());
        }
        self.data.push(b'}');
        let end =
            i32::try_from(self.data.len()).map_err(|_| "the values of a batch are larger than 2 GiB")?;
        self.offsets.push(end);
        self.nulls.append_non_null();
        Ok(())
    }

    /// A row that has nothing.
    pub(super) fn push_null(&mut self) {
        self.begin();
        self.offsets.push(self.offsets[self.offsets.len() - 1]);
        self.nulls.append_null();
    }

    /// Cuts the column back to so many rows.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.nulls.truncate(rows.min(self.nulls.len()));
        self.begin();
    }

    /// The rows so far; the column is empty again.
    pub(super) fn finish(&mut self) -> Result<ArrayRef> {
        let data = std::mem::replace(
            &mut self.data,
            Vec::with_capacity(self.offsets[self.offsets.len() - 1] as usize),
        );
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        let (offsets, nulls) = (OffsetBuffer::new(offsets.into()), self.nulls.finish());
        let array = StringArray::try_new(offsets, Buffer::from_vec(data), nulls)
            .map_err(|e| Error::internal(format!("what nobody declared is no text: {e}")))?;
        Ok(Arc::new(array))
    }

    /// Takes what nobody declared of a record that serde_json has read: it is one object, and its keys are text.
    pub(super) fn walk(&mut self, text: &str, columns: &Columns) -> Result<(), String> {
        self.begin();
        let mut members = Members::new(text.as_bytes()).ok_or_else(deep)?;
        self.walk_object(text, &mut members, columns)?;
        self.complete(text.as_bytes())
    }

    /// It recurses as deep as the columns are, no deeper.
    fn walk_object(
        &mut self,
        text: &str,
        members: &mut Members<'_>,
        columns: &Columns,
    ) -> Result<(), String> {
        let bytes = text.as_bytes();
        let mut hint = 0;
        while let Some(key) = members.key().ok_or_else(deep)? {
            let name = name_of(&text[key.place.clone()]);
            let found = name.as_deref().and_then(|name| columns.find(name, hint));
            let Some(at) = found else {
                let fault = || blame(name.as_deref().unwrap_or_default(), &deep());
                let end = members.skip().ok_or_else(fault)?;
                self.member(bytes, key.before, key.place.start, end);
                continue;
            };
            hint = at + 1;
            match &columns.columns[at].values {
                Values::Struct(inner) if members.begins_object() => {
                    self.enter(bytes, key.place);
                    members.enter().ok_or_else(deep)?;
                    self.walk_object(text, members, inner)
                        .map_err(|fault| blame(&columns.columns[at].name, &fault))?;
                    self.leave(bytes);
                }
                _ => {
                    members.skip().ok_or_else(deep)?;
                }
            }
        }
        Ok(())
    }
}

fn deep() -> String {
    format!("JSON nested deeper than {JSON_DEPTH_MAX} levels")
}
