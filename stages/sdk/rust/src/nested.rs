//! Columns within columns: lists, maps and structs, and rows taken from columns of any type.

use std::borrow::Cow;
use std::ops::Range;

use crate::bindings::pipe::stage::arrow::Array;
use crate::column::{self, Any, Parts};
use crate::error::{Error, Result};
use crate::mask::{Mask, Validity};
use crate::schema::{DataType, Field, IndexType};

/// A column, or one within another, as it crossed: its fields and arrays in pre-order. Any type will do.
#[derive(Debug, Clone, Copy)]
pub struct Nested<'a> {
    fields: &'a [Field],
    arrays: &'a [Array],
}

/// Where each row's elements lie in the one child of a list or a map.
#[derive(Debug, Clone)]
pub struct Lists<'a> {
    /// The elements of all rows; a map's are structs of a key and a value.
    pub elements: Nested<'a>,
    validity: Validity<'a>,
    layout: Layout<'a>,
    len: usize,
}

/// A column of keys into words.
#[derive(Debug, Clone)]
pub struct Dictionary<'a> {
    /// The words; a key is a row of theirs.
    pub words: Nested<'a>,
    keys: &'a [u8],
    width: usize,
    validity: Validity<'a>,
}

impl<'a> Dictionary<'a> {
    /// The view of a column; the first of the fields and arrays is that of the keys.
    pub(crate) fn new(keys: IndexType, fields: &'a [Field], arrays: &'a [Array]) -> Self {
        let column = Nested::new(fields, arrays);
        let words = Nested::new(fields.get(1..).unwrap_or_default(), arrays.get(1..).unwrap_or_default());
        let width = match keys {
            IndexType::Int8 | IndexType::Uint8 => 1,
            IndexType::Int16 | IndexType::Uint16 => 2,
            IndexType::Int32 | IndexType::Uint32 => 4,
            IndexType::Int64 | IndexType::Uint64 => 8,
        };
        let buffer = arrays.first().and_then(|array| array.buffers.get(1));
        let keys = buffer.map(Vec::as_slice).unwrap_or_default();
        Self { words, keys, width, validity: column.validity() }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.keys.len() / self.width
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Which rows have a key; the word may still be a null.
    pub fn validity(&self) -> Validity<'a> {
        self.validity
    }

    /// The row's key; `None` for a null.
    #[inline]
    pub fn get(&self, row: usize) -> Option<usize> {
        if !self.validity.is_valid(row) {
            return None;
        }
        let bytes = self.keys.get(row * self.width..(row + 1) * self.width)?;
        // Keys are never negative, whatever their type.
        let mut key = [0; 8];
        key.get_mut(..self.width)?.copy_from_slice(bytes);
        usize::try_from(u64::from_le_bytes(key)).ok()
    }
}

#[derive(Debug, Clone)]
enum Layout<'a> {
    Small(Cow<'a, [i32]>),
    Large(Cow<'a, [i64]>),
    Fixed(usize),
}

impl Lists<'_> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The row's elements; `None` for a null.
    #[inline]
    pub fn get(&self, row: usize) -> Option<Range<usize>> {
        (row < self.len && self.validity.is_valid(row)).then(|| self.range(row))
    }

    /// The row's elements, whether it is null or not.
    fn range(&self, row: usize) -> Range<usize> {
        match &self.layout {
            Layout::Small(offsets) => offset(offsets.get(row))..offset(offsets.get(row + 1)),
            Layout::Large(offsets) => offset(offsets.get(row))..offset(offsets.get(row + 1)),
            Layout::Fixed(width) => row * width..(row + 1) * width,
        }
    }
}

fn offset<O: Copy + TryInto<usize>>(offset: Option<&O>) -> usize {
    offset.and_then(|&offset| offset.try_into().ok()).unwrap_or_default()
}

