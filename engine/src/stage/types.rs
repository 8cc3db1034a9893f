//! Schemas between Arrow and the contract, both ways, and the checks of what a stage declares.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Field, FieldRef, Fields, Schema, SchemaRef,
    TimeUnit,
};

use super::wit::exports::pipe::stage::transform::Schema as WitSchema;
use super::wit::pipe::stage::arrow as wit;
use crate::units::{SCHEMA_DEPTH_MAX, SCHEMA_FIELDS_MAX};

/// Bytes of a field's name, and of a time zone.
const NAME_BYTES_MAX: usize = 1 << 10;
/// Entries and bytes of a field's metadata.
const METADATA_BYTES_MAX: usize = 64 << 10;

/// The type in which a column crosses: views and run ends become plain, small decimals the next larger one. `None`
/// where the contract has no such type.
pub(super) fn crossing(data_type: &DataType) -> Option<DataType> {
    use DataType as T;
    let field = |f: &FieldRef| crossing_field(f);
    Some(match data_type {
        T::Utf8View => T::Utf8,
        T::BinaryView => T::Binary,
        T::Decimal32(p, s) | T::Decimal64(p, s) => T::Decimal128(*p, *s),
        T::RunEndEncoded(_, values) => crossing(values.data_type())?,
        T::List(f) | T::ListView(f) => T::List(field(f)?),
        T::LargeList(f) | T::LargeListView(f) => T::LargeList(field(f)?),
        T::FixedSizeList(f, n) => T::FixedSizeList(field(f)?, *n),
        T::Struct(fields) => T::Struct(fields.iter().map(field).collect::<Option<Fields>>()?),
        T::Map(f, sorted) => T::Map(field(f)?, *sorted),
        T::Dictionary(_, v) if matches!(**v, T::Dictionary(..)) => return None,
        T::Dictionary(k, v) => T::Dictionary(k.clone(), Box::new(crossing(v)?)),
        T::Interval(_) | T::Union(..) => return None,
        plain => plain.clone(),
    })
}

fn crossing_field(field: &FieldRef) -> Option<FieldRef> {
    let ty = crossing(field.data_type())?;
    if ty == *field.data_type() {
        return Some(Arc::clone(field));
    }
    Some(Arc::new(field.as_ref().clone().with_data_type(ty)))
}

/// A schema as the guest gets it, with owned parts; `borrow` makes the value to lower.
pub(super) struct Lowered {
    schema: SchemaRef,
    fields: Vec<LoweredField>,
}

struct LoweredField {
    field: FieldRef,
    children: u32,
    metadata: Vec<(String, String)>,
}

impl Lowered {
    /// Pre-order; fails with the name of a column that no stage can be given.
    pub(super) fn new(schema: &SchemaRef) -> Result<Self, String> {
        let mut fields = Vec::new();
        for field in schema.fields() {
            let crossed = crossing_field(field).ok_or_else(|| {
                format!(
                    "column `{}` has type {}, which a stage cannot be given",
                    field.name(),
                    field.data_type()
                )
            })?;
            Self::push(&crossed, 1, &mut fields).map_err(|e| format!("column `{}`: {e}", field.name()))?;
        }
        Ok(Self { schema: Arc::clone(schema), fields })
    }

    fn push(field: &FieldRef, depth: usize, out: &mut Vec<LoweredField>) -> Result<(), String> {
        if depth > SCHEMA_DEPTH_MAX {
            return Err(format!("its type nests deeper than {SCHEMA_DEPTH_MAX}"));
        }
        if out.len() >= SCHEMA_FIELDS_MAX {
            return Err(format!("the schema has more than {SCHEMA_FIELDS_MAX} fields"));
        }
        let children: Vec<FieldRef> = match field.data_type() {
            DataType::List(f)
            | DataType::LargeList(f)
            | DataType::FixedSizeList(f, _)
            | DataType::Map(f, _) => vec![Arc::clone(f)],
            DataType::Struct(fields) => fields.iter().cloned().collect(),
            DataType::Dictionary(_, v) => vec![Arc::new(Field::new("values", v.as_ref().clone(), true))],
            _ => Vec::new(),
        };
        let mut metadata: Vec<_> = field.metadata().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        // A hash map has no order, and what a stage sees must not change between runs.
        metadata.sort();
        out.push(LoweredField { field: Arc::clone(field), children: children.len() as u32, metadata });
        children.iter().try_for_each(|child| Self::push(child, depth + 1, out))
    }

