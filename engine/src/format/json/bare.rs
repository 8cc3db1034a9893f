//! Values of the type `json` on their way out: they are JSON already, and are written as they are.
//!
//! A column that says so need not be: a stage may have made it, or a file of somebody else. What is no JSON is written
//! as a text, so that the record stays JSON.

use std::ops::Range;

use arrow::array::Array;
use arrow::datatypes::FieldRef;
use arrow::error::ArrowError;
use arrow::json::Encoder;
use arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};
use serde_json::value::RawValue;

use super::pen::escape;
use super::scan::Scan;
use crate::format::write::Text;

/// Whether a text is one JSON value, blanks around it allowed.
pub(super) fn is_value(text: &str) -> bool {
    let mut scan = Scan { bytes: text.as_bytes(), at: 0 };
    let scanned = scan.blanks().is_some() && scan.skip().is_some();
    // What the scanner doubts, as what is very deep, serde_json decides.
    (scanned && scan.blanks().is_none()) || serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Writes a value as it is; what is no JSON as a text.
pub(super) fn write(text: &str, out: &mut Vec<u8>) {
    if is_value(text) {
        out.extend_from_slice(text.as_bytes());
    } else {
        out.push(b'"');
        escape(text.as_bytes(), out);
        out.push(b'"');
    }
}

/// Puts blanks in place of line ends, which within JSON stand only between values.
pub(super) fn blank_ends(json: &mut [u8]) {
    json.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
}

/// Values of the type `json` within others.
pub(super) struct Bare<'a> {
    text: Text<'a>,
    value: Vec<u8>,
}

impl<'a> Bare<'a> {
    pub(super) fn new(array: &'a dyn Array) -> Result<Self, ArrowError> {
        Ok(Self { text: Text::new(array)?, value: Vec::new() })
    }
}

impl Encoder for Bare<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        self.value.clear();
        self.text.write(row, &mut self.value);
        // A column of text holds nothing else.
        write(std::str::from_utf8(&self.value).unwrap_or_default(), out);
    }
}

/// Where the items of each list lie.
pub(super) enum Places<'a> {
    Small(&'a [i32]),
    Large(&'a [i64]),
    Fixed(usize),
}

impl Places<'_> {
    fn of(&self, row: usize) -> Range<usize> {
        match self {
            Self::Small(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
            Self::Large(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
            Self::Fixed(size) => row * size..(row + 1) * size,
        }
    }
}

/// The items of lists. arrow-json's own encoder does not see the field of the items, which says that they are JSON.
pub(super) struct Items<'a> {
    places: Places<'a>,
    items: NullableEncoder<'a>,
}

impl<'a> Items<'a> {
    pub(super) fn new(
        places: Places<'a>,
        item: &'a FieldRef,
        items: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Self, ArrowError> {
        Ok(Self { places, items: make_encoder(item, items, options)? })
    }
}

impl Encoder for Items<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        out.push(b'[');
        let items = self.places.of(row);
        for item in items.clone() {
            if item > items.start {
                out.push(b',');
            }
            if self.items.is_null(item) {
                out.extend_from_slice(b"null");
            } else {
                self.items.encode(item, out);
            }
        }
        out.push(b']');
    }
}
