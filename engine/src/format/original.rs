//! `original`: each record as it came. Nothing is encoded: batches carry their originals anyway.

use std::io::Write;
use std::path::Path;

use arrow::array::{Array, BinaryArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::SchemaRef;

use super::raw::EncodedLines;
use super::{Count, FormatKind, Options};
use crate::batch::{Batch, Origins, Payload};
use crate::codec::{Decoder, Encoder, Format, Layout, RowWriter};
use crate::error::{Code, Error, Result};

/// Each record as it came.
pub static KIND: FormatKind = FormatKind {
    name: "original",
    summary: "Each record as it came, for sinks only: a Kafka sink writes its value, key, headers and time, the others its \
              value, one a line.",
    example: "original\n",
    options: |_| schemars::json_schema!({ "type": "object", "additionalProperties": false }),
    extensions: &[],
    reads: false,
    by_extension: &[],
    prepare: |options| Options::new(options, &[]).done(Original),
};

struct Original;

impl Format for Original {
    fn layout(&self) -> Layout {
        Layout::Lines
    }

    fn schema(&self) -> Option<SchemaRef> {
        None
    }

    fn infer(&self, _: &Path) -> Result<SchemaRef> {
        Err(only_sinks())
    }

    fn decoder(&self, _: SchemaRef) -> Result<Box<dyn Decoder>> {
        Err(only_sinks())
    }

    fn encoder(&self, _: SchemaRef) -> Result<Box<dyn Encoder>> {
        Ok(Box::new(Originals))
    }

    fn writer(&self, _: SchemaRef, out: Box<dyn Write + Send>) -> Result<Box<dyn RowWriter>> {
        Ok(Box::new(EncodedLines { encoder: Originals, to: Count::new(out) }))
    }

    fn is_original(&self) -> bool {
        true
    }

    fn extension(&self) -> &'static str {
        "txt"
    }
}

fn only_sinks() -> Error {
    Error::user(Code::P009, "`original` writes records, and reads none")
        .help("name the format that the records have")
}

/// A record without a value stays one.
struct Originals;

impl Encoder for Originals {
    fn encode(&mut self, batch: &Batch) -> Result<BinaryArray> {
        let origins = &batch.origins;
        if let Some(whole) = origins.as_whole() {
            return values_of(&whole.payload).cloned();
        }
        let mut bytes = Vec::with_capacity(bytes_of(origins)?);
        let mut ends = Vec::with_capacity(origins.len() + 1);
        ends.push(0i32);
        let mut present = Vec::with_capacity(origins.len());
        for row in 0..origins.len() {
            let (source, row) = origins.locate(row);
            let values = values_of(&source.payload)?;
            present.push(values.is_valid(row));
            bytes.extend_from_slice(if values.is_valid(row) { values.value(row) } else { &[] });
            let end = i32::try_from(bytes.len())
                .map_err(|_| Error::user(Code::K002, "the originals of a batch are larger than 2 GiB"))?;
            ends.push(end);
        }
        let nulls = NullBuffer::from(present);
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        Ok(BinaryArray::new(OffsetBuffer::new(ends.into()), Buffer::from_vec(bytes), nulls))
    }
}

/// Bytes of the values.
fn bytes_of(origins: &Origins) -> Result<usize> {
    (0..origins.len()).try_fold(0, |sum, row| {
        let (source, row) = origins.locate(row);
        let values = values_of(&source.payload)?;
        Ok(sum + values.value_length(row) as usize)
    })
}

/// Planning refuses sources of columns, whose records have no bytes.
fn values_of(payload: &Payload) -> Result<&BinaryArray> {
    match payload {
        Payload::Values(values) => Ok(values),
        Payload::Rows(_) => Err(Error::internal("the format original was given rows")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
    use arrow::datatypes::Schema;
    use proptest::prelude::*;

    use super::*;
    use crate::batch::{Selection, SourceBatch};

    fn origins(values: &[Option<Vec<u8>>]) -> Origins {
        let len = values.len() as i64;
        Origins::whole(Arc::new(SourceBatch {
            source: "in".into(),
            topic: "t".into(),
            partition: 0,
            offsets: (0..len).collect(),
            timestamps: None,
            keys: None,
            headers: None,
            payload: Payload::Values(values.iter().map(Option::as_deref).collect()),
            next: len,
            trace: None,
            hold: None,
        }))
    }

    fn encoded(origins: Origins) -> Vec<Option<Vec<u8>>> {
        let options = RecordBatchOptions::new().with_row_count(Some(origins.len()));
        let schema = Arc::new(Schema::empty());
        let records = RecordBatch::try_new_with_options(schema, Vec::new(), &options).unwrap();
        let values = Originals.encode(&Batch::new(records, origins)).unwrap();
        values.iter().map(|value| value.map(<[u8]>::to_vec)).collect()
    }

    fn values() -> impl Strategy<Value = Vec<Option<Vec<u8>>>> {
        prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..6)), 1..12)
    }

    proptest! {
        #[test]
        fn each_row_is_the_record_that_it_was_made_of(
            (first, second) in (values(), values()),
            mask in prop::collection::vec(any::<bool>(), 12),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            prop_assert_eq!(&encoded(origins(&first)), &first);
            let kept: BooleanArray = mask[..first.len()].iter().map(|kept| Some(*kept)).collect();
            let filtered: Vec<_> = first.iter().zip(&mask).filter(|(_, kept)| **kept).map(|(v, _)| v.clone()).collect();
            prop_assert_eq!(encoded(origins(&first).select(&Selection::Filter(kept))), filtered);
            let both: Vec<_> = first.iter().chain(&second).cloned().collect();
            let picks: Vec<u32> = picks.iter().map(|pick| pick.index(both.len()) as u32).collect();
            let taken: Vec<_> = picks.iter().map(|pick| both[*pick as usize].clone()).collect();
            let all = Origins::concat(&[origins(&first), origins(&second)]);
            prop_assert_eq!(encoded(all.clone()), both);
            prop_assert_eq!(encoded(all.select(&Selection::Take(UInt32Array::from(picks)))), taken);
        }
    }

    #[test]
    fn rows_without_bytes_are_an_error_and_no_panic() {
        let field = arrow::datatypes::Field::new("n", arrow::datatypes::DataType::Int64, true);
        let column = Arc::new(arrow::array::Int64Array::from(vec![1]));
        let records = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column]).unwrap();
        assert!(Originals.encode(&Batch::of_columns(records)).is_err());
        assert_eq!(Original.decoder(Arc::new(Schema::empty())).err().unwrap().code(), Code::P009);
    }

    #[test]
    fn a_file_has_a_line_a_record() {
        let out = tempfile::NamedTempFile::new().unwrap();
        let mut writer = Original.writer(Arc::new(Schema::empty()), Box::new(out.reopen().unwrap())).unwrap();
        let given = [Some(b"{\"a\": 1.10}".to_vec()), None, Some(b"\xff".to_vec())];
        let options = RecordBatchOptions::new().with_row_count(Some(given.len()));
        let schema = Arc::new(Schema::empty());
        let records = RecordBatch::try_new_with_options(schema, Vec::new(), &options).unwrap();
        writer.write(&Batch::new(records, origins(&given))).unwrap();
        writer.finish().unwrap();
        assert_eq!(std::fs::read(out.path()).unwrap(), b"{\"a\": 1.10}\n\n\xff\n");
        assert_eq!(writer.bytes(), 15);
    }
}
