//! Columns under construction, one value at a time, for the decoders of single records (`json`, `csv`).
//!
//! arrow-json's own decoder is not used, and neither is arrow-csv's: they fail a whole batch for one bad row,
//! arrow-json joins partial records and turns strings into numbers. Here every column can be cut back to a length,
//! so that half a row can be taken back and its neighbours stay untouched.
//!
//! * [`Columns`]: the fields of a record or of a struct.
//! * [`Column`]: one column; [`Values`]: its values by type.

use std::collections::HashMap;

use arrow::array::{
    ArrayData, ArrayRef, ArrowPrimitiveType, BooleanBufferBuilder, NullBufferBuilder, RecordBatch,
    RecordBatchOptions, make_array,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, Field, Fields, Float16Type, SchemaRef, i256,
};
use arrow::error::ArrowError;

use super::text;
use crate::config::types;
use crate::error::{Code, Error, Result};

/// A half-precision float; Arrow does not name the type elsewhere.
type Half = <Float16Type as ArrowPrimitiveType>::Native;

/// What went wrong with a value, without its column.
pub(super) type Fault = String;

/// Up to this many columns are searched one by one.
const FEW_COLUMNS: usize = 16;

/// The fields of a record or of a struct.
pub(super) struct Columns {
    pub(super) columns: Vec<Column>,
    /// Position by name.
    index: HashMap<String, usize>,
}

/// One column.
pub(super) struct Column {
    pub(super) name: String,
    data_type: DataType,
    nullable: bool,
    nulls: NullBufferBuilder,
    pub(super) values: Values,
}

/// Values of a column. Nulls have a placeholder in each of them.
pub(super) enum Values {
    Null,
    Boolean(BooleanBufferBuilder),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    UInt8(Vec<u8>),
    UInt16(Vec<u16>),
    UInt32(Vec<u32>),
    UInt64(Vec<u64>),
    Float16(Vec<Half>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    /// Dates, times, timestamps and durations in their unit, also those of 32 bits.
    Temporal(Vec<i64>, text::Temporal),
    Decimal128(Vec<i128>, u8, i8),
    Decimal256(Vec<i256>, u8, i8),
    /// UTF-8 as it is, or binary from hexadecimal digits.
    Bytes {
        offsets: Vec<i32>,
        data: Vec<u8>,
        hex: bool,
    },
    FixedBinary(Vec<u8>, usize),
    List {
        offsets: Vec<i32>,
        item: Box<Column>,
    },
    FixedList {
        size: usize,
        item: Box<Column>,
    },
    Struct(Columns),
    Map {
        offsets: Vec<i32>,
        key: Box<Column>,
        value: Box<Column>,
    },
    /// Keys into `words`, which may hold words of rows that were taken back.
    Dictionary {
        keys: Vec<i64>,
        max: i64,
        index: HashMap<Box<str>, i64>,
        words: Box<Column>,
    },
}

/// Calls a macro with each variant of numbers that a Rust vector holds.
macro_rules! numeric {
    ($values:expr, $vec:ident => $then:expr, $($rest:tt)*) => {
        match $values {
            Values::Int8($vec) => $then,
            Values::Int16($vec) => $then,
            Values::Int32($vec) => $then,
            Values::Int64($vec) => $then,
            Values::UInt8($vec) => $then,
            Values::UInt16($vec) => $then,
            Values::UInt32($vec) => $then,
            Values::UInt64($vec) => $then,
            Values::Float16($vec) => $then,
            Values::Float32($vec) => $then,
            Values::Float64($vec) => $then,
            Values::Temporal($vec, _) => $then,
            Values::Decimal128($vec, ..) => $then,
            Values::Decimal256($vec, ..) => $then,
            $($rest)*
        }
    };
}

/// Calls a macro with each variant of integers; the value is converted with a check.
macro_rules! push_integer {
    ($self:expr, $value:expr) => {{
        let value = $value;
        let fits = match &mut $self.values {
            Values::Int8(v) => value.try_into().map(|x| v.push(x)).is_ok(),
            Values::Int16(v) => value.try_into().map(|x| v.push(x)).is_ok(),
            Values::Int32(v) => value.try_into().map(|x| v.push(x)).is_ok(),
            Values::Int64(v) => value.try_into().map(|x| v.push(x)).is_ok(),
            Values::UInt8(v) => value.try_into().map(|x| v.push(x)).is_ok(),
            Values::UInt16(v) => value.try_into().map(|x| v.push(x)).is_ok(),
            Values::UInt32(v) => value.try_into().map(|x| v.push(x)).is_ok(),
            Values::UInt64(v) => value.try_into().map(|x| v.push(x)).is_ok(),
            Values::Float16(_) | Values::Float32(_) | Values::Float64(_) => {
                return $self.push_f64(value as f64);
            }
            Values::Temporal(v, temporal) => {
                i64::try_from(value).ok().filter(|x| temporal.holds(*x)).map(|x| v.push(x)).is_some()
            }
            Values::Decimal128(..) | Values::Decimal256(..) => return $self.push_decimal(&value.to_string()),
            _ => return Err($self.wrong(&format!("the number {value}"))),
        };
        if !fits {
            return Err(format!("{value} is out of range for {}", types::print(&$self.data_type)));
        }
        $self.nulls.append_non_null();
        Ok(())
    }};
}

impl Columns {
    /// Empty columns; an error names a type that records of text cannot hold.
    pub(super) fn new(fields: &Fields) -> Result<Self> {
        let columns = fields.iter().map(|field| Column::new(field)).collect::<Result<Vec<_>>>()?;
        let index = columns.iter().enumerate().map(|(i, c)| (c.name.clone(), i)).collect();
        Ok(Self { columns, index })
    }

