//! What the fuzz targets (`tests/fuzz`) need of the host's insides: bytes to what a guest might answer, and the laws
//! that whatever is accepted must keep.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Field, Schema};

use super::wit::exports::pipe::stage::transform as wit;
use super::wit::pipe::stage::arrow::{self as types, ArrayResult};
use super::{bind, declared, lift, select};
use crate::units::SCHEMA_DEPTH_MAX;

/// Reads an input from its front; zeros follow its end.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// Mostly small, sometimes anything.
    fn u32(&mut self) -> u32 {
        match self.u8() {
            255 => self.take(4).iter().fold(0, |n, byte| n << 8 | u32::from(*byte)),
            small => u32::from(small),
        }
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        front
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = self.u8() as usize;
        self.take(len)
    }

    fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// So many bytes exactly, zeros behind the end.
    fn exactly(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = self.take(len).to_vec();
        bytes.resize(len, 0);
        bytes
    }
}

fn unit(n: u8) -> types::TimeUnit {
    use types::TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    [Second, Millisecond, Microsecond, Nanosecond][n as usize % 4]
}

fn data_type(input: &mut Bytes<'_>) -> types::DataTypeResult {
    use types::DataTypeResult as T;
    let keys = {
        use types::IndexType::{Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64};
        [Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64]
    };
    match input.u8() % 33 {
        0 => T::Null,
        1 => T::Boolean,
        2 => T::Int8,
        3 => T::Int16,
        4 => T::Int32,
        5 => T::Int64,
        6 => T::Uint8,
        7 => T::Uint16,
        8 => T::Uint32,
        9 => T::Uint64,
        10 => T::Float16,
        11 => T::Float32,
        12 => T::Float64,
        13 => T::Utf8,
        14 => T::LargeUtf8,
        15 => T::Binary,
        16 => T::LargeBinary,
        17 => T::FixedSizeBinary(input.u32()),
        18 => T::Date32,
        19 => T::Date64,
        20 => T::Time32(unit(input.u8())),
        21 => T::Time64(unit(input.u8())),
        22 => {
            let unit = unit(input.u8());
            let timezone = (input.u8() % 2 == 1).then(|| input.text());
            T::Timestamp(types::TimestampTypeResult { unit, timezone })
        }
        23 => T::Duration(unit(input.u8())),
        24 => T::Decimal128(types::DecimalType { precision: input.u8(), scale: input.u8() as i8 }),
        25 => T::Decimal256(types::DecimalType { precision: input.u8(), scale: input.u8() as i8 }),
        26 => T::List,
        27 => T::LargeList,
        28 => T::FixedSizeList(input.u32()),
        29 => T::Struct,
        30 => T::Map,
        _ => {
            let keys = keys[input.u8() as usize % 8];
            T::Dictionary(types::DictionaryType { keys, ordered: input.u8() % 2 == 1 })
        }
    }
}

fn field(input: &mut Bytes<'_>) -> types::FieldResult {
    let data_type = data_type(input);
    let flags = input.u8();
    let children = match &data_type {
        // The right number more often than chance would have it.
        types::DataTypeResult::List
        | types::DataTypeResult::LargeList
        | types::DataTypeResult::FixedSizeList(_)
        | types::DataTypeResult::Map
        | types::DataTypeResult::Dictionary(_)
            if flags & 2 == 0 =>
        {
            1
        }
        types::DataTypeResult::Struct if flags & 2 == 0 => 2,
        _ if flags & 2 == 0 => 0,
        _ => input.u32(),
    };
    let metadata = (0..flags >> 6).map(|_| (input.text(), input.text())).collect();
    types::FieldResult { name: input.text(), data_type, nullable: flags & 1 == 0, children, metadata }
}

fn fields(input: &mut Bytes<'_>) -> Vec<types::FieldResult> {
    let mut fields = Vec::new();
    while !input.0.is_empty() && fields.len() < 6_000 && input.u8() % 8 != 0 {
        fields.push(field(input));
    }
    fields
}

fn depth(data_type: &DataType) -> usize {
    1 + match data_type {
        DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) | DataType::Map(f, _) => {
            depth(f.data_type())
        }
        DataType::Struct(fields) => fields.iter().map(|f| depth(f.data_type())).max().unwrap_or(0),
        DataType::Dictionary(_, values) => depth(values),
        _ => 0,
    }
}

/// The answer of `bind`: whatever is accepted is a schema that the next stage can be given.
pub fn binding(data: &[u8]) {
    let input = Schema::new(vec![
        Field::new("a", DataType::Int64, true),
        Field::new_list("b", Field::new_list_field(DataType::Utf8, true), true),
    ]);
    let bytes = &mut Bytes(data);
    let reads = (0..bytes.u8() % 4).map(|_| bytes.u32()).collect();
    let mut outputs = Vec::new();
    while !bytes.0.is_empty() && outputs.len() < 300 {
        let name = bytes.text();
        let mut columns = Vec::new();
        while !bytes.0.is_empty() && columns.len() < 300 {
            columns.push(match bytes.u8() % 4 {
                0 => break,
                1 => {
                    let (index, name) = (bytes.u32(), (bytes.u8() % 2 == 1).then(|| bytes.text()));
                    wit::OutputColumn::Passed(wit::Passed { index, name })
                }
                _ => wit::OutputColumn::Computed(fields(bytes)),
            });
        }
        outputs.push(wit::Output { name, columns });
    }
    for schema in bind::fuzz(wit::Binding { reads, outputs }, &input) {
        for field in schema.fields() {
            assert!(depth(field.data_type()) <= SCHEMA_DEPTH_MAX, "{field}");
            assert!(super::types::crossing(field.data_type()).is_some(), "{field} cannot cross");
        }
        if let Err(e) = super::types::Lowered::new(&schema) {
            assert!(e.contains("more than"), "{e}");
        }
    }
}

