//! A stage's selections and rejections, checked against each other, and the passed columns under them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, OffsetSizeTrait, UInt32Array};
use arrow::buffer::{BooleanBuffer, Buffer, OffsetBuffer};
use arrow::compute::{FilterBuilder, FilterPredicate, take};
use arrow::datatypes::DataType;

use super::lift::{check_bits, ones};
use super::log::plain;
use super::wit::exports::pipe::stage::transform as wit;
use crate::batch::Selection;
use crate::units::DEAD_LETTER_MESSAGE_BYTES_MAX as REASON;

/// A refused row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Row of the input.
    pub row: u32,
    /// Why.
    pub reason: String,
}

/// Checks a selection over an input of `rows` rows. Returns it with how many rows it has.
pub(super) fn selection(selection: wit::Selection, rows: usize) -> Result<(Selection, usize), String> {
    match selection {
        wit::Selection::EveryRow => Ok((Selection::All, rows)),
        wit::Selection::Mask(mask) => {
            check_bits(&mask, rows, "mask")?;
            let selected = ones(&mask);
            let bits = BooleanBuffer::new(Buffer::from_vec(mask), 0, rows);
            Ok((Selection::Filter(BooleanArray::new(bits, None)), selected))
        }
        wit::Selection::Take(indices) => {
            let largest = indices.iter().copied().max().unwrap_or(0);
            if !indices.is_empty() && largest as usize >= rows {
                return Err(format!("`take` names row {largest} of {rows}"));
            }
            let selected = indices.len();
            Ok((Selection::Take(UInt32Array::from(indices)), selected))
        }
    }
}

/// Checks that each row is rejected once at most and exists; returns them in order of rows.
pub(super) fn rejections(rejections: Vec<wit::Rejection>, rows: usize) -> Result<Vec<Rejection>, String> {
    let mut sorted: Vec<Rejection> =
        rejections.into_iter().map(|r| Rejection { row: r.row, reason: plain(&r.reason, REASON) }).collect();
    sorted.sort_by_key(|r| r.row);
    match sorted.last() {
        Some(last) if last.row as usize >= rows => {
            return Err(format!("row {} of {rows} is rejected", last.row));
        }
        _ => {}
    }
    match sorted.windows(2).find(|pair| pair[0].row == pair[1].row) {
        Some(pair) => Err(format!("row {} is rejected twice", pair[0].row)),
        None => Ok(sorted),
    }
}

/// Checks that no rejected row is selected.
pub(super) fn disjoint(selection: &Selection, rejections: &[Rejection], rows: usize) -> Result<(), String> {
    let both = match selection {
        _ if rejections.is_empty() => None,
        Selection::All => return Err("`every-row` is emitted, and rows are rejected".to_owned()),
        Selection::Filter(mask) => rejections.iter().map(|r| r.row).find(|&row| mask.value(row as usize)),
        Selection::Take(indices) => {
            let mut rejected = vec![false; rows];
            rejections.iter().for_each(|r| rejected[r.row as usize] = true);
            indices.values().iter().copied().find(|&row| rejected[row as usize])
        }
    };
    match both {
        Some(row) => Err(format!("row {row} is both rejected and selected")),
        None => Ok(()),
    }
}

/// A selection made ready for many columns.
pub(super) enum Selector<'a> {
    All,
    Filter(Box<FilterPredicate>),
    Take(&'a UInt32Array),
}

impl<'a> Selector<'a> {
    /// `columns` is how many it will be applied to.
    pub(super) fn new(selection: &'a Selection, columns: usize) -> Self {
        match selection {
            Selection::All => Self::All,
            Selection::Filter(mask) => {
                let builder = FilterBuilder::new(mask);
                let builder = if columns > 1 { builder.optimize() } else { builder };
                Self::Filter(Box::new(builder.build()))
            }
            Selection::Take(indices) => Self::Take(indices),
        }
    }

    /// The selected rows of a passed column; `budget` bytes are left for columns that `take` repeats rows of.
    pub(super) fn apply(&self, column: &ArrayRef, budget: &mut usize) -> Result<ArrayRef, String> {
        match self {
            Self::All => Ok(Arc::clone(column)),
            Self::Filter(predicate) => predicate.filter(column).map_err(|e| e.to_string()),
            Self::Take(indices) => {
                let bytes = taken_bytes(column, indices);
                *budget = budget
                    .checked_sub(bytes)
                    .ok_or("`take` repeats rows until they exceed the limit of output bytes")?;
                take(column, *indices, None).map_err(|e| e.to_string())
            }
        }
    }
}

/// Bytes that `take` will write, to bound it before it begins: it may repeat one huge row a million times.
fn taken_bytes(column: &ArrayRef, indices: &UInt32Array) -> usize {
    if let Some(width) = fixed_width(column.data_type()) {
        return indices.len().saturating_mul(width);
    }
    let sizes = row_bytes(column);
    indices.values().iter().fold(0, |sum: usize, &row| sum.saturating_add(sizes[row as usize]))
}

/// Bytes of an item of a list, at least: `take` makes an index of each, also of items that have no bytes.
const ITEM_BYTES: usize = size_of::<u64>();

/// Bytes of a row, where all rows have the same.
fn fixed_width(ty: &DataType) -> Option<usize> {
    match ty {
        DataType::Null => Some(0),
        DataType::Boolean => Some(1),
        DataType::FixedSizeBinary(n) => Some(*n as usize),
        DataType::Dictionary(keys, _) => keys.primitive_width(),
        DataType::FixedSizeList(item, n) => {
            fixed_width(item.data_type()).map(|w| w.max(ITEM_BYTES).saturating_mul(*n as usize))
        }
        DataType::Struct(fields) => fields.iter().map(|f| fixed_width(f.data_type())).sum(),
        // Their `take` copies views, not what they point at.
        DataType::Utf8View | DataType::BinaryView => Some(16),
        ty => ty.primitive_width(),
    }
}

