//! What a stage declares of its computed columns: checked, then made Arrow's.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Field, FieldRef, Fields, TimeUnit,
};

use super::wit::pipe::stage::arrow as wit;
use crate::units::{SCHEMA_DEPTH_MAX, STAGE_ROW_BYTES_MAX};

/// Bytes of a field's name, and of a time zone.
const NAME_BYTES_MAX: usize = 1 << 10;
/// Entries and bytes of a field's metadata.
const METADATA_BYTES_MAX: usize = 64 << 10;

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
            let closed = close(field, &children)?;
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

fn close(field: wit::FieldResult, children: &[FieldRef]) -> Result<Field, String> {
    let name = field.name;
    let (ty, ordered) =
        type_from_wit(field.data_type, children).map_err(|e| format!("field `{name}`: {e}"))?;
    if fixed_bytes(&ty) > STAGE_ROW_BYTES_MAX {
        return Err(format!("field `{name}`: one row has more than {STAGE_ROW_BYTES_MAX} bytes or items"));
    }
    let metadata: HashMap<String, String> = field.metadata.into_iter().collect();
    Ok(Field::new(name, ty, field.nullable).with_dict_is_ordered(ordered).with_metadata(metadata))
}

/// Bytes of a row as far as its type says: a null in a sink takes them too, before any array has come.
fn fixed_bytes(ty: &DataType) -> usize {
    match ty {
        DataType::FixedSizeBinary(n) => *n as usize,
        DataType::FixedSizeList(item, n) => fixed_bytes(item.data_type()).saturating_mul(*n as usize),
        DataType::Struct(fields) => {
            fields.iter().fold(0, |sum: usize, f| sum.saturating_add(fixed_bytes(f.data_type())))
        }
        plain => plain.primitive_width().unwrap_or(1),
    }
}

/// The one child of a list-like type.
fn one(children: &[FieldRef], what: &str) -> Result<FieldRef, String> {
    match children {
        [child] => Ok(Arc::clone(child)),
        _ => Err(format!("{what} has one child, not {}", children.len())),
    }
}

fn type_from_wit(ty: wit::DataTypeResult, children: &[FieldRef]) -> Result<(DataType, bool), String> {
    use DataType as T;
    use wit::DataTypeResult as W;
    let size = |n: u32, what: &str| match i32::try_from(n) {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(format!("{what} cannot have the size {n}")),
    };
    let nested = match ty {
        W::List => Some((T::List(one(children, "a list")?), false)),
        W::LargeList => Some((T::LargeList(one(children, "a list")?), false)),
        W::FixedSizeList(n) => {
            let n = size(n, "a list")?;
            Some((T::FixedSizeList(one(children, "a list")?, n), false))
        }
        W::Struct => Some((T::Struct(struct_fields(children)?), false)),
        W::Map => Some((T::Map(map_entries(children)?, false), false)),
        W::Dictionary(wit::DictionaryType { keys, ordered }) => {
            let values = one(children, "a dictionary")?;
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

fn unit_from_wit(unit: wit::TimeUnit) -> TimeUnit {
    match unit {
        wit::TimeUnit::Second => TimeUnit::Second,
        wit::TimeUnit::Millisecond => TimeUnit::Millisecond,
        wit::TimeUnit::Microsecond => TimeUnit::Microsecond,
        wit::TimeUnit::Nanosecond => TimeUnit::Nanosecond,
    }
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

#[cfg(test)]
#[path = "declared_tests.rs"]
mod tests;
