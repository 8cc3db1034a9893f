//! One condition, made ranges or byte strings when the stage is bound, so that little is left for each batch.

use std::ops::BitXor;

use pipe_stage::{Any, Bools, ColumnField, DataType, Error, Json, Mask, Primitive, Result, Strings, bail};
use serde::Deserialize;

use crate::constant::{Constant, constant};

/// How a column is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
#[expect(missing_docs, reason = "each is its name in the configuration")]
pub enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
    Contains,
    StartsWith,
    EndsWith,
    IsNull,
    IsNotNull,
}

impl TryFrom<String> for Op {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        Ok(match name.as_str() {
            "eq" | "==" => Self::Eq,
            "ne" | "!=" => Self::Ne,
            "lt" | "<" => Self::Lt,
            "le" | "<=" => Self::Le,
            "gt" | ">" => Self::Gt,
            "ge" | ">=" => Self::Ge,
            "in" => Self::In,
            "not_in" => Self::NotIn,
            "contains" => Self::Contains,
            "starts_with" => Self::StartsWith,
            "ends_with" => Self::EndsWith,
            "is_null" => Self::IsNull,
            "is_not_null" => Self::IsNotNull,
            _ => bail!(
                "`{name}` is none of eq, ne, lt, le, gt, ge (or \"==\", \"!=\", \"<\", \"<=\", \">\", \">=\", in quotes), \
                 in, not_in, contains, starts_with, ends_with, is_null, is_not_null"
            ),
        })
    }
}

/// A condition that fits its column.
#[derive(Debug, Clone)]
pub struct Test {
    op: Op,
    against: Against,
}

/// What the column is compared with.
#[derive(Debug, Clone)]
enum Against {
    /// Nothing: a test of null.
    Null,
    Bools(Vec<bool>),
    /// Closed ranges, of which one must hold the value. Of an unsigned type all are moved down by half the type,
    /// so that its values are compared as signed ones: SIMD has no other order for 64 bits.
    Ints(Vec<(i64, i64)>),
    /// Closed ranges; no NaN is in any.
    Floats(Vec<(f64, f64)>),
    /// Closed ranges of digits at the column's scale.
    Decimals(Vec<(i128, i128)>),
    Bytes(Vec<Vec<u8>>),
    /// The words of a dictionary.
    Words(Box<Test>),
}

impl Test {
    /// Checks the operation and the value against the column.
    pub fn new(field: &ColumnField, op: Op, value: Option<&Json>) -> Result<Self> {
        let name = field.name();
        if let (DataType::Dictionary(_), Some(words)) =
            (field.data_type(), field.children().into_iter().next())
        {
            let words = Self::new(&words.renamed(name), op, value)?;
            return Ok(Self { op, against: Against::Words(Box::new(words)) });
        }
        let mut constants = Vec::new();
        match (op, value) {
            (Op::IsNull | Op::IsNotNull, None) => return Ok(Self { op, against: Against::Null }),
            (Op::IsNull | Op::IsNotNull, Some(_)) => {
                bail!("column `{name}`: a test of null takes no `value`")
            }
            (_, None | Some(Json::Null)) => {
                bail!("column `{name}`: a `value` is needed (for nulls: `is_null`)")
            }
            (Op::In | Op::NotIn, Some(Json::List(values))) if !values.is_empty() => {
                for value in values {
                    constants.push(constant(field, value)?);
                }
            }
            (Op::In | Op::NotIn, Some(_)) => bail!("column `{name}`: `value` must be a list of at least one"),
            (_, Some(value)) => constants.push(constant(field, value)?),
        }
        use DataType::{Binary, Boolean, FixedSizeBinary, LargeBinary, LargeUtf8, Utf8};
        let text = matches!(field.data_type(), Utf8 | LargeUtf8 | Binary | LargeBinary | FixedSizeBinary(_));
        match op {
            Op::Contains | Op::StartsWith | Op::EndsWith if !text => {
                bail!("column `{name}` is {}; this operation is for text", field.type_name())
            }
            Op::Lt | Op::Le | Op::Gt | Op::Ge if matches!(field.data_type(), Boolean) => {
                bail!("column `{name}` is bool, which has no order")
            }
            _ => Ok(Self { op, against: against(field.data_type(), op, constants)? }),
        }
    }

