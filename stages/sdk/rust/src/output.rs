//! What a stage makes of a batch: rows for its ports, and rows that it refuses.

use crate::bind::{Bound, Computed, PortId};
use crate::bindings::exports::pipe::stage::transform::{self, Selection};
use crate::bindings::pipe::stage::arrow::Array;
use crate::build::{Builder, Compute};
use crate::error::{Error, Result};
use crate::mask::Mask;

/// Which input rows a port emits, and in what order.
#[derive(Debug, Clone)]
pub enum Rows {
    /// All of them.
    Every,
    /// Those that are set, in order.
    Mask(Mask),
    /// These; repeats allowed.
    Take(Vec<u32>),
}

impl From<Mask> for Rows {
    fn from(mask: Mask) -> Self {
        Self::Mask(mask)
    }
}

impl From<Vec<u32>> for Rows {
    fn from(rows: Vec<u32>) -> Self {
        Self::Take(rows)
    }
}

/// Collects a batch's results.
#[derive(Debug)]
pub struct Output<'a> {
    bound: &'a Bound,
    len: usize,
    emissions: Vec<Option<Draft>>,
    rejections: Vec<transform::Rejection>,
}

/// The rows of a port and its computed columns by the number that each was declared under.
#[derive(Debug)]
struct Draft {
    rows: Rows,
    selected: usize,
    computed: Vec<(usize, Vec<Array>)>,
}

/// The rows of one port; takes its computed columns.
#[derive(Debug)]
pub struct Emission<'o> {
    port: usize,
    draft: &'o mut Draft,
}

impl<'a> Output<'a> {
    pub(crate) fn new(bound: &'a Bound, len: usize) -> Self {
        let emissions = bound.ports.iter().map(|_| None).collect();
        Self { bound, len, emissions, rejections: Vec::new() }
    }

    /// Emits rows on a port. A second emission on the same port takes the first one's place.
    pub fn emit(&mut self, port: PortId, rows: impl Into<Rows>) -> Emission<'_> {
        let rows = rows.into();
        let selected = match &rows {
            Rows::Every => self.len,
            Rows::Mask(mask) => mask.count(),
            Rows::Take(rows) => rows.len(),
        };
        let slot = &mut self.emissions[port.0];
        let draft = slot.insert(Draft { rows, selected, computed: Vec::new() });
        Emission { port: port.0, draft }
    }

    /// Refuses a row: it goes to the dead letters with this reason, and must be on no port.
    pub fn reject(&mut self, row: usize, reason: impl Into<String>) {
        self.rejections.push(transform::Rejection { row: row as u32, reason: reason.into() });
    }

    pub(crate) fn finish(self) -> Result<transform::Outcome> {
        let mut emissions = Vec::new();
        for (port, draft) in self.emissions.into_iter().enumerate() {
            // A port without rows needs no emission: nothing has to be selected or copied for it.
            let Some(mut draft) = draft.filter(|draft| draft.selected > 0) else { continue };
            let mut computed = Vec::new();
            for (number, name) in &self.bound.ports[port].computed {
                let found = draft.computed.iter().position(|(known, _)| known == number);
                let Some(found) = found else {
                    let port = &self.bound.ports[port].name;
                    return Err(Error::new(format!("the column `{name}` of port `{port}` was not computed")));
                };
                computed.append(&mut draft.computed.swap_remove(found).1);
            }
            let rows = match draft.rows {
                Rows::Every => Selection::EveryRow,
                // The host can then skip its own selection.
                Rows::Mask(mask) if mask.len() == self.len && draft.selected == self.len => {
                    Selection::EveryRow
                }
                Rows::Mask(mask) => Selection::Mask(mask.to_bytes()),
                Rows::Take(rows) => Selection::Take(rows),
            };
            emissions.push(transform::Emission { output: port as u32, rows, computed });
        }
        Ok(transform::Outcome { emissions, rejections: self.rejections })
    }
}

impl Emission<'_> {
    /// Number of rows that are selected: so many rows a computed column must have.
    pub fn selected(&self) -> usize {
        self.draft.selected
    }

    /// Gives a computed column, one row for each that is selected.
    pub fn set<T: Compute + ?Sized>(&mut self, column: Computed<T>, values: Builder<T>) -> Result<&mut Self> {
        let array = values.finish()?;
        self.set_arrays(column, vec![array])
    }

    /// Gives a computed column as raw arrays in pre-order, for types that have no builder.
    pub fn set_arrays<T: ?Sized>(&mut self, column: Computed<T>, arrays: Vec<Array>) -> Result<&mut Self> {
        if column.port != self.port {
            return Err(Error::new("this column was computed for another port"));
        }
        let rows = arrays.first().map_or(0, |array| array.length as usize);
        if rows != self.draft.selected {
            let selected = self.draft.selected;
            return Err(Error::new(format!("a computed column has {rows} rows, {selected} are selected")));
        }
        self.draft.computed.push((column.index, arrays));
        Ok(self)
    }
}
