//! Binding a stage: which columns it reads, and what each port looks like.

use std::marker::PhantomData;

use crate::bindings::exports::pipe::stage::transform::{self, OutputColumn, Passed};
use crate::build::Compute;
use crate::error::{Error, Result};
use crate::read::{AnyType, Read};
use crate::schema::{ColumnField, Schema};

/// A column that a stage reads, as [`Binder::read`] gave it out.
#[derive(Debug)]
pub struct Column<T: ?Sized> {
    pub(crate) index: usize,
    kind: PhantomData<fn() -> *const T>,
}

impl<T: ?Sized> Clone for Column<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Column<T> {}

impl<T: ?Sized> Column<T> {
    /// Its position among the columns that are read.
    pub fn position(self) -> usize {
        self.index
    }

    /// The column at a position that [`position`](Self::position) gave; the generated row views keep only that.
    #[doc(hidden)]
    pub fn at(position: Option<&usize>) -> Self {
        Self { index: position.copied().unwrap_or(usize::MAX), kind: PhantomData }
    }
}

/// A port, as [`Port::id`] gave it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortId(pub(crate) usize);

/// A column that a stage computes for a port.
#[derive(Debug)]
pub struct Computed<T: ?Sized> {
    pub(crate) port: usize,
    /// Its number among the computed columns of the port, in the order in which they were declared.
    pub(crate) index: usize,
    kind: PhantomData<fn() -> *const T>,
}

impl<T: ?Sized> Clone for Computed<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Computed<T> {}

/// What a stage says when it is bound: the columns it reads by name, its ports and their columns.
#[derive(Debug)]
pub struct Binder {
    input: Schema,
    reads: Vec<usize>,
    ports: Vec<PortShape>,
}

#[derive(Debug)]
struct PortShape {
    name: String,
    columns: Vec<Shape>,
    computed: usize,
}

#[derive(Debug)]
enum Shape {
    Passed { index: usize, name: Option<String> },
    Computed { number: usize, field: ColumnField },
}

impl Shape {
    /// The name of the column in its port.
    fn name<'s>(&'s self, input: &'s Schema) -> &'s str {
        match self {
            Self::Passed { name: Some(name), .. } => name,
            Self::Passed { index, .. } => input.columns[*index].name(),
            Self::Computed { field, .. } => field.name(),
        }
    }
}

/// What is kept of a binding for the calls of `process`.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    pub(crate) reads: Vec<BoundRead>,
    pub(crate) ports: Vec<BoundPort>,
}

#[derive(Debug)]
pub(crate) struct BoundRead {
    pub(crate) field: ColumnField,
    /// Position of its first array in a batch.
    pub(crate) start: usize,
}

#[derive(Debug)]
pub(crate) struct BoundPort {
    pub(crate) name: String,
    /// The computed columns in the order of the port: the number each was declared under, and its name.
    pub(crate) computed: Vec<(usize, String)>,
}

impl Binder {
    pub(crate) fn new(input: Schema) -> Self {
        Self { input, reads: Vec::new(), ports: Vec::new() }
    }

    /// The input's columns.
    pub fn input(&self) -> &Schema {
        &self.input
    }

    /// Reads a column: only those that are read cross into the sandbox. The error names what there is instead.
    pub fn read<T: Read + ?Sized>(&mut self, name: &str) -> Result<Column<T>> {
        let index = self.find(name)?;
        let field = &self.input.columns[index];
        if !T::accepts(field.data_type()) {
            let found = field.type_name();
            return Err(Error::new(format!("column `{name}` is {found}; {} is needed", T::NAME)));
        }
        let index = match self.reads.iter().position(|&read| read == index) {
            Some(known) => known,
            None => {
                self.reads.push(index);
                self.reads.len() - 1
            }
        };
        Ok(Column { index, kind: PhantomData })
    }

    /// Reads a column of any type; also gives its field, so that the stage can say what it cannot do.
    pub fn read_any(&mut self, name: &str) -> Result<(Column<AnyType>, &ColumnField)> {
        let column = self.read::<AnyType>(name)?;
        Ok((column, &self.input.columns[self.reads[column.index]]))
    }

