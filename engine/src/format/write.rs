//! Values as text, as `columns` reads them: for formats that are text, and for what others put between quotes.

use std::io::Write;

use arrow::array::{Array, AsArray, LargeStringArray, StringArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::time::Temporal;

/// The texts of an array's values.
pub(super) enum Text<'a> {
    String(&'a StringArray),
    LargeString(&'a LargeStringArray),
    Time(Numbers, Temporal),
    Words {
        keys: Vec<usize>,
        words: Box<Text<'a>>,
    },
    /// Numbers, booleans, and binary as hexadecimal digits: their texts are Arrow's, and cannot fail.
    Other(ArrayFormatter<'a>),
}

/// The numbers behind times.
pub(super) enum Numbers {
    Narrow(ScalarBuffer<i32>),
    Wide(ScalarBuffer<i64>),
}

impl<'a> Text<'a> {
    pub(super) fn new(array: &'a dyn Array) -> Result<Self, ArrowError> {
        let data_type = array.data_type();
        if let Some(temporal) = Temporal::new(data_type) {
            let temporal = temporal.map_err(|e| ArrowError::SchemaError(e.message().to_owned()))?;
            let data = array.to_data();
            let (values, offset, len) = (data.buffers()[0].clone(), data.offset(), data.len());
            let numbers = match data_type.primitive_width() {
                Some(4) => Numbers::Narrow(ScalarBuffer::new(values, offset, len)),
                _ => Numbers::Wide(ScalarBuffer::new(values, offset, len)),
            };
            return Ok(Self::Time(numbers, temporal));
        }
        Ok(match data_type {
            DataType::Utf8 => Self::String(array.as_string()),
            DataType::LargeUtf8 => Self::LargeString(array.as_string()),
            DataType::Dictionary(..) => {
                let dictionary = array.as_any_dictionary();
                let words = Box::new(Self::new(dictionary.values().as_ref())?);
                Self::Words { keys: keys(array), words }
            }
            other if other.is_nested() => {
                return Err(ArrowError::SchemaError(format!("{other} has no text")));
            }
            _ => Self::Other(ArrayFormatter::try_new(array, &FormatOptions::new())?),
        })
    }

    /// Whether it is a type of dates, times, timestamps or durations.
    pub(super) fn is_time(data_type: &DataType) -> bool {
        Temporal::new(data_type).is_some()
    }

    /// Appends the text of a value that is not null. `false`, and nothing is appended, where it has none and is a
    /// [`Text::number`].
    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) -> bool {
        match self {
            Self::String(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Self::LargeString(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Self::Time(_, temporal) => return temporal.write(self.number(row), out),
            Self::Words { keys, words } => return words.write(keys[row], out),
            Self::Other(formatter) => {
                // Writing to a vector cannot fail.
                let _ = write!(out, "{}", formatter.value(row));
            }
        }
        true
    }

    /// The number behind a time, in units of its type.
    pub(super) fn number(&self, row: usize) -> i64 {
        match self {
            Self::Time(Numbers::Narrow(values), _) => i64::from(values[row]),
            Self::Time(Numbers::Wide(values), _) => values[row],
            Self::Words { keys, words } => words.number(keys[row]),
            Self::String(_) | Self::LargeString(_) | Self::Other(_) => 0,
        }
    }
}

/// The word of each row of a dictionary; anything where a row is null.
pub(super) fn keys(array: &dyn Array) -> Vec<usize> {
    let dictionary = array.as_any_dictionary();
    // Arrow's own function panics where there is no word, because then every row is null.
    if dictionary.values().is_empty() { vec![0; array.len()] } else { dictionary.normalized_keys() }
}