impl<'a> Nested<'a> {
    /// The fields and arrays of one column, in pre-order.
    pub fn new(fields: &'a [Field], arrays: &'a [Array]) -> Self {
        Self { fields, arrays }
    }

    /// Its field; the fields of its children follow it.
    pub fn fields(&self) -> &'a [Field] {
        self.fields
    }

    /// Its arrays, in pre-order.
    pub(crate) fn arrays(&self) -> &'a [Array] {
        self.arrays
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.arrays.first().map_or(0, |array| array.length as usize)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which rows hold a value.
    pub fn validity(&self) -> Validity<'a> {
        let bitmap = self.arrays.first().and_then(|array| array.buffers.first());
        Validity::new(bitmap.map(Vec::as_slice).unwrap_or_default())
    }

    /// The typed view.
    pub fn view(&self) -> Result<Any<'a>> {
        column::view(self.fields, self.arrays)
    }

    /// The columns within it, in order.
    pub fn children(&self) -> Vec<Self> {
        let mut children = Vec::new();
        let mut at = 1;
        for _ in 0..self.fields.first().map_or(0, |field| field.children) {
            let end = at + size(self.fields.get(at..).unwrap_or_default());
            let (Some(fields), Some(arrays)) = (self.fields.get(at..end), self.arrays.get(at..end)) else {
                break;
            };
            children.push(Self { fields, arrays });
            at = end;
        }
        children
    }

    /// The elements of a list or a map; an error for another type.
    pub fn lists(&self) -> Result<Lists<'a>> {
        let (Some(field), Some(array)) = (self.fields.first(), self.arrays.first()) else {
            return Err(Error::new("a column has no array"));
        };
        let parts = Parts { field, array };
        let layout = match field.data_type {
            DataType::List | DataType::Map => Layout::Small(parts.offsets()?),
            DataType::LargeList => Layout::Large(parts.offsets()?),
            DataType::FixedSizeList(width) => Layout::Fixed(width as usize),
            _ => return Err(Error::new(format!("column `{}` has no elements", field.name))),
        };
        let elements = self.children().first().copied();
        let elements = elements.ok_or_else(|| Error::new(format!("column `{}` has no child", field.name)))?;
        Ok(Lists { elements, validity: self.validity(), layout, len: self.len() })
    }

    /// The rows of these numbers as arrays of their own, in pre-order. `None` becomes a null; where the field may
    /// hold none (it stands within something that is null), whatever its type has for a zero.
    pub fn take(&self, rows: &[Option<u32>]) -> Result<Vec<Array>> {
        self.take_as(rows, self.nullable())
    }

    fn nullable(&self) -> bool {
        self.fields.first().is_some_and(|field| field.nullable)
    }

    /// The same for a column that may hold nulls where this one may not: `None` always becomes a null.
    pub fn take_nullable(&self, rows: &[Option<u32>]) -> Result<Vec<Array>> {
        self.take_as(rows, true)
    }

    fn take_as(&self, rows: &[Option<u32>], nullable: bool) -> Result<Vec<Array>> {
        let same = rows.len() == self.len() && rows.iter().zip(0..).all(|(row, i)| *row == Some(i));
        let mut out = Vec::new();
        if same {
            out.extend_from_slice(self.arrays);
        } else {
            self.take_into(rows, nullable, &mut out)?;
        }
        Ok(out)
    }

    /// The recursion is bounded by the depth that the host allows (32).
    fn take_into(&self, rows: &[Option<u32>], nullable: bool, out: &mut Vec<Array>) -> Result<()> {
        let (Some(field), Some(array)) = (self.fields.first(), self.arrays.first()) else {
            return Err(Error::new("a column has no array"));
        };
        if rows.iter().flatten().any(|row| *row >= array.length) {
            return Err(Error::new(format!("a row beyond the end of column `{}` is taken", field.name)));
        }
        let buffer = |index: usize| array.buffers.get(index).map(Vec::as_slice).unwrap_or_default();
        let at = out.len();
        let validity = self.validity();
        let mut taken = Array { length: rows.len() as u32, null_count: 0, buffers: Vec::new() };
        if matches!(field.data_type, DataType::Null) {
            taken.null_count = taken.length;
            taken.buffers = vec![Vec::new(); array.buffers.len()];
            out.push(taken);
            return Ok(());
        }
        let valid = |row: Option<u32>| row.map_or(!nullable, |row| validity.is_valid(row as usize));
        let mask = Mask::from_fn(rows.len(), |i| valid(rows[i]));
        taken.null_count = (rows.len() - mask.count()) as u32;
        taken.buffers.push(if taken.null_count == 0 { Vec::new() } else { mask.to_bytes() });
        match width(&field.data_type) {
            Width::Bits => taken.buffers.push(bits(buffer(1), rows)),
            Width::Bytes(width) => taken.buffers.push(fixed(buffer(1), width, rows)),
            Width::Text { large } => {
                let (offsets, bytes) = text(&Parts { field, array }, large, buffer(2), rows)?;
                taken.buffers.extend([offsets, bytes]);
            }
            Width::Lists => {
                let lists = self.lists()?;
                let (offsets, elements) = elements(&lists, rows)?;
                taken.buffers.extend(offsets);
                out.push(taken);
                return lists.elements.take_into(&elements, lists.elements.nullable(), out);
            }
            Width::None => {}
        }
        out.push(taken);
        match field.data_type {
            DataType::Struct => {
                for child in self.children() {
                    child.take_into(rows, child.nullable(), out)?;
                }
            }
            // The keys were taken; the values are what they were.
            DataType::Dictionary(_) => out.extend(self.arrays.get(1..).unwrap_or_default().iter().cloned()),
            _ => {}
        }
        debug_assert_eq!(out.len() - at, self.fields.len());
        Ok(())
    }
}

