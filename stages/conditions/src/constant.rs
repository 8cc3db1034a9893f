//! The value of a condition, made comparable with its column when the stage is bound.

use casts::{Rounding, parse_decimal, rescale};
use pipe_stage::time::{parse_date, parse_rfc3339, parse_time};
use pipe_stage::{ColumnField, DataType, Json, Result, TimeUnit, bail};

/// A constant of a column's type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Constant {
    /// For `bool`.
    Bool(bool),
    /// For every integer type (`i128` holds them all), and for dates, times, timestamps and durations as counts.
    Int(i128),
    /// For the floats.
    Float(f64),
    /// For decimals: the digits at the column's scale.
    Decimal(i128),
    /// For text and bytes.
    Bytes(Vec<u8>),
}

/// The constant that a JSON value is for a column; the error says what the column wants.
pub(crate) fn constant(field: &ColumnField, value: &Json) -> Result<Constant> {
    use DataType as T;
    let found = match field.data_type() {
        T::Boolean => value.as_bool().map(Constant::Bool),
        T::Int8 => integer(value, i8::MIN.into(), i8::MAX.into()),
        T::Int16 => integer(value, i16::MIN.into(), i16::MAX.into()),
        T::Int32 => integer(value, i32::MIN.into(), i32::MAX.into()),
        T::Int64 | T::Duration(_) => integer(value, i64::MIN.into(), i64::MAX.into()),
        T::Uint8 => integer(value, 0, u8::MAX.into()),
        T::Uint16 => integer(value, 0, u16::MAX.into()),
        T::Uint32 => integer(value, 0, u32::MAX.into()),
        T::Uint64 => integer(value, 0, u64::MAX.into()),
        T::Float32 | T::Float64 => value.as_f64().map(Constant::Float),
        T::Utf8 | T::LargeUtf8 | T::Binary | T::LargeBinary | T::FixedSizeBinary(_) => {
            value.as_str().map(|text| Constant::Bytes(text.as_bytes().to_vec()))
        }
        T::Decimal128(d) => decimal(value, d.scale, d.precision),
        T::Decimal256(d) => decimal(value, d.scale, d.precision),
        T::Date32 => count(value, |text| parse_date(text).map(i64::from)),
        T::Date64 => count(value, |text| parse_date(text).map(|days| i64::from(days) * 86_400_000)),
        T::Time32(unit) | T::Time64(unit) => count(value, |text| {
            let (seconds, nanos) = parse_time(text)?;
            pipe_stage::time::Instant { seconds: seconds.into(), nanos }.exact(*unit)
        }),
        T::Timestamp(t) => count(value, |text| parse_rfc3339(text)?.exact(t.unit)),
        _ => bail!("column `{}` is {}, which cannot be compared", field.name(), field.type_name()),
    };
    match found {
        Some(constant) => Ok(constant),
        None => bail!(
            "column `{}` is {}; {value} is not {}",
            field.name(),
            field.type_name(),
            wanted(field.data_type())
        ),
    }
}

fn integer(value: &Json, min: i128, max: i128) -> Option<Constant> {
    let number = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from))?;
    (min..=max).contains(&number).then_some(Constant::Int(number))
}

/// A number with a point, exactly as it is written; none that the column could not hold.
fn decimal(value: &Json, scale: i8, precision: u8) -> Option<Constant> {
    let (Json::Number(text) | Json::Text(text)) = value else { return None };
    let (digits, behind) = parse_decimal(text).ok()?;
    let digits = rescale(digits, behind, scale.into(), Rounding::Exact).ok()?;
    let limit = 10i128.checked_pow(u32::from(precision).min(38))?;
    (digits.unsigned_abs() < limit.unsigned_abs()).then_some(Constant::Decimal(digits))
}

/// A count in the column's own unit, or text that says it.
fn count(value: &Json, parse: impl Fn(&str) -> Option<i64>) -> Option<Constant> {
    match value {
        Json::Text(text) => parse(text).map(|count| Constant::Int(count.into())),
        other => integer(other, i64::MIN.into(), i64::MAX.into()),
    }
}

fn wanted(data_type: &DataType) -> &'static str {
    use DataType as T;
    match data_type {
        T::Boolean => "true or false",
        T::Float32 | T::Float64 => "a number",
        T::Decimal128(_) | T::Decimal256(_) => {
            "a number of at most 38 digits that the column can hold, no finer"
        }
        T::Date32 | T::Date64 => "a date such as \"2026-01-31\"",
        T::Time32(_) | T::Time64(_) => "a time such as \"23:59:59\", no finer than the column",
        T::Timestamp(t) if t.unit == TimeUnit::Second => "an RFC 3339 time in whole seconds",
        T::Timestamp(_) => "an RFC 3339 time such as \"2026-01-31T23:59:59Z\", no finer than the column",
        T::Utf8 | T::LargeUtf8 | T::Binary | T::LargeBinary | T::FixedSizeBinary(_) => "a string",
        _ => "an integer of this type",
    }
}
