//! What a Parquet file may hold, and what a damaged one comes to.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, DictionaryArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
};
use arrow::datatypes::{
    Field, Fields, Int32Type, Int64Type, Schema, TimestampMicrosecondType, UnionFields, UnionMode,
};
use parquet::basic::GzipLevel;
use parquet::data_type::{Int96, Int96Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::*;

#[test]
fn columns_that_the_writer_would_panic_on_are_refused() {
    let members = vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)];
    let union = DataType::Union(UnionFields::from_fields(members), UnionMode::Dense);
    let nested = DataType::Struct(Fields::from(vec![Field::new("u", union.clone(), true)]));
    let format = (KIND.prepare)(&serde_json::json!({})).unwrap_or_else(|p| panic!("{p:?}"));
    for data_type in [union, nested, DataType::Interval(IntervalUnit::MonthDayNano)] {
        let schema = Arc::new(Schema::new(vec![Field::new("c", data_type, true)]));
        let Err(error) = format.writer(schema, Box::new(std::io::sink())) else { panic!("it was taken") };
        assert!(error.code() == Code::P009 && error.to_string().contains("`c`"), "{error}");
    }
}

const LIMITS: Limits = Limits { rows: 1_000, bytes: 1 << 20, held: 64 << 20 };

fn format() -> Arc<dyn Format> {
    (KIND.prepare)(&serde_json::json!({})).unwrap()
}

fn file(rows: &RecordBatch, properties: WriterProperties) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).unwrap();
    writer.write(rows).unwrap();
    writer.into_inner().unwrap()
}

fn at(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

fn packed(codec: Compression) -> WriterProperties {
    WriterProperties::builder().set_compression(codec).build()
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

fn rows() -> RecordBatch {
    let items = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
        Some(vec![Some(7)]),
    ]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4)]))),
        ("s", Arc::new(StringArray::from(vec![Some("one"), Some("one"), None, Some("four")]))),
        ("l", Arc::new(items)),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Replaces the one place where these bytes stand.
fn patch(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    let found: Vec<usize> =
        bytes.windows(old.len()).enumerate().filter(|(_, bytes)| *bytes == old).map(|(at, _)| at).collect();
    assert_eq!((found.len(), old.len()), (1, new.len()), "{old:?}");
    bytes[found[0]..][..new.len()].copy_from_slice(new);
}

#[test]
fn each_codec_is_read_and_others_are_named_when_the_columns_are_learnt() {
    let gzip = Compression::GZIP(GzipLevel::default());
    let zstd = Compression::ZSTD(ZstdLevel::default());
    for codec in
        [Compression::UNCOMPRESSED, Compression::SNAPPY, gzip, Compression::LZ4, Compression::LZ4_RAW, zstd]
    {
        let rows = rows();
        assert_eq!(read(at(&file(&rows, packed(codec))).path(), 0, LIMITS, 9).unwrap(), [rows], "{codec}");
    }
    // The codec of the column's metadata: 2 is gzip, 4 is brotli, 3 is lzo; then the number of values.
    for (code, name) in [(4, "brotli"), (3, "lzo")] {
        let mut bytes = file(&rows().project(&[0]).unwrap(), packed(gzip));
        patch(&mut bytes, &[0x15, 2 * 2, 0x16, 2 * 4], &[0x15, 2 * code, 0x16, 2 * 4]);
        let error = format().infer(at(&bytes).path()).unwrap_err().to_string();
        for part in [name, "row group 1 of 1", "column `n`", "zstd, snappy, gzip"] {
            assert!(error.contains(part), "{error}");
        }
    }
}

