//! A batch as a stage sees it: the columns that it named when it was bound.

use crate::bind::{Bound, Column};
use crate::bindings::pipe::stage::arrow::{Array, RecordBatch};
use crate::column::{self, Any};
use crate::error::{Error, Result};
use crate::nested::Nested;
use crate::read::Read;

/// A batch of rows: the columns that the stage reads.
#[derive(Debug)]
pub struct Batch<'a> {
    len: usize,
    bound: &'a Bound,
    arrays: &'a [Array],
}

impl<'a> Batch<'a> {
    pub(crate) fn new(bound: &'a Bound, batch: &'a RecordBatch) -> Result<Self> {
        let expected: usize = bound.reads.iter().map(|read| read.field.fields().len()).sum();
        if batch.arrays.len() != expected {
            return Err(Error::new(format!(
                "the batch has {} arrays, {expected} were bound",
                batch.arrays.len()
            )));
        }
        Ok(Self { len: batch.length as usize, bound, arrays: &batch.arrays })
    }

    /// Number of rows.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A column as it crossed, whatever its type: to take rows from it, or to look into it.
    pub fn nested<T: ?Sized>(&self, column: Column<T>) -> Result<Nested<'a>> {
        let read = self.bound.reads.get(column.index);
        let read = read.ok_or_else(|| Error::new("this column belongs to another stage"))?;
        let end = read.start + read.field.fields().len();
        let nested = Nested::new(read.field.fields(), self.arrays.get(read.start..end).unwrap_or_default());
        if nested.len() != self.len {
            let name = read.field.name();
            return Err(Error::new(format!("column `{name}` has another length than its batch")));
        }
        Ok(nested)
    }

    /// The view of a column; look it up once a batch, before the loop over rows.
    pub fn column<T: Read + ?Sized>(&self, column: Column<T>) -> Result<T::View<'a>> {
        let read = self.bound.reads.get(column.index);
        let read = read.ok_or_else(|| Error::new("this column belongs to another stage"))?;
        let end = read.start + read.field.fields().len();
        let any = column::view(read.field.fields(), self.arrays.get(read.start..end).unwrap_or_default())?;
        if view_len(&any).is_some_and(|len| len != self.len) {
            return Err(Error::new(format!(
                "column `{}` has another length than its batch",
                read.field.name()
            )));
        }
        T::view(any).ok_or_else(|| Error::new(format!("column `{}` changed its type", read.field.name())))
    }
}

/// Rows of a view, where it knows them.
fn view_len(any: &Any<'_>) -> Option<usize> {
    Some(match any {
        Any::Null | Any::Other(_) => return None,
        Any::Bool(v) => v.len(),
        Any::Int8(v) => v.len(),
        Any::Int16(v) => v.len(),
        Any::Int32(v) | Any::Date32(v) | Any::Time32(v, _) => v.len(),
        Any::Int64(v) | Any::Date64(v) | Any::Time64(v, _) | Any::Timestamp(v, _) | Any::Duration(v, _) => {
            v.len()
        }
        Any::Uint8(v) => v.len(),
        Any::Uint16(v) => v.len(),
        Any::Uint32(v) => v.len(),
        Any::Uint64(v) => v.len(),
        Any::Float32(v) => v.len(),
        Any::Float64(v) => v.len(),
        Any::Text(v) => v.len(),
        Any::Bytes(v) => v.len(),
        Any::Decimal(v, _) => v.len(),
        Any::Decimal256(v, _) => v.len(),
        Any::Nested(v) => v.len(),
        Any::Dictionary(v) => v.len(),
    })
}
