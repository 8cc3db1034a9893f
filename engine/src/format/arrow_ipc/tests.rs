//! What an Arrow file may hold, and what a damaged one comes to.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Int32Array, Int64Array, ListArray, NullArray, RecordBatch, StringArray,
    StructArray, UnionArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, UnionFields};
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow::ipc::{Block, CompressionType};

use super::*;
use crate::error::Code;

const LIMITS: Limits = Limits { rows: 1_000, bytes: 1 << 20, held: 16 << 20 };

fn format() -> Arc<dyn Format> {
    (KIND.prepare)(&serde_json::json!({})).unwrap()
}

/// Columns of every kind of layout.
fn rows() -> RecordBatch {
    let codes: DictionaryArray<Int32Type> = ["a", "b", "a", "c"].into_iter().collect();
    let items = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
        Some(vec![Some(7)]),
    ]);
    let parts: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
    let pair = StructArray::from(vec![(Arc::new(Field::new("x", DataType::Int64, true)), parts)]);
    let member = Field::new("n", DataType::Int32, true);
    let union = UnionArray::try_new(
        [(0, Arc::new(member))].into_iter().collect::<UnionFields>(),
        vec![0, 0, 0, 0].into(),
        Some(vec![0, 1, 2, 3].into()),
        vec![Arc::new(Int32Array::from(vec![1, 2, 3, 4]))],
    )
    .unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4)]))),
        ("s", Arc::new(StringArray::from(vec![Some("one"), Some(""), None, Some("four")]))),
        ("d", Arc::new(codes)),
        ("l", Arc::new(items)),
        ("p", Arc::new(pair)),
        ("u", Arc::new(union)),
        ("v", Arc::new(arrow::compute::cast(&StringArray::from(vec!["a"; 4]), &DataType::Utf8View).unwrap())),
        ("z", Arc::new(NullArray::new(4))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn file(batches: &[RecordBatch], options: IpcWriteOptions) -> Vec<u8> {
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

fn packed(codec: Option<CompressionType>) -> IpcWriteOptions {
    IpcWriteOptions::default().try_with_compression(codec).unwrap()
}

/// All that is read of a file, at most so many batches.
fn read(path: &Path, from: u64, limits: Limits, most: usize) -> Result<Vec<RecordBatch>> {
    let schema = format().infer(path)?;
    let mut reader = format().reader(path, from, &schema, limits)?;
    let mut read = Vec::new();
    while let Some(batch) = reader.next()? {
        assert!(batch.num_rows() > 0 && batch.num_rows() <= limits.rows);
        read.push(batch);
        if read.len() == most {
            break;
        }
    }
    Ok(read)
}

fn at(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

#[test]
fn each_codec_is_read() {
    for codec in [None, Some(CompressionType::ZSTD), Some(CompressionType::LZ4_FRAME)] {
        let rows = rows();
        let file = at(&file(&[rows.clone(), rows.slice(0, 0), rows.slice(1, 2)], packed(codec)));
        let read = read(file.path(), 0, LIMITS, usize::MAX).unwrap();
        assert_eq!(read, [rows.clone(), rows.slice(1, 2)]);
    }
}

/// Whatever one byte of a file is, reading it ends with rows or with an error that names the file: the library has
/// nothing to give up on, and takes no more than was allowed.
#[test]
fn no_byte_of_a_file_makes_the_library_panic() {
    for codec in [None, Some(CompressionType::ZSTD)] {
        let whole = file(&[rows(), rows()], packed(codec));
        let temporary = at(&whole);
        let (mut read_all, mut refused) = (0, 0);
        // Compressed, the metadata is the same but for its sizes.
        for i in (0..whole.len()).step_by(if codec.is_none() { 1 } else { 5 }) {
            for byte in [0x7f, whole[i] ^ 8] {
                let mut bytes = whole.clone();
                bytes[i] = byte;
                std::fs::write(temporary.path(), &bytes).unwrap();
                match read(temporary.path(), 0, LIMITS, 8) {
                    Ok(_) => read_all += 1,
                    Err(e) => {
                        refused += 1;
                        let text = e.to_string();
                        assert_eq!(e.code(), Code::S002, "{text}");
                        let unseen = ["gave up", "came no further", "without an answer"];
                        assert!(!unseen.iter().any(|said| text.contains(said)), "byte {i} as {byte}: {text}");
                        assert!(text.contains(&temporary.path().display().to_string()), "{text}");
                    }
                }
            }
        }
        assert!(read_all > 200 && refused > 200, "{read_all} were read, {refused} refused");
        for end in (0..whole.len()).step_by(7) {
            std::fs::write(temporary.path(), &whole[..end]).unwrap();
            assert_eq!(read(temporary.path(), 0, LIMITS, 8).unwrap_err().code(), Code::S002, "{end}");
        }
    }
}

#[test]
fn a_long_run_without_bytes_is_read_in_batches() {
    let many =
        RecordBatch::try_from_iter([("z", Arc::new(NullArray::new(100_000_000)) as ArrayRef)]).unwrap();
    let file = at(&file(&[many], IpcWriteOptions::default()));
    let first = read(file.path(), 0, LIMITS, 3).unwrap();
    assert_eq!(first.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [1_000; 3]);
    let last = read(file.path(), 99_998_500, LIMITS, usize::MAX).unwrap();
    assert_eq!(last.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [1_000, 500]);
}

/// Two rows whose lists hold more nulls than a file of any size should stand for.
#[test]
fn items_that_no_byte_stands_for_are_bounded() {
    let offsets = OffsetBuffer::new(vec![0, 3_000_000].into());
    let item = Arc::new(Field::new("item", DataType::Null, true));
    let list: ArrayRef = Arc::new(ListArray::new(item, offsets, Arc::new(NullArray::new(3_000_000)), None));
    let file = at(&file(&[RecordBatch::try_from_iter([("l", list)]).unwrap()], IpcWriteOptions::default()));
    let error = read(file.path(), 0, LIMITS, 1).unwrap_err().to_string();
    assert!(error.contains("column `l`") && error.contains("no byte of the file"), "{error}");
}

#[test]
fn a_block_beyond_what_the_reader_may_hold_is_refused_before_it_is_read() {
    let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1 << 20); 4]));
    let rows = RecordBatch::try_from_iter([("s", long)]).unwrap();
    let small = Limits { held: 1 << 20, ..LIMITS };
    for codec in [None, Some(CompressionType::ZSTD), Some(CompressionType::LZ4_FRAME)] {
        let file = at(&file(&[rows.slice(0, 1).slice(0, 0), rows.clone()], packed(codec)));
        let error = read(file.path(), 0, small, 1).unwrap_err().to_string();
        assert!(error.contains("record batch 2") && error.contains("raise `memory`"), "{error}");
        // A batch of rows is no larger than it may be, as far as rows can be cut.
        let sizes = read(file.path(), 0, LIMITS, 9).unwrap();
        assert!(sizes.iter().all(|rows| rows.num_rows() == 1));
    }
}

