//! Writing: a computed column that takes values of any type.

use pipe_stage::time::{parse_date, parse_timestamp, write_date, write_timestamp};
use pipe_stage::{Array, Builder, ColumnField, DataType, Decimal, Result, TimeUnit, convert_unit};

use crate::number::{
    float_to_int, parse_decimal, parse_float, parse_int, power, rescale, write_decimal, write_float,
    write_int,
};
use crate::{FRACTION, Misfit, RANGE, Rounding, Scalar, TYPE};

const NO_BOOL: Misfit = Misfit("true or false was expected");
const NO_TIME: Misfit = Misfit("an RFC 3339 timestamp such as 2026-01-31T12:00:00Z was expected");
const NO_DATE: Misfit = Misfit("a date such as 2026-01-31 was expected");
const NO_TEXT: Misfit = Misfit("it is not UTF-8");

/// A column that is being built of values of any type.
#[derive(Debug)]
pub struct Target {
    data_type: DataType,
    rounding: Rounding,
    single: bool,
    buffer: Buffer,
    /// For texts, to be used again.
    text: String,
}

#[derive(Debug)]
enum Buffer {
    Bool(Builder<bool>),
    Int8(Builder<i8>),
    Int16(Builder<i16>),
    Int32(Builder<i32>),
    Int64(Builder<i64>),
    Uint8(Builder<u8>),
    Uint16(Builder<u16>),
    Uint32(Builder<u32>),
    Uint64(Builder<u64>),
    Float32(Builder<f32>),
    Float64(Builder<f64>),
    Text(Builder<str>),
    Bytes(Builder<[u8]>),
    Decimal(Builder<Decimal>),
}

impl Target {
    /// An empty column. `from` is the type of what will be cast, if it is one.
    pub fn new(data_type: &DataType, from: Option<&DataType>, rounding: Rounding) -> Self {
        use DataType as T;
        let buffer = match data_type {
            T::Boolean => Buffer::Bool(Builder::new()),
            T::Int8 => Buffer::Int8(Builder::new()),
            T::Int16 => Buffer::Int16(Builder::new()),
            T::Int32 | T::Date32 => Buffer::Int32(Builder::new()),
            T::Uint8 => Buffer::Uint8(Builder::new()),
            T::Uint16 => Buffer::Uint16(Builder::new()),
            T::Uint32 => Buffer::Uint32(Builder::new()),
            T::Uint64 => Buffer::Uint64(Builder::new()),
            T::Float32 => Buffer::Float32(Builder::new()),
            T::Float64 => Buffer::Float64(Builder::new()),
            T::Binary => Buffer::Bytes(Builder::new()),
            T::Decimal128(_) => Buffer::Decimal(Builder::new()),
            T::Int64 | T::Timestamp(_) => Buffer::Int64(Builder::new()),
            _ => Buffer::Text(Builder::new()),
        };
        let single = matches!(from, Some(T::Float32));
        Self { data_type: data_type.clone(), rounding, single, buffer, text: String::new() }
    }

    /// Adds a null.
    pub fn push_null(&mut self) {
        match &mut self.buffer {
            Buffer::Bool(b) => b.push_null(),
            Buffer::Int8(b) => b.push_null(),
            Buffer::Int16(b) => b.push_null(),
            Buffer::Int32(b) => b.push_null(),
            Buffer::Int64(b) => b.push_null(),
            Buffer::Uint8(b) => b.push_null(),
            Buffer::Uint16(b) => b.push_null(),
            Buffer::Uint32(b) => b.push_null(),
            Buffer::Uint64(b) => b.push_null(),
            Buffer::Float32(b) => b.push_null(),
            Buffer::Float64(b) => b.push_null(),
            Buffer::Text(b) => b.push_null(),
            Buffer::Bytes(b) => b.push_null(),
            Buffer::Decimal(b) => b.push_null(),
        }
    }