    /// Position of a column. Writers keep an order of keys, so the one after the last is tried first.
    #[inline]
    pub(super) fn find(&self, name: &str, hint: usize) -> Option<usize> {
        match self.columns.get(hint) {
            Some(column) if column.name == name => Some(hint),
            // A key that nobody declared comes with every record; few lengths to compare are cheaper than a hash.
            _ if self.columns.len() <= FEW_COLUMNS => self.columns.iter().position(|c| c.name == name),
            _ => self.index.get(name).copied(),
        }
    }

    /// Completes row `row` (from 0): what was not given becomes null.
    pub(super) fn complete(&mut self, row: usize) -> Result<(), Fault> {
        for column in &mut self.columns {
            if column.len() == row {
                column.push_null().map_err(|_| blame(&column.name, "the column is required but missing"))?;
            }
        }
        Ok(())
    }

    /// Cuts every column back to `len` rows.
    pub(super) fn truncate(&mut self, len: usize) {
        self.columns.iter_mut().for_each(|column| column.truncate(len));
    }

    /// The rows so far; the columns are empty again.
    pub(super) fn finish(&mut self, schema: &SchemaRef, rows: usize) -> Result<RecordBatch> {
        let broken = |e: ArrowError| Error::internal(format!("decoded columns do not fit: {e}"));
        let arrays =
            self.columns.iter_mut().map(Column::finish).collect::<Result<Vec<_>, _>>().map_err(broken)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(schema.clone(), arrays, &options).map_err(broken)
    }
}

/// Puts a column's name before a fault; nested ones grow to a path (`geo.lat`, `tags[2]`).
pub(super) fn blame(name: &str, fault: &str) -> Fault {
    match fault.strip_prefix('\u{1}') {
        Some(rest) if rest.starts_with('[') => format!("\u{1}{name}{rest}"),
        Some(rest) => format!("\u{1}{name}.{rest}"),
        None => format!("\u{1}{name}\u{1}{fault}"),
    }
}

/// The sentence of a fault.
pub(super) fn sentence(fault: &str) -> String {
    match fault.strip_prefix('\u{1}').and_then(|rest| rest.split_once('\u{1}')) {
        Some((path, fault)) => format!("column `{path}`: {fault}"),
        None => fault.to_owned(),
    }
}

impl Column {
    fn new(field: &Field) -> Result<Self> {
        Ok(Self {
            name: field.name().clone(),
            data_type: field.data_type().clone(),
            nullable: field.is_nullable(),
            nulls: NullBufferBuilder::new(0),
            values: Values::new(field.data_type())?,
        })
    }

    /// Rows so far.
    pub(super) fn len(&self) -> usize {
        self.nulls.len()
    }

    /// The fault of a value of another type.
    pub(super) fn wrong(&self, found: &str) -> Fault {
        format!("{} was expected, not {found}", types::print(&self.data_type))
    }

    pub(super) fn push_null(&mut self) -> Result<(), Fault> {
        if !self.nullable {
            return Err("null, but the column is required".to_owned());
        }
        self.pad();
        Ok(())
    }

