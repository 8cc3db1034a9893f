//! Bitmaps: validity of an input column, and the selection of rows.

/// The validity of a column: a set bit is a value, a clear one a null.
#[derive(Debug, Clone, Copy)]
pub struct Validity<'a> {
    /// Least significant bit first; empty when there are no nulls.
    bytes: &'a [u8],
}

impl<'a> Validity<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Whether there are no nulls.
    #[inline]
    pub fn all(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the row holds a value.
    #[inline]
    pub fn is_valid(&self, row: usize) -> bool {
        self.bytes.is_empty() || self.bytes.get(row / 8).is_some_and(|byte| byte >> (row % 8) & 1 == 1)
    }

    /// The validity as a mask of `len` rows.
    pub fn to_mask(&self, len: usize) -> Mask {
        if self.bytes.is_empty() { Mask::all(len) } else { Mask::from_bytes(self.bytes, len) }
    }
}

/// One bit a row: which rows a port emits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// Bits past the end are zero.
    words: Vec<u64>,
    len: usize,
}

impl Mask {
    /// Every row.
    pub fn all(len: usize) -> Self {
        let mut mask = Self { words: vec![u64::MAX; len.div_ceil(64)], len };
        mask.clear_tail();
        mask
    }

    /// No row.
    pub fn none(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    /// The bits of a bitmap, least significant first; missing bytes are zero.
    pub fn from_bytes(bytes: &[u8], len: usize) -> Self {
        let mut mask = Self::none(len);
        for (word, chunk) in mask.words.iter_mut().zip(bytes.chunks(8)) {
            let mut eight = [0; 8];
            eight[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_le_bytes(eight);
        }
        mask.clear_tail();
        mask
    }

    /// The rows of which `keep` is true.
    #[inline]
    pub fn from_fn(len: usize, mut keep: impl FnMut(usize) -> bool) -> Self {
        let mut mask = Self::none(len);
        for (word, base) in mask.words.iter_mut().zip((0..len).step_by(64)) {
            for bit in 0..(len - base).min(64) {
                *word |= u64::from(keep(base + bit)) << bit;
            }
        }
        mask
    }

    /// The rows of whose value `keep` is true. The loop has no branch and is vectorised: 64 comparisons into bytes,
    /// then eight multiplications that gather the bits.
    #[inline]
    pub fn from_values<T: Copy>(values: &[T], keep: impl Fn(T) -> bool) -> Self {
        let mut words = Vec::with_capacity(values.len().div_ceil(64));
        let mut chunks = values.chunks_exact(64);
        for chunk in &mut chunks {
            let mut bytes = [0u8; 64];
            for (byte, &value) in bytes.iter_mut().zip(chunk) {
                *byte = u8::from(keep(value));
            }
            let mut word = 0u64;
            for (i, eight) in bytes.chunks_exact(8).enumerate() {
                let mut lane = [0; 8];
                lane.copy_from_slice(eight);
                // Each byte is 0 or 1; the product's top byte collects them in order, without carries.
                let bits = u64::from_le_bytes(lane).wrapping_mul(0x0102_0408_1020_4080) >> 56;
                word |= bits << (i * 8);
            }
            words.push(word);
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            words.push(rest.iter().enumerate().fold(0, |word, (i, &v)| word | u64::from(keep(v)) << i));
        }
        Self { words, len: values.len() }
    }

    /// Number of rows.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it is of no rows at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of rows that are set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether the row is set; rows past the end are not.
    #[inline]
    pub fn get(&self, row: usize) -> bool {
        self.words.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// Sets or clears a row; one past the end is ignored.
    #[inline]
    pub fn set(&mut self, row: usize, value: bool) {
        if row < self.len {
            let bit = 1 << (row % 64);
            let word = &mut self.words[row / 64];
            *word = if value { *word | bit } else { *word & !bit };
        }
    }

    /// Keeps the rows that are set in both; masks of different lengths agree on the shorter.
    pub fn and(&mut self, other: &Self) {
        for (i, word) in self.words.iter_mut().enumerate() {
            *word &= other.words.get(i).copied().unwrap_or(0);
        }
    }

    /// Keeps the rows that are set in either.
    pub fn or(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
        self.clear_tail();
    }

    /// Removes the rows that are set in `other`.
    pub fn and_not(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= !other;
        }
    }

    /// Turns every row over.
    pub fn invert(&mut self) {
        for word in &mut self.words {
            *word = !*word;
        }
        self.clear_tail();
    }

    /// The rows that are set, in order.
    pub fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(i, &word)| {
            let mut word = word;
            std::iter::from_fn(move || {
                (word != 0).then(|| {
                    let bit = word.trailing_zeros() as usize;
                    word &= word - 1;
                    i * 64 + bit
                })
            })
        })
    }

    /// The bitmap: exactly `ceil(len / 8)` bytes, unused bits zero.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.words.len() * 8);
        for word in &self.words {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.truncate(self.len.div_ceil(8));
        bytes
    }

    fn clear_tail(&mut self) {
        let used = self.len % 64;
        if used > 0
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << used) - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_making_a_mask_agrees_at_every_length() {
        for len in (0..300).chain([8_191, 8_192, 8_193]) {
            let values: Vec<u32> = (0..len as u32).map(|i| i.wrapping_mul(2_654_435_761) >> 7).collect();
            let keep = |v: u32| v.is_multiple_of(3) || v.is_multiple_of(7);
            let by_values = Mask::from_values(&values, keep);
            let by_rows = Mask::from_fn(len, |row| keep(values[row]));
            assert_eq!(by_values, by_rows, "{len}");
            assert_eq!(by_values.to_bytes().len(), len.div_ceil(8));
            assert_eq!(Mask::from_bytes(&by_values.to_bytes(), len), by_values);
            let rows: Vec<usize> = by_values.rows().collect();
            let expected: Vec<usize> = (0..len).filter(|&row| keep(values[row])).collect();
            assert_eq!(rows, expected);
            assert_eq!(by_values.count(), expected.len());
            let mut turned = by_values.clone();
            turned.invert();
            assert_eq!(turned.count(), len - expected.len());
            turned.or(&by_values);
            assert_eq!(turned, Mask::all(len));
            turned.and_not(&by_values);
            turned.and(&by_values);
            assert_eq!(turned, Mask::none(len));
        }
    }

    #[test]
    fn bits_past_the_end_are_never_set() {
        let mut mask = Mask::none(10);
        mask.set(9, true);
        mask.set(10, true);
        assert_eq!(mask.to_bytes(), [0, 2]);
        assert!(!mask.get(64));
        assert_eq!(Mask::from_bytes(&[0xff, 0xff, 0xff], 10).to_bytes(), [0xff, 3]);
    }

    #[test]
    fn validity_without_a_bitmap_is_all() {
        assert!(Validity::new(&[]).is_valid(1_000));
        let some = Validity::new(&[0b101]);
        assert!(some.is_valid(0) && !some.is_valid(1) && some.is_valid(2) && !some.is_valid(8));
        assert_eq!(some.to_mask(3).count(), 2);
    }
}
