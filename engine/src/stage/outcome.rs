//! What a call of a stage came to: its rows, or why there are none.

use std::time::Duration;

use arrow::array::RecordBatch;

use super::log::plain;
use super::select::Rejection;
use crate::batch::{FailureKind, Selection};
use crate::error::{Code, Error};
use crate::units;

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

/// Where the time of a call went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// Bringing the columns into the form in which they cross.
    pub copy_in: Duration,
    /// The call: the copy into the guest, the guest itself, the copy out of it. They are one call of wasmtime, which
    /// cannot be timed apart.
    pub guest: Duration,
    /// Building Arrow's arrays from what came back, with the checks of their content.
    pub copy_out: Duration,
    /// Checking selections and rejections, and selecting the passed columns.
    pub validate: Duration,
}

impl CallFailure {
    /// What the stage returned cannot be used.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        let message = plain(&message.into(), units::DEAD_LETTER_MESSAGE_BYTES_MAX);
        Self { kind: FailureKind::InvalidOutput, message }
    }

    /// The same as an error of the pipeline, for what happens before it runs.
    pub(super) fn into_error(self) -> Error {
        let code = match self.kind {
            FailureKind::Trap => Code::W004,
            FailureKind::Deadline => Code::W005,
            FailureKind::OutOfMemory => Code::W006,
            FailureKind::InvalidOutput => Code::W007,
            _ => Code::W003,
        };
        let help = match self.kind {
            FailureKind::Deadline => "raise `limits.time`, or look for an endless loop",
            FailureKind::OutOfMemory => "raise `limits.memory`",
            _ => return Error::user(code, self.message),
        };
        Error::user(code, self.message).help(help)
    }
}
