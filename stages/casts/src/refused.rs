//! Rows that are refused while their columns are being built.

use pipe_stage::{AnyType, Array, ColumnField, Computed, Mask, Nested, Output, PortId, Result, Rows};

use crate::Target;

/// A column of every row of a batch.
#[derive(Debug)]
pub enum Built {
    /// One that values were pushed to.
    Target(Target),
    /// One that was taken as it is: its field and its arrays.
    Arrays(ColumnField, Vec<Array>),
}

impl From<Target> for Built {
    fn from(target: Target) -> Self {
        Self::Target(target)
    }
}

/// The rows of a batch that are refused, with the reason of the first refusal. Columns are built of all rows, with a
/// null where a value does not fit, and are cut to the other rows at the end.
#[derive(Debug)]
pub struct Refused {
    good: Mask,
    reasons: Vec<(usize, String)>,
}

impl Refused {
    /// No row is refused yet.
    pub fn new(len: usize) -> Self {
        Self { good: Mask::all(len), reasons: Vec::new() }
    }

    /// Refuses a row, unless it is refused already.
    #[cold]
    pub fn refuse(&mut self, row: usize, reason: impl FnOnce() -> String) {
        if self.good.get(row) {
            self.good.set(row, false);
            self.reasons.push((row, reason()));
        }
    }

    /// Emits the rows that are left, with their columns, and rejects the others.
    pub fn emit(
        mut self,
        output: &mut Output<'_>,
        port: PortId,
        columns: impl IntoIterator<Item = (Computed<AnyType>, impl Into<Built>)>,
    ) -> Result<()> {
        let some = !self.reasons.is_empty();
        self.reasons.sort_by_key(|(row, _)| *row);
        for (row, reason) in self.reasons {
            output.reject(row, reason);
        }
        let left: Vec<Option<u32>> =
            if some { self.good.rows().map(|row| Some(row as u32)).collect() } else { Vec::new() };
        let mut emission = output.emit(port, if some { Rows::Mask(self.good) } else { Rows::Every });
        for (column, built) in columns {
            let (field, arrays) = match built.into() {
                Built::Target(target) => (target.field(), vec![target.finish()?]),
                Built::Arrays(field, arrays) => (field, arrays),
            };
            let arrays = if some { Nested::new(field.fields(), &arrays).take(&left)? } else { arrays };
            emission.set_arrays(column, arrays)?;
        }
        Ok(())
    }
}
