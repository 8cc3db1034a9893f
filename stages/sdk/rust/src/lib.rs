//! Write transform stages of `pipe` in Rust.

mod batch;
mod bind;
pub mod bindings;
mod build;
mod column;
mod config;
mod error;
pub mod log;
mod mask;
mod output;
mod read;
mod schema;
mod stage;
pub mod time;

pub use batch::Batch;
pub use bind::{Binder, Column, Computed, Port, PortId};
pub use build::{Builder, Compute, Number, Raw};
pub use column::{Any, Bools, FromBytes, Primitive, Strings, Values};
pub use config::{Config, from_json};
pub use error::{Error, Result};
pub use mask::{Mask, Validity};
pub use output::{Emission, Output, Rows};
pub use read::{AnyType, Date, Read, TimestampMs, TimestampNs, TimestampSec, TimestampUs, convert_unit};
pub use schema::{ColumnField, DataType, DecimalType, Field, IndexType, Schema, TimeUnit, TimestampType};
pub use stage::{Instance, Stage};
