//! Source batches to rows: decoding, metadata columns, origins.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, Int32Array, Int64Array, ListArray, RecordBatch, RecordBatchOptions,
    StringArray, StructArray, TimestampMillisecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef};

use crate::batch::{Batch, Headers, Origins, Payload, Selection, SourceBatch};
use crate::codec::{BadRow, Decoder};
use crate::error::{Error, Result};
use crate::sink::dead_letter::headers_type;

/// Makes rows of the batches of one source, on the lane's thread.
pub(super) struct Decode {
    /// `None`: the source has no format, its batches are rows.
    pub decoder: Option<Box<dyn Decoder>>,
    /// Metadata columns to append.
    pub metadata: Vec<String>,
    /// Columns that come out.
    pub schema: SchemaRef,
}

impl Decode {
    /// The good rows of a source batch, and the bad ones.
    pub fn decode(&mut self, source: &Arc<SourceBatch>) -> Result<(Batch, Vec<BadRow>)> {
        let (records, good, bad) = match (&mut self.decoder, &source.payload) {
            (Some(decoder), payload) => {
                let decoded = decoder.decode(payload)?;
                (decoded.records, decoded.good, decoded.bad)
            }
            (None, Payload::Rows(rows)) => (rows.clone(), None, Vec::new()),
            (None, Payload::Values(_)) => {
                return Err(Error::internal("a source without a format gave bytes"));
            }
        };
        if records.num_rows() + bad.len() != source.len() {
            let (good, bad, all) = (records.num_rows(), bad.len(), source.len());
            return Err(Error::internal(format!("the decoder made {good} good and {bad} bad rows of {all}")));
        }
        let origins = Origins::whole(Arc::clone(source));
        let selection = good.map_or(Selection::All, Selection::Filter);
        let mut columns = records.columns().to_vec();
        if !self.metadata.is_empty() {
            let metadata = metadata(source, &self.metadata, &self.schema)?;
            let metadata = match &selection {
                Selection::Filter(mask) => filter_record_batch(&metadata, mask)
                    .map_err(|e| Error::internal(format!("metadata cannot be filtered: {e}")))?,
                _ => metadata,
            };
            columns.extend_from_slice(metadata.columns());
        }
        let options = RecordBatchOptions::new().with_row_count(Some(records.num_rows()));
        let records = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|e| Error::internal(format!("decoded columns do not fit the schema: {e}")))?;
        Ok((Batch::new(records, origins.select(&selection)), bad))
    }
}

/// The metadata columns of every record of a batch; they are the last fields of `schema`.
fn metadata(source: &SourceBatch, names: &[String], schema: &SchemaRef) -> Result<RecordBatch> {
    let first = schema.fields().len() - names.len();
    let fields: Vec<_> = schema.fields()[first..].to_vec();
    let columns: Vec<ArrayRef> = names.iter().map(|name| column(source, name)).collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(source.len()));
    RecordBatch::try_new_with_options(Arc::new(arrow::datatypes::Schema::new(fields)), columns, &options)
        .map_err(|e| Error::internal(format!("metadata columns do not fit the schema: {e}")))
}

fn column(source: &SourceBatch, name: &str) -> Result<ArrayRef> {
    let rows = source.len();
    Ok(match name {
        "key" => match &source.keys {
            Some(keys) => Arc::new(keys.clone()),
            None => Arc::new(BinaryArray::new_null(rows)),
        },
        "topic" => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(source.topic.as_ref(), rows))),
        "partition" => Arc::new(Int32Array::from_value(source.partition, rows)),
        "offset" => Arc::new(Int64Array::new(source.offsets.clone(), None)),
        "timestamp" => {
            let times = match &source.timestamps {
                Some(times) => TimestampMillisecondArray::new(times.clone(), None),
                None => TimestampMillisecondArray::new_null(rows),
            };
            Arc::new(times.with_timezone("UTC"))
        }
        "headers" => headers_column(source.headers.as_ref(), rows)?,
        other => return Err(Error::internal(format!("there is no metadata `{other}`"))),
    })
}

/// Headers as a list of `{name, value}` a row; null where a source has none.
pub(super) fn headers_column(headers: Option<&Headers>, rows: usize) -> Result<ArrayRef> {
    let DataType::List(item) = headers_type() else { return Err(Error::internal("headers are a list")) };
    let Some(headers) = headers else { return Ok(Arc::new(ListArray::new_null(item, rows))) };
    let DataType::Struct(fields) = item.data_type().clone() else {
        return Err(Error::internal("of structs"));
    };
    // Names that are not UTF-8 are made so: the column is text; the originals keep their bytes.
    let names: StringArray = headers
        .names
        .iter()
        .map(|name| name.map(|name| String::from_utf8_lossy(name).into_owned()))
        .collect();
    let names: StringArray = names.iter().map(|name| Some(name.unwrap_or_default())).collect();
    let entries: Vec<ArrayRef> = vec![Arc::new(names), Arc::new(headers.values.clone())];
    let entries = StructArray::try_new(fields, entries, None)
        .map_err(|e| Error::internal(format!("header columns do not fit: {e}")))?;
    let list = ListArray::try_new(item, OffsetBuffer::new(headers.offsets.clone()), Arc::new(entries), None)
        .map_err(|e| Error::internal(format!("header columns do not fit: {e}")))?;
    if list.len() != rows {
        return Err(Error::internal("headers and records differ in number"));
    }
    Ok(Arc::new(list))
}