/// Number of fields of the column that these begin with.
fn size(fields: &[Field]) -> usize {
    let (mut size, mut pending) = (0, 1usize);
    while let (true, Some(field)) = (pending > 0, fields.get(size)) {
        pending = pending - 1 + field.children as usize;
        size += 1;
    }
    size
}

/// What the buffers after the bitmap are.
enum Width {
    None,
    Bits,
    Bytes(usize),
    Text { large: bool },
    Lists,
}

fn width(data_type: &DataType) -> Width {
    use DataType as T;
    Width::Bytes(match data_type {
        T::Null | T::Struct => return Width::None,
        T::Boolean => return Width::Bits,
        T::Utf8 | T::Binary => return Width::Text { large: false },
        T::LargeUtf8 | T::LargeBinary => return Width::Text { large: true },
        T::List | T::LargeList | T::FixedSizeList(_) | T::Map => return Width::Lists,
        T::Int8 | T::Uint8 => 1,
        T::Int16 | T::Uint16 | T::Float16 => 2,
        T::Int32 | T::Uint32 | T::Float32 | T::Date32 | T::Time32(_) => 4,
        T::Int64 | T::Uint64 | T::Float64 | T::Date64 | T::Time64(_) | T::Timestamp(_) | T::Duration(_) => 8,
        T::Decimal128(_) => 16,
        T::Decimal256(_) => 32,
        T::FixedSizeBinary(width) => *width as usize,
        T::Dictionary(dictionary) => match dictionary.keys {
            IndexType::Int8 | IndexType::Uint8 => 1,
            IndexType::Int16 | IndexType::Uint16 => 2,
            IndexType::Int32 | IndexType::Uint32 => 4,
            IndexType::Int64 | IndexType::Uint64 => 8,
        },
    })
}

fn bits(bits: &[u8], rows: &[Option<u32>]) -> Vec<u8> {
    let bit = |row: u32| bits.get(row as usize / 8).is_some_and(|byte| byte >> (row % 8) & 1 == 1);
    Mask::from_fn(rows.len(), |i| rows[i].is_some_and(bit)).to_bytes()
}

