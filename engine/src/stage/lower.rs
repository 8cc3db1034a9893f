//! Columns into the form in which they cross: normalised buffers, arrays in pre-order.
//!
//! A buffer that is normalised already is passed on as a slice of Arrow's own memory; the one copy into the guest is
//! made by wasmtime. What is copied here are bitmaps that begin within a byte and offsets that do not begin at 0.

use arrow::array::{
    Array, ArrayRef, AsArray, GenericByteArray, OffsetSizeTrait, downcast_dictionary_array,
    downcast_primitive_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{ByteArrayType, DataType};

use super::wit::pipe::stage::arrow as wit;

/// Arrays in pre-order; kept between calls, so that its memory is used again.
#[derive(Default)]
pub(super) struct Lowered {
    arrays: Vec<Shape>,
    buffers: Vec<Buffer>,
}

struct Shape {
    len: u32,
    nulls: u32,
    /// How many of `buffers` are this array's.
    buffers: u32,
}

/// The values to lower, borrowed from a `Lowered`.
pub(super) struct Borrowed<'a> {
    bytes: Vec<&'a [u8]>,
    shapes: &'a [Shape],
}

impl Lowered {
    /// Forgets what it holds, not its memory.
    pub(super) fn clear(&mut self) {
        self.arrays.clear();
        self.buffers.clear();
    }

    /// Adds a column. Its type is one that crosses (`types::crossing`).
    pub(super) fn push(&mut self, array: &ArrayRef) -> Result<(), String> {
        let at = self.arrays.len();
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        let null_count = if *array.data_type() == DataType::Null {
            array.len()
        } else {
            nulls.map_or(0, NullBuffer::null_count)
        };
        let len = u32::try_from(array.len()).map_err(|_| "a column is longer than 2^32".to_owned())?;
        self.arrays.push(Shape { len, nulls: null_count as u32, buffers: 0 });
        let first = self.buffers.len();
        self.buffers.push(nulls.map_or_else(Buffer::default, |nulls| bitmap(nulls.inner())));
        let child = self.own_buffers(array)?;
        self.arrays[at].buffers = (self.buffers.len() - first) as u32;
        match child {
            Children::None => Ok(()),
            Children::One(child) => self.push(&child),
            Children::Many => array.as_struct().columns().iter().try_for_each(|child| self.push(child)),
        }
    }

    /// Adds the buffers of the array itself and says which children follow.
    fn own_buffers(&mut self, array: &ArrayRef) -> Result<Children, String> {
        match array.data_type() {
            DataType::Null => {}
            DataType::Boolean => self.buffers.push(bitmap(array.as_boolean().values())),
            DataType::Utf8 => self.bytes(array.as_string::<i32>()),
            DataType::LargeUtf8 => self.bytes(array.as_string::<i64>()),
            DataType::Binary => self.bytes(array.as_binary::<i32>()),
            DataType::LargeBinary => self.bytes(array.as_binary::<i64>()),
            DataType::FixedSizeBinary(_) => {
                self.buffers.push(array.as_fixed_size_binary().values().clone());
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                return Ok(self.list(list.offsets(), list.values()));
            }
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                return Ok(self.list(list.offsets(), list.values()));
            }
            DataType::Map(..) => {
                let map = array.as_map();
                let entries: ArrayRef = std::sync::Arc::new(map.entries().clone());
                return Ok(self.list(map.offsets(), &entries));
            }
            DataType::FixedSizeList(..) => {
                let list = array.as_fixed_size_list();
                let used = list.len() * list.value_length() as usize;
                let whole = used == list.values().len();
                let values = if whole { list.values().clone() } else { list.values().slice(0, used) };
                return Ok(Children::One(values));
            }
            DataType::Struct(_) => return Ok(Children::Many),
            DataType::Dictionary(..) => {
                downcast_dictionary_array! {
                    array => {
                        self.buffers.push(array.keys().values().inner().clone());
                        return Ok(Children::One(array.values().clone()));
                    },
                    other => return Err(format!("a column has type {other}, which does not cross")),
                }
            }
            _ => {
                downcast_primitive_array! {
                    array => self.buffers.push(array.values().inner().clone()),
                    other => return Err(format!("a column has type {other}, which does not cross")),
                }
            }
        }
        Ok(Children::None)
    }

    fn bytes<T: ByteArrayType>(&mut self, array: &GenericByteArray<T>)
    where
        T::Offset: OffsetSizeTrait,
    {
        let (first, used) = self.offsets(array.offsets());
        self.buffers.push(array.values().slice_with_length(first, used));
    }

    fn list<O: OffsetSizeTrait>(&mut self, offsets: &OffsetBuffer<O>, values: &ArrayRef) -> Children {
        let (first, used) = self.offsets(offsets);
        let whole = first == 0 && used == values.len();
        Children::One(if whole { values.clone() } else { values.slice(first, used) })
    }

    /// Adds offsets that begin at 0; returns where the used range of the values begins and how long it is.
    fn offsets<O: OffsetSizeTrait>(&mut self, offsets: &OffsetBuffer<O>) -> (usize, usize) {
        // An offset buffer always has at least one entry.
        let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
        self.buffers.push(if first == O::zero() {
            offsets.inner().inner().clone()
        } else {
            Buffer::from_iter(offsets.iter().map(|&offset| offset - first))
        });
        (first.as_usize(), (last - first).as_usize())
    }

    /// Views of everything that was pushed.
    pub(super) fn borrow(&self) -> Borrowed<'_> {
        Borrowed { bytes: self.buffers.iter().map(Buffer::as_slice).collect(), shapes: &self.arrays }
    }
}

enum Children {
    None,
    One(ArrayRef),
    /// Those of a struct.
    Many,
}

impl Borrowed<'_> {
    /// The arrays to lower.
    pub(super) fn arrays(&self) -> Vec<wit::ArrayParam<'_>> {
        let mut rest = &self.bytes[..];
        let one = |shape: &Shape| {
            let (buffers, after) = rest.split_at(shape.buffers as usize);
            rest = after;
            wit::ArrayParam { length: shape.len, null_count: shape.nulls, buffers }
        };
        self.shapes.iter().map(one).collect()
    }
}

/// A bitmap whose bit 0 is the first row's, with unused bits zero.
fn bitmap(bits: &BooleanBuffer) -> Buffer {
    let sliced = bits.sliced();
    let len = bits.len().div_ceil(8);
    let sliced = if sliced.len() > len { sliced.slice_with_length(0, len) } else { sliced };
    let used = bits.len() % 8;
    match sliced.last() {
        Some(last) if used > 0 && last >> used != 0 => {
            let mut copy = sliced.to_vec();
            if let Some(last) = copy.last_mut() {
                *last &= (1 << used) - 1;
            }
            Buffer::from_vec(copy)
        }
        _ => sliced,
    }
}
