//! Columns under construction, one value at a time, for the decoders of single records (`json`, `csv`).
//!
//! arrow-json's own decoder is not used, and neither is arrow-csv's: they fail a whole batch for one bad row,
//! arrow-json joins partial records and turns strings into numbers. Here every column can be cut back to a length,
//! so that half a row can be taken back and its neighbours stay untouched.
//!
//! * [`Columns`]: the fields of a record or of a struct.
//! * [`Column`]: one column; [`Values`]: its values by type.
//! * `finish` makes Arrow arrays of them; `quick` is what the fast way of `json` needs; `lenient` reads what is nearly
//!   right.

mod field;
mod finish;
mod json;
mod lenient;
mod quick;
mod unique;
mod values;

use std::collections::HashMap;
use std::str::FromStr;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanBufferBuilder, NullBufferBuilder, RecordBatch, RecordBatchOptions,
};
use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, Field, Fields, Float16Type, SchemaRef, i256,
};
use arrow::error::ArrowError;

use self::lenient::Lenient;
pub(super) use self::quick::{Habit, Scanned};
use self::unique::{FEW, repeated};
use super::text;
use super::time::Temporal;
use crate::datatype;
use crate::error::{Error, Result};

/// A half-precision float; Arrow does not name the type elsewhere.
type Half = <Float16Type as ArrowPrimitiveType>::Native;

/// What went wrong with a value, without its column.
pub(super) type Fault = String;

/// The fields of a record or of a struct.
pub(super) struct Columns {
    pub(super) columns: Vec<Column>,
    /// Position by name.
    index: HashMap<String, usize>,
    /// The order in which a writer puts its keys.
    pub(super) habit: Habit,
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
    Temporal(Vec<i64>, Temporal),
    Decimal128(Vec<i128>, u8, i8),
    Decimal256(Vec<i256>, u8, i8),
    /// UTF-8 as it is, or binary from hexadecimal digits.
    Bytes {
        offsets: Vec<i32>,
        data: Vec<u8>,
        hex: bool,
    },
    FixedBinary(Vec<u8>, usize),
    /// JSON values as they are written.
    Json {
        offsets: Vec<i32>,
        data: Vec<u8>,
    },
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
    /// Keys into `words`.
    Dictionary {
        keys: Vec<i64>,
        max: i64,
        index: HashMap<Box<str>, i64>,
        words: Box<Column>,
        /// For each word the rows before the one that brought it: it goes with that row.
        since: Vec<usize>,
    },
    /// A column of another kind, which it hands values to.
    Lenient(Box<Lenient>),
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
use numeric;

/// Why a number is not one of a column's.
enum Miss {
    /// The column holds something else.
    Kind,
    /// The column holds smaller ones.
    Range,
}

/// A whole number that is written as one: not `1.0`, not `1e3`.
fn whole<T: FromStr>(text: &str) -> Result<T, Miss> {
    // Unsigned types do not read a sign; minus zero is zero.
    let digits = if text == "-0" { "0" } else { text };
    digits.parse().map_err(|_| {
        let plain = digits.strip_prefix(['-', '+']).unwrap_or(digits);
        let all = !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_digit());
        if all { Miss::Range } else { Miss::Kind }
    })
}

/// The nearest float. Digits that make an infinity are beyond the range; the word for it is not.
fn float<T: FromStr>(text: &str, finite: impl Fn(&T) -> bool) -> Result<T, Miss> {
    let value = text.parse().map_err(|_| Miss::Kind)?;
    if finite(&value) || !text.bytes().any(|b| b.is_ascii_digit()) { Ok(value) } else { Err(Miss::Range) }
}

impl Columns {
    /// Empty columns; an error names a type that records of text cannot hold.
    pub(super) fn new(fields: &Fields) -> Result<Self> {
        let columns = fields.iter().map(|field| Column::new(field)).collect::<Result<Vec<_>>>()?;
        let index = columns.iter().enumerate().map(|(i, c)| (c.name.clone(), i)).collect();
        Ok(Self { columns, index, habit: Habit::default() })
    }