#[test]
fn blocks_lie_within_the_file_and_share_no_byte() {
    let good = [Block::new(8, 16, 100), Block::new(124, 16, 0)];
    assert_eq!(verify::blocks(&good[..1], &good[1..], 140), Ok(()));
    for (bad, what) in [
        (Block::new(139, 16, 0), "the file's blocks end"),
        (Block::new(-8, 16, 0), "at -8"),
        (Block::new(8, -16, 40), "-16 +"),
        (Block::new(8, 16, -1), "+ -1 bytes"),
        (Block::new(i64::MAX, i32::MAX, i64::MAX), "the file's blocks end"),
        (Block::new(0, 16, 0), "at 0"),
        (Block::new(100, 16, 0), "overlap at 100"),
    ] {
        let error = verify::blocks(&good, &[bad], 140).unwrap_err();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn types_that_no_array_can_have_are_refused() {
    let ends = Arc::new(Field::new("run_ends", DataType::Utf8, false));
    let values = Arc::new(Field::new("values", DataType::Utf8, true));
    let pair =
        Field::new("entries", DataType::Struct(vec![Field::new("key", DataType::Utf8, false)].into()), false);
    for bad in [
        DataType::FixedSizeBinary(-1),
        DataType::FixedSizeList(Arc::clone(&values), -4),
        DataType::Decimal128(39, 0),
        DataType::Decimal256(0, 0),
        DataType::RunEndEncoded(ends, Arc::clone(&values)),
        DataType::Map(Arc::new(pair), false),
        DataType::Map(values, false),
    ] {
        let nested = DataType::List(Arc::new(Field::new("item", bad.clone(), true)));
        for data_type in [bad, nested] {
            let error = verify::schema(&Schema::new(vec![Field::new("c", data_type, true)])).unwrap_err();
            assert!(error.starts_with("column `c`: "), "{error}");
        }
    }
}

#[test]
fn other_files_are_told_by_how_they_begin() {
    let mut stream = StreamWriter::try_new(Vec::new(), &rows().schema()).unwrap();
    stream.write(&rows()).unwrap();
    let stream = stream.into_inner().unwrap();
    for (bytes, what) in [
        (&stream[..], "an Arrow stream"),
        (b"FEA1 and more", "Feather file of version 1"),
        (b"PAR1 and more", "`format: parquet`"),
        (b"{\"n\":1}", "does not begin with ARROW1"),
        (b"", "it is empty"),
        (b"ARROW1\0\0 and no more", "did not finish it"),
    ] {
        let error = format().infer(at(bytes).path()).unwrap_err();
        assert!(error.code() == Code::S002 && error.to_string().contains(what), "{error}");
    }
}