    /// Adds a value; nothing is added where it does not fit.
    pub fn push(&mut self, value: Scalar<'_>) -> Result<(), Misfit> {
        // Bytes are text for every type but their own.
        let value = match value {
            Scalar::Bytes(bytes) if !matches!(self.buffer, Buffer::Bytes(_)) => {
                Scalar::Text(std::str::from_utf8(bytes).map_err(|_| NO_TEXT)?)
            }
            value => value,
        };
        let rounding = self.rounding;
        let int = |value| match &self.data_type {
            DataType::Timestamp(time) => to_time(value, time.unit, rounding).map(i128::from),
            DataType::Date32 => to_date(value).map(i128::from),
            _ => to_int(value, rounding),
        };
        match &mut self.buffer {
            Buffer::Bool(b) => b.push(to_bool(value)?),
            Buffer::Int8(b) => b.push(int(value)?.try_into().map_err(|_| RANGE)?),
            Buffer::Int16(b) => b.push(int(value)?.try_into().map_err(|_| RANGE)?),
            Buffer::Int32(b) => b.push(int(value)?.try_into().map_err(|_| RANGE)?),
            Buffer::Int64(b) => b.push(int(value)?.try_into().map_err(|_| RANGE)?),
            Buffer::Uint8(b) => b.push(int(value)?.try_into().map_err(|_| RANGE)?),
            Buffer::Uint16(b) => b.push(int(value)?.try_into().map_err(|_| RANGE)?),
            Buffer::Uint32(b) => b.push(int(value)?.try_into().map_err(|_| RANGE)?),
            Buffer::Uint64(b) => b.push(int(value)?.try_into().map_err(|_| RANGE)?),
            Buffer::Float32(b) => b.push(to_single(value)?),
            Buffer::Float64(b) => b.push(to_float(value)?),
            Buffer::Bytes(b) => match value {
                Scalar::Bytes(bytes) => b.push(bytes),
                Scalar::Text(text) => b.push(text.as_bytes()),
                _ => return Err(TYPE),
            },
            Buffer::Text(b) => match value {
                Scalar::Text(text) => b.push(text),
                value => {
                    self.text.clear();
                    write(value, self.single, &mut self.text)?;
                    b.push(&self.text);
                }
            },
            Buffer::Decimal(b) => {
                let DataType::Decimal128(decimal) = &self.data_type else { return Err(TYPE) };
                let digits = to_decimal(value, self.single, decimal.scale.into(), rounding)?;
                let limit = power(decimal.precision.into()).ok_or(RANGE)?;
                if digits.unsigned_abs() >= limit.unsigned_abs() {
                    return Err(RANGE);
                }
                b.push(Decimal(digits));
            }
        }
        Ok(())
    }

    /// The finished column.
    pub(crate) fn finish(self) -> Result<Array> {
        match self.buffer {
            Buffer::Bool(b) => b.finish(),
            Buffer::Int8(b) => b.finish(),
            Buffer::Int16(b) => b.finish(),
            Buffer::Int32(b) => b.finish(),
            Buffer::Int64(b) => b.finish(),
            Buffer::Uint8(b) => b.finish(),
            Buffer::Uint16(b) => b.finish(),
            Buffer::Uint32(b) => b.finish(),
            Buffer::Uint64(b) => b.finish(),
            Buffer::Float32(b) => b.finish(),
            Buffer::Float64(b) => b.finish(),
            Buffer::Text(b) => b.finish(),
            Buffer::Bytes(b) => b.finish(),
            Buffer::Decimal(b) => b.finish(),
        }
    }

    /// Its field, for what is done with its array.
    pub(crate) fn field(&self) -> ColumnField {
        ColumnField::new("", self.data_type.clone(), true)
    }
}

fn to_bool(value: Scalar<'_>) -> Result<bool, Misfit> {
    match value {
        Scalar::Bool(value) => Ok(value),
        Scalar::Int(0) => Ok(false),
        Scalar::Int(1) => Ok(true),
        Scalar::Text(text) if text == "1" || text.eq_ignore_ascii_case("true") => Ok(true),
        Scalar::Text(text) if text == "0" || text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(NO_BOOL),
    }
}

fn to_int(value: Scalar<'_>, rounding: Rounding) -> Result<i128, Misfit> {
    match value {
        Scalar::Int(value) => Ok(value),
        Scalar::Bool(value) => Ok(value.into()),
        Scalar::Float(value) => float_to_int(value, rounding),
        Scalar::Decimal(digits, scale) => rescale(digits, scale, 0, rounding),
        // `12.50` is a number too, and its fraction the affair of the rounding.
        Scalar::Text(text) => parse_int(text).or_else(|misfit| match parse_decimal(text) {
            Ok((digits, scale)) => rescale(digits, scale, 0, rounding),
            Err(_) => Err(misfit),
        }),
        Scalar::Time(value, ..) => Ok(value.into()),
        Scalar::Date(days) => Ok(days.into()),
        Scalar::Bytes(_) => Err(TYPE),
    }
}

