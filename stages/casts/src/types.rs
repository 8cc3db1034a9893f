//! The types that a value can be cast to, by name, and from which types.

use pipe_stage::{DataType, DecimalType, Result, TimeUnit, TimestampType, bail};

/// The names without parameters. `bool` and `boolean` are one type.
const PLAIN: &[(&str, DataType)] = &[
    ("bool", DataType::Boolean),
    ("boolean", DataType::Boolean),
    ("int8", DataType::Int8),
    ("int16", DataType::Int16),
    ("int32", DataType::Int32),
    ("int64", DataType::Int64),
    ("uint8", DataType::Uint8),
    ("uint16", DataType::Uint16),
    ("uint32", DataType::Uint32),
    ("uint64", DataType::Uint64),
    ("float32", DataType::Float32),
    ("float64", DataType::Float64),
    ("utf8", DataType::Utf8),
    ("binary", DataType::Binary),
    ("date32", DataType::Date32),
];

/// Reads a type as the pipeline file writes it.
pub fn parse_type(text: &str) -> Result<DataType> {
    let text = text.trim();
    if let Some((_, plain)) = PLAIN.iter().find(|(name, _)| *name == text) {
        return Ok(plain.clone());
    }
    let parts = text.strip_suffix(')').and_then(|text| text.split_once('('));
    match parts {
        Some(("timestamp", inner)) => timestamp(inner),
        Some(("decimal128", inner)) => decimal(inner),
        _ => bail!(
            "there is no type `{text}` to cast to; there are boolean, int8 to int64, uint8 to uint64, float32, \
             float64, utf8, binary, date32, timestamp(ms, UTC), decimal128(10, 2)"
        ),
    }
}

fn timestamp(inner: &str) -> Result<DataType> {
    let (unit, zone) = match inner.split_once(',') {
        Some((unit, zone)) => (unit, Some(zone.trim())),
        None => (inner, None),
    };
    let unit = match unit.trim() {
        "s" => TimeUnit::Second,
        "ms" => TimeUnit::Millisecond,
        "us" => TimeUnit::Microsecond,
        "ns" => TimeUnit::Nanosecond,
        other => bail!("the unit of a timestamp is s, ms, us or ns, not `{other}`"),
    };
    if zone == Some("") {
        bail!("a time zone such as `UTC` is needed after the comma");
    }
    Ok(DataType::Timestamp(TimestampType { unit, timezone: zone.map(str::to_owned) }))
}

fn decimal(inner: &str) -> Result<DataType> {
    let (precision, scale) = inner.split_once(',').unwrap_or((inner, "0"));
    match (precision.trim().parse::<u8>(), scale.trim().parse::<i8>()) {
        (Ok(precision @ 1..=38), Ok(scale)) if scale.unsigned_abs() <= precision => {
            Ok(DataType::Decimal128(DecimalType { precision, scale }))
        }
        _ => bail!("decimal128 needs a precision of 1 to 38 and a scale within it: decimal128(10, 2)"),
    }
}

/// The kinds of types that are cast alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Int,
    Float,
    Decimal,
    Text,
    Bytes,
    Time,
    Date,
    /// Times of day and durations: read as counts, and not written.
    Count,
}

fn kind(data_type: &DataType) -> Option<Kind> {
    use DataType as T;
    Some(match data_type {
        T::Boolean => Kind::Bool,
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Uint8 | T::Uint16 | T::Uint32 | T::Uint64 => Kind::Int,
        T::Float32 | T::Float64 => Kind::Float,
        T::Decimal128(_) => Kind::Decimal,
        T::Utf8 | T::LargeUtf8 => Kind::Text,
        T::Binary | T::LargeBinary | T::FixedSizeBinary(_) => Kind::Bytes,
        T::Timestamp(_) => Kind::Time,
        T::Date32 => Kind::Date,
        T::Time32(_) | T::Time64(_) | T::Duration(_) => Kind::Count,
        _ => return None,
    })
}

/// Whether values of one type can be cast to another. Single values may still not fit.
pub fn can_cast(from: &DataType, to: &DataType) -> bool {
    use Kind::{Bool, Bytes, Count, Date, Decimal, Float, Int, Text, Time};
    let (Some(from), Some(to)) = (kind(from), kind(to)) else { return false };
    match (from, to) {
        (_, Count) => false,
        // Text can be anything, and bytes are text where they are UTF-8.
        (Text | Bytes, _) => true,
        (Bool | Int | Float | Decimal | Time | Date, Text) => true,
        (Count, _) => to == Int,
        (Bool, _) => matches!(to, Bool | Int | Float),
        (Int, _) => matches!(to, Bool | Int | Float | Decimal | Time | Date),
        (Float | Decimal, _) => matches!(to, Int | Float | Decimal),
        (Time, _) => matches!(to, Int | Time | Date),
        (Date, _) => matches!(to, Int | Time | Date),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_as_the_pipeline_file_writes_them() {
        for (text, printed) in [
            ("int8", "int8"),
            (" boolean ", "bool"),
            ("timestamp(ms, UTC)", "timestamp(ms, UTC)"),
            ("timestamp(ns)", "timestamp(ns)"),
            ("decimal128(12, 2)", "decimal128(12, 2)"),
            ("decimal128(5)", "decimal128(5, 0)"),
        ] {
            let field = pipe_stage::ColumnField::new("x", parse_type(text).unwrap(), true);
            assert_eq!(field.type_name(), printed);
        }
        for (text, word) in [
            ("int", "there is no type `int`"),
            ("list(utf8)", "there is no type"),
            ("timestamp(h)", "not `h`"),
            ("timestamp(ms,)", "time zone"),
            ("decimal128(39, 0)", "1 to 38"),
            ("decimal128(2, 3)", "within"),
        ] {
            let error = parse_type(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let decimal = parse_type("decimal128(5, 1)").unwrap();
        let time = parse_type("timestamp(ms)").unwrap();
        assert!(can_cast(&DataType::Int8, &time) && !can_cast(&DataType::Float64, &time));
        assert!(can_cast(&DataType::Float64, &decimal) && !can_cast(&decimal, &DataType::Boolean));
        assert!(
            !can_cast(&DataType::Struct, &DataType::Utf8) && can_cast(&DataType::Binary, &DataType::Utf8)
        );
        assert!(!can_cast(&DataType::Boolean, &decimal) && !can_cast(&DataType::Int64, &DataType::Binary));
    }
}
