//! Reading: the values of a column of any type that can be cast.

use pipe_stage::{Any, DataType};

use crate::Scalar;

/// A column whose values are cast.
#[derive(Debug)]
pub struct Source<'a> {
    column: Any<'a>,
    zoned: bool,
}

impl<'a> Source<'a> {
    /// The column and its type.
    pub fn new(column: Any<'a>, data_type: &DataType) -> Self {
        let zoned = matches!(data_type, DataType::Timestamp(time) if time.timezone.is_some());
        Self { column, zoned }
    }

    /// The row's value; `None` for a null, and where the type cannot be cast.
    #[inline]
    pub fn get(&self, row: usize) -> Option<Scalar<'a>> {
        Some(match &self.column {
            Any::Bool(v) => Scalar::Bool(v.get(row)?),
            Any::Int8(v) => Scalar::Int(v.get(row)?.into()),
            Any::Int16(v) => Scalar::Int(v.get(row)?.into()),
            Any::Int32(v) | Any::Time32(v, _) => Scalar::Int(v.get(row)?.into()),
            Any::Int64(v) | Any::Time64(v, _) | Any::Duration(v, _) => Scalar::Int(v.get(row)?.into()),
            Any::Uint8(v) => Scalar::Int(v.get(row)?.into()),
            Any::Uint16(v) => Scalar::Int(v.get(row)?.into()),
            Any::Uint32(v) => Scalar::Int(v.get(row)?.into()),
            Any::Uint64(v) => Scalar::Int(v.get(row)?.into()),
            // By its digits, so that the text of a `float32` is as short as it can be: see `number::write_float`.
            Any::Float32(v) => Scalar::Float(v.get(row)?.into()),
            Any::Float64(v) => Scalar::Float(v.get(row)?),
            Any::Text(v) => Scalar::Text(v.get(row)?),
            Any::Bytes(v) => Scalar::Bytes(v.get(row)?),
            Any::Date32(v) => Scalar::Date(v.get(row)?),
            Any::Timestamp(v, unit) => Scalar::Time(v.get(row)?, *unit, self.zoned),
            Any::Decimal(v, decimal) => Scalar::Decimal(v.get(row)?, decimal.scale.into()),
            Any::Null | Any::Date64(_) | Any::Decimal256(..) | Any::Nested(_) | Any::Dictionary(_) => {
                return None;
            }
            Any::Other(_) => return None,
        })
    }
}