    /// The schema that it was made of.
    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The metadata of each field, borrowed.
    pub(super) fn metadata(&self) -> Vec<Vec<(&str, &str)>> {
        self.fields
            .iter()
            .map(|f| f.metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect())
            .collect()
    }

    /// The fields to lower, with their `metadata`.
    pub(super) fn borrow<'a>(
        &'a self,
        metadata: &'a [Vec<(&'a str, &'a str)>],
    ) -> Result<Vec<wit::FieldParam<'a>>, String> {
        let one = |(f, metadata): (&'a LoweredField, &'a Vec<(&'a str, &'a str)>)| {
            Ok(wit::FieldParam {
                name: f.field.name(),
                data_type: type_to_wit(f.field.data_type(), &f.field)?,
                nullable: f.field.is_nullable(),
                children: f.children,
                metadata,
            })
        };
        self.fields.iter().zip(metadata).map(one).collect()
    }
}

fn unit_to_wit(unit: TimeUnit) -> wit::TimeUnit {
    match unit {
        TimeUnit::Second => wit::TimeUnit::Second,
        TimeUnit::Millisecond => wit::TimeUnit::Millisecond,
        TimeUnit::Microsecond => wit::TimeUnit::Microsecond,
        TimeUnit::Nanosecond => wit::TimeUnit::Nanosecond,
    }
}

fn unit_from_wit(unit: wit::TimeUnit) -> TimeUnit {
    match unit {
        wit::TimeUnit::Second => TimeUnit::Second,
        wit::TimeUnit::Millisecond => TimeUnit::Millisecond,
        wit::TimeUnit::Microsecond => TimeUnit::Microsecond,
        wit::TimeUnit::Nanosecond => TimeUnit::Nanosecond,
    }
}

fn type_to_wit<'a>(ty: &'a DataType, field: &Field) -> Result<wit::DataTypeParam<'a>, String> {
    use DataType as T;
    use wit::DataTypeParam as W;
    Ok(match ty {
        T::Null => W::Null,
        T::Boolean => W::Boolean,
        T::Int8 => W::Int8,
        T::Int16 => W::Int16,
        T::Int32 => W::Int32,
        T::Int64 => W::Int64,
        T::UInt8 => W::Uint8,
        T::UInt16 => W::Uint16,
        T::UInt32 => W::Uint32,
        T::UInt64 => W::Uint64,
        T::Float16 => W::Float16,
        T::Float32 => W::Float32,
        T::Float64 => W::Float64,
        T::Utf8 => W::Utf8,
        T::LargeUtf8 => W::LargeUtf8,
        T::Binary => W::Binary,
        T::LargeBinary => W::LargeBinary,
        T::FixedSizeBinary(n) => W::FixedSizeBinary(u32::try_from(*n).map_err(|e| e.to_string())?),
        T::Date32 => W::Date32,
        T::Date64 => W::Date64,
        T::Time32(unit) => W::Time32(unit_to_wit(*unit)),
        T::Time64(unit) => W::Time64(unit_to_wit(*unit)),
        T::Timestamp(unit, timezone) => {
            W::Timestamp(wit::TimestampTypeParam { unit: unit_to_wit(*unit), timezone: timezone.as_deref() })
        }
        T::Duration(unit) => W::Duration(unit_to_wit(*unit)),
        T::Decimal128(precision, scale) => {
            W::Decimal128(wit::DecimalType { precision: *precision, scale: *scale })
        }
        T::Decimal256(precision, scale) => {
            W::Decimal256(wit::DecimalType { precision: *precision, scale: *scale })
        }
        T::List(_) => W::List,
        T::LargeList(_) => W::LargeList,
        T::FixedSizeList(_, n) => W::FixedSizeList(u32::try_from(*n).map_err(|e| e.to_string())?),
        T::Struct(_) => W::Struct,
        T::Map(..) => W::Map,
        T::Dictionary(keys, _) => W::Dictionary(wit::DictionaryType {
            keys: index_to_wit(keys)?,
            ordered: field.dict_is_ordered().unwrap_or(false),
        }),
        other => return Err(format!("no stage can be given the type {other}")),
    })
}

fn index_to_wit(keys: &DataType) -> Result<wit::IndexType, String> {
    Ok(match keys {
        DataType::Int8 => wit::IndexType::Int8,
        DataType::Int16 => wit::IndexType::Int16,
        DataType::Int32 => wit::IndexType::Int32,
        DataType::Int64 => wit::IndexType::Int64,
        DataType::UInt8 => wit::IndexType::Uint8,
        DataType::UInt16 => wit::IndexType::Uint16,
        DataType::UInt32 => wit::IndexType::Uint32,
        DataType::UInt64 => wit::IndexType::Uint64,
        other => return Err(format!("a dictionary's keys cannot be {other}")),
    })
}

