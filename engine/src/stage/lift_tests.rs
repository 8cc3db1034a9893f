//! Tests of `lift.rs`; the faults of whole batches are tested through the hostile guest.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use super::*;

fn lifted(length: u32, null_count: u32, buffers: &[&[u8]]) -> ArrayResult {
    ArrayResult { length, null_count, buffers: buffers.iter().map(|b| b.to_vec()).collect() }
}

fn lift(ty: DataType, rows: usize, arrays: Vec<ArrayResult>) -> Result<ArrayRef, String> {
    column(&Field::new("c", ty, true), rows, &mut Arrays::new(arrays, 1 << 20))
}

#[test]
fn an_unaligned_buffer_is_copied() {
    // A vector of bytes promises no alignment; several sizes make an odd address likely, and all must work.
    for rows in 1..50u32 {
        let bytes: Vec<u8> = (0..rows as i64).flat_map(i64::to_le_bytes).collect();
        let array = lift(DataType::Int64, rows as usize, vec![lifted(rows, 0, &[&[], &bytes])]).unwrap();
        assert_eq!(array.as_primitive::<Int64Type>().value(rows as usize - 1), i64::from(rows) - 1);
    }
}

#[test]
fn an_odd_address_is_aligned_before_use() {
    let bytes: Vec<u8> = [0u8].into_iter().chain((0..4i64).flat_map(i64::to_le_bytes)).collect();
    let buffer = Buffer::from_vec(bytes).slice(1);
    let data = ArrayDataBuilder::new(DataType::Int64).len(4).add_buffer(buffer).align_buffers(true);
    let array = make_array(data.build().unwrap());
    assert_eq!(array.as_primitive::<Int64Type>().values(), &[0, 1, 2, 3]);
}

#[test]
fn an_empty_array_may_leave_its_offsets_out() {
    let array = lift(DataType::Utf8, 0, vec![lifted(0, 0, &[&[], &[], &[]])]).unwrap();
    assert_eq!(array.len(), 0);
}

#[test]
fn all_valid_with_a_bitmap_is_no_nulls() {
    let array = lift(DataType::Int8, 3, vec![lifted(3, 0, &[&[7], &[1, 2, 3]])]).unwrap();
    assert_eq!(array.null_count(), 0);
}

#[test]
fn nulls_have_no_buffers() {
    assert_eq!(lift(DataType::Null, 3, vec![lifted(3, 3, &[&[]])]).unwrap().len(), 3);
    assert_eq!(lift(DataType::Null, 3, vec![lifted(3, 0, &[])]).unwrap().len(), 3);
    assert!(lift(DataType::Null, 3, vec![lifted(3, 3, &[&[7]])]).is_err());
    assert!(lift(DataType::Null, 2 << 20, vec![lifted(2 << 20, 0, &[])]).is_err(), "a length is bounded");
}

#[test]
fn negative_offsets_and_sizes_that_overflow_are_refused() {
    let offsets: Vec<u8> = [0i32, -1].iter().flat_map(|n| n.to_le_bytes()).collect();
    assert!(lift(DataType::Utf8, 1, vec![lifted(1, 0, &[&[], &offsets, &[]])]).is_err());
    let offsets: Vec<u8> = [0i64, i64::MAX].iter().flat_map(|n| n.to_le_bytes()).collect();
    assert!(lift(DataType::LargeUtf8, 1, vec![lifted(1, 0, &[&[], &offsets, &[]])]).is_err());
}

#[test]
fn set_bits_are_counted() {
    assert_eq!(ones(&[0xff; 11]), 88);
    assert_eq!(ones(&[]), 0);
    assert_eq!(ones(&[1, 2, 3]), 4);
}

/// Found by fuzzing: Arrow's own validation looks at bitmaps only, and its `take` panicked on these.
#[test]
fn nulls_without_a_bitmap_are_nulls() {
    let required = |ty: DataType| DataType::Struct(vec![Field::new("f", ty, false)].into());
    let row = || lifted(2, 0, &[&[]]);
    let words = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    let values = |nulls: u32, bitmap: &[u8]| lifted(1, nulls, &[bitmap, &[0, 0, 0, 0, 1, 0, 0, 0], b"x"]);
    let keys = || lifted(2, 0, &[&[], &[0, 0]]);
    let lifted_words =
        |nulls, bitmap| lift(required(words.clone()), 2, vec![row(), keys(), values(nulls, bitmap)]);
    lifted_words(0, &[]).unwrap();
    assert!(lifted_words(1, &[0]).unwrap_err().contains("not nullable"));
    let nothing = || lifted(2, 2, &[]);
    assert!(lift(required(DataType::Null), 2, vec![row(), nothing()]).unwrap_err().contains("not nullable"));
    // Where the parent is null itself, what is in it says nothing.
    let absent = lifted(2, 2, &[&[0]]);
    lift(required(DataType::Null), 2, vec![absent, nothing()]).unwrap();
}