    /// The rows that pass. A null passes `is_null` only.
    pub fn run(&self, column: &Any<'_>, len: usize) -> Result<Mask> {
        if let (Against::Words(test), Any::Dictionary(dictionary)) = (&self.against, column) {
            // Each word is compared once, however many rows have it.
            let passed = test.run(&dictionary.words.view()?, dictionary.words.len())?;
            let null = self.op == Op::IsNull;
            return Ok(Mask::from_fn(len, |row| dictionary.get(row).map_or(null, |word| passed.get(word))));
        }
        let valid = column.valid(len);
        let negated = matches!(self.op, Op::Ne | Op::NotIn);
        let mut mask = match (&self.against, column) {
            (Against::Null, _) => {
                let mut mask = valid;
                if self.op == Op::IsNull {
                    mask.invert();
                }
                return Ok(mask);
            }
            (Against::Bools(list), Any::Bool(v)) => bools(v, list),
            (Against::Ints(ranges), column) => integers(column, ranges)?,
            (Against::Floats(ranges), Any::Float32(v)) => within_floats(v.values(), ranges, |x| x as f32),
            (Against::Floats(ranges), Any::Float64(v)) => within_floats(v.values(), ranges, |x| x),
            (Against::Decimals(ranges), Any::Decimal(v, _)) => {
                within_decimals(v.values(), ranges, |v| (v >> 127, v as u128))
            }
            (Against::Decimals(ranges), Any::Decimal256(v, _)) => within_decimals(v.values(), ranges, wide),
            (Against::Bytes(list), Any::Text(v)) => self.strings(&v.as_bytes(), list),
            (Against::Bytes(list), Any::Bytes(v)) => self.strings(v, list),
            _ => return Err(misfit()),
        };
        if negated {
            mask.invert();
        }
        mask.and(&valid);
        Ok(mask)
    }

    fn strings(&self, column: &Strings<'_, [u8]>, list: &[Vec<u8>]) -> Mask {
        let x = list.first().map(Vec::as_slice).unwrap_or_default();
        let op = self.op;
        // One loop for all operations: asking for the operation costs far less than a comparison of strings.
        column.mask_bytes(|v| match op {
            Op::Lt => v < x,
            Op::Le => v <= x,
            Op::Gt => v > x,
            Op::Ge => v >= x,
            Op::Contains => contains(v, x),
            Op::StartsWith => v.starts_with(x),
            Op::EndsWith => v.ends_with(x),
            _ => list.iter().any(|x| v == x),
        })
    }
}

/// The comparison in the form in which it is made.
fn against(data_type: &DataType, op: Op, constants: Vec<Constant>) -> Result<Against> {
    // Checked by `constant`: all are of one kind.
    match constants.first() {
        Some(Constant::Bool(_)) => {
            let bools = constants.iter().map(|constant| matches!(constant, Constant::Bool(true)));
            Ok(Against::Bools(bools.collect()))
        }
        Some(Constant::Int(_)) => {
            let (least, greatest, moved) = bounds(data_type);
            let mut ranges = Vec::new();
            for constant in &constants {
                let Constant::Int(x) = constant else { return Err(misfit()) };
                let (low, high) = match op {
                    Op::Lt => (least, x - 1),
                    Op::Le => (least, *x),
                    Op::Gt => (x + 1, greatest),
                    Op::Ge => (*x, greatest),
                    _ => (*x, *x),
                };
                // Beyond an end of the type there is nothing: such a range is left out.
                if low <= high {
                    ranges.push(((low - moved) as i64, (high - moved) as i64));
                }
            }
            Ok(Against::Ints(ranges))
        }
        Some(Constant::Decimal(_)) => {
            let mut ranges = Vec::new();
            for constant in &constants {
                // Of at most 38 digits, so that each has neighbours.
                let Constant::Decimal(x) = constant else { return Err(misfit()) };
                ranges.push(match op {
                    Op::Lt => (i128::MIN, x - 1),
                    Op::Le => (i128::MIN, *x),
                    Op::Gt => (x + 1, i128::MAX),
                    Op::Ge => (*x, i128::MAX),
                    _ => (*x, *x),
                });
            }
            Ok(Against::Decimals(ranges))
        }
        Some(Constant::Float(_)) => {
            let narrow = matches!(data_type, DataType::Float32);
            let mut ranges = Vec::new();
            for constant in &constants {
                let Constant::Float(x) = constant else { return Err(misfit()) };
                // The neighbours are those of the column's own type.
                let (x, below, above) = if narrow {
                    let x = *x as f32;
                    (x.into(), x.next_down().into(), x.next_up().into())
                } else {
                    (*x, x.next_down(), x.next_up())
                };
                let (low, high) = match op {
                    Op::Lt if x == f64::NEG_INFINITY => continue,
                    Op::Gt if x == f64::INFINITY => continue,
                    Op::Lt => (f64::NEG_INFINITY, below),
                    Op::Le => (f64::NEG_INFINITY, x),
                    Op::Gt => (above, f64::INFINITY),
                    Op::Ge => (x, f64::INFINITY),
                    _ => (x, x),
                };
                ranges.push((low, high));
            }
            Ok(Against::Floats(ranges))
        }
        Some(Constant::Bytes(_)) => {
            let bytes = |constant| if let Constant::Bytes(bytes) = constant { bytes } else { Vec::new() };
            Ok(Against::Bytes(constants.into_iter().map(bytes).collect()))
        }
        None => Err(misfit()),
    }
}