/// As in Spark: a day in the year 1, one in 9999, and one that nanoseconds hold, alone and in lists and structs.
#[test]
fn int96_is_read_as_it_lies() {
    let schema = "message m {
        optional int96 at;
        optional group all (LIST) { repeated group list { optional int96 element; } }
        required group pair { required int32 id; optional int96 until; }
    }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let int96 = |day: u32, nanos: u64| Int96::from(vec![nanos as u32, (nanos >> 32) as u32, day]);
    let days =
        [int96(5_373_484, 86_399_000_000_000), int96(1_721_426, 0), int96(2_461_072, 43_200_000_001_999)];
    let levels: [(Option<&[i16]>, Option<&[i16]>); 4] =
        [(Some(&[1, 1, 1]), None), (Some(&[3, 3, 3]), Some(&[0, 1, 0])), (None, None), (Some(&[1, 1]), None)];
    for (i, (definition, repetition)) in levels.into_iter().enumerate() {
        let Some(mut column) = group.next_column().unwrap() else { panic!("column {i}") };
        // The list has one row less: all columns are cut to two rows.
        match i {
            0 => column.typed::<Int96Type>().write_batch(&days[..2], definition.map(|d| &d[..2]), None),
            1 => column.typed::<Int96Type>().write_batch(&days, definition, repetition),
            2 => column.typed::<parquet::data_type::Int32Type>().write_batch(&[1, 2], None, None),
            _ => column.typed::<Int96Type>().write_batch(&days[1..], definition, None),
        }
        .unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    let file = at(&writer.into_inner().unwrap());
    let read = read(file.path(), 0, LIMITS, 9).unwrap();
    let text = |array: &ArrayRef| {
        let array = array.as_primitive::<TimestampMicrosecondType>();
        (0..array.len()).map(|i| array.value_as_datetime(i).unwrap().to_string()).collect::<Vec<_>>()
    };
    let [far, first, usual] = ["9999-12-31 23:59:59", "0001-01-01 00:00:00", "2026-01-31 12:00:00.000001"];
    assert_eq!(text(read[0].column(0)), [far, first]);
    assert_eq!(text(read[0].column(1).as_list::<i32>().values()), [far, first, usual]);
    assert_eq!(text(read[0].column(2).as_struct().column(1)), [first, usual]);
}

#[test]
fn the_rows_of_the_groups_count_whatever_the_footer_says() {
    let rows = rows().project(&[0]).unwrap();
    let mut bytes = file(&rows, packed(Compression::UNCOMPRESSED));
    // The number of rows stands before the list of row groups.
    patch(&mut bytes, &[0x16, 2 * 4, 0x19, 0x1c], &[0x16, 0, 0x19, 0x1c]);
    let file = at(&bytes);
    assert_eq!(read(file.path(), 0, LIMITS, 9).unwrap(), std::slice::from_ref(&rows));
    assert_eq!(read(file.path(), 3, LIMITS, 9).unwrap(), [rows.slice(3, 1)]);
}

#[test]
fn row_groups_are_left_out_whole_and_in_part() {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..2_500));
    let rows = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(900)).build();
    let file = at(&file(&rows, properties));
    for from in [0, 1, 899, 900, 901, 1_800, 2_499, 2_500, 9_999] {
        let batches = read(file.path(), from, LIMITS, usize::MAX).unwrap();
        let read: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(read as u64, 2_500_u64.saturating_sub(from));
        if let Some(first) = batches.first() {
            assert_eq!(first.column(0).as_primitive::<Int64Type>().value(0) as u64, from);
        }
    }
}

/// Whatever one byte of a file is, reading it ends with rows or with an error that names the file.
#[test]
fn no_byte_of_a_file_makes_the_library_panic() {
    for codec in [Compression::UNCOMPRESSED, Compression::GZIP(GzipLevel::default())] {
        let whole = file(&rows(), packed(codec));
        let temporary = at(&whole);
        let (mut read_all, mut refused) = (0, 0);
        for i in 0..whole.len() {
            for byte in [0, 0x7f, whole[i] ^ 8] {
                let mut bytes = whole.clone();
                bytes[i] = byte;
                std::fs::write(temporary.path(), &bytes).unwrap();
                match read(temporary.path(), 0, LIMITS, 8) {
                    Ok(_) => read_all += 1,
                    Err(e) => {
                        refused += 1;
                        let text = e.to_string();
                        assert_eq!(e.code(), Code::S002, "{text}");
                        let unseen = ["came no further", "without an answer"];
                        assert!(!unseen.iter().any(|said| text.contains(said)), "byte {i} as {byte}: {text}");
                        assert!(text.contains(&temporary.path().display().to_string()), "{text}");
                    }
                }
            }
        }
        assert!(read_all > 500 && refused > 500, "{read_all} were read, {refused} refused");
    }
}

