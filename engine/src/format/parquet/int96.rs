//! INT96: a day and the nanoseconds of that day. Arrow's library makes nanoseconds since 1970 of it, which hold 1677 to
//! 2262 alone and wrap beyond. Microseconds hold every date that writers know (as Spark, which writes it, has them);
//! digits below are cut.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use parquet::basic::Type;
use parquet::schema::types::SchemaDescriptor;

/// The columns with microseconds for INT96; `None` where there is none. An Arrow schema within the file that asks for
/// another unit than nanoseconds has been obeyed before.
pub(super) fn microseconds(schema: &SchemaRef, parquet: &SchemaDescriptor) -> Option<SchemaRef> {
    let leaves: Vec<bool> = parquet.columns().iter().map(|c| c.physical_type() == Type::INT96).collect();
    if !leaves.contains(&true) {
        return None;
    }
    let fields = all(schema.fields(), &mut leaves.into_iter());
    Some(Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())))
}

/// Leaves of both schemas come in the same order.
fn all(fields: &Fields, leaves: &mut impl Iterator<Item = bool>) -> Fields {
    fields.iter().map(|field| one(field, leaves)).collect()
}

fn one(field: &FieldRef, leaves: &mut impl Iterator<Item = bool>) -> FieldRef {
    let changed = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(all(fields, leaves)),
        DataType::List(item) => DataType::List(one(item, leaves)),
        DataType::LargeList(item) => DataType::LargeList(one(item, leaves)),
        DataType::ListView(item) => DataType::ListView(one(item, leaves)),
        DataType::LargeListView(item) => DataType::LargeListView(one(item, leaves)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(one(item, leaves), *size),
        DataType::Map(entries, sorted) => DataType::Map(one(entries, leaves), *sorted),
        leaf => match (leaves.next(), leaf) {
            (Some(true), DataType::Timestamp(TimeUnit::Nanosecond, zone)) => {
                DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
            }
            _ => leaf.clone(),
        },
    };
    Arc::new(Field::clone(field).with_data_type(changed))
}
