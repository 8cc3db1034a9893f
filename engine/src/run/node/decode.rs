//! Source batches to rows: decoding, metadata columns, origins.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, BooleanBufferBuilder, Int32Array, Int64Array,
    ListArray, RecordBatch, RecordBatchOptions, StringArray, StructArray, TimestampMillisecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;

use crate::batch::{Batch, Headers, Origins, Payload, Selection, SourceBatch, Tombstones, headers_type};
use crate::codec::{BadRow, Decoder, Unknown};
use crate::config::spec::OnTombstone;
use crate::error::{Error, Result};

/// Makes rows of the batches of one source, on the lane's thread.
pub(in crate::run) struct Decode {
    /// `None`: the source has no format, its batches are rows.
    pub decoder: Option<Box<dyn Decoder>>,
    /// Metadata columns to append.
    pub metadata: Vec<String>,
    /// Columns that come out.
    pub schema: SchemaRef,
    /// What becomes of tombstones.
    pub on_tombstone: OnTombstone,
    /// What the decoder said last of fields that no column takes, by the rows of the source batch.
    pub unknown: Unknown,
}

/// What the records of a batch came to.
pub(in crate::run) struct Decoded {
    /// The good rows, and the tombstones that pass.
    pub batch: Batch,
    /// Records that cannot be decoded.
    pub bad: Vec<BadRow>,
    /// Tombstones that go to the dead letters.
    pub unwanted: Vec<BadRow>,
    /// Tombstones that are left out.
    pub skipped: usize,
}

/// Why a tombstone is a dead letter.
const TOMBSTONE: &str = "the record is a tombstone: it has no value; `on_tombstone` of the source says what becomes of \
                         one, and by default it passes only where every sink can write it under its own key";

impl Decode {
    /// What no column took of the records that were decoded last, where that is watched.
    pub fn unknown(&mut self) -> Unknown {
        std::mem::take(&mut self.unknown)
    }

    /// How many values of good records were read by each leniency since the last call.
    pub fn accepted(&mut self) -> Vec<(&'static str, u64)> {
        self.decoder.as_mut().map(|decoder| decoder.accepted()).unwrap_or_default()
    }

    /// What the records of a source batch come to.
    pub fn decode(&mut self, source: &Arc<SourceBatch>) -> Result<Decoded> {
        match &source.payload {
            Payload::Values(values) if self.on_tombstone != OnTombstone::Row && values.null_count() > 0 => {
                self.beside_tombstones(source, values)
            }
            payload => {
                let (records, good, bad) = self.rows(payload, source.len())?;
                let selection = good.map_or(Selection::All, Selection::Filter);
                let batch = self.batch(source, records, &selection)?;
                Ok(Decoded { batch, bad, unwanted: Vec::new(), skipped: 0 })
            }
        }
    }

    /// The same of a batch with tombstones, which the format does not see.
    fn beside_tombstones(&mut self, source: &Arc<SourceBatch>, values: &BinaryArray) -> Result<Decoded> {
        let present = arrow::compute::is_not_null(values).map_err(unfiltered)?;
        let numbers: Vec<u32> = present.values().set_indices().map(|row| row as u32).collect();
        let left = filter(values, &present).map_err(unfiltered)?.as_binary::<i32>().clone();
        let (records, good, mut bad) = self.rows(&Payload::Values(left), numbers.len())?;
        bad.iter_mut().for_each(|bad| bad.row = numbers[bad.row as usize]);
        self.unknown.keys.iter_mut().for_each(|(_, row)| *row = numbers[*row as usize]);
        let mut kept = BooleanBufferBuilder::new(source.len());
        kept.append_n(source.len(), false);
        let is_good = |at: usize| good.as_ref().is_none_or(|good| good.value(at));
        numbers.iter().enumerate().filter(|(at, _)| is_good(*at)).for_each(|(_, row)| {
            kept.set_bit(*row as usize, true);
        });
        let selection = Selection::Filter(BooleanArray::new(kept.finish(), None));
        let batch = self.batch(source, records, &selection)?;
        let gone: Vec<u32> = (!present.values()).set_indices().map(|row| row as u32).collect();
        let mut decoded = Decoded { batch, bad, unwanted: Vec::new(), skipped: 0 };
        match self.on_tombstone {
            OnTombstone::Pass => {
                let origins = Origins::whole(Arc::clone(source));
                // Before each as many rows as there are good records before it.
                let whole = Tombstones::new(gone.clone(), origins.select(&Selection::Take(gone.into())));
                decoded.batch = decoded.batch.with_tombstones(Some(whole.among(&selection)));
            }
            OnTombstone::Skip => decoded.skipped = gone.len(),
            OnTombstone::DeadLetter | OnTombstone::Row => {
                let letter = |row: &u32| BadRow { row: *row, message: TOMBSTONE.to_owned() };
                decoded.unwanted = gone.iter().map(letter).collect();
            }
        }
        Ok(decoded)
    }

