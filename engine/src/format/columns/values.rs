//! Empty values of each type that a record of text can hold.

use std::collections::HashMap;

use arrow::array::BooleanBufferBuilder;
use arrow::datatypes::{DataType, Field};

use super::{Column, Columns, Values};
use crate::datatype;
use crate::error::{Code, Error, Result};
use crate::format::time::Temporal;

impl Values {
    pub(super) fn new(data_type: &DataType) -> Result<Self> {
        let item = |field: &Field| Column::new(field).map(Box::new);
        Ok(match data_type {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int8 => Self::Int8(Vec::new()),
            DataType::Int16 => Self::Int16(Vec::new()),
            DataType::Int32 => Self::Int32(Vec::new()),
            DataType::Int64 => Self::Int64(Vec::new()),
            DataType::UInt8 => Self::UInt8(Vec::new()),
            DataType::UInt16 => Self::UInt16(Vec::new()),
            DataType::UInt32 => Self::UInt32(Vec::new()),
            DataType::UInt64 => Self::UInt64(Vec::new()),
            DataType::Float16 => Self::Float16(Vec::new()),
            DataType::Float32 => Self::Float32(Vec::new()),
            DataType::Float64 => Self::Float64(Vec::new()),
            DataType::Decimal128(precision, scale) => Self::Decimal128(Vec::new(), *precision, *scale),
            DataType::Decimal256(precision, scale) => Self::Decimal256(Vec::new(), *precision, *scale),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => {
                let hex = matches!(data_type, DataType::Binary | DataType::LargeBinary);
                Self::Bytes { offsets: vec![0], data: Vec::new(), hex }
            }
            DataType::FixedSizeBinary(size) => Self::FixedBinary(Vec::new(), *size as usize),
            DataType::List(field) | DataType::LargeList(field) => {
                Self::List { offsets: vec![0], item: item(field)? }
            }
            DataType::FixedSizeList(field, size) => {
                Self::FixedList { size: *size as usize, item: item(field)? }
            }
            DataType::Struct(fields) => Self::Struct(Columns::new(fields)?),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(parts) if parts.len() == 2 => {
                    Self::Map { offsets: vec![0], key: item(&parts[0])?, value: item(&parts[1])? }
                }
                _ => return Err(unsupported(data_type)),
            },
            DataType::Dictionary(key, words) if matches!(**words, DataType::Utf8 | DataType::LargeUtf8) => {
                let max = match **key {
                    DataType::Int8 => i64::from(i8::MAX),
                    DataType::Int16 => i64::from(i16::MAX),
                    DataType::UInt8 => i64::from(u8::MAX),
                    DataType::UInt16 => i64::from(u16::MAX),
                    _ => i64::from(i32::MAX),
                };
                let words = item(&Field::new("words", (**words).clone(), false))?;
                Self::Dictionary { keys: Vec::new(), max, index: HashMap::new(), words, since: Vec::new() }
            }
            other => match Temporal::new(other) {
                Some(temporal) => Self::Temporal(Vec::new(), temporal?),
                None => return Err(unsupported(other)),
            },
        })
    }
}

fn unsupported(data_type: &DataType) -> Error {
    Error::user(Code::C009, format!("a record of text cannot be decoded to {}", datatype::print(data_type)))
}
