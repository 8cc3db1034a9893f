//! Schemas between Arrow and the contract, both ways, and the checks of what a stage declares.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};

use super::wit::exports::pipe::stage::transform::Schema as WitSchema;
use super::wit::pipe::stage::arrow as wit;
use crate::units::{SCHEMA_DEPTH_MAX, SCHEMA_FIELDS_MAX};

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

/// The schema's value to lower.
pub(super) fn schema<'a>(fields: &'a [wit::FieldParam<'a>]) -> WitSchema<'a> {
    WitSchema { fields }
}

#[cfg(test)]
#[path = "types_tests.rs"]
mod tests;