#[test]
fn a_long_run_of_equal_values_is_read_in_batches() {
    let same: ArrayRef = Arc::new(Int64Array::from_value(7, 3_000_000));
    let rows = RecordBatch::try_from_iter([("n", same)]).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(None).build();
    let file = at(&file(&rows, properties));
    let first = read(file.path(), 0, LIMITS, 3).unwrap();
    assert_eq!(first.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [1_000; 3]);
    let last = read(file.path(), 2_998_500, LIMITS, usize::MAX).unwrap();
    assert_eq!(last.iter().map(RecordBatch::num_rows).sum::<usize>(), 1_500);
}

/// A dictionary of one long text that ten thousand rows share: 20 GB, in a file of some kilobytes.
#[test]
fn texts_that_rows_share_do_not_fill_the_memory() {
    let long = "x".repeat(2 << 20);
    let codes = DictionaryArray::<Int32Type>::try_new(
        Int32Array::from_value(0, 10_000),
        Arc::new(StringArray::from(vec![long.as_str()])),
    );
    let rows = RecordBatch::try_from_iter([("s", Arc::new(codes.unwrap()) as ArrayRef)]).unwrap();
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_dictionary_page_size_limit(4 << 20)
        .set_statistics_enabled(parquet::file::properties::EnabledStatistics::None)
        .build();
    let mut bytes = file(&rows, properties);
    // Without what tells that it was a dictionary once, it is read as text.
    let key = b"ARROW:schema";
    let place = bytes.windows(key.len()).position(|bytes| bytes == key).unwrap();
    bytes[place] = b'a';
    let file = at(&bytes);
    let batches = read(file.path(), 9_990, LIMITS, 4).unwrap();
    let most = batches.iter().map(|rows| rows.get_array_memory_size()).max().unwrap();
    assert!(most <= LIMITS.held, "{most}");
}

#[test]
fn pages_beyond_what_the_reader_may_hold_are_refused_before_they_are_read() {
    let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1 << 20); 4]));
    let rows = RecordBatch::try_from_iter([("s", long)]).unwrap();
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let file = at(&file(&rows, properties));
    let error = read(file.path(), 0, Limits { held: 1 << 20, ..LIMITS }, 1).unwrap_err().to_string();
    for part in ["row group 1 of 1", "column `s`", "raise `memory`"] {
        assert!(error.contains(part), "{error}");
    }
    let sizes = read(file.path(), 0, LIMITS, 9).unwrap();
    assert!(sizes.iter().all(|rows| rows.num_rows() == 1));
}

/// A page of gzip that says two bytes and gives millions.
#[test]
fn a_page_that_decompresses_to_more_than_it_says_is_refused() {
    let zeros: ArrayRef = Arc::new(Int64Array::from_value(0, 200_000));
    let rows = RecordBatch::try_from_iter([("n", zeros)]).unwrap();
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_data_page_row_count_limit(1 << 20)
        .set_data_page_size_limit(4 << 20)
        .set_compression(Compression::GZIP(GzipLevel::default()));
    let mut bytes = file(&rows, properties.build());
    // The first page: its kind, its size, its compressed size.
    assert_eq!((&bytes[4..7], bytes[7] & 0x80, bytes[10] & 0x80), (&[0x15, 0, 0x15][..], 0x80, 0));
    bytes[7..11].copy_from_slice(&[0x84, 0x80, 0x80, 0]);
    let error = read(at(&bytes).path(), 0, Limits { held: 1 << 20, ..LIMITS }, 1).unwrap_err().to_string();
    assert!(error.contains("decompresses to more"), "{error}");
}

#[test]
fn other_files_and_parts_of_files_are_told() {
    let whole = file(&rows(), packed(Compression::UNCOMPRESSED));
    let mut encrypted = whole.clone();
    let end = encrypted.len();
    encrypted[end - 4..].copy_from_slice(b"PARE");
    for (bytes, what) in [
        (&whole[..end - 1], "did not finish it"),
        (&whole[..8], "did not finish it"),
        (&encrypted, "it is encrypted"),
        (b"ARROW1\0\0", "`format: arrow_ipc`"),
        (b"{\"n\":1}", "does not begin with PAR1"),
        (b"", "it is empty"),
    ] {
        let error = format().infer(at(bytes).path()).unwrap_err();
        assert!(error.code() == Code::S002 && error.to_string().contains(what), "{error}");
    }
}
