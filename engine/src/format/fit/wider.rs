//! The type that holds every value of two types.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};

/// The narrowest type that holds every value of both, where one of the kind does.
pub(super) fn common(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::{
        Date32, Date64, Dictionary, Duration, FixedSizeList, LargeList, List, Map, Null, Struct, Time32,
        Time64, Timestamp,
    };
    if a == b {
        return Some(a.clone());
    }
    match (a, b) {
        (Null, other) | (other, Null) => Some(other.clone()),
        (Dictionary(_, values), other) | (other, Dictionary(_, values)) => common(values, other),
        (Date32, Date64) | (Date64, Date32) => Some(Date64),
        (Time32(a), Time32(b)) => Some(Time32(finer(*a, *b))),
        (Time32(a) | Time64(a), Time32(b) | Time64(b)) => Some(Time64(finer(*a, *b))),
        (Timestamp(a, zone), Timestamp(b, other)) => same_zone(zone.as_deref(), other.as_deref())
            .then(|| unit(*a, *b))
            .flatten()
            .map(|unit| Timestamp(unit, zone.clone())),
        (Duration(a), Duration(b)) => unit(*a, *b).map(Duration),
        (List(a), List(b)) => field(a, b).map(List),
        (List(a) | LargeList(a), List(b) | LargeList(b)) if a.data_type() == b.data_type() => {
            field(a, b).map(LargeList)
        }
        (LargeList(a), LargeList(b)) => field(a, b).map(LargeList),
        (FixedSizeList(a, size), FixedSizeList(b, other)) if size == other => {
            field(a, b).map(|item| FixedSizeList(item, *size))
        }
        (Map(a, sorted), Map(b, other)) => entries(a, b).map(|entries| Map(entries, *sorted && *other)),
        (Struct(a), Struct(b)) => fields(a, b).map(Struct),
        _ => bytes(a, b).or_else(|| decimals(a, b)).or_else(|| numbers(a, b)),
    }
}

/// Texts and bytes; what is a view is copied, as its batches are small.
fn bytes(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::{Binary, BinaryView, FixedSizeBinary, LargeBinary, LargeUtf8, Utf8, Utf8View};
    let all = |known: fn(&DataType) -> bool| known(a) && known(b);
    let large = matches!(a, LargeUtf8 | LargeBinary) || matches!(b, LargeUtf8 | LargeBinary);
    if all(|t| matches!(t, Utf8 | LargeUtf8 | Utf8View)) {
        return Some(if large { LargeUtf8 } else { Utf8 });
    }
    all(|t| matches!(t, Binary | LargeBinary | BinaryView | FixedSizeBinary(_))).then_some(if large {
        LargeBinary
    } else {
        Binary
    })
}

fn finer(a: TimeUnit, b: TimeUnit) -> TimeUnit {
    a.max(b)
}

/// Not between nanoseconds and others: those hold 1677 to 2262 alone, and 9999-12-31 is a usual value.
fn unit(a: TimeUnit, b: TimeUnit) -> Option<TimeUnit> {
    let unit = finer(a, b);
    (a == b || unit != TimeUnit::Nanosecond).then_some(unit)
}

fn same_zone(a: Option<&str>, b: Option<&str>) -> bool {
    let utc = |zone: &str| matches!(zone, "UTC" | "Etc/UTC" | "Z" | "+00:00" | "+0000" | "+00");
    match (a, b) {
        (Some(a), Some(b)) => a == b || (utc(a) && utc(b)),
        (a, b) => a == b,
    }
}

fn field(a: &Field, b: &Field) -> Option<FieldRef> {
    let nullable = a.is_nullable() || b.is_nullable();
    common(a.data_type(), b.data_type()).map(|wide| Arc::new(Field::new(a.name(), wide, nullable)))
}

fn fields(a: &Fields, b: &Fields) -> Option<Fields> {
    let names =
        |fields: &Fields| fields.iter().map(|f| f.name().clone()).collect::<std::collections::HashSet<_>>();
    if names(a).len() < a.len() || names(b).len() < b.len() {
        return None;
    }
    let mut all = Vec::new();
    for one in a {
        all.push(match b.find(one.name()) {
            Some((_, other)) => field(one, other)?,
            None => Arc::new(one.as_ref().clone().with_nullable(true)),
        });
    }
    let new = b.iter().filter(|other| a.find(other.name()).is_none());
    all.extend(new.map(|other| Arc::new(other.as_ref().clone().with_nullable(true))));
    Some(all.into())
}

/// The entries of two maps: pairs, by place.
fn entries(a: &Field, b: &Field) -> Option<FieldRef> {
    let (DataType::Struct(pair), DataType::Struct(other)) = (a.data_type(), b.data_type()) else {
        return None;
    };
    let both: Option<Vec<FieldRef>> = pair.iter().zip(other).map(|(a, b)| field(a, b)).collect();
    let both = both.filter(|both| both.len() == 2 && pair.len() == 2 && other.len() == 2)?;
    Some(Arc::new(Field::new(a.name(), DataType::Struct(both.into()), a.is_nullable() || b.is_nullable())))
}

fn decimals(a: &DataType, b: &DataType) -> Option<DataType> {
    let ((a_size, a_digits, a_scale), (b_size, b_digits, b_scale)) = (decimal(a)?, decimal(b)?);
    let scale = a_scale.max(b_scale);
    let digits = (a_digits - a_scale).max(b_digits - b_scale) + scale;
    let (precision, scale) = (u8::try_from(digits).ok()?, i8::try_from(scale).ok()?);
    let size = [9, 18, 38, 76].into_iter().find(|size| *size >= precision)?.max(a_size).max(b_size);
    Some(match size {
        9 => DataType::Decimal32(precision, scale),
        18 => DataType::Decimal64(precision, scale),
        38 => DataType::Decimal128(precision, scale),
        _ => DataType::Decimal256(precision, scale),
    })
}