fn to_float(value: Scalar<'_>) -> Result<f64, Misfit> {
    match value {
        Scalar::Float(value) => Ok(value),
        Scalar::Int(value) => Ok(value as f64),
        Scalar::Bool(value) => Ok(f64::from(u8::from(value))),
        Scalar::Decimal(digits, scale) => {
            // By its text, because a division of rounded numbers would round twice.
            let mut text = String::new();
            write_decimal(digits, scale, &mut text);
            parse_float(&text)
        }
        Scalar::Text(text) => parse_float(text),
        _ => Err(TYPE),
    }
}

fn to_single(value: Scalar<'_>) -> Result<f32, Misfit> {
    // A text is rounded once, not first to the nearest `f64`.
    if let Scalar::Text(text) = value
        && parse_float(text)?.is_finite()
    {
        return text.parse().ok().filter(|value: &f32| value.is_finite()).ok_or(RANGE);
    }
    let wide = to_float(value)?;
    let value = wide as f32;
    if value.is_finite() || !wide.is_finite() { Ok(value) } else { Err(RANGE) }
}

fn to_decimal(value: Scalar<'_>, single: bool, to: i32, rounding: Rounding) -> Result<i128, Misfit> {
    let (digits, scale) = match value {
        Scalar::Int(value) => (value, 0),
        Scalar::Decimal(digits, scale) => (digits, scale),
        Scalar::Text(text) => parse_decimal(text)?,
        Scalar::Float(value) => {
            let mut text = String::new();
            write_float(value, single, &mut text);
            parse_decimal(&text)?
        }
        _ => return Err(TYPE),
    };
    rescale(digits, scale, to, rounding)
}

fn to_time(value: Scalar<'_>, unit: TimeUnit, rounding: Rounding) -> Result<i64, Misfit> {
    match value {
        Scalar::Int(value) => value.try_into().map_err(|_| RANGE),
        Scalar::Time(value, from, _) => {
            let converted = convert_unit(value, from, unit);
            // Held at the ends where it goes beyond them, and rounded down where the unit is coarser.
            let back = convert_unit(converted, unit, from);
            if back == value {
                return Ok(converted);
            }
            let finer = convert_unit(1, unit, from) <= 1;
            match rounding {
                _ if finer => Err(RANGE),
                Rounding::Exact => Err(FRACTION),
                Rounding::Truncate => Ok(converted),
                Rounding::Nearest => {
                    let half = convert_unit(1, unit, from) / 2;
                    Ok(converted + i64::from(value - back >= half))
                }
            }
        }
        Scalar::Date(days) => {
            i64::from(days).checked_mul(convert_unit(86_400, TimeUnit::Second, unit)).ok_or(RANGE)
        }
        Scalar::Text(text) => {
            let instant = match parse_timestamp(text) {
                Some((instant, _)) => instant,
                None => {
                    let days = parse_date(text).ok_or(NO_TIME)?;
                    return to_time(Scalar::Date(days), unit, rounding);
                }
            };
            if let Some(exact) = instant.exact(unit) {
                return Ok(exact);
            }
            // A nanosecond count holds what is left, or the year is out of every range of it.
            let nanos = instant.exact(TimeUnit::Nanosecond);
            match nanos {
                Some(nanos) => to_time(Scalar::Time(nanos, TimeUnit::Nanosecond, true), unit, rounding),
                None => Err(RANGE),
            }
        }
        _ => Err(TYPE),
    }
}

fn to_date(value: Scalar<'_>) -> Result<i32, Misfit> {
    match value {
        Scalar::Date(days) => Ok(days),
        Scalar::Int(days) => days.try_into().map_err(|_| RANGE),
        Scalar::Time(value, unit, _) => {
            let seconds = convert_unit(value, unit, TimeUnit::Second);
            seconds.div_euclid(86_400).try_into().map_err(|_| RANGE)
        }
        Scalar::Text(text) => parse_date(text).ok_or(NO_DATE),
        _ => Err(TYPE),
    }
}

