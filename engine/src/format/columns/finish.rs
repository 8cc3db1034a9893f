//! Columns to Arrow arrays.

use arrow::array::{ArrayData, ArrayRef, make_array};
use arrow::buffer::Buffer;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::{Column, Values, numeric};

impl Column {
    /// The rows so far; the column is empty again.
    pub(super) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(make_array(self.data()?))
    }

    /// The column as Arrow data; it is empty again.
    fn data(&mut self) -> Result<ArrayData, ArrowError> {
        let len = self.nulls.len();
        let nulls = self.nulls.finish();
        if let Values::Lenient(lenient) = &mut self.values {
            return lenient.inner.data();
        }
        let mut data = ArrayData::builder(self.data_type.clone()).len(len);
        if !matches!(self.values, Values::Null) {
            data = data.nulls(nulls);
        }
        data = match &mut self.values {
            Values::Null => data,
            Values::Boolean(bits) => data.add_buffer(bits.finish().into_inner()),
            Values::Temporal(v, _) if self.data_type.primitive_width() == Some(4) => {
                data.add_buffer(Buffer::from_vec(renew(v).into_iter().map(|x| x as i32).collect::<Vec<_>>()))
            }
            Values::Bytes { offsets, data: bytes, .. } | Values::Json { offsets, data: bytes } => {
                let large = matches!(self.data_type, DataType::LargeUtf8 | DataType::LargeBinary);
                data.add_buffer(starts(offsets, large)).add_buffer(Buffer::from_vec(renew(bytes)))
            }
            Values::FixedBinary(bytes, _) => data.add_buffer(Buffer::from_vec(renew(bytes))),
            Values::List { offsets, item } => {
                let large = matches!(self.data_type, DataType::LargeList(_));
                data.add_buffer(starts(offsets, large)).add_child_data(item.data()?)
            }
            Values::FixedList { item, .. } => data.add_child_data(item.data()?),
            Values::Struct(fields) => {
                let children = fields.columns.iter_mut().map(Self::data).collect::<Result<_, _>>()?;
                data.child_data(children)
            }
            Values::Map { offsets, key, value } => {
                let DataType::Map(entries, _) = &self.data_type else {
                    return Err(ArrowError::SchemaError("a map that is none".to_owned()));
                };
                let entries = ArrayData::builder(entries.data_type().clone()).len(key.len());
                let entries = entries.add_child_data(key.data()?).add_child_data(value.data()?).build()?;
                data.add_buffer(starts(offsets, false)).add_child_data(entries)
            }
            Values::Dictionary { keys, index, words, since, .. } => {
                index.clear();
                since.clear();
                let DataType::Dictionary(key, _) = &self.data_type else {
                    return Err(ArrowError::SchemaError("a dictionary that is none".to_owned()));
                };
                data.add_buffer(narrow(&renew(keys), key)).add_child_data(words.data()?)
            }
            values => numeric!(values, v => data.add_buffer(Buffer::from_vec(renew(v))), _ => data),
        };
        data.build()
    }
}

/// Takes a vector and leaves one of the same capacity: batches of a stream resemble each other.
fn renew<T>(vec: &mut Vec<T>) -> Vec<T> {
    let capacity = vec.len();
    std::mem::replace(vec, Vec::with_capacity(capacity))
}

/// Offsets as Arrow has them, of 64 bits for large types.
fn starts(offsets: &mut Vec<i32>, large: bool) -> Buffer {
    let taken = renew(offsets);
    offsets.push(0);
    if large {
        return Buffer::from_vec(taken.into_iter().map(i64::from).collect::<Vec<_>>());
    }
    Buffer::from_vec(taken)
}

/// Keys of a dictionary in the width of their type; they were checked to fit.
fn narrow(keys: &[i64], key: &DataType) -> Buffer {
    match key.primitive_width() {
        Some(1) => Buffer::from_vec(keys.iter().map(|k| *k as u8).collect::<Vec<_>>()),
        Some(2) => Buffer::from_vec(keys.iter().map(|k| *k as u16).collect::<Vec<_>>()),
        Some(4) => Buffer::from_vec(keys.iter().map(|k| *k as u32).collect::<Vec<_>>()),
        _ => Buffer::from_vec(keys.to_vec()),
    }
}
