//! Unit tests of stages on the native target: batches from rows, a stage bound and run, and its results as rows.
//!
//! ```
//! use pipe_stage::testing::{Input, run};
//! # pipe_stage::config! { struct Config { least: i64 } }
//! # pipe_stage::columns! { struct Row { n: i64 } }
//! # pipe_stage::row_stage! { fn large(config: &Config, row: Row) -> bool { row.n >= config.least } }
//! # fn main() {
//! let input = Input::new().column::<i64>("n", [Some(1), Some(5), None]);
//! let results = run::<pipe_stage::Rowwise<Function>>(&input, r#"{"least": 3}"#).unwrap();
//! assert_eq!(results.rows("out"), [1]);
//! assert_eq!(results.rejections, [(2, "column `n` is null".to_owned())]);
//! # }
//! ```

use std::collections::BTreeMap;

use crate::bindings::exports::pipe::stage::transform::{Binding, OutputColumn, Selection};
use crate::bindings::pipe::stage::arrow::{self, Array, RecordBatch};
use crate::build::{Builder, Compute};
use crate::column::view;
use crate::error::{Error, Result};
use crate::read::Read;
use crate::schema::ColumnField;
use crate::stage::{Instance, Stage};

/// A batch of test data, built column by column.
#[derive(Debug, Default, Clone)]
pub struct Input {
    columns: Vec<(ColumnField, Vec<Array>)>,
}

impl Input {
    /// No columns yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a column. Panics when it is as long as no other: a test is then wrong.
    #[must_use]
    pub fn column<'v, T: Compute + ?Sized>(
        self,
        name: &str,
        values: impl IntoIterator<Item = Option<T::Value<'v>>>,
    ) -> Self {
        self.column_as::<T>(ColumnField::new(name, T::data_type(), true), values)
    }

    /// Adds a column of another type that has the same buffers: a duration as `i64`, say.
    #[must_use]
    pub fn column_as<'v, T: Compute + ?Sized>(
        self,
        field: ColumnField,
        values: impl IntoIterator<Item = Option<T::Value<'v>>>,
    ) -> Self {
        let mut builder = Builder::<T>::new();
        for value in values {
            builder.push_option(value);
        }
        let Ok(array) = builder.finish() else { panic!("column `{}` is too large", field.name()) };
        self.arrays(field, vec![array])
    }

    /// Adds a column of lists, of which some may be null.
    #[must_use]
    pub fn lists<'v, T: Compute + ?Sized>(
        self,
        name: &str,
        lists: impl IntoIterator<Item = Option<Vec<Option<T::Value<'v>>>>>,
    ) -> Self {
        let (mut items, mut offsets, mut valid) = (Builder::<T>::new(), vec![0i32], Vec::new());
        for list in lists {
            valid.push(list.is_some());
            for item in list.unwrap_or_default() {
                items.push_option(item);
            }
            offsets.push(items.len() as i32);
        }
        let Ok(items) = items.finish() else { panic!("column `{name}` is too large") };
        let item = ColumnField::new("item", T::data_type(), true);
        let field = ColumnField::nested(name, crate::DataType::List, true, [item]);
        self.arrays(field, vec![list_array(&valid, &offsets), items])
    }

    /// Adds a column as its arrays in pre-order. Panics when it is as long as no other: a test is then wrong.
    #[must_use]
    pub fn arrays(mut self, field: ColumnField, arrays: Vec<Array>) -> Self {
        assert_eq!(
            field.fields().len(),
            arrays.len(),
            "column `{}` has other arrays than fields",
            field.name()
        );
        if let Some((_, first)) = self.columns.first() {
            assert_eq!(first[0].length, arrays[0].length, "column `{}` has another length", field.name());
        }
        self.columns.push((field, arrays));
        self
    }

    fn schema(&self) -> arrow::Schema {
        arrow::Schema { fields: self.columns.iter().flat_map(|(field, _)| field.fields().to_vec()).collect() }
    }

    fn len(&self) -> u32 {
        self.columns.first().map_or(0, |(_, arrays)| arrays[0].length)
    }
}

/// The array of a list: which rows are valid, and where their items begin and end.
pub fn list_array(valid: &[bool], offsets: &[i32]) -> Array {
    let offsets = offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
    validity_array(valid, vec![offsets])
}

/// An array with a validity bitmap and the buffers of its type; a struct has none.
pub fn validity_array(valid: &[bool], buffers: Vec<Vec<u8>>) -> Array {
    let nulls = valid.iter().filter(|valid| !**valid).count();
    let bitmap =
        if nulls == 0 { Vec::new() } else { crate::Mask::from_fn(valid.len(), |row| valid[row]).to_bytes() };
    let buffers = std::iter::once(bitmap).chain(buffers).collect();
    Array { length: valid.len() as u32, null_count: nulls as u32, buffers }
}