/// The least and the greatest value of a type that is compared as integers, and how far its ranges are moved down.
fn bounds(data_type: &DataType) -> (i128, i128, i128) {
    use DataType as T;
    let (bits, signed) = match data_type {
        T::Int8 => (8, true),
        T::Int16 => (16, true),
        T::Int32 | T::Date32 | T::Time32(_) => (32, true),
        T::Uint8 => (8, false),
        T::Uint16 => (16, false),
        T::Uint32 => (32, false),
        T::Uint64 => (64, false),
        _ => (64, true),
    };
    let half = 1i128 << (bits - 1);
    if signed { (-half, half - 1, 0) } else { (0, 2 * half - 1, half) }
}

fn bools(column: &Bools<'_>, list: &[bool]) -> Mask {
    let mut mask = match (list.contains(&true), list.contains(&false)) {
        (true, true) => Mask::all(column.len()),
        (false, false) => Mask::none(column.len()),
        _ => column.to_mask(),
    };
    if list.contains(&false) && !list.contains(&true) {
        mask.invert();
    }
    mask
}

/// One loop for each width, whether the type is signed or not: flipping the first bit turns one order into the other.
fn integers(column: &Any<'_>, ranges: &[(i64, i64)]) -> Result<Mask> {
    use bytemuck::cast_slice;
    Ok(match column {
        Any::Int8(v) => within(v.values(), ranges, |x| x as i8, 0),
        Any::Uint8(v) => within(cast_slice(v.values()), ranges, |x| x as i8, i8::MIN),
        Any::Int16(v) => within(v.values(), ranges, |x| x as i16, 0),
        Any::Uint16(v) => within(cast_slice(v.values()), ranges, |x| x as i16, i16::MIN),
        Any::Int32(v) | Any::Date32(v) | Any::Time32(v, _) => within(v.values(), ranges, |x| x as i32, 0),
        Any::Uint32(v) => within(cast_slice(v.values()), ranges, |x| x as i32, i32::MIN),
        Any::Int64(v) | Any::Date64(v) | Any::Time64(v, _) | Any::Timestamp(v, _) | Any::Duration(v, _) => {
            within(v.values(), ranges, |x| x, 0)
        }
        Any::Uint64(v) => within(cast_slice(v.values()), ranges, |x| x, i64::MIN),
        _ => return Err(misfit()),
    })
}

/// The rows whose value lies in one of the ranges.
#[inline(never)]
fn within<T: Primitive + BitXor<Output = T>>(
    values: &[T],
    ranges: &[(i64, i64)],
    of: fn(i64) -> T,
    flip: T,
) -> Mask {
    union(values.len(), ranges, |&(low, high)| {
        let (low, high) = (of(low), of(high));
        Mask::from_values(values, |v| {
            let v = v ^ flip;
            (v >= low) & (v <= high)
        })
    })
}

/// The same for floats.
#[inline(never)]
fn within_floats<T: Primitive>(values: &[T], ranges: &[(f64, f64)], of: fn(f64) -> T) -> Mask {
    union(values.len(), ranges, |&(low, high)| {
        let (low, high) = (of(low), of(high));
        Mask::from_values(values, |v| (v >= low) & (v <= high))
    })
}

/// The same for decimals of either width, whose upper and lower 128 bits are given in their order.
#[inline(never)]
fn within_decimals<T: Primitive>(values: &[T], ranges: &[(i128, i128)], of: fn(T) -> (i128, u128)) -> Mask {
    // What the upper half is of a number that the lower one holds.
    let ends = |end: i128| (end >> 127, end as u128);
    union(values.len(), ranges, |&(low, high)| {
        // A range that goes to an end of `i128` goes to the end of every decimal.
        let low = if low == i128::MIN { (i128::MIN, 0) } else { ends(low) };
        let high = if high == i128::MAX { (i128::MAX, u128::MAX) } else { ends(high) };
        Mask::from_values(values, |v| {
            let v = of(v);
            (v >= low) & (v <= high)
        })
    })
}

/// The halves of 256 bits, of which the lowest 64 come first.
fn wide([a, b, c, d]: [u64; 4]) -> (i128, u128) {
    let half = |low: u64, high: u64| u128::from(high) << 64 | u128::from(low);
    (half(c, d) as i128, half(a, b))
}

/// The rows that are in the mask of any range. A list costs a pass each, which is still faster than a search a row.
#[inline]
fn union<R>(len: usize, ranges: &[R], mask: impl Fn(&R) -> Mask) -> Mask {
    let mut found: Option<Mask> = None;
    for range in ranges {
        let mask = mask(range);
        match &mut found {
            None => found = Some(mask),
            Some(found) => found.or(&mask),
        }
    }
    found.unwrap_or_else(|| Mask::none(len))
}

/// Whether a byte string contains another; an empty one is in all.
fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

/// `Test::new` has checked what this would say, so it is an error of ours.
#[cold]
fn misfit() -> Error {
    Error::new("a condition does not fit its column")
}
