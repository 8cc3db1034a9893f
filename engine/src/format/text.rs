//! Values out of text: times, decimals, hexadecimal digits; the same spellings that the encoders write.

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::{Parser, parse_decimal, string_to_datetime};
use arrow::datatypes::{DataType, Date32Type, Date64Type, DecimalType, Time64NanosecondType, TimeUnit};

use crate::config::types;
use crate::error::{Code, Error, Result};

/// How a column of times is written and what it may hold.
#[derive(Debug, Clone, Copy)]
pub(super) enum Temporal {
    /// `2026-01-31`, in days.
    Date32,
    /// `2026-01-31` or `2026-01-31T12:00:00`, in milliseconds.
    Date64,
    /// `12:30:00.5`, in units since midnight.
    Time { per_second: i64 },
    /// RFC 3339; without an offset in the column's own time zone.
    Timestamp { per_second: i64, zone: Tz },
    /// ISO 8601 as `PT12.5S`.
    Duration { per_second: i64 },
}

impl Temporal {
    /// `None` where the type is not one of time.
    pub(super) fn new(data_type: &DataType) -> Option<Result<Self>> {
        let per_second = |unit: &TimeUnit| match unit {
            TimeUnit::Second => 1,
            TimeUnit::Millisecond => 1_000,
            TimeUnit::Microsecond => 1_000_000,
            TimeUnit::Nanosecond => 1_000_000_000,
        };
        Some(Ok(match data_type {
            DataType::Date32 => Self::Date32,
            DataType::Date64 => Self::Date64,
            DataType::Time32(unit) | DataType::Time64(unit) => Self::Time { per_second: per_second(unit) },
            DataType::Duration(unit) => Self::Duration { per_second: per_second(unit) },
            DataType::Timestamp(unit, zone) => match zone.as_deref().unwrap_or("UTC").parse() {
                Ok(zone) => Self::Timestamp { per_second: per_second(unit), zone },
                Err(_) => {
                    let message = format!("the time zone of {} is not known here", types::print(data_type));
                    return Some(Err(
                        Error::user(Code::C009, message).help("use UTC or an offset such as +01:00")
                    ));
                }
            },
            _ => return None,
        }))
    }

    /// Whether a bare number is one of its values.
    pub(super) fn holds(self, value: i64) -> bool {
        match self {
            Self::Date32 => i32::try_from(value).is_ok(),
            Self::Time { per_second } => (0..86_400 * per_second).contains(&value),
            Self::Date64 | Self::Timestamp { .. } | Self::Duration { .. } => true,
        }
    }

    /// Reads a value; digits finer than the unit are cut off.
    pub(super) fn parse(self, text: &str) -> Option<i64> {
        match self {
            Self::Date32 => Date32Type::parse(text).map(i64::from),
            Self::Date64 => Date64Type::parse(text),
            Self::Time { per_second } => {
                // The parser takes a bare number of nanoseconds too, which would be read in the wrong unit.
                let nanos = text.contains(':').then(|| Time64NanosecondType::parse(text))??;
                Some(nanos / (1_000_000_000 / per_second)).filter(|value| self.holds(*value))
            }
            Self::Timestamp { per_second, zone } => {
                let time = string_to_datetime(&zone, text).ok()?;
                let part = i64::from(time.timestamp_subsec_nanos()) / (1_000_000_000 / per_second);
                scaled(time.timestamp(), part, per_second)
            }
            Self::Duration { per_second } => duration(text, per_second),
        }
    }
}

/// Whole seconds and a part that counts upwards, in units. Wide, because the first second of the range begins
/// outside it.
fn scaled(seconds: i64, part: i64, per_second: i64) -> Option<i64> {
    i64::try_from(i128::from(seconds) * i128::from(per_second) + i128::from(part)).ok()
}

/// `PT1.5S`, `-PT1.5S`: seconds only, as the encoder writes them.
fn duration(text: &str, per_second: i64) -> Option<i64> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if rest == "P0D" {
        return Some(0);
    }
    let seconds = rest.strip_prefix("PT")?.strip_suffix('S')?;
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanos = fraction.parse::<i64>().ok()? * 10i64.pow(9 - fraction.len() as u32);
    let units = i128::from(whole.parse::<i64>().ok()?) * i128::from(per_second)
        + i128::from(nanos / (1_000_000_000 / per_second));
    i64::try_from(if negative { -units } else { units }).ok()
}