/// The text of what is none.
fn write(value: Scalar<'_>, single: bool, out: &mut String) -> Result<(), Misfit> {
    match value {
        Scalar::Bool(value) => out.push_str(if value { "true" } else { "false" }),
        Scalar::Int(value) => write_int(value, out),
        Scalar::Float(value) => write_float(value, single, out),
        Scalar::Decimal(digits, scale) => write_decimal(digits, scale, out),
        Scalar::Text(text) => out.push_str(text),
        Scalar::Time(value, unit, zoned) => write_timestamp(value, unit, zoned, out).ok_or(RANGE)?,
        Scalar::Date(days) => write_date(days, out).ok_or(RANGE)?,
        Scalar::Bytes(_) => return Err(TYPE),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: TimeUnit = TimeUnit::Millisecond;
    const SEC: TimeUnit = TimeUnit::Second;

    #[test]
    fn times_are_exact_or_rounded_as_told() {
        let exact = |value, unit| to_time(value, unit, Rounding::Exact);
        assert_eq!(exact(Scalar::Text("1970-01-01T00:00:01.5Z"), MS), Ok(1_500));
        assert_eq!(exact(Scalar::Text("1970-01-01 00:00:01.5"), MS), Ok(1_500));
        assert_eq!(exact(Scalar::Text("1970-01-02"), SEC), Ok(86_400));
        assert_eq!(exact(Scalar::Text("1970-01-01T00:00:01.5Z"), SEC), Err(FRACTION));
        assert_eq!(exact(Scalar::Text("yesterday"), SEC), Err(NO_TIME));
        assert_eq!(exact(Scalar::Time(1_500, MS, true), SEC), Err(FRACTION));
        assert_eq!(exact(Scalar::Time(2, SEC, true), MS), Ok(2_000));
        assert_eq!(exact(Scalar::Time(i64::MAX, SEC, true), MS), Err(RANGE));
        for (value, truncated, nearest) in [(1_500, 1, 2), (1_499, 1, 1), (-1_500, -2, -1), (-1, -1, 0)] {
            let value = Scalar::Time(value, MS, false);
            assert_eq!(to_time(value, SEC, Rounding::Truncate), Ok(truncated));
            assert_eq!(to_time(value, SEC, Rounding::Nearest), Ok(nearest));
        }
        assert_eq!(exact(Scalar::Date(1), MS), Ok(86_400_000));
        assert_eq!(exact(Scalar::Date(i32::MAX), TimeUnit::Nanosecond), Err(RANGE));
        assert_eq!(to_date(Scalar::Time(-1, MS, true)), Ok(-1));
    }

    #[test]
    fn numbers_are_exact_or_refused() {
        assert_eq!(to_float(Scalar::Decimal(1, 1)), Ok(0.1));
        assert_eq!(to_decimal(Scalar::Float(0.1), false, 2, Rounding::Exact), Ok(10));
        assert_eq!(to_decimal(Scalar::Float(f64::from(0.1f32)), true, 2, Rounding::Exact), Ok(10));
        assert!(to_decimal(Scalar::Float(f64::NAN), false, 2, Rounding::Nearest).is_err());
        assert_eq!(to_single(Scalar::Float(1e300)), Err(RANGE));
        assert_eq!(to_single(Scalar::Text("1e39")), Err(RANGE));
        assert_eq!(to_single(Scalar::Text("inf")), Ok(f32::INFINITY));
        assert_eq!(to_bool(Scalar::Text("TRUE")), Ok(true));
        assert_eq!(to_bool(Scalar::Int(2)), Err(NO_BOOL));
        assert_eq!(to_int(Scalar::Text("12.00"), Rounding::Exact), Ok(12));
        assert_eq!(to_int(Scalar::Text("12.5"), Rounding::Exact), Err(FRACTION));
        assert_eq!(to_int(Scalar::Text("12.5"), Rounding::Nearest), Ok(13));
        assert_eq!(
            to_int(Scalar::Text("12x"), Rounding::Nearest),
            Err(Misfit("a whole number was expected"))
        );
        let mut target = Target::new(&DataType::Uint8, None, Rounding::Exact);
        assert_eq!(target.push(Scalar::Int(256)), Err(RANGE));
        assert_eq!(target.push(Scalar::Int(-1)), Err(RANGE));
        assert_eq!(target.push(Scalar::Bytes(b"255")), Ok(()));
        assert_eq!(target.push(Scalar::Bytes(b"\xff")), Err(NO_TEXT));
    }
}