fn index_from_wit(keys: wit::IndexType) -> DataType {
    match keys {
        wit::IndexType::Int8 => DataType::Int8,
        wit::IndexType::Int16 => DataType::Int16,
        wit::IndexType::Int32 => DataType::Int32,
        wit::IndexType::Int64 => DataType::Int64,
        wit::IndexType::Uint8 => DataType::UInt8,
        wit::IndexType::Uint16 => DataType::UInt16,
        wit::IndexType::Uint32 => DataType::UInt32,
        wit::IndexType::Uint64 => DataType::UInt64,
    }
}

/// The schema's value to lower.
pub(super) fn schema<'a>(fields: &'a [wit::FieldParam<'a>]) -> WitSchema<'a> {
    WitSchema { fields }
}

/// A field that a stage declares, from its pre-order description: one root and its descendants, no more and no less.
///
/// Iterative, so that no depth of nesting can use up the host's stack; the depth is bounded before anything recursive
/// (Arrow's own types) is built.
pub(super) fn field_from_wit(fields: Vec<wit::FieldResult>) -> Result<Field, String> {
    /// A field whose children are still being read.
    struct Open {
        field: wit::FieldResult,
        children: Vec<FieldRef>,
    }
    let mut open: Vec<Open> = Vec::new();
    let mut fields = fields.into_iter();
    loop {
        let Some(field) = fields.next() else {
            return Err("its description ends before all children are there".to_owned());
        };
        check_name(&field)?;
        open.push(Open { field, children: Vec::new() });
        if open.len() > SCHEMA_DEPTH_MAX {
            return Err(format!("its type nests deeper than {SCHEMA_DEPTH_MAX}"));
        }
        // Close what is complete; the root's closing ends the description.
        while open.last().is_some_and(|o| o.children.len() == o.field.children as usize) {
            let Some(Open { field, children }) = open.pop() else { break };
            let closed = close(field, children)?;
            match open.last_mut() {
                Some(parent) => parent.children.push(Arc::new(closed)),
                None if fields.next().is_some() => {
                    return Err("its description has more fields than its root has descendants".to_owned());
                }
                None => return Ok(closed),
            }
        }
    }
}

fn check_name(field: &wit::FieldResult) -> Result<(), String> {
    let metadata: usize = field.metadata.iter().map(|(k, v)| k.len() + v.len()).sum();
    if field.name.len() > NAME_BYTES_MAX {
        return Err(format!("a name is longer than {NAME_BYTES_MAX} bytes"));
    }
    if metadata > METADATA_BYTES_MAX {
        return Err(format!("its metadata is larger than {METADATA_BYTES_MAX} bytes"));
    }
    Ok(())
}

fn close(field: wit::FieldResult, children: Vec<FieldRef>) -> Result<Field, String> {
    let name = field.name;
    let (ty, ordered) =
        type_from_wit(field.data_type, children).map_err(|e| format!("field `{name}`: {e}"))?;
    let metadata: HashMap<String, String> = field.metadata.into_iter().collect();
    Ok(Field::new(name, ty, field.nullable).with_dict_is_ordered(ordered).with_metadata(metadata))
}

/// The one child of a list-like type.
fn one(children: &[FieldRef], what: &str) -> Result<FieldRef, String> {
    match children {
        [child] => Ok(Arc::clone(child)),
        _ => Err(format!("{what} has one child, not {}", children.len())),
    }
}

fn type_from_wit(ty: wit::DataTypeResult, children: Vec<FieldRef>) -> Result<(DataType, bool), String> {
    use DataType as T;
    use wit::DataTypeResult as W;
    let size = |n: u32, what: &str| match i32::try_from(n) {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(format!("{what} cannot have the size {n}")),
    };
    let nested = match ty {
        W::List => Some((T::List(one(&children, "a list")?), false)),
        W::LargeList => Some((T::LargeList(one(&children, "a list")?), false)),
        W::FixedSizeList(n) => {
            let n = size(n, "a list")?;
            Some((T::FixedSizeList(one(&children, "a list")?, n), false))
        }
        W::Struct => Some((T::Struct(struct_fields(&children)?), false)),
        W::Map => Some((T::Map(map_entries(&children)?, false), false)),
        W::Dictionary(wit::DictionaryType { keys, ordered }) => {
            let values = one(&children, "a dictionary")?;
            if matches!(values.data_type(), T::Dictionary(..)) {
                return Err("a dictionary's values cannot be a dictionary".to_owned());
            }
            let values = Box::new(values.data_type().clone());
            Some((T::Dictionary(Box::new(index_from_wit(keys)), values), ordered))
        }
        _ => None,
    };
    if let Some(nested) = nested {
        return Ok(nested);
    }
    if !children.is_empty() {
        return Err("this type has no children".to_owned());
    }
    Ok((plain_from_wit(ty, size)?, false))
}

fn plain_from_wit(
    ty: wit::DataTypeResult,
    size: impl Fn(u32, &str) -> Result<i32, String>,
) -> Result<DataType, String> {
    use DataType as T;
    use wit::DataTypeResult as W;
    Ok(match ty {
        W::Null => T::Null,
        W::Boolean => T::Boolean,
        W::Int8 => T::Int8,
        W::Int16 => T::Int16,
        W::Int32 => T::Int32,
        W::Int64 => T::Int64,
        W::Uint8 => T::UInt8,
        W::Uint16 => T::UInt16,
        W::Uint32 => T::UInt32,
        W::Uint64 => T::UInt64,
        W::Float16 => T::Float16,
        W::Float32 => T::Float32,
        W::Float64 => T::Float64,
        W::Utf8 => T::Utf8,
        W::LargeUtf8 => T::LargeUtf8,
        W::Binary => T::Binary,
        W::LargeBinary => T::LargeBinary,
        W::FixedSizeBinary(n) => T::FixedSizeBinary(size(n, "fixed-size binary")?),
        W::Date32 => T::Date32,
        W::Date64 => T::Date64,
        W::Time32(unit @ (wit::TimeUnit::Second | wit::TimeUnit::Millisecond)) => {
            T::Time32(unit_from_wit(unit))
        }
        W::Time32(_) => return Err("time32 counts seconds or milliseconds".to_owned()),
        W::Time64(unit @ (wit::TimeUnit::Microsecond | wit::TimeUnit::Nanosecond)) => {
            T::Time64(unit_from_wit(unit))
        }
        W::Time64(_) => return Err("time64 counts microseconds or nanoseconds".to_owned()),
        W::Timestamp(ty) => {
            if ty.timezone.as_ref().is_some_and(|zone| zone.len() > NAME_BYTES_MAX || zone.is_empty()) {
                return Err("a time zone is empty or too long".to_owned());
            }
            T::Timestamp(unit_from_wit(ty.unit), ty.timezone.map(Into::into))
        }
        W::Duration(unit) => T::Duration(unit_from_wit(unit)),
        W::Decimal128(ty) => {
            check_decimal(ty, DECIMAL128_MAX_PRECISION)?;
            T::Decimal128(ty.precision, ty.scale)
        }
        W::Decimal256(ty) => {
            check_decimal(ty, DECIMAL256_MAX_PRECISION)?;
            T::Decimal256(ty.precision, ty.scale)
        }
        _ => return Err("this type is nested".to_owned()),
    })
}

fn check_decimal(ty: wit::DecimalType, precision_max: u8) -> Result<(), String> {
    let wit::DecimalType { precision, scale } = ty;
    if precision == 0 || precision > precision_max || scale.unsigned_abs() > precision {
        return Err(format!("a decimal cannot have precision {precision} and scale {scale}"));
    }
    Ok(())
}

fn struct_fields(children: &[FieldRef]) -> Result<Fields, String> {
    let mut names = HashSet::new();
    match children.iter().find(|child| !names.insert(child.name().as_str())) {
        Some(twice) => Err(format!("the struct has two fields `{}`", twice.name())),
        None if children.is_empty() => Err("a struct has at least one field".to_owned()),
        None => Ok(children.into()),
    }
}

/// A map's entries are a struct of two, never null themselves; a key is never null either.
fn map_entries(children: &[FieldRef]) -> Result<FieldRef, String> {
    let entries = one(children, "a map")?;
    let DataType::Struct(fields) = entries.data_type() else {
        return Err("a map's child is the struct of its entries".to_owned());
    };
    if fields.len() != 2 || fields[0].is_nullable() || entries.is_nullable() {
        return Err("a map's entries are not nullable and have a key, not nullable, and a value".to_owned());
    }
    Ok(entries)
}

#[cfg(test)]
#[path = "types_tests.rs"]
mod tests;