/// An array of a type: each buffer of the size that it should have, unless the input says otherwise.
fn arrays(ty: &DataType, rows: usize, input: &mut Bytes<'_>, out: &mut Vec<ArrayResult>) {
    if out.len() > 64 {
        return;
    }
    let flags = input.u8();
    let bitmap = |input: &mut Bytes<'_>| {
        let mut bits = input.exactly(rows.div_ceil(8));
        match bits.last_mut() {
            Some(last) if !rows.is_multiple_of(8) && flags & 8 == 0 => *last &= (1 << (rows % 8)) - 1,
            _ => {}
        }
        bits
    };
    let mut buffers = vec![if flags & 1 == 1 { bitmap(input) } else { Vec::new() }];
    let nulls = if buffers[0].is_empty() { 0 } else { rows.saturating_sub(lift::ones(&buffers[0])) };
    let offsets = |width: usize, input: &mut Bytes<'_>| {
        let mut sum = 0u64;
        let mut bytes = Vec::new();
        for row in 0..=rows {
            sum += if row == 0 { u64::from(flags & 16 == 16) } else { u64::from(input.u8() % 5) };
            bytes.extend_from_slice(&sum.to_le_bytes()[..width]);
        }
        (bytes, sum as usize)
    };
    let mut children: Vec<(&DataType, usize)> = Vec::new();
    match ty {
        DataType::Null => buffers.truncate(usize::from(flags & 4 == 0)),
        DataType::Boolean => buffers.push(bitmap(input)),
        DataType::Utf8 | DataType::Binary | DataType::LargeUtf8 | DataType::LargeBinary => {
            let large = matches!(ty, DataType::LargeUtf8 | DataType::LargeBinary);
            let (bytes, used) = offsets(if large { 8 } else { 4 }, input);
            buffers.extend([bytes, input.exactly(used)]);
        }
        DataType::List(item) | DataType::Map(item, _) => {
            let (bytes, used) = offsets(4, input);
            buffers.push(bytes);
            children.push((item.data_type(), used));
        }
        DataType::LargeList(item) => {
            let (bytes, used) = offsets(8, input);
            buffers.push(bytes);
            children.push((item.data_type(), used));
        }
        DataType::FixedSizeList(item, n) => {
            children.push((item.data_type(), rows.saturating_mul(*n as usize)));
        }
        DataType::Struct(fields) => children.extend(fields.iter().map(|f| (f.data_type(), rows))),
        DataType::Dictionary(keys, values) => {
            buffers.push(input.exactly(rows * keys.primitive_width().unwrap_or(1)));
            children.push((values, input.u8() as usize % 9));
        }
        DataType::FixedSizeBinary(n) => buffers.push(input.exactly((rows * *n as usize).min(1 << 16))),
        plain => buffers.push(input.exactly(rows * plain.primitive_width().unwrap_or(1))),
    }
    let (mut length, mut null_count) = (rows as u32, nulls as u32);
    if flags & 0xe0 == 0xe0 {
        // One thing is wrong, at the input's choice.
        match input.u8() % 6 {
            0 => length = input.u32(),
            1 => null_count = input.u32(),
            2 => drop(buffers.pop()),
            3 => buffers.push(input.bytes().to_vec()),
            4 if !buffers.is_empty() => {
                let at = input.u8() as usize % buffers.len();
                buffers[at] = input.bytes().to_vec();
            }
            _ => children.clear(),
        }
    }
    out.push(ArrayResult { length, null_count, buffers });
    // What would not be read to its end anyway is not made.
    children.iter().for_each(|(ty, rows)| arrays(ty, (*rows).min(1 << 12), input, out));
}

/// Arrays for a declared column: whatever is accepted passes Arrow's own validation. Answers the accepted column with
/// its field.
pub fn lift(data: &[u8]) -> Option<(Field, ArrayRef)> {
    let input = &mut Bytes(data);
    let field = declared::field_from_wit(fields(input)).ok()?;
    let rows = input.u8() as usize % 40;
    let mut made = Vec::new();
    arrays(field.data_type(), rows, input, &mut made);
    let array = lift::column(&field, rows, &mut lift::Arrays::new(made, 1 << 16)).ok()?;
    assert_eq!(array.len(), rows);
    assert_eq!(array.data_type(), field.data_type());
    array.to_data().validate_full().unwrap_or_else(|e| panic!("accepted, and {e}"));
    assert!(field.is_nullable() || array.null_count() == 0, "nulls in {field}");
    selected(&array, input);
    Some((field, array))
}

/// A selection over a column: whatever is accepted has the rows that it says.
fn selected(array: &ArrayRef, input: &mut Bytes<'_>) {
    let rows = array.len();
    let selection = match input.u8() % 3 {
        0 => wit::Selection::EveryRow,
        1 => wit::Selection::Mask(input.bytes().to_vec()),
        _ => wit::Selection::Take((0..input.u8() % 16).map(|_| input.u32()).collect()),
    };
    let Ok((selection, count)) = select::selection(selection, rows) else { return };
    let mut budget = 1 << 20;
    if let Ok(column) = select::Selector::new(&selection, 2).apply(array, &mut budget) {
        assert_eq!(column.len(), count);
        column.to_data().validate_full().unwrap_or_else(|e| panic!("selected, and {e}"));
    }
}