/// The most digits of its kind, its digits, and those after the point.
fn decimal(data_type: &DataType) -> Option<(u8, i16, i16)> {
    Some(match data_type {
        DataType::Decimal32(precision, scale) => (9, i16::from(*precision), i16::from(*scale)),
        DataType::Decimal64(precision, scale) => (18, i16::from(*precision), i16::from(*scale)),
        DataType::Decimal128(precision, scale) => (38, i16::from(*precision), i16::from(*scale)),
        DataType::Decimal256(precision, scale) => (76, i16::from(*precision), i16::from(*scale)),
        _ => return None,
    })
}

/// Bits of a whole number, and whether it has a sign.
fn whole(data_type: &DataType) -> Option<(u8, bool)> {
    Some(match data_type {
        DataType::Int8 => (8, true),
        DataType::Int16 => (16, true),
        DataType::Int32 => (32, true),
        DataType::Int64 => (64, true),
        DataType::UInt8 => (8, false),
        DataType::UInt16 => (16, false),
        DataType::UInt32 => (32, false),
        DataType::UInt64 => (64, false),
        _ => return None,
    })
}

/// Bits of whole numbers that a floating-point number holds exactly.
fn exact(data_type: &DataType) -> Option<u8> {
    Some(match data_type {
        DataType::Float16 => 11,
        DataType::Float32 => 24,
        DataType::Float64 => 53,
        _ => return None,
    })
}

fn numbers(a: &DataType, b: &DataType) -> Option<DataType> {
    match (whole(a), whole(b)) {
        (Some((a, true)), Some((b, true))) => signed(a.max(b)),
        (Some((a, false)), Some((b, false))) => Some(match a.max(b) {
            8 => DataType::UInt8,
            16 => DataType::UInt16,
            32 => DataType::UInt32,
            _ => DataType::UInt64,
        }),
        (Some((signed_bits, true)), Some((bits, false)))
        | (Some((bits, false)), Some((signed_bits, true))) => signed(signed_bits.max(bits.checked_mul(2)?)),
        (Some((bits, sign)), None) => float(exact(b)?.max(bits - u8::from(sign))),
        (None, Some((bits, sign))) => float(exact(a)?.max(bits - u8::from(sign))),
        (None, None) => float(exact(a)?.max(exact(b)?)),
    }
}

fn signed(bits: u8) -> Option<DataType> {
    match bits {
        8 => Some(DataType::Int8),
        16 => Some(DataType::Int16),
        32 => Some(DataType::Int32),
        64 => Some(DataType::Int64),
        _ => None,
    }
}

fn float(bits: u8) -> Option<DataType> {
    match bits {
        0..=11 => Some(DataType::Float16),
        12..=24 => Some(DataType::Float32),
        25..=53 => Some(DataType::Float64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, ArrayRef, Int64Array};
    use arrow::compute::{CastOptions, cast_with_options};

    use super::*;

    fn numbers_and_times() -> Vec<DataType> {
        use DataType::*;
        use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
        let mut all = vec![Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64, Float32, Float64];
        all.extend([Second, Millisecond, Microsecond, Nanosecond].map(|unit| Timestamp(unit, None)));
        all.extend([Decimal128(5, 2), Decimal128(38, 0), Decimal128(20, 18), Decimal256(40, 3)]);
        all
    }

    /// Whatever a type holds is the same after it was widened and made narrow again, and it does not matter which of
    /// two comes first.
    #[test]
    fn no_value_is_lost() {
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        let edges: ArrayRef = Arc::new(Int64Array::from(vec![
            0,
            1,
            -1,
            127,
            128,
            -128,
            255,
            256,
            32_767,
            65_535,
            16_777_217,
            i64::from(i32::MAX),
            i64::from(i32::MIN),
            i64::from(u32::MAX),
            9_007_199_254_740_993,
            i64::MAX,
            i64::MIN,
        ]));
        for a in numbers_and_times() {
            // What does not fit the type is null here.
            let values = cast_with_options(&edges, &a, &CastOptions::default()).unwrap();
            for b in numbers_and_times() {
                assert_eq!(common(&a, &b), common(&b, &a), "{a} and {b}");
                let Some(wide) = common(&a, &b) else { continue };
                let far = matches!(a, DataType::Timestamp(..));
                let Ok(widened) = cast_with_options(&values, &wide, &strict) else {
                    assert!(far, "{a} in {wide}");
                    continue;
                };
                let back = cast_with_options(&widened, &a, &strict).unwrap();
                assert_eq!(back.to_data(), values.to_data(), "{a} in {wide}");
            }
        }
    }

    #[test]
    fn what_has_no_common_type_has_none() {
        use DataType::*;
        let time = |unit| Timestamp(unit, None);
        let pairs = [
            (Int64, Float64),
            (UInt64, Int8),
            (Int32, Utf8),
            (Date32, time(TimeUnit::Second)),
            (time(TimeUnit::Microsecond), time(TimeUnit::Nanosecond)),
            (time(TimeUnit::Second), Timestamp(TimeUnit::Second, Some("UTC".into()))),
            (Decimal256(76, 0), Decimal256(76, 70)),
            (Boolean, Int8),
            (Int64, Decimal128(20, 0)),
        ];
        for (a, b) in pairs {
            assert_eq!(common(&a, &b), None, "{a} and {b}");
        }
    }
}