    /// A null whether allowed or not: below a null struct even a required field has a placeholder.
    fn pad(&mut self) {
        let rows = self.nulls.len();
        numeric!(&mut self.values, v => v.push(Default::default()),
            Values::Null => {}
            Values::Boolean(bits) => bits.append(false),
            Values::Bytes { offsets, data, .. } => offsets.push(data.len() as i32),
            Values::FixedBinary(data, size) => data.resize((rows + 1) * *size, 0),
            Values::List { offsets, item } => offsets.push(item.len() as i32),
            Values::FixedList { size, item } => (0..*size).for_each(|_| item.pad()),
            Values::Struct(fields) => fields.columns.iter_mut().for_each(Self::pad),
            Values::Map { offsets, key, .. } => offsets.push(key.len() as i32),
            Values::Dictionary { keys, .. } => keys.push(0),
        );
        self.nulls.append_null();
    }

    pub(super) fn push_bool(&mut self, value: bool) -> Result<(), Fault> {
        let Values::Boolean(bits) = &mut self.values else {
            return Err(self.wrong(&format!("the boolean {value}")));
        };
        bits.append(value);
        self.nulls.append_non_null();
        Ok(())
    }

    pub(super) fn push_i64(&mut self, value: i64) -> Result<(), Fault> {
        push_integer!(self, value)
    }

    pub(super) fn push_u64(&mut self, value: u64) -> Result<(), Fault> {
        push_integer!(self, value)
    }