    /// Position of a column. Writers keep an order of keys, so the one after the last is tried first.
    #[inline]
    pub(super) fn find(&self, name: &str, hint: usize) -> Option<usize> {
        match self.columns.get(hint) {
            Some(column) if column.name == name => Some(hint),
            // A key that nobody declared comes with every record; few lengths to compare are cheaper than a hash.
            _ if self.columns.len() <= FEW => self.columns.iter().position(|c| c.name == name),
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

    /// The rows so far, column by column; the columns are empty again.
    pub(super) fn arrays(&mut self) -> Result<Vec<ArrayRef>> {
        let broken = |e: ArrowError| Error::internal(format!("decoded columns do not fit: {e}"));
        self.columns.iter_mut().map(Column::finish).collect::<Result<Vec<_>, _>>().map_err(broken)
    }

    /// The rows so far; the columns are empty again.
    pub(super) fn finish(&mut self, schema: &SchemaRef, rows: usize) -> Result<RecordBatch> {
        let broken = |e: ArrowError| Error::internal(format!("decoded columns do not fit: {e}"));
        let arrays = self.arrays()?;
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
            values: match datatype::is_json(field) {
                true => Values::Json { offsets: vec![0], data: Vec::new() },
                false => Values::new(field.data_type())?,
            },
        })
    }

    /// Rows so far.
    pub(super) fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Whether its values may be numbers, or become text, so that their text must be kept.
    pub(super) fn takes_numbers(&self) -> bool {
        numeric!(&self.values, _v => true, Values::Json { .. } | Values::Lenient(_) => true, _ => false)
    }