    /// The rows of so many records, which of these are good, and what is wrong with the others.
    fn rows(
        &mut self,
        payload: &Payload,
        all: usize,
    ) -> Result<(RecordBatch, Option<BooleanArray>, Vec<BadRow>)> {
        let (records, good, bad) = match (&mut self.decoder, payload) {
            (Some(decoder), payload) => {
                let decoded = decoder.decode(payload)?;
                self.unknown = decoder.unknown();
                (decoded.records, decoded.good, decoded.bad)
            }
            (None, Payload::Rows(rows)) => (rows.clone(), None, Vec::new()),
            (None, Payload::Values(_)) => {
                return Err(Error::internal("a source without a format gave bytes"));
            }
        };
        if records.num_rows() + bad.len() != all {
            let (good, bad) = (records.num_rows(), bad.len());
            return Err(Error::internal(format!("the decoder made {good} good and {bad} bad rows of {all}")));
        }
        Ok((records, good, bad))
    }

    /// Decoded rows with their metadata and origins: the records of the source batch that are selected.
    fn batch(&self, source: &Arc<SourceBatch>, records: RecordBatch, selection: &Selection) -> Result<Batch> {
        let mut columns = records.columns().to_vec();
        if !self.metadata.is_empty() {
            let metadata = metadata(source, &self.metadata, &self.schema)?;
            let metadata = match selection {
                Selection::Filter(mask) => filter_record_batch(&metadata, mask).map_err(unfiltered)?,
                _ => metadata,
            };
            columns.extend_from_slice(metadata.columns());
        }
        let options = RecordBatchOptions::new().with_row_count(Some(records.num_rows()));
        let records = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|e| Error::internal(format!("decoded columns do not fit the schema: {e}")))?;
        Ok(Batch::new(records, Origins::whole(Arc::clone(source)).select(selection)))
    }
}

fn unfiltered(error: ArrowError) -> Error {
    Error::internal(format!("records cannot be filtered: {error}"))
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
                Some(times) => known_times(times),
                None => TimestampMillisecondArray::new_null(rows),
            };
            Arc::new(times.with_timezone("UTC"))
        }
        "headers" => headers_column(source.headers.as_ref(), rows)?,
        other => return Err(Error::internal(format!("there is no metadata `{other}`"))),
    })
}

/// Times of records; -1 is Kafka's word for none.
fn known_times(times: &ScalarBuffer<i64>) -> TimestampMillisecondArray {
    let known = times.contains(&-1).then(|| NullBuffer::from_iter(times.iter().map(|time| *time != -1)));
    TimestampMillisecondArray::new(times.clone(), known)
}

