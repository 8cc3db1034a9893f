//! A stage's work as native code, for the benchmark that tells what the sandbox costs. Only a build with the feature
//! `native-stage` has it, and even there no pipeline file leads to it: a program must ask for it on a plan.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::bind::Bound;
use super::outcome::{CallFailure, Outcome};

/// What native code makes of a batch in a stage's place.
pub type Native = Arc<dyn Fn(&RecordBatch) -> Result<Outcome, CallFailure> + Send + Sync>;

impl Bound {
    /// From here on all its instances answer with what `native` says; the component is bound and started as ever,
    /// but not called with batches. Asking twice changes nothing.
    pub fn natively(&self, native: Native) {
        // The first one stays.
        let _ = self.native().set(native);
    }
}