    /// The fault of a value of another type.
    pub(super) fn wrong(&self, found: &str) -> Fault {
        match &self.values {
            Values::Temporal(_, temporal) => format!("{} was expected, not {found}", temporal.form()),
            Values::Json { .. } => format!("json was expected, not {found}"),
            Values::Lenient(lenient) => lenient.inner.wrong(found),
            _ => format!("{} was expected, not {found}", datatype::print(&self.data_type)),
        }
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
            Values::Bytes { offsets, data, .. } | Values::Json { offsets, data } => {
                offsets.push(data.len() as i32);
            }
            Values::FixedBinary(data, size) => data.resize((rows + 1) * *size, 0),
            Values::List { offsets, item } => offsets.push(item.len() as i32),
            Values::FixedList { size, item } => (0..*size).for_each(|_| item.pad()),
            Values::Struct(fields) => fields.columns.iter_mut().for_each(Self::pad),
            Values::Map { offsets, key, .. } => offsets.push(key.len() as i32),
            Values::Dictionary { keys, .. } => keys.push(0),
            Values::Lenient(lenient) => lenient.inner.pad(),
        );
        self.nulls.append_null();
    }

    pub(super) fn push_bool(&mut self, value: bool) -> Result<(), Fault> {
        match &mut self.values {
            Values::Boolean(bits) => bits.append(value),
            Values::Lenient(lenient) => lenient.push_bool(value)?,
            Values::Json { .. } => return self.push_json(if value { "true" } else { "false" }),
            _ => return Err(self.wrong(&format!("the boolean {value}"))),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// A number by its text, so that no digit is lost on the way to the column's type. `what` it is called where it
    /// is of another type.
    #[inline]
    pub(super) fn push_number(&mut self, text: &str, what: &str) -> Result<(), Fault> {
        let pushed = match &mut self.values {
            Values::Int8(v) => whole(text).map(|x| v.push(x)),
            Values::Int16(v) => whole(text).map(|x| v.push(x)),
            Values::Int32(v) => whole(text).map(|x| v.push(x)),
            Values::Int64(v) => whole(text).map(|x| v.push(x)),
            Values::UInt8(v) => whole(text).map(|x| v.push(x)),
            Values::UInt16(v) => whole(text).map(|x| v.push(x)),
            Values::UInt32(v) => whole(text).map(|x| v.push(x)),
            Values::UInt64(v) => whole(text).map(|x| v.push(x)),
            Values::Float16(v) => {
                float(text, |x: &f64| Half::from_f64(*x).is_finite()).map(|x| v.push(Half::from_f64(x)))
            }
            Values::Float32(v) => float(text, |x: &f32| x.is_finite()).map(|x| v.push(x)),
            Values::Float64(v) => float(text, |x: &f64| x.is_finite()).map(|x| v.push(x)),
            Values::Temporal(v, temporal) => match whole(text) {
                Ok(x) if temporal.holds(x) => {
                    v.push(x);
                    Ok(())
                }
                Ok(_) => Err(Miss::Range),
                Err(miss) => Err(miss),
            },
            Values::Decimal128(..) | Values::Decimal256(..) => return self.push_decimal(text),
            Values::Json { .. } => return self.push_json(text),
            Values::Lenient(lenient) => {
                lenient.push_number(text, what)?;
                Ok(())
            }
            _ => Err(Miss::Kind),
        };
        match pushed {
            Ok(()) => {
                self.nulls.append_non_null();
                Ok(())
            }
            Err(Miss::Kind) => Err(self.wrong(&format!("{what}`{}`", text::short(text)))),
            Err(Miss::Range) => {
                Err(format!("{} is out of range for {}", text::short(text), datatype::print(&self.data_type)))
            }
        }
    }

    fn push_decimal(&mut self, value: &str) -> Result<(), Fault> {
        let outside = |data_type: &DataType| {
            Err(format!("`{}` does not fit {}", text::short(value), datatype::print(data_type)))
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
            Values::Dictionary { keys, max, index, words, since } => {
                let key = match index.get(value) {
                    Some(key) => *key,
                    None if index.len() as i64 > *max => {
                        return Err(format!(
                            "more distinct words in a batch than {} holds",
                            datatype::print(&self.data_type)
                        ));
                    }
                    None => {
                        words.push_str(value)?;
                        let key = index.len() as i64;
                        index.insert(value.into(), key);
                        since.push(keys.len());
                        key
                    }
                };
                keys.push(key);
            }
            Values::Lenient(lenient) => lenient.push_str(value)?,
            _ => return Err(self.wrong(&format!("the string `{}`", text::short(value)))),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// Closes a list whose items were pushed to it.
    pub(super) fn close_list(&mut self, items: usize) -> Result<(), Fault> {
        match &mut self.values {
            Values::List { offsets, item } => offsets.push(end(item.len())?),
            Values::Map { offsets, key, .. } => {
                if key.repeats(offsets[offsets.len() - 1] as usize) {
                    return Err("a key occurs twice".to_owned());
                }
                offsets.push(end(key.len())?);
            }
            Values::FixedList { size, .. } if *size == items => {}
            Values::FixedList { size, .. } => return Err(format!("{size} items were expected, not {items}")),
            _ => return Err(self.wrong("a list")),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// The bytes of a value of variable length.
    fn bytes(&self, row: usize) -> &[u8] {
        match &self.values {
            Values::Bytes { offsets, data, .. } => &data[offsets[row] as usize..offsets[row + 1] as usize],
            _ => &[],
        }
    }

    /// Whether a value from row `from` on is there twice.
    fn repeats(&self, from: usize) -> bool {
        let rows = from..self.len();
        if rows.len() < 2 {
            return false;
        }
        numeric!(&self.values, v => repeated(v[rows].iter().map(|value| format!("{value:?}")).collect()),
            Values::Bytes { .. } => repeated(rows.map(|row| self.bytes(row)).collect()),
            Values::Boolean(bits) => repeated(rows.map(|row| bits.get_bit(row)).collect()),
            _ => false,
        )
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
            Values::Bytes { offsets, data, .. } | Values::Json { offsets, data } => {
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
            Values::Dictionary { keys, index, words, since, .. } => {
                keys.truncate(len);
                let kept = since.partition_point(|rows| *rows < len);
                for word in kept..since.len() {
                    if let Ok(word) = std::str::from_utf8(words.bytes(word)) {
                        index.remove(word);
                    }
                }
                since.truncate(kept);
                words.truncate(kept);
            }
            Values::Lenient(lenient) => lenient.inner.truncate(len),
        );
    }
}

/// An end of variable-length values; Arrow's offsets have 32 bits.
fn end(len: usize) -> Result<i32, Fault> {
    i32::try_from(len).map_err(|_| "the values of a batch are larger than 2 GiB".to_owned())
}