/// Headers as a list of `{name, value}` a row; null where a source has none.
pub(in crate::run) fn headers_column(headers: Option<&Headers>, rows: usize) -> Result<ArrayRef> {
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

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, Schema};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::batch::Item;
    use crate::format::json;

    /// Records that are good, bad or without a value, at every second offset.
    fn source(values: &[Option<&str>]) -> Arc<SourceBatch> {
        let len = values.len() as i64;
        Arc::new(SourceBatch {
            source: "in".into(),
            topic: "t".into(),
            partition: 0,
            offsets: (0..len).map(|n| 2 * n).collect(),
            timestamps: Some((0..len).map(|n| n - 1).collect()),
            keys: Some(BinaryArray::from_iter_values((0..len).map(|n| n.to_string()))),
            headers: None,
            payload: Payload::Values(values.iter().map(|v| v.map(str::as_bytes)).collect()),
            next: 2 * len,
            trace: None,
            hold: None,
        })
    }

    fn decoded(values: &[Option<&str>], on_tombstone: OnTombstone) -> Decoded {
        let columns = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let mut fields = columns.fields().to_vec();
        fields.push(Arc::new(Field::new("_offset", DataType::Int64, false)));
        let format = (json::KIND.prepare)(&json!({ "columns": { "n": "int64!" } })).unwrap();
        let mut decode = Decode {
            decoder: Some(format.decoder(columns).unwrap()),
            metadata: vec!["offset".to_owned()],
            schema: Arc::new(Schema::new(fields)),
            on_tombstone,
            unknown: Unknown::default(),
        };
        decode.decode(&source(values)).unwrap()
    }

    const GOOD: Option<&str> = Some(r#"{"n": 1}"#);
    const BAD: Option<&str> = Some("{");
    const GONE: Option<&str> = None;

    #[test]
    fn a_record_without_a_time_has_none_in_its_column() {
        let source = source(&[GOOD, GOOD, GOOD]);
        let times = column(&source, "timestamp").unwrap();
        assert_eq!((times.is_null(0), times.is_null(1), times.null_count()), (true, false, 1));
    }

    #[test]
    fn a_tombstone_becomes_what_the_source_says() {
        let values = [GONE, GOOD, BAD, GONE, GOOD, GONE];
        let rows = |decoded: &Decoded| (decoded.batch.len(), decoded.batch.count(), decoded.bad.len());
        let numbers = |bad: &[BadRow]| bad.iter().map(|bad| bad.row).collect::<Vec<_>>();
        let pass = decoded(&values, OnTombstone::Pass);
        assert_eq!((rows(&pass), numbers(&pass.bad), pass.skipped), ((2, 5, 1), vec![2], 0));
        assert_eq!(pass.batch.tombstones().unwrap().places(), [0, 1, 2]);
        let skip = decoded(&values, OnTombstone::Skip);
        assert_eq!((rows(&skip), skip.skipped), ((2, 2, 1), 3));
        let letters = decoded(&values, OnTombstone::DeadLetter);
        assert_eq!((rows(&letters), numbers(&letters.unwanted)), ((2, 2, 1), vec![0, 3, 5]));
        assert!(letters.unwanted[0].message.contains("tombstone"));
        // `int64!` cannot be null: a row of nulls is none.
        let row = decoded(&values, OnTombstone::Row);
        assert_eq!((rows(&row), numbers(&row.bad)), ((2, 2, 4), vec![0, 2, 3, 5]));
        let alone = decoded(&[GONE, GONE], OnTombstone::Pass);
        assert_eq!(rows(&alone), (0, 2, 0));
    }

    proptest! {
        #[test]
        fn every_record_is_in_its_place_or_bad(kinds in prop::collection::vec(0usize..3, 0..60)) {
            let values: Vec<Option<&str>> = kinds.iter().map(|kind| [GOOD, BAD, GONE][*kind]).collect();
            prop_assume!(!values.is_empty());
            let decoded = decoded(&values, OnTombstone::Pass);
            let (origins, items) = (decoded.batch.all_origins(), decoded.batch.items());
            let column = decoded.batch.records.column(1).as_primitive::<arrow::datatypes::Int64Type>();
            let mut found: Vec<(usize, usize)> = decoded.bad.iter().map(|bad| (bad.row as usize, 1)).collect();
            let mut last = None;
            for (at, item) in items.into_iter().enumerate() {
                let origin = origins.get(at);
                prop_assert!(last < Some(origin.row), "in order");
                last = Some(origin.row);
                found.push((origin.row, if matches!(item, Item::Row(_)) { 0 } else { 2 }));
                if let Item::Row(row) = item {
                    prop_assert_eq!(column.value(row), origin.offset());
                }
            }
            found.sort_unstable();
            prop_assert_eq!(found, kinds.into_iter().enumerate().collect::<Vec<_>>());
        }
    }
}
