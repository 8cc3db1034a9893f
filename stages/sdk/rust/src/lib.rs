//! Write transform stages of `pipe` in Rust.

mod batch;
mod bind;
pub mod bindings;
mod build;
mod column;
mod config;
mod error;
mod json;
pub mod log;
mod mask;
mod nested;
mod output;
mod place;
mod read;
mod row;
mod schema;
mod stage;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
pub mod time;

pub use batch::Batch;
pub use bind::{Binder, Column, Computed, Port, PortId};
pub use bindings::pipe::stage::arrow::Array;
pub use build::{Builder, Compute, Decimal, Number, Raw};
pub use column::{Any, Bools, FromBytes, Primitive, Strings, Values};
pub use config::{Config, Setting, from_json, object_schema};
pub use error::{Error, Result};
pub use json::Json;
pub use mask::{Mask, Validity};
pub use nested::{Dictionary, Lists, Nested};
pub use output::{Emission, Output, Rows};
pub use place::{Found, Place};
pub use read::{AnyType, Date, Read, TimestampMs, TimestampNs, TimestampSec, TimestampUs, convert_unit};
pub use row::{Emit, FieldIn, FieldOut, Ports, RowIn, RowOut, RowStage, Rowwise};
pub use schema::{
    ColumnField, DataType, DecimalType, DictionaryType, Field, IndexType, Schema, TimeUnit, TimestampType,
};
#[doc(hidden)]
pub use serde;
pub use stage::{Instance, Stage};
