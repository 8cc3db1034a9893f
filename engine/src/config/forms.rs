//! How each type of a column is written, for the manual.

/// A type as it is written.
pub struct Form {
    /// Name and parameters: `decimal128(precision, scale)`.
    pub form: &'static str,
    /// One that can be taken as it stands.
    pub example: &'static str,
    /// What it holds.
    pub holds: &'static str,
}

const fn form(form: &'static str, example: &'static str, holds: &'static str) -> Form {
    Form { form, example, holds }
}

/// Every type; a test compares them with the names that are read.
pub const FORMS: &[Form] = &[
    form("boolean", "boolean", "`true` or `false`"),
    form("int8, int16, int32, int64", "int64", "whole numbers with a sign"),
    form("uint8, uint16, uint32, uint64", "uint32", "whole numbers without one"),
    form("float16, float32, float64", "float64", "numbers with a fraction, to the nearest float"),
    form(
        "decimal128(precision, scale)",
        "decimal128(10, 2)",
        "exact decimals of up to 38 digits, `scale` of them behind the point",
    ),
    form("decimal256(precision, scale)", "decimal256(60, 10)", "the same with up to 76 digits"),
    form("utf8, large_utf8", "utf8", "text; `large_` where the texts of one batch exceed 2 GiB"),
    form("json", "json", "one JSON value of any kind, as it is written: `1.10` stays `1.10`"),
    form("binary, large_binary", "binary", "bytes"),
    form("fixed_size_binary(bytes)", "fixed_size_binary(16)", "bytes, as many in each row"),
    form("date32, date64", "date32", "a day; `date64` counts milliseconds"),
    form("time32(unit)", "time32(ms)", "a time of day in `s` or `ms`"),
    form("time64(unit)", "time64(us)", "a time of day in `us` or `ns`"),
    form("timestamp(unit)", "timestamp(us)", "a moment without a zone, in `s`, `ms`, `us` or `ns`"),
    form(
        "timestamp(unit, zone)",
        "timestamp(ms, UTC)",
        "a moment in a zone: `UTC` or an offset such as `+01:00`",
    ),
    form("duration(unit)", "duration(s)", "a length of time in `s`, `ms`, `us` or `ns`"),
    form(
        "list(type), large_list(type)",
        "list(utf8)",
        "any number of values of one type; `list(utf8!)` without nulls among them",
    ),
    form("fixed_size_list(type, length)", "fixed_size_list(float32, 3)", "as many values in each row"),
    form(
        "struct(name: type, ..)",
        "struct(lat: float64!, lon: float64!)",
        "named fields; a name with other signs than letters, digits, `_`, `-` and `.` is quoted: `struct(\"unit price\": int64)`",
    ),
    form(
        "map(key, value)",
        "map(utf8, int64)",
        "keys that differ from row to row, each with a value; keys are never null",
    ),
    form(
        "dictionary(key, value)",
        "dictionary(int32, utf8)",
        "few values that repeat, each kept once a batch and numbered by integers of the type `key`",
    ),
    form("null", "null", "nothing but nulls"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datatype::{NAMES, parse};

    #[test]
    fn every_type_is_told_and_every_example_is_one() {
        let word = |text: &str| text.split(['(', ' ']).next().unwrap_or_default().to_owned();
        let mut told = Vec::new();
        for Form { form, example, holds } in FORMS {
            parse("x", example).unwrap_or_else(|e| panic!("{example}: {e}"));
            assert!(form.contains(&word(example)) && !holds.is_empty() && !holds.ends_with('.'), "{form}");
            // Commas between types, not between the parameters of one.
            match form.contains('(') && !form.contains("), ") {
                true => told.push(word(form)),
                false => told.extend(form.split(", ").map(word)),
            }
        }
        told.sort();
        told.dedup();
        assert_eq!(told, NAMES);
    }
}
