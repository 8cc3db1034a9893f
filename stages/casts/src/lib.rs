//! Values of one type made values of another, without loss unless the configuration allows it: what `select` casts
//! and `extract` reads.

mod number;
mod refused;
mod source;
mod target;
mod types;

use pipe_stage::TimeUnit;
use serde::Deserialize;

pub use number::{parse_decimal, rescale};
pub use refused::{Built, Refused};
pub use source::Source;
pub use target::Target;
pub use types::{can_cast, parse_type};

/// A value of any type that can be cast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar<'a> {
    /// A boolean.
    Bool(bool),
    /// An integer of any width.
    Int(i128),
    /// A float of either width.
    Float(f64),
    /// A decimal: its digits without the point, and how many of them stand behind it.
    Decimal(i128, i32),
    /// Text.
    Text(&'a str),
    /// Bytes, which are text where they are UTF-8.
    Bytes(&'a [u8]),
    /// A timestamp: a count since 1970 in a unit, and whether its column has a time zone.
    Time(i64, TimeUnit, bool),
    /// Days since 1970.
    Date(i32),
}

/// What is done where the new type cannot hold a value exactly: a fraction, a finer time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// It is an error.
    #[default]
    Exact,
    /// The rest is cut off; of a time it leaves the earlier.
    Truncate,
    /// The nearest is taken, of two as near the one further from zero.
    Nearest,
}

/// What is done with a value that cannot be cast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// Its row goes to the dead letters.
    #[default]
    Reject,
    /// A null takes its place.
    Null,
}

/// Why a value cannot be cast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misfit(pub &'static str);

impl Misfit {
    /// The reason in words; where a form was expected, with the text that has another one.
    #[cold]
    pub fn explain(self, value: Scalar<'_>) -> String {
        const CHARS: usize = 60;
        let Self(why) = self;
        let text = match value {
            Scalar::Text(text) => text,
            Scalar::Bytes(bytes) => std::str::from_utf8(bytes).unwrap_or_default(),
            _ => return why.to_owned(),
        };
        if !why.ends_with("was expected") {
            return why.to_owned();
        }
        match text.char_indices().nth(CHARS) {
            Some((end, _)) => {
                format!("{why}, not `{}...`", text.get(..end).unwrap_or_default().escape_debug())
            }
            None => format!("{why}, not `{}`", text.escape_debug()),
        }
    }
}

pub(crate) const RANGE: Misfit = Misfit("it is out of range");
pub(crate) const FRACTION: Misfit = Misfit("it has a fraction");
pub(crate) const TYPE: Misfit = Misfit("it is of another type");