/// A decimal, exactly: digits that the scale cannot hold are refused, not rounded.
pub(super) fn decimal<T: DecimalType>(text: &str, precision: u8, scale: i8) -> Option<T::Native> {
    let plain = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !plain.bytes().next().is_some_and(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let (mantissa, exponent) = match plain.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (plain, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // Places after the point that are not zero; negative when the number ends in zeros before the point.
    let fraction = fraction.trim_end_matches('0');
    let zeros = whole.len() - whole.trim_end_matches('0').len();
    let places = if fraction.is_empty() { -(zeros as i64) } else { fraction.len() as i64 };
    let zero = mantissa.bytes().all(|b| b == b'0' || b == b'.');
    if !zero && places.saturating_sub(exponent) > i64::from(scale) {
        return None;
    }
    parse_decimal::<T>(text, precision, scale).ok()
}

/// Appends the bytes of hexadecimal digits.
pub(super) fn hex(text: &str, out: &mut Vec<u8>) -> Result<(), String> {
    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    if !text.len().is_multiple_of(2) {
        return Err("an odd number of hexadecimal digits".to_owned());
    }
    for pair in text.as_bytes().chunks_exact(2) {
        match (digit(pair[0]), digit(pair[1])) {
            (Some(high), Some(low)) => out.push(high << 4 | low),
            _ => return Err(format!("hexadecimal digits were expected, not `{}`", short(text))),
        }
    }
    Ok(())
}

/// The start of a text, for messages.
pub(super) fn short(text: &str) -> String {
    const CHARS: usize = 60;
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}...", text[..end].escape_debug()),
        None => text.escape_debug().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Decimal128Type;

    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        let d = |text| decimal::<Decimal128Type>(text, 10, 2);
        assert_eq!(d("1.5"), Some(150));
        assert_eq!(d("-0.01"), Some(-1));
        assert_eq!(d("1.500"), Some(150));
        assert_eq!(d("15e-1"), Some(150));
        assert_eq!(d("1.005"), None);
        assert_eq!(d("5e-3"), None);
        assert_eq!(d("99999999.99"), Some(9_999_999_999));
        assert_eq!(d("100000000"), None);
        for bad in ["", "-", "x", "1x", "0x10", "NaN", "1.2.3", "e5", "1e", "1e99999999999999999999"] {
            assert_eq!(d(bad), None, "{bad}");
        }
        assert_eq!(decimal::<Decimal128Type>("1200", 10, -2), Some(12));
        assert_eq!(decimal::<Decimal128Type>("1250", 10, -2), None);
    }

    #[test]
    fn times() {
        let ms =
            Temporal::new(&DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))).unwrap().unwrap();
        assert_eq!(ms.parse("1970-01-01T00:00:01.5Z"), Some(1_500));
        assert_eq!(ms.parse("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(ms.parse("1969-12-31T23:59:59.999Z"), Some(-1));
        assert_eq!(ms.parse("yesterday"), None);
        assert_eq!(ms.parse(""), None);
        let east =
            Temporal::new(&DataType::Timestamp(TimeUnit::Second, Some("+02:00".into()))).unwrap().unwrap();
        assert_eq!(east.parse("1970-01-01T02:00:00"), Some(0));
        let time = Temporal::new(&DataType::Time32(TimeUnit::Second)).unwrap().unwrap();
        assert_eq!(time.parse("01:00:00"), Some(3_600));
        assert_eq!(time.parse("3600"), None);
        assert!(!time.holds(86_400));
        let span = Temporal::new(&DataType::Duration(TimeUnit::Millisecond)).unwrap().unwrap();
        assert_eq!(span.parse("-PT1.5S"), Some(-1_500));
        assert_eq!(span.parse("PT"), None);
        assert!(Temporal::new(&DataType::Timestamp(TimeUnit::Second, Some("Mars".into()))).unwrap().is_err());
    }
}