/// Bytes of each row of a column whose rows differ.
fn row_bytes(column: &ArrayRef) -> Vec<usize> {
    match column.data_type() {
        ty if fixed_width(ty).is_some() => vec![fixed_width(ty).unwrap_or(0); column.len()],
        DataType::Utf8 => spans(column.as_string::<i32>().offsets()),
        DataType::LargeUtf8 => spans(column.as_string::<i64>().offsets()),
        DataType::Binary => spans(column.as_binary::<i32>().offsets()),
        DataType::LargeBinary => spans(column.as_binary::<i64>().offsets()),
        DataType::List(_) => list_bytes(column.as_list::<i32>().offsets(), column.as_list::<i32>().values()),
        DataType::LargeList(_) => {
            list_bytes(column.as_list::<i64>().offsets(), column.as_list::<i64>().values())
        }
        DataType::Map(..) => {
            let map = column.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            list_bytes(map.offsets(), &entries)
        }
        DataType::FixedSizeList(_, n) => {
            let items = row_bytes(column.as_fixed_size_list().values());
            items.chunks(*n as usize).map(|row| row.iter().sum()).collect()
        }
        DataType::Struct(_) => {
            let mut sums = vec![0; column.len()];
            for child in column.as_struct().columns() {
                sums.iter_mut().zip(row_bytes(child)).for_each(|(sum, more)| *sum += more);
            }
            sums
        }
        // What is left (list views, run ends, unions) is bounded by its whole size for each row.
        _ => vec![column.get_array_memory_size(); column.len()],
    }
}

fn spans<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> Vec<usize> {
    offsets.windows(2).map(|pair| (pair[1] - pair[0]).as_usize() + size_of::<O>()).collect()
}

fn list_bytes<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>, values: &ArrayRef) -> Vec<usize> {
    let mut sums = Vec::with_capacity(values.len() + 1);
    let mut sum = 0usize;
    sums.push(0);
    sums.extend(row_bytes(values).into_iter().map(|bytes| {
        sum = sum.saturating_add(bytes.max(ITEM_BYTES));
        sum
    }));
    let row = |pair: &[O]| sums[pair[1].as_usize()] - sums[pair[0].as_usize()] + size_of::<O>();
    offsets.windows(2).map(row).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, ListArray, StringArray, StructArray};
    use arrow::datatypes::{Field, Int64Type};

    use super::*;

    fn applied(selection: &Selection, column: &ArrayRef, mut budget: usize) -> Result<ArrayRef, String> {
        Selector::new(selection, 1).apply(column, &mut budget)
    }

    #[test]
    fn a_huge_row_is_not_repeated_without_bound() {
        let column: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1 << 20), "y".to_owned()]));
        let huge = Selection::Take(UInt32Array::from(vec![0; 1000]));
        assert!(applied(&huge, &column, 64 << 20).unwrap_err().contains("exceed"));
        let small = Selection::Take(UInt32Array::from(vec![1; 1000]));
        assert_eq!(applied(&small, &column, 64 << 20).unwrap().len(), 1000);
    }

    #[test]
    fn items_without_bytes_are_not_repeated_without_bound() {
        let item = Arc::new(Field::new("item", DataType::Null, true));
        let nulls: ArrayRef = Arc::new(arrow::array::NullArray::new(1 << 20));
        let fixed = arrow::array::FixedSizeListArray::new(item.clone(), 1 << 20, nulls.clone(), None);
        let list = ListArray::new(item, OffsetBuffer::from_lengths([1 << 20]), nulls, None);
        let many = Selection::Take(UInt32Array::from(vec![0; 100_000]));
        for column in [Arc::new(fixed) as ArrayRef, Arc::new(list)] {
            assert!(applied(&many, &column, 64 << 20).unwrap_err().contains("exceed"));
        }
    }

    #[test]
    fn nested_rows_are_measured() {
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(1); 100]),
            None,
            Some(vec![Some(2)]),
        ]));
        assert_eq!(row_bytes(&list), [804, 4, 12]);
        let field = |name: &str, array: &ArrayRef| {
            Arc::new(Field::new(name.to_owned(), array.data_type().clone(), true))
        };
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let pair = StructArray::from(vec![
            (field("l", &list), list.clone()),
            (field("n", &numbers), numbers.clone()),
        ]);
        assert_eq!(row_bytes(&(Arc::new(pair) as ArrayRef)), [812, 12, 20]);
        assert_eq!(row_bytes(&list.slice(1, 2)), [4, 12]);
    }

    #[test]
    fn selections_are_applied() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let (mask, rows) = selection(wit::Selection::Mask(vec![0b101]), 3).unwrap();
        assert_eq!(rows, 2);
        let kept: ArrayRef = Arc::new(Int64Array::from(vec![1, 3]));
        assert_eq!(&applied(&mask, &column, 0).unwrap(), &kept);
        let (all, rows) = selection(wit::Selection::EveryRow, 3).unwrap();
        assert_eq!((rows, &applied(&all, &column, 0).unwrap()), (3, &column));
        let (none, rows) = selection(wit::Selection::Take(vec![]), 0).unwrap();
        assert_eq!((rows, applied(&none, &column.slice(0, 0), 0).unwrap().len()), (0, 0));
    }
}
