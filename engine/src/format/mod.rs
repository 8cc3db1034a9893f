//! Formats: how the bytes of a record, or a whole file, become columns and back. One file here and one line in
//! [`FORMATS`] each.

use std::sync::Arc;

use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

use crate::codec::{Format, Problem};
use crate::error::Result;

/// Every format, in alphabetical order.
pub static FORMATS: &[&FormatKind] = &[];

/// A kind of format.
pub struct FormatKind {
    /// The key in the pipeline file.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// YAML of a `format:` value; a test parses and plans it.
    pub example: &'static str,
    /// JSON Schema of its options.
    pub options: fn(&mut SchemaGenerator) -> Schema,
    /// Extensions of files it is taken for when `format:` is absent.
    pub extensions: &'static [&'static str],
    /// Resolves the options (the value under the format's key; `{}` when only its name was given).
    pub prepare: fn(&Value) -> Result<Arc<dyn Format>, Vec<Problem>>,
}