    /// Opens a port. The first is the stage's default. Names are kebab-case: `slow-requests`.
    pub fn port(&mut self, name: &str) -> Result<Port<'_>> {
        let mut previous = b'-';
        let kebab = name.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
            && name.bytes().all(|c| {
                let fits = c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' && previous != b'-';
                previous = c;
                fits
            })
            && previous != b'-';
        if !kebab {
            return Err(Error::new(format!(
                "`{name}` is no name for a port; kebab-case such as `slow-requests` is"
            )));
        }
        if self.ports.iter().any(|port| port.name == name) {
            return Err(Error::new(format!("there are two ports `{name}`")));
        }
        self.ports.push(PortShape { name: name.into(), columns: Vec::new(), computed: 0 });
        let index = self.ports.len() - 1;
        Ok(Port { binder: self, index })
    }

    /// The position of an input column; the error names what there is instead, and what is near to it.
    pub fn find(&self, name: &str) -> Result<usize> {
        self.input.index_of(name).ok_or_else(|| {
            if self.input.columns.is_empty() {
                return Error::new(format!("there is no column `{name}`; the input has no columns"));
            }
            let near = nearest(name, self.input.columns.iter().map(ColumnField::name));
            let near = near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
            Error::new(format!("there is no column `{name}`; the input has {}{near}", self.input))
        })
    }

    /// The binding as the host wants it, and what `process` needs to know of it.
    pub(crate) fn finish(mut self) -> Result<(transform::Binding, Bound)> {
        if self.ports.is_empty() {
            return Err(Error::new("the stage declares no port"));
        }
        let mut bound = Bound::default();
        let mut start = 0;
        for &index in &self.reads {
            // Each column is read once, so that its field can be moved.
            let field = self.input.columns[index].take();
            let arrays = field.fields().len();
            bound.reads.push(BoundRead { field, start });
            start += arrays;
        }
        let mut outputs = Vec::new();
        for port in self.ports {
            let (mut columns, mut computed) = (Vec::new(), Vec::new());
            for shape in port.columns {
                columns.push(match shape {
                    Shape::Passed { index, name } => {
                        OutputColumn::Passed(Passed { index: index as u32, name })
                    }
                    Shape::Computed { number, field } => {
                        computed.push((number, field.name().to_owned()));
                        OutputColumn::Computed(field.into_fields())
                    }
                });
            }
            bound.ports.push(BoundPort { name: port.name.clone(), computed });
            outputs.push(transform::Output { name: port.name, columns });
        }
        let reads = self.reads.iter().map(|&index| index as u32).collect();
        Ok((transform::Binding { reads, outputs }, bound))
    }
}

/// A port that is being declared: its columns, in order.
#[derive(Debug)]
pub struct Port<'b> {
    binder: &'b mut Binder,
    index: usize,
}

impl Port<'_> {
    /// The handle that [`Output`](crate::Output) takes.
    pub fn id(&self) -> PortId {
        PortId(self.index)
    }

    /// Passes every input column on. Passed columns never enter the sandbox.
    pub fn pass_all(&mut self) -> &mut Self {
        for index in 0..self.binder.input.columns.len() {
            self.put(Shape::Passed { index, name: None });
        }
        self
    }

    /// Passes every input column on but these.
    pub fn pass_all_but(&mut self, names: &[&str]) -> Result<&mut Self> {
        for name in names {
            self.binder.find(name)?;
        }
        for index in 0..self.binder.input.columns.len() {
            if !names.contains(&self.binder.input.columns[index].name()) {
                self.put(Shape::Passed { index, name: None });
            }
        }
        Ok(self)
    }

    /// Passes a column on.
    pub fn pass(&mut self, name: &str) -> Result<&mut Self> {
        let index = self.binder.find(name)?;
        self.put(Shape::Passed { index, name: None });
        Ok(self)
    }

    /// Passes a column on under another name.
    pub fn pass_as(&mut self, name: &str, new_name: &str) -> Result<&mut Self> {
        let index = self.binder.find(name)?;
        self.put(Shape::Passed { index, name: Some(new_name.into()) });
        Ok(self)
    }

    /// Computes a column. One that the port has already under this name is replaced, in its place.
    pub fn compute<T: Compute + ?Sized>(&mut self, name: &str) -> Computed<T> {
        self.compute_field(ColumnField::new(name, T::data_type(), T::NULLABLE))
    }

    /// Computes a column of this field, for types that have no Rust type of their own.
    pub fn compute_field<T: ?Sized>(&mut self, field: ColumnField) -> Computed<T> {
        let port = &mut self.binder.ports[self.index];
        let number = port.computed;
        port.computed += 1;
        self.put(Shape::Computed { number, field });
        Computed { port: self.index, index: number, kind: PhantomData }
    }

    /// Adds a column, or replaces the one of its name.
    fn put(&mut self, shape: Shape) {
        let (input, port) = (&self.binder.input, &mut self.binder.ports[self.index]);
        let name = shape.name(input);
        let known = port.columns.iter().position(|column| column.name(input) == name);
        let columns = &mut port.columns;
        match known {
            Some(at) => columns[at] = shape,
            None => columns.push(shape),
        }
    }
}

/// The name that differs in the fewest bytes, if these are few: a third of its length. Case does not count.
pub(crate) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let wanted = name.as_bytes();
    let mut best: Option<(usize, &str)> = None;
    // A name that is longer than any sensible one is not worth the time.
    for other in known.filter(|other| other.len() <= 256 && wanted.len() <= 256) {
        let mut row: Vec<usize> = (0..=wanted.len()).collect();
        for (i, c) in other.bytes().enumerate() {
            let mut corner = i;
            let mut left = i + 1;
            for (cell, w) in row.iter_mut().skip(1).zip(wanted) {
                let changed = corner + usize::from(!w.eq_ignore_ascii_case(&c));
                corner = *cell;
                left = changed.min(corner + 1).min(left + 1);
                *cell = left;
            }
        }
        let distance = row.last().copied().unwrap_or_default();
        if distance <= wanted.len() / 3 && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, other));
        }
    }
    best.map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_and_a_far_one_is_not() {
        let known = ["status", "path", "Latency_ms"];
        for (name, near) in [("statsu", Some("status")), ("latencyms", Some("Latency_ms")), ("zebra", None)] {
            assert_eq!(nearest(name, known.into_iter()), near, "{name}");
        }
    }
}