    pub(super) fn push_f64(&mut self, value: f64) -> Result<(), Fault> {
        match &mut self.values {
            Values::Float64(v) => v.push(value),
            Values::Float32(v) if (value as f32).is_finite() || !value.is_finite() => v.push(value as f32),
            Values::Float16(v) if Half::from_f64(value).is_finite() || !value.is_finite() => {
                v.push(Half::from_f64(value));
            }
            Values::Float32(_) | Values::Float16(_) => {
                return Err(format!("{value} is out of range for {}", types::print(&self.data_type)));
            }
            Values::Decimal128(..) | Values::Decimal256(..) => {
                let text = value.to_string();
                // A double holds 15 decimal digits exactly; what has more was perhaps rounded on the way here.
                if text.bytes().filter(u8::is_ascii_digit).skip_while(|d| *d == b'0').count() > 15 {
                    return Err(format!("the number {value} may have lost digits: write it as a string"));
                }
                return self.push_decimal(&text);
            }
            _ => return Err(self.wrong(&format!("the number {value}"))),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    fn push_decimal(&mut self, value: &str) -> Result<(), Fault> {
        let outside = |data_type: &DataType| {
            Err(format!("`{}` does not fit {}", text::short(value), types::print(data_type)))
        };
        match &mut self.values {
            Values::Decimal128(v, precision, scale) => {
                match text::decimal::<Decimal128Type>(value, *precision, *scale) {
                    Some(parsed) => v.push(parsed),
                    None => return outside(&self.data_type),
                }
            }
            Values::Decimal256(v, precision, scale) => {
                match text::decimal::<Decimal256Type>(value, *precision, *scale) {
                    Some(parsed) => v.push(parsed),
                    None => return outside(&self.data_type),
                }
            }
            _ => return Err(self.wrong(&format!("`{}`", text::short(value)))),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// A string: text as it is, times and decimals as they are written, binary as hexadecimal digits. Numbers and
    /// booleans are not read out of strings.
    #[inline]
    pub(super) fn push_str(&mut self, value: &str) -> Result<(), Fault> {
        match &mut self.values {
            Values::Bytes { offsets, data, hex: false } => {
                offsets.push(end(data.len() + value.len())?);
                data.extend_from_slice(value.as_bytes());
            }
            Values::Bytes { offsets, data, hex: true } => {
                text::hex(value, data)?;
                offsets.push(end(data.len())?);
            }
            Values::FixedBinary(data, size) => {
                let before = data.len();
                text::hex(value, data)?;
                if data.len() - before != *size {
                    return Err(format!("{} bytes were expected, not {}", size, data.len() - before));
                }
            }
            Values::Temporal(v, temporal) => match temporal.parse(value) {
                Some(parsed) => v.push(parsed),
                None => return Err(self.wrong(&format!("`{}`", text::short(value)))),
            },
            Values::Decimal128(..) | Values::Decimal256(..) => return self.push_decimal(value),
            Values::Dictionary { keys, max, index, words } => {
                let key = match index.get(value) {
                    Some(key) => *key,
                    None if index.len() as i64 > *max => {
                        return Err(format!(
                            "more distinct words in a batch than {} holds",
                            types::print(&self.data_type)
                        ));
                    }
                    None => {
                        words.push_str(value)?;
                        let key = index.len() as i64;
                        index.insert(value.into(), key);
                        key
                    }
                };
                keys.push(key);
            }
            _ => return Err(self.wrong(&format!("the string `{}`", text::short(value)))),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// A field of a format that has only text (CSV, keys of a map): numbers and booleans are read out of it.
    pub(super) fn push_field(&mut self, value: &str) -> Result<(), Fault> {
        let wrong = |column: &Self| Err(column.wrong(&format!("`{}`", text::short(value))));
        match &self.values {
            Values::Boolean(_) => match value {
                "true" | "TRUE" | "True" => self.push_bool(true),
                "false" | "FALSE" | "False" => self.push_bool(false),
                _ => wrong(self),
            },
            Values::Int8(_) | Values::Int16(_) | Values::Int32(_) | Values::Int64(_) => {
                match value.parse::<i64>() {
                    Ok(number) => self.push_i64(number),
                    Err(_) => wrong(self),
                }
            }
            Values::UInt8(_) | Values::UInt16(_) | Values::UInt32(_) | Values::UInt64(_) => {
                match value.parse::<u64>() {
                    Ok(number) => self.push_u64(number),
                    Err(_) => wrong(self),
                }
            }
            Values::Float16(_) | Values::Float32(_) | Values::Float64(_) => match value.parse::<f64>() {
                Ok(number) => self.push_f64(number),
                Err(_) => wrong(self),
            },
            Values::Temporal(..) => match self.push_str(value) {
                Err(fault) => {
                    value.parse::<i64>().map_err(|_| fault).and_then(|number| self.push_i64(number))
                }
                done => done,
            },
            _ => self.push_str(value),
        }
    }

    /// Closes a list whose items were pushed to it.
    pub(super) fn close_list(&mut self, items: usize) -> Result<(), Fault> {
        match &mut self.values {
            Values::List { offsets, item } => offsets.push(end(item.len())?),
            Values::Map { offsets, key, .. } => offsets.push(end(key.len())?),
            Values::FixedList { size, .. } if *size == items => {}
            Values::FixedList { size, .. } => return Err(format!("{size} items were expected, not {items}")),
            _ => return Err(self.wrong("a list")),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// Closes a struct whose fields were pushed to it.
    pub(super) fn close_struct(&mut self) -> Result<(), Fault> {
        let row = self.nulls.len();
        let Values::Struct(fields) = &mut self.values else { return Err(self.wrong("an object")) };
        fields.complete(row)?;
        self.nulls.append_non_null();
        Ok(())
    }

    /// Cuts the column back to `len` rows, wherever within a row it stopped.
    fn truncate(&mut self, len: usize) {
        if self.nulls.len() > len {
            self.nulls.truncate(len);
        }
        numeric!(&mut self.values, v => v.truncate(len),
            Values::Null => {}
            Values::Boolean(bits) => bits.truncate(len),
            Values::Bytes { offsets, data, .. } => {
                offsets.truncate(len + 1);
                data.truncate(offsets[len] as usize);
            }
            Values::FixedBinary(data, size) => data.truncate(len * *size),
            Values::List { offsets, item } => {
                offsets.truncate(len + 1);
                item.truncate(offsets[len] as usize);
            }
            Values::FixedList { size, item } => item.truncate(len * *size),
            Values::Struct(fields) => fields.truncate(len),
            Values::Map { offsets, key, value } => {
                offsets.truncate(len + 1);
                key.truncate(offsets[len] as usize);
                value.truncate(offsets[len] as usize);
            }
            Values::Dictionary { keys, .. } => keys.truncate(len),
        );
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(make_array(self.data()?))
    }

    /// The column as Arrow data; it is empty again.
    fn data(&mut self) -> Result<ArrayData, ArrowError> {
        let len = self.nulls.len();
        let nulls = self.nulls.finish();
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
            Values::Bytes { offsets, data: bytes, .. } => {
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
            Values::Dictionary { keys, index, words, .. } => {
                index.clear();
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

impl Values {
    fn new(data_type: &DataType) -> Result<Self> {
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
                Self::Dictionary { keys: Vec::new(), max, index: HashMap::new(), words }
            }
            other => match text::Temporal::new(other) {
                Some(temporal) => Self::Temporal(Vec::new(), temporal?),
                None => return Err(unsupported(other)),
            },
        })
    }
}

fn unsupported(data_type: &DataType) -> Error {
    Error::user(Code::C009, format!("a record of text cannot be decoded to {}", types::print(data_type)))
}

/// An end of variable-length values; Arrow's offsets have 32 bits.
fn end(len: usize) -> Result<i32, Fault> {
    i32::try_from(len).map_err(|_| "the values of a batch are larger than 2 GiB".to_owned())
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
