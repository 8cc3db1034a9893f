//! One condition, specialised by type and operation outside the loop over the rows.

use pipe_stage::{Any, Bools, ColumnField, DataType, Error, Mask, Primitive, Result, Strings, Values, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::constant::{Constant, constant};

/// How a column is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// A condition that fits its column.
#[derive(Debug, Clone)]
pub struct Test {
    op: Op,
    /// What is compared with: one, or the list of `in`; none for the tests of null.
    constants: Vec<Constant>,
}

impl Test {
    /// Checks the operation and the value against the column.
    pub fn new(field: &ColumnField, op: Op, value: Option<&Value>) -> Result<Self> {
        let name = field.name();
        let constants = match (op, value) {
            (Op::IsNull | Op::IsNotNull, None) => Vec::new(),
            (Op::IsNull | Op::IsNotNull, Some(_)) => bail!("column `{name}`: a test of null takes no `value`"),
            (_, None | Some(Value::Null)) => bail!("column `{name}`: a `value` is needed (for nulls: `is_null`)"),
            (Op::In | Op::NotIn, Some(Value::Array(values))) if !values.is_empty() => {
                values.iter().map(|value| constant(field, value)).collect::<Result<_>>()?
            }
            (Op::In | Op::NotIn, Some(_)) => bail!("column `{name}`: `value` must be a list of at least one"),
            (_, Some(value)) => vec![constant(field, value)?],
        };
        use DataType::{Binary, Boolean, FixedSizeBinary, LargeBinary, LargeUtf8, Utf8};
        let text = matches!(field.data_type(), Utf8 | LargeUtf8 | Binary | LargeBinary | FixedSizeBinary(_));
        match op {
            Op::Contains | Op::StartsWith | Op::EndsWith if !text => {
                bail!("column `{name}` is {}; this operation is for text", field.type_name())
            }
            Op::Lt | Op::Le | Op::Gt | Op::Ge if matches!(field.data_type(), Boolean) => {
                bail!("column `{name}` is bool, which has no order")
            }
            _ => Ok(Self { op, constants }),
        }
    }

    /// The rows that pass. A null passes `is_null` only.
    pub fn run(&self, column: &Any<'_>, len: usize) -> Result<Mask> {
        if matches!(self.op, Op::IsNull | Op::IsNotNull) {
            let mut mask = column.valid(len);
            if self.op == Op::IsNull {
                mask.invert();
            }
            return Ok(mask);
        }
        match column {
            Any::Bool(v) => self.bools(v),
            Any::Int8(v) => self.integers(v),
            Any::Int16(v) => self.integers(v),
            Any::Int32(v) | Any::Date32(v) | Any::Time32(v, _) => self.integers(v),
            Any::Int64(v) | Any::Date64(v) | Any::Time64(v, _) | Any::Timestamp(v, _) | Any::Duration(v, _) => {
                self.integers(v)
            }
            Any::Uint8(v) => self.integers(v),
            Any::Uint16(v) => self.integers(v),
            Any::Uint32(v) => self.integers(v),
            Any::Uint64(v) => self.integers(v),
            Any::Float32(v) => self.floats(v, |x| x as f32),
            Any::Float64(v) => self.floats(v, |x| x),
            Any::Text(v) => self.strings(&v.as_bytes()),
            Any::Bytes(v) => self.strings(v),
            Any::Null | Any::Other(_) => Err(misfit()),
        }
    }

    fn bools(&self, column: &Bools<'_>) -> Result<Mask> {
        let list = self.constants(|c| if let Constant::Bool(b) = c { Some(*b) } else { None })?;
        let negated = matches!(self.op, Op::Ne | Op::NotIn);
        let keeps = |value| list.contains(&value) != negated;
        let mut mask = match (keeps(true), keeps(false)) {
            (true, true) => Mask::all(column.len()),
            (false, false) => Mask::none(column.len()),
            (true, false) => column.to_mask(),
            (false, true) => {
                let mut mask = column.to_mask();
                mask.invert();
                mask
            }
        };
        mask.and(&column.validity().to_mask(column.len()));
        Ok(mask)
    }

    fn integers<T: Bounds + TryFrom<i128>>(&self, column: &Values<'_, T>) -> Result<Mask> {
        let list = self.constants(|c| if let Constant::Int(i) = c { T::try_from(*i).ok() } else { None })?;
        self.numbers(column, &list)
    }

    fn floats<T: Bounds>(&self, column: &Values<'_, T>, narrow: impl Fn(f64) -> T) -> Result<Mask> {
        let list = self.constants(|c| if let Constant::Float(x) = c { Some(narrow(*x)) } else { None })?;
        self.numbers(column, &list)
    }

    /// Every comparison is one question, whether the value lies in a closed range, so that each type has one
    /// vectorised loop and the component stays small.
    fn numbers<T: Bounds>(&self, column: &Values<'_, T>, list: &[T]) -> Result<Mask> {
        let &[x, ..] = list else { return Err(misfit()) };
        let range = match self.op {
            Op::Eq | Op::Ne => Some((x, x)),
            Op::Le => Some((T::LEAST, x)),
            Op::Ge => Some((x, T::GREATEST)),
            Op::Lt => x.below().map(|below| (T::LEAST, below)),
            Op::Gt => x.above().map(|above| (above, T::GREATEST)),
            Op::In | Op::NotIn => None,
            _ => return Err(misfit()),
        };
        let mut mask = match (range, self.op) {
            (Some((low, high)), _) => column.mask(|v| (v >= low) & (v <= high)),
            (None, Op::In | Op::NotIn) => Mask::from_fn(column.len(), |row| list.contains(&column.values()[row])),
            // Nothing lies beyond the end of the type.
            (None, _) => Mask::none(column.len()),
        };
        if matches!(self.op, Op::Ne | Op::NotIn) {
            mask.invert();
        }
        mask.and(&column.validity().to_mask(column.len()));
        Ok(mask)
    }

    fn strings(&self, column: &Strings<'_, [u8]>) -> Result<Mask> {
        let list = self.constants(|c| if let Constant::Bytes(b) = c { Some(b.as_slice()) } else { None })?;
        let &[x, ..] = list.as_slice() else { return Err(misfit()) };
        Ok(match self.op {
            Op::Eq => column.mask_bytes(|v| v == x),
            Op::Ne => column.mask_bytes(|v| v != x),
            Op::Lt => column.mask_bytes(|v| v < x),
            Op::Le => column.mask_bytes(|v| v <= x),
            Op::Gt => column.mask_bytes(|v| v > x),
            Op::Ge => column.mask_bytes(|v| v >= x),
            Op::In => column.mask_bytes(|v| list.contains(&v)),
            Op::NotIn => column.mask_bytes(|v| !list.contains(&v)),
            Op::Contains => column.mask_bytes(|v| contains(v, x)),
            Op::StartsWith => column.mask_bytes(|v| v.starts_with(x)),
            Op::EndsWith => column.mask_bytes(|v| v.ends_with(x)),
            Op::IsNull | Op::IsNotNull => return Err(misfit()),
        })
    }

    fn constants<'c, T>(&'c self, read: impl Fn(&'c Constant) -> Option<T>) -> Result<Vec<T>> {
        self.constants.iter().map(|c| read(c).ok_or_else(misfit)).collect()
    }
}

/// A number's neighbours and the ends of its type.
trait Bounds: Primitive {
    /// Not above any number (nor, of the floats, any but NaN).
    const LEAST: Self;
    /// Not below any number.
    const GREATEST: Self;
    /// The next smaller value, if there is one.
    fn below(self) -> Option<Self>;
    /// The next greater value, if there is one.
    fn above(self) -> Option<Self>;
}

macro_rules! bounds {
    (int $($int:ty)*) => {$(
        impl Bounds for $int {
            const LEAST: Self = Self::MIN;
            const GREATEST: Self = Self::MAX;
            fn below(self) -> Option<Self> {
                self.checked_sub(1)
            }
            fn above(self) -> Option<Self> {
                self.checked_add(1)
            }
        }
    )*};
    (float $($float:ty)*) => {$(
        impl Bounds for $float {
            const LEAST: Self = Self::NEG_INFINITY;
            const GREATEST: Self = Self::INFINITY;
            fn below(self) -> Option<Self> {
                (self > Self::NEG_INFINITY).then(|| self.next_down())
            }
            fn above(self) -> Option<Self> {
                (self < Self::INFINITY).then(|| self.next_up())
            }
        }
    )*};
}

bounds! { int i8 i16 i32 i64 u8 u16 u32 u64 }
bounds! { float f32 f64 }

/// Whether a byte string contains another; an empty one is in all.
fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

/// `Test::new` has checked what this would say, so it is an error of ours.
#[cold]
fn misfit() -> Error {
    Error::new("a condition does not fit its column")
}
