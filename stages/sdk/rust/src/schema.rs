//! The schema of a stage's input: its columns by name, and types in the words of the pipeline file.

use std::fmt;

pub use crate::bindings::pipe::stage::arrow::{
    DataType, DecimalType, DictionaryType, Field, IndexType, TimeUnit, TimestampType,
};

/// The columns of an input, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    /// The columns.
    pub columns: Vec<ColumnField>,
}

/// A column: its field, and the fields of its children in pre-order.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnField {
    /// The field itself first; never empty.
    fields: Vec<Field>,
}

impl Schema {
    /// The schema of fields in pre-order, as they cross the boundary.
    pub(crate) fn from_fields(fields: Vec<Field>) -> Self {
        let mut columns: Vec<ColumnField> = Vec::new();
        // Children that the last column still waits for.
        let mut pending = 0usize;
        for field in fields {
            let children = field.children as usize;
            match columns.last_mut() {
                Some(column) if pending > 0 => {
                    column.fields.push(field);
                    pending -= 1;
                }
                _ => columns.push(ColumnField { fields: vec![field] }),
            }
            pending += children;
        }
        Self { columns }
    }

    /// The position of a column.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name() == name)
    }

    /// The column of a name.
    pub fn column(&self, name: &str) -> Option<&ColumnField> {
        self.columns.iter().find(|column| column.name() == name)
    }
}

/// `a: int64, b: utf8`
impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, column) in self.columns.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{}: {}", column.name(), column.type_name())?;
        }
        Ok(())
    }
}

impl ColumnField {
    /// A column without children.
    pub fn new(name: impl Into<String>, data_type: DataType, nullable: bool) -> Self {
        let field = Field { name: name.into(), data_type, nullable, children: 0, metadata: Vec::new() };
        Self { fields: vec![field] }
    }

    /// A column of a nested type; `children` are whole columns, in order.
    pub fn nested(
        name: impl Into<String>,
        data_type: DataType,
        nullable: bool,
        children: impl IntoIterator<Item = ColumnField>,
    ) -> Self {
        let mut column = Self::new(name, data_type, nullable);
        for child in children {
            column.fields[0].children += 1;
            column.fields.extend(child.fields);
        }
        column
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.fields[0].name
    }

    /// Its type; of a nested one only the outermost part.
    pub fn data_type(&self) -> &DataType {
        &self.fields[0].data_type
    }

    /// Whether it may hold nulls.
    pub fn nullable(&self) -> bool {
        self.fields[0].nullable
    }

    /// The field and those of its children, in pre-order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The fields alone.
    pub(crate) fn into_fields(self) -> Vec<Field> {
        self.fields
    }

    /// Moves the column out of a schema that is no longer needed.
    pub(crate) fn take(&mut self) -> Self {
        Self { fields: std::mem::take(&mut self.fields) }
    }

    /// The same column under another name.
    #[must_use]
    pub fn renamed(mut self, name: impl Into<String>) -> Self {
        self.fields[0].name = name.into();
        self
    }

    /// The same column, that may hold nulls.
    #[must_use]
    pub fn with_nulls(mut self) -> Self {
        self.fields[0].nullable = true;
        self
    }

    /// The columns within it, in order.
    pub fn children(&self) -> Vec<Self> {
        Schema::from_fields(self.fields.get(1..).unwrap_or_default().to_vec()).columns
    }

    /// The type as the pipeline file writes it: `int64`, `timestamp(ms, UTC)`, `list(utf8)`.
    pub fn type_name(&self) -> String {
        let mut out = String::new();
        write_type(&self.fields, 0, &mut out);
        out
    }
}

fn unit(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

/// Writes the type of the field at `at` and returns the position after its children. The recursion is bounded by
/// the depth that the host allows (32).
fn write_type(fields: &[Field], at: usize, out: &mut String) -> usize {
    let Some(field) = fields.get(at) else { return at };
    let simple = match &field.data_type {
        DataType::Null => "null",
        DataType::Boolean => "bool",
        DataType::Int8 => "int8",
        DataType::Int16 => "int16",
        DataType::Int32 => "int32",
        DataType::Int64 => "int64",
        DataType::Uint8 => "uint8",
        DataType::Uint16 => "uint16",
        DataType::Uint32 => "uint32",
        DataType::Uint64 => "uint64",
        DataType::Float16 => "float16",
        DataType::Float32 => "float32",
        DataType::Float64 => "float64",
        DataType::Utf8 => "utf8",
        DataType::LargeUtf8 => "large_utf8",
        DataType::Binary => "binary",
        DataType::LargeBinary => "large_binary",
        DataType::Date32 => "date32",
        DataType::Date64 => "date64",
        DataType::List => "list",
        DataType::LargeList => "large_list",
        DataType::Struct => "struct",
        DataType::Map => "map",
        DataType::FixedSizeBinary(width) => return leaf(out, &format!("fixed_size_binary({width})"), at),
        DataType::FixedSizeList(_) => "fixed_size_list",
        DataType::Time32(u) => return leaf(out, &format!("time32({})", unit(*u)), at),
        DataType::Time64(u) => return leaf(out, &format!("time64({})", unit(*u)), at),
        DataType::Duration(u) => return leaf(out, &format!("duration({})", unit(*u)), at),
        DataType::Timestamp(t) => {
            let zone = t.timezone.as_ref().map(|zone| format!(", {zone}")).unwrap_or_default();
            return leaf(out, &format!("timestamp({}{zone})", unit(t.unit)), at);
        }
        DataType::Decimal128(d) => {
            return leaf(out, &format!("decimal128({}, {})", d.precision, d.scale), at);
        }
        DataType::Decimal256(d) => {
            return leaf(out, &format!("decimal256({}, {})", d.precision, d.scale), at);
        }
        DataType::Dictionary(_) => "dictionary",
    };
    out.push_str(simple);
    let mut next = at + 1;
    if field.children > 0 {
        out.push('(');
        for child in 0..field.children {
            if child > 0 {
                out.push_str(", ");
            }
            next = write_type(fields, next, out);
        }
        out.push(')');
    }
    next
}

fn leaf(out: &mut String, text: &str, at: usize) -> usize {
    out.push_str(text);
    at + 1
}
