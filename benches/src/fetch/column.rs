//! Columns being filled, in two ways: bytes copied one behind the other, and views of where they lie.

use arrow::array::builder::make_view;
use arrow::array::{ArrayRef, BinaryArray, BinaryViewArray, NullBufferBuilder};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::error::ArrowError;
use bytes::Bytes;
use std::sync::Arc;

use super::{Result, Tally};

/// A column of byte strings.
pub trait Column: Default {
    /// The finished column.
    type Array;

    /// What comes next lies in this block.
    fn block(&mut self, block: &Bytes);
    /// Appends a value; it starts at `at` of the block.
    fn push(&mut self, value: Option<&[u8]>, at: usize) -> Result<()>;
    /// Everything that is here.
    fn finish(self) -> Result<Self::Array, ArrowError>;
}

/// Values copied: a [`BinaryArray`].
pub struct Copied {
    data: Vec<u8>,
    ends: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl Default for Copied {
    fn default() -> Self {
        Self { data: Vec::new(), ends: vec![0], nulls: NullBufferBuilder::new(0) }
    }
}

impl Column for Copied {
    type Array = BinaryArray;

    fn block(&mut self, block: &Bytes) {
        // Most of a block are values; of keys it is far too much, but untouched memory costs nothing.
        self.data.reserve(block.len());
    }

    #[inline]
    fn push(&mut self, value: Option<&[u8]>, _: usize) -> Result<()> {
        if let Some(value) = value {
            self.data.extend_from_slice(value);
            self.nulls.append_non_null();
        } else {
            self.nulls.append_null();
        }
        self.ends.push(i32::try_from(self.data.len())?);
        Ok(())
    }

    fn finish(mut self) -> Result<BinaryArray, ArrowError> {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        BinaryArray::try_new(offsets, Buffer::from_vec(self.data), self.nulls.finish())
    }
}

/// Where values lie in the response itself: a [`BinaryViewArray`].
pub struct Viewed {
    views: Vec<u128>,
    blocks: Vec<Buffer>,
    nulls: NullBufferBuilder,
}

impl Default for Viewed {
    fn default() -> Self {
        Self { views: Vec::new(), blocks: Vec::new(), nulls: NullBufferBuilder::new(0) }
    }
}

impl Column for Viewed {
    type Array = BinaryViewArray;

    fn block(&mut self, block: &Bytes) {
        self.blocks.push(Buffer::from(block.clone()));
    }

    #[inline]
    fn push(&mut self, value: Option<&[u8]>, at: usize) -> Result<()> {
        if let Some(value) = value {
            let block = self.blocks.len() as u32 - 1;
            self.views.push(make_view(value, block, u32::try_from(at)?));
            self.nulls.append_non_null();
        } else {
            self.views.push(0);
            self.nulls.append_null();
        }
        Ok(())
    }

    fn finish(mut self) -> Result<BinaryViewArray, ArrowError> {
        BinaryViewArray::try_new(ScalarBuffer::from(self.views), self.blocks, self.nulls.finish())
    }
}

/// Records of one partition.
#[derive(Default)]
pub struct Columns<C> {
    /// Offset of each record.
    pub offsets: Vec<i64>,
    /// Milliseconds since 1970.
    pub timestamps: Vec<i64>,
    /// Keys.
    pub keys: C,
    /// Values.
    pub values: C,
    /// Of each record with headers: its row, and its headers as they were sent.
    pub headers: Vec<(usize, Bytes)>,
    /// Bytes of the values.
    pub bytes: usize,
}

impl Columns<Copied> {
    /// Counts what is here, as Arrow arrays.
    pub fn tally(self, tally: &mut Tally) -> Result<ArrayRef> {
        let (keys, values) = (self.keys.finish()?, self.values.finish()?);
        tally.add_columns(&self.offsets, &self.timestamps, &keys, &values, self.bytes);
        Ok(Arc::new(values))
    }
}

impl Columns<Viewed> {
    /// Counts what is here, as Arrow arrays.
    pub fn tally(self, tally: &mut Tally) -> Result<ArrayRef> {
        let (keys, values) = (self.keys.finish()?, self.values.finish()?);
        tally.add_columns(&self.offsets, &self.timestamps, &keys, &values, self.bytes);
        Ok(Arc::new(values))
    }
}