/// What a stage made of a batch.
#[derive(Debug, Clone, Default)]
pub struct Results {
    /// For each port its rows: indices of the input, in order.
    ports: BTreeMap<String, Vec<u32>>,
    /// Names of each port's columns, in order.
    columns: BTreeMap<String, Vec<String>>,
    /// The computed columns by port and name.
    computed: BTreeMap<(String, String), (ColumnField, Vec<Array>)>,
    /// The refused rows with their reasons, in order of rows.
    pub rejections: Vec<(u32, String)>,
}

impl Results {
    /// The input rows that a port has, in order. Panics when there is no such port.
    pub fn rows(&self, port: &str) -> &[u32] {
        self.ports.get(port).unwrap_or_else(|| panic!("there is no port `{port}`"))
    }

    /// The names of a port's columns, in order.
    pub fn columns(&self, port: &str) -> &[String] {
        self.columns.get(port).unwrap_or_else(|| panic!("there is no port `{port}`"))
    }

    /// Hands the view of a computed column to a function, or `None` where the port has no rows.
    pub fn computed<T: Read + ?Sized, R>(
        &self,
        port: &str,
        column: &str,
        look: impl FnOnce(T::View<'_>) -> R,
    ) -> Option<R> {
        let (field, arrays) = self.computed.get(&(port.to_owned(), column.to_owned()))?;
        T::view(view(field.fields(), arrays).ok()?).map(look)
    }

    /// The field and the arrays of a computed column, in pre-order.
    pub fn computed_arrays(&self, port: &str, column: &str) -> Option<(&ColumnField, &[Array])> {
        let (field, arrays) = self.computed.get(&(port.to_owned(), column.to_owned()))?;
        Some((field, arrays))
    }
}

/// Binds a stage to the columns of an input and a configuration: the instance, and what the host is told.
pub fn bind<S: Stage>(input: &Input, config: &str) -> Result<(Instance<S>, Binding)> {
    Instance::<S>::bind(input.schema(), config).map_err(Error::new)
}

/// Binds a stage to the columns of an input and a configuration, runs it, and checks the results as the host would.
pub fn run<S: Stage>(input: &Input, config: &str) -> Result<Results> {
    let (instance, binding) = bind::<S>(input, config)?;
    let arrays = binding.reads.iter().flat_map(|&index| input.columns[index as usize].1.clone()).collect();
    let outcome = instance.process(&RecordBatch { length: input.len(), arrays }).map_err(Error::new)?;
    let mut results = Results::default();
    let mut selected = vec![false; input.len() as usize];
    for output in &binding.outputs {
        let names = output.columns.iter().map(|column| match column {
            OutputColumn::Passed(passed) => {
                let own = input.columns[passed.index as usize].0.name();
                passed.name.clone().unwrap_or_else(|| own.to_owned())
            }
            OutputColumn::Computed(fields) => fields[0].name.clone(),
        });
        results.columns.insert(output.name.clone(), names.collect());
        results.ports.insert(output.name.clone(), Vec::new());
    }
    for emission in outcome.emissions {
        let output = &binding.outputs[emission.output as usize];
        let rows = selected_rows(&emission.rows, input.len())?;
        for &row in &rows {
            selected[row as usize] = true;
        }
        let fields = output.columns.iter().filter_map(|column| match column {
            OutputColumn::Computed(fields) => crate::Schema::from_fields(fields.clone()).columns.pop(),
            OutputColumn::Passed(_) => None,
        });
        let mut computed = emission.computed.into_iter();
        for field in fields {
            let arrays: Vec<Array> = computed.by_ref().take(field.fields().len()).collect();
            let length = arrays.first().map_or(0, |array| array.length as usize);
            if arrays.len() != field.fields().len() || length != rows.len() {
                crate::bail!("column `{}` has {length} rows, not {}", field.name(), rows.len());
            }
            results.computed.insert((output.name.clone(), field.name().to_owned()), (field, arrays));
        }
        if computed.next().is_some() {
            crate::bail!("port `{}` has more arrays than columns", output.name);
        }
        results.ports.insert(output.name.clone(), rows);
    }
    for rejection in outcome.rejections {
        match selected.get_mut(rejection.row as usize) {
            Some(taken @ false) => *taken = true,
            _ => crate::bail!("row {} is rejected twice, or rejected and emitted, or none", rejection.row),
        }
        results.rejections.push((rejection.row, rejection.reason));
    }
    Ok(results)
}

fn selected_rows(selection: &Selection, len: u32) -> Result<Vec<u32>> {
    Ok(match selection {
        Selection::EveryRow => (0..len).collect(),
        Selection::Mask(bytes) if bytes.len() == (len as usize).div_ceil(8) => {
            crate::Mask::from_bytes(bytes, len as usize).rows().map(|row| row as u32).collect()
        }
        Selection::Take(rows) if rows.iter().all(|row| *row < len) => rows.clone(),
        _ => crate::bail!("a mask has the wrong size, or a row is out of range"),
    })
}