fn fixed(values: &[u8], width: usize, rows: &[Option<u32>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.len() * width);
    for row in rows {
        let value = row.and_then(|row| values.get(row as usize * width..(row as usize + 1) * width));
        match value {
            Some(value) => out.extend_from_slice(value),
            None => out.resize(out.len() + width, 0),
        }
    }
    out
}

fn text(parts: &Parts<'_>, large: bool, bytes: &[u8], rows: &[Option<u32>]) -> Result<(Vec<u8>, Vec<u8>)> {
    let ranges: Layout<'_> =
        if large { Layout::Large(parts.offsets()?) } else { Layout::Small(parts.offsets()?) };
    let (mut offsets, mut out) = (Offsets::new(large), Vec::new());
    for row in rows {
        if let Some(row) = *row {
            let row = row as usize;
            let range = match &ranges {
                Layout::Small(all) => offset(all.get(row))..offset(all.get(row + 1)),
                Layout::Large(all) => offset(all.get(row))..offset(all.get(row + 1)),
                Layout::Fixed(_) => 0..0,
            };
            out.extend_from_slice(bytes.get(range).unwrap_or_default());
        }
        offsets.push(out.len())?;
    }
    Ok((offsets.bytes, out))
}

/// The offsets of the lists that are taken, if their type has any, and the elements to be taken for them.
type Taken = (Option<Vec<u8>>, Vec<Option<u32>>);

fn elements(lists: &Lists<'_>, rows: &[Option<u32>]) -> Result<Taken> {
    let mut elements = Vec::new();
    if let Layout::Fixed(width) = lists.layout {
        for row in rows {
            match row {
                Some(row) => elements.extend(lists.range(*row as usize).map(|element| Some(element as u32))),
                None => elements.resize(elements.len() + width, None),
            }
        }
        return Ok((None, elements));
    }
    let mut offsets = Offsets::new(matches!(lists.layout, Layout::Large(_)));
    for row in rows {
        // A null may have elements of its own in the input, and needs none.
        if let Some(range) = row.and_then(|row| lists.get(row as usize)) {
            elements.extend(range.map(|element| Some(element as u32)));
        }
        offsets.push(elements.len())?;
    }
    Ok((Some(offsets.bytes), elements))
}

/// A growing buffer of offsets, 32 bits wide or 64.
struct Offsets {
    bytes: Vec<u8>,
    large: bool,
}

impl Offsets {
    fn new(large: bool) -> Self {
        Self { bytes: vec![0; if large { 8 } else { 4 }], large }
    }

