//! As much of Thrift's compact protocol as is needed to look at what a Parquet file says before its library does.

/// What is wrong with the bytes.
pub(super) type Read<T> = Result<T, &'static str>;

const SHORT: &str = "it ends within a value";
const DEEP: &str = "values within values go too deep";
const DEPTH_MAX: usize = 32;

/// A type as it stands before a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind(u8);

impl Kind {
    pub const STRUCT: Self = Self(12);
    pub const LIST: Self = Self(9);
    /// A flag within a struct that is not set.
    pub const FALSE: Self = Self(2);

    fn is_number(self) -> bool {
        matches!(self.0, 4..=6)
    }
}

/// Reads values from bytes.
pub(super) struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Thrift<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes that were read.
    pub fn at(&self) -> usize {
        self.at
    }

    fn byte(&mut self) -> Read<u8> {
        let byte = *self.bytes.get(self.at).ok_or(SHORT)?;
        self.at += 1;
        Ok(byte)
    }

    fn skip_bytes(&mut self, n: u64) -> Read<()> {
        let left = (self.bytes.len() - self.at) as u64;
        if n > left {
            return Err(SHORT);
        }
        self.at += n as usize;
        Ok(())
    }

    fn varint(&mut self) -> Read<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number of more than 64 bits")
    }

    /// A signed number.
    pub fn number(&mut self) -> Read<i64> {
        let raw = self.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// The next field of a struct whose last one had the number `last`: its number and type; `None` at the end.
    fn field(&mut self, last: i64) -> Read<Option<(i64, Kind)>> {
        let head = self.byte()?;
        if head == 0 {
            return Ok(None);
        }
        let delta = i64::from(head >> 4);
        let id = if delta == 0 { self.number()? } else { last + delta };
        Ok(Some((id, Kind(head & 0x0f))))
    }

    /// Calls `take` with each field of a struct; it returns false for what is to be skipped.
    pub fn each(&mut self, mut take: impl FnMut(&mut Self, i64, Kind) -> Read<bool>) -> Read<()> {
        let mut last = 0;
        while let Some((id, kind)) = self.field(last)? {
            last = id;
            if !take(self, id, kind)? {
                self.skip(kind, 0)?;
            }
        }
        Ok(())
    }

    /// A number of one of the integer types.
    pub fn expect_number(&mut self, kind: Kind) -> Read<i64> {
        if !kind.is_number() {
            return Err("a number was expected");
        }
        self.number()
    }

    /// Type and length of a list; each of its items has a byte at least.
    pub fn list(&mut self) -> Read<(Kind, u64)> {
        let head = self.byte()?;
        let length = match head >> 4 {
            15 => self.varint()?,
            short => u64::from(short),
        };
        if length > (self.bytes.len() - self.at) as u64 {
            return Err("a list is longer than the bytes that follow");
        }
        Ok((Kind(head & 0x0f), length))
    }

    fn skip(&mut self, kind: Kind, depth: usize) -> Read<()> {
        if depth > DEPTH_MAX {
            return Err(DEEP);
        }
        match kind.0 {
            // A flag within a struct lies in its type.
            1 | 2 => Ok(()),
            3 => self.skip_bytes(1),
            4..=6 => self.varint().map(|_| ()),
            7 => self.skip_bytes(8),
            8 => {
                let length = self.varint()?;
                self.skip_bytes(length)
            }
            9 | 10 => {
                let (kind, length) = self.list()?;
                (0..length).try_for_each(|_| self.skip_item(kind, depth + 1))
            }
            11 => {
                let length = self.varint()?;
                if length == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                (0..length).try_for_each(|_| {
                    self.skip_item(Kind(kinds >> 4), depth + 1)?;
                    self.skip_item(Kind(kinds & 0x0f), depth + 1)
                })
            }
            12 => {
                let mut last = 0;
                while let Some((id, kind)) = self.field(last)? {
                    last = id;
                    self.skip(kind, depth + 1)?;
                }
                Ok(())
            }
            13 => self.skip_bytes(16),
            _ => Err("a type that Thrift does not have"),
        }
    }

    /// An item of a list: a flag there has a byte.
    fn skip_item(&mut self, kind: Kind, depth: usize) -> Read<()> {
        if matches!(kind.0, 1 | 2) { self.skip_bytes(1) } else { self.skip(kind, depth) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_and_the_rest_is_skipped() {
        // 1: i32 -3; 2: list of 2 binaries; 5: flag; 8: struct { 1: double }; 9: map of one; 20: i64 300
        let bytes = [
            0x15, 0x05, 0x19, 0x28, 1, b'a', 0, 0x31, 0x3c, 0x17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x1b, 1, 0x88,
            1, b'k', 1, b'v', 0x06, 40, 0xd8, 0x04, 0,
        ];
        let mut found = Vec::new();
        let mut thrift = Thrift::new(&bytes);
        let read = thrift.each(|thrift, id, kind| {
            let taken = kind.is_number();
            found.push((id, if taken { Some(thrift.expect_number(kind)?) } else { None }));
            Ok(taken)
        });
        assert_eq!((read, thrift.at()), (Ok(()), bytes.len()));
        assert_eq!(found, [(1, Some(-3)), (2, None), (5, None), (8, None), (9, None), (20, Some(300))]);
        for end in 0..bytes.len() {
            assert!(Thrift::new(&bytes[..end]).each(|_, _, _| Ok(false)).is_err(), "{end}");
        }
    }

    #[test]
    fn lists_and_structs_without_end_are_refused() {
        assert!(Thrift::new(&[0xf9, 0xff, 0xff, 0xff, 0x7f]).list().is_err());
        let deep = [0x1c; 4_096];
        assert_eq!(Thrift::new(&deep).each(|_, _, _| Ok(false)), Err(DEEP));
        let maps = [0x1b, 0xff, 0xff, 0xff, 0xff, 0x0f, 0xbb];
        assert!(Thrift::new(&maps).each(|_, _, _| Ok(false)).is_err());
    }
}
