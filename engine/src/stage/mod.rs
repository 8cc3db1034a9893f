//! The Wasm host: components compiled once, instances bounded in memory, time and output, nothing trusted that
//! comes back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde_json::Value;

use crate::batch::{FailureKind, Selection};
use crate::error::{Error, Result};
use crate::units;

/// The engines and the cache of compiled components; one a process.
pub struct Host {}

/// How a host is set up.
#[derive(Debug, Clone, Default)]
pub struct HostOptions {
    /// Folder of the AOT cache; `None`: compile anew each time.
    pub cache: Option<PathBuf>,
}

impl Host {
    /// Starts the engines.
    pub fn new(_options: HostOptions) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {}))
    }

    /// Compiles a component, or takes it from the cache.
    pub fn load(self: &Arc<Self>, _path: &Path) -> Result<Component> {
        Err(Error::internal("not built yet"))
    }
}

/// A compiled component. Cheap to clone.
#[derive(Clone)]
pub struct Component {}

/// What a stage says of itself.
#[derive(Debug, Clone)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One sentence.
    pub summary: String,
    /// JSON Schema of its configuration; empty when it takes none.
    pub config_schema: String,
    /// SDK and its version.
    pub sdk: String,
}

impl Component {
    /// SHA-256 of the component's bytes, in hexadecimal.
    pub fn digest(&self) -> &Arc<str> {
        unreachable!()
    }
    /// Size of the component's file, in bytes.
    pub fn bytes(&self) -> usize {
        unreachable!()
    }
    /// Names of the interfaces that it imports.
    pub fn imports(&self) -> &[String] {
        unreachable!()
    }
    /// Whether its instances come from the pool (else from the on-demand allocator).
    pub fn pooled(&self) -> bool {
        unreachable!()
    }
    /// Asks the stage what it is.
    pub fn describe(&self, _limits: &Limits) -> Result<Description> {
        unreachable!()
    }
    /// Binds it to an input and a configuration (`config` is a JSON object). `name` is the node's, for logs.
    pub fn bind(&self, _name: &str, _input: &SchemaRef, _config: &Value, _limits: &Limits) -> Result<Bound> {
        unreachable!()
    }
}

/// Bounds of one instance.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of all linear memories and tables.
    pub memory_bytes: usize,
    /// Time of one call.
    pub time: Duration,
    /// Bytes one call may return.
    pub output_bytes: usize,
    /// Rows one call may return.
    pub rows: usize,
    /// Log lines a second.
    pub log_lines_per_second: u32,
}

impl Limits {
    /// The defaults for a component of this size: large ones are taken to carry an interpreter.
    pub fn defaults_for(component_bytes: usize) -> Self {
        let interpreter = component_bytes > units::INTERPRETER_COMPONENT_BYTES;
        Self {
            memory_bytes: if interpreter {
                units::STAGE_MEMORY_BYTES_INTERPRETER
            } else {
                units::STAGE_MEMORY_BYTES
            },
            time: if interpreter { units::STAGE_TIME_SLOW } else { units::STAGE_TIME },
            output_bytes: units::STAGE_OUTPUT_BYTES,
            rows: units::STAGE_ROWS,
            log_lines_per_second: units::STAGE_LOG_LINES_PER_SECOND,
        }
    }
}

/// A stage bound to its input and configuration. Cheap to clone; instances of it are made on any thread.
#[derive(Clone)]
pub struct Bound {}

/// A named output.
#[derive(Debug, Clone)]
pub struct Port {
    /// Kebab-case.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
}

impl Bound {
    /// Its outputs; the first is the default port.
    pub fn ports(&self) -> &[Port] {
        unreachable!()
    }
    /// The input columns that cross into the sandbox, in order.
    pub fn reads(&self) -> &[usize] {
        unreachable!()
    }
    /// The component.
    pub fn component(&self) -> &Component {
        unreachable!()
    }
    /// Its limits.
    pub fn limits(&self) -> &Limits {
        unreachable!()
    }
    /// A fresh instance, bound and ready for batches.
    pub fn instantiate(&self) -> Result<Instance, CallFailure> {
        unreachable!()
    }
}

/// One instance: used by one thread at a time, thrown away after any failure.
pub struct Instance {}

impl Instance {
    /// Runs the stage on a batch. After an error the instance must be dropped.
    pub fn process(&mut self, _input: &RecordBatch) -> Result<Outcome, CallFailure> {
        unreachable!()
    }
    /// Peak of its memories and tables, in bytes.
    pub fn memory_peak(&self) -> usize {
        unreachable!()
    }
}

/// Why a whole batch failed.
#[derive(Debug, Clone)]
pub struct CallFailure {
    /// The kind.
    pub kind: FailureKind,
    /// The cause in words.
    pub message: String,
}

/// What a stage made of a batch, validated.
#[derive(Debug)]
pub struct Outcome {
    /// At most one a port, in order of ports.
    pub emissions: Vec<Emission>,
    /// Rows that the stage refused, in order of rows; disjoint from every selection.
    pub rejections: Vec<Rejection>,
    /// Where the time went.
    pub cost: Cost,
}

/// The rows of one port.
#[derive(Debug)]
pub struct Emission {
    /// Index of the port.
    pub port: usize,
    /// Which input rows they came from.
    pub selection: Selection,
    /// The rows; the schema is the port's.
    pub records: RecordBatch,
}

/// A refused row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Row of the input.
    pub row: u32,
    /// Why.
    pub reason: String,
}

/// Where the time of a call went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// Lowering the columns into the guest.
    pub copy_in: Duration,
    /// The guest itself.
    pub guest: Duration,
    /// Lifting the results.
    pub copy_out: Duration,
    /// Validating them and selecting the passed columns.
    pub validate: Duration,
}
