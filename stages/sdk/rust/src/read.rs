//! Which Rust types a column can be read as, and from which column types.

use crate::column::{Any, Bools, Strings, Values};
use crate::schema::{DataType, TimeUnit};

/// A type that a column can be read as: `bool`, the integers, `f32`, `f64`, `str`, `[u8]`, [`Date`], the
/// timestamps ([`TimestampMs`] and its sisters), and [`AnyType`].
///
/// Widening that loses nothing is done for you: `i64` reads every integer column that fits it, `f64` also
/// `float32` and integers up to 32 bits. `[u8]` reads text too.
pub trait Read {
    /// The view of a batch's column.
    type View<'a>;
    /// What to call it in an error: `a float64 column`.
    const NAME: &'static str;
    /// Whether a column of this type can be read so.
    fn accepts(data_type: &DataType) -> bool;
    /// The view; `None` where the type is not accepted.
    fn view(any: Any<'_>) -> Option<Self::View<'_>>;
}

/// Reads a column of any type as [`Any`].
#[derive(Debug, Clone, Copy)]
pub struct AnyType;

impl Read for AnyType {
    type View<'a> = Any<'a>;
    const NAME: &'static str = "any column";
    fn accepts(_: &DataType) -> bool {
        true
    }
    fn view(any: Any<'_>) -> Option<Any<'_>> {
        Some(any)
    }
}

impl Read for bool {
    type View<'a> = Bools<'a>;
    const NAME: &'static str = "a bool column";
    fn accepts(data_type: &DataType) -> bool {
        matches!(data_type, DataType::Boolean)
    }
    fn view(any: Any<'_>) -> Option<Bools<'_>> {
        match any {
            Any::Bool(v) => Some(v),
            _ => None,
        }
    }
}

impl Read for str {
    type View<'a> = Strings<'a, str>;
    const NAME: &'static str = "a utf8 column";
    fn accepts(data_type: &DataType) -> bool {
        matches!(data_type, DataType::Utf8 | DataType::LargeUtf8)
    }
    fn view(any: Any<'_>) -> Option<Strings<'_, str>> {
        match any {
            Any::Text(v) => Some(v),
            _ => None,
        }
    }
}

impl Read for [u8] {
    type View<'a> = Strings<'a, [u8]>;
    const NAME: &'static str = "a binary or utf8 column";
    fn accepts(data_type: &DataType) -> bool {
        use DataType::{Binary, FixedSizeBinary, LargeBinary, LargeUtf8, Utf8};
        matches!(data_type, Binary | LargeBinary | FixedSizeBinary(_) | Utf8 | LargeUtf8)
    }
    fn view(any: Any<'_>) -> Option<Strings<'_, [u8]>> {
        match any {
            Any::Bytes(v) => Some(v),
            Any::Text(v) => Some(v.as_bytes()),
            _ => None,
        }
    }
}

macro_rules! read_number {
    ($($type:ty, $own:ident, $name:literal, [$($from:ident),*];)*) => {$(
        impl Read for $type {
            type View<'a> = Values<'a, $type>;
            const NAME: &'static str = $name;
            fn accepts(data_type: &DataType) -> bool {
                matches!(data_type, DataType::$own $(| DataType::$from)*)
            }
            fn view(any: Any<'_>) -> Option<Values<'_, $type>> {
                match any {
                    Any::$own(v) => Some(v),
                    $(Any::$from(v) => Some(v.map(<$type>::from)),)*
                    _ => None,
                }
            }
        }
    )*};
}

read_number! {
    i8, Int8, "an int8 column", [];
    i16, Int16, "an int16 column (or a smaller integer)", [Int8, Uint8];
    i32, Int32, "an int32 column (or a smaller integer)", [Int8, Int16, Uint8, Uint16];
    i64, Int64, "an int64 column (or a smaller integer)", [Int8, Int16, Int32, Uint8, Uint16, Uint32];
    u8, Uint8, "a uint8 column", [];
    u16, Uint16, "a uint16 column (or a smaller one)", [Uint8];
    u32, Uint32, "a uint32 column (or a smaller one)", [Uint8, Uint16];
    u64, Uint64, "a uint64 column (or a smaller one)", [Uint8, Uint16, Uint32];
    f32, Float32, "a float32 column", [];
    f64, Float64, "a float64 column (or float32, or an integer up to 32 bits)",
        [Float32, Int8, Int16, Int32, Uint8, Uint16, Uint32];
}

/// Days since 1970-01-01: a `date32` column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Date(pub i32);

impl Read for Date {
    type View<'a> = Values<'a, Date>;
    const NAME: &'static str = "a date32 column";
    fn accepts(data_type: &DataType) -> bool {
        matches!(data_type, DataType::Date32)
    }
    fn view(any: Any<'_>) -> Option<Values<'_, Date>> {
        match any {
            Any::Date32(v) => Some(v.map(Date)),
            _ => None,
        }
    }
}

/// Units a second.
const fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// A count of one unit in another: rounded down, and held at the ends of what an `i64` can say.
pub fn convert_unit(value: i64, from: TimeUnit, to: TimeUnit) -> i64 {
    let (from, to) = (per_second(from), per_second(to));
    if from >= to { value.div_euclid(from / to) } else { value.saturating_mul(to / from) }
}

macro_rules! timestamps {
    ($($(#[$doc:meta])* $name:ident $unit:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// Reads timestamps of every unit, rounded down; computed, it is a timestamp in UTC.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
        pub struct $name(pub i64);

        impl $name {
            /// Its unit.
            pub const UNIT: TimeUnit = TimeUnit::$unit;
        }

        impl Read for $name {
            type View<'a> = Values<'a, $name>;
            const NAME: &'static str = "a timestamp column";
            fn accepts(data_type: &DataType) -> bool {
                matches!(data_type, DataType::Timestamp(_))
            }
            fn view(any: Any<'_>) -> Option<Values<'_, $name>> {
                match any {
                    Any::Timestamp(v, unit) => Some(v.map(|value| $name(convert_unit(value, unit, $name::UNIT)))),
                    _ => None,
                }
            }
        }
    )*};
}

timestamps! {
    /// Seconds since 1970 in UTC.
    TimestampSec Second;
    /// Milliseconds since 1970 in UTC.
    TimestampMs Millisecond;
    /// Microseconds since 1970 in UTC.
    TimestampUs Microsecond;
    /// Nanoseconds since 1970 in UTC.
    TimestampNs Nanosecond;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_rounded_down_and_never_wrap() {
        assert_eq!(convert_unit(-1, TimeUnit::Millisecond, TimeUnit::Second), -1);
        assert_eq!(convert_unit(1_999, TimeUnit::Millisecond, TimeUnit::Second), 1);
        assert_eq!(convert_unit(2, TimeUnit::Second, TimeUnit::Nanosecond), 2_000_000_000);
        assert_eq!(convert_unit(i64::MAX, TimeUnit::Second, TimeUnit::Nanosecond), i64::MAX);
    }
}