    fn push(&mut self, end: usize) -> Result<()> {
        if self.large {
            self.bytes.extend_from_slice(&(end as u64).to_le_bytes());
            return Ok(());
        }
        let end = i32::try_from(end)
            .map_err(|_| Error::new("a computed column is larger than its offsets allow"))?;
        self.bytes.extend_from_slice(&end.to_le_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::Builder;
    use crate::schema::ColumnField;
    use crate::testing::{list_array, validity_array};

    /// Lists of structs of a number that may be null and a text that may not: `[{1,a},{null,b}]`, null, `[]`,
    /// `[{3,c}]`. The null list has no elements.
    fn column() -> (ColumnField, Vec<Array>) {
        let entry = ColumnField::nested(
            "item",
            DataType::Struct,
            true,
            [ColumnField::new("n", DataType::Int16, true), ColumnField::new("t", DataType::Utf8, false)],
        );
        let field = ColumnField::nested("lists", DataType::List, true, [entry]);
        let mut numbers = Builder::<i16>::new();
        let mut texts = Builder::<str>::new();
        for (number, text) in [(Some(1), "a"), (None, "b"), (Some(3), "c")] {
            numbers.push_option(number);
            texts.push(text);
        }
        let lists = list_array(&[true, false, true, true], &[0, 2, 2, 2, 3]);
        let entries = validity_array(&[true; 3], Vec::new());
        (field, vec![lists, entries, numbers.finish().unwrap(), texts.finish().unwrap()])
    }

    #[test]
    fn lists_give_the_elements_of_their_rows() {
        let (field, arrays) = column();
        let lists = Nested::new(field.fields(), &arrays).lists().unwrap();
        assert_eq!(
            (0..4).map(|row| lists.get(row)).collect::<Vec<_>>(),
            [Some(0..2), None, Some(2..2), Some(2..3)]
        );
        let children = lists.elements.children();
        let Any::Int16(numbers) = children[0].view().unwrap() else { panic!("int16") };
        assert_eq!(numbers.iter().collect::<Vec<_>>(), [Some(1), None, Some(3)]);
        assert!(children[1].lists().is_err());
    }

    #[test]
    fn rows_are_taken_through_every_level() {
        let (field, arrays) = column();
        let column = Nested::new(field.fields(), &arrays);
        let taken = column.take(&[Some(3), Some(1), None, Some(0), Some(3)]).unwrap();
        assert_eq!((taken.len(), taken[0].length, taken[0].null_count), (4, 5, 2));
        let lists = Nested::new(field.fields(), &taken).lists().unwrap();
        let ranges: Vec<_> = (0..5).map(|row| lists.get(row)).collect();
        assert_eq!(ranges, [Some(0..1), None, None, Some(1..3), Some(3..4)]);
        let children = lists.elements.children();
        let (Any::Int16(numbers), Any::Text(texts)) =
            (children[0].view().unwrap(), children[1].view().unwrap())
        else {
            panic!("int16 and text")
        };
        assert_eq!(numbers.iter().collect::<Vec<_>>(), [Some(3), Some(1), None, Some(3)]);
        assert_eq!(texts.iter().collect::<Vec<_>>(), [Some("c"), Some("a"), Some("b"), Some("c")]);
        // A null struct has a value where its member may hold no null.
        let taken = lists.elements.take(&[None, Some(0)]).unwrap();
        assert_eq!(taken.iter().map(|array| array.null_count).collect::<Vec<_>>(), [1, 1, 0]);
        assert!(column.take(&[Some(4)]).is_err());
        assert_eq!(column.take(&[Some(0), Some(1), Some(2), Some(3)]).unwrap()[0].buffers, arrays[0].buffers);
    }

    #[test]
    fn bits_fixed_lists_and_nulls_are_taken() {
        let mut flags = Builder::<bool>::new();
        for flag in [Some(true), Some(false), None, Some(true), Some(true), Some(false)] {
            flags.push_option(flag);
        }
        let item = ColumnField::new("item", DataType::Boolean, true);
        let field = ColumnField::nested("pairs", DataType::FixedSizeList(2), true, [item]);
        let arrays = vec![validity_array(&[true; 3], Vec::new()), flags.finish().unwrap()];
        let taken = Nested::new(field.fields(), &arrays).take(&[Some(2), None, Some(1)]).unwrap();
        assert_eq!((taken[0].null_count, taken[1].length, taken[1].null_count), (1, 6, 3));
        let Any::Bool(flags) = column::view(&field.fields()[1..], &taken[1..]).unwrap() else {
            panic!("bool")
        };
        let expected = [Some(true), Some(false), None, None, None, Some(true)];
        assert_eq!(flags.iter().collect::<Vec<_>>(), expected);
        let nothing = ColumnField::new("nothing", DataType::Null, true);
        let arrays = [Array { length: 2, null_count: 2, buffers: vec![Vec::new()] }];
        let taken = Nested::new(nothing.fields(), &arrays).take(&[Some(1), None, Some(0)]).unwrap();
        assert_eq!((taken[0].length, taken[0].null_count), (3, 3));
    }
}
