//! Bytes of a row on their way out: keys, numbers and texts, moved in whole blocks.

const BLOCK: usize = 16;
/// Texts of up to so many blocks are moved as that many.
const BLOCKS: usize = 4;
/// What is moved beyond the last byte of a row at most.
const SLACK: usize = BLOCK * BLOCKS;
/// No number is longer: the most that arrow-json's writer of floats asks for.
pub(super) const NUMBER_BYTES_MAX: usize = 64;
/// What a stage holds at first.
const STAGE_BYTES: usize = 32 << 10;

/// Bytes on their way out: small enough to stay in the processor's cache.
pub(super) struct Stage {
    bytes: Vec<u8>,
    pub(super) at: usize,
}

impl Default for Stage {
    fn default() -> Self {
        Self { bytes: vec![0; STAGE_BYTES], at: 0 }
    }
}

impl Stage {
    /// What was written since it was emptied.
    pub(super) fn written(&self) -> &[u8] {
        &self.bytes[..self.at]
    }

    pub(super) fn clear(&mut self) {
        self.at = 0;
        // A large row is not remembered.
        if self.bytes.len() > 8 * STAGE_BYTES {
            *self = Self::default();
        }
    }

    /// Whether it should be emptied between two rows.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.at >= STAGE_BYTES / 2
    }

    /// A pen that may write so many bytes.
    #[inline(always)]
    pub(super) fn pen(&mut self, bytes: usize) -> Pen<'_> {
        if self.bytes.len() - self.at < bytes + SLACK {
            self.grow(bytes);
        }
        Pen { bytes: &mut self.bytes, at: self.at }
    }

    #[cold]
    fn grow(&mut self, more: usize) {
        let len = (self.at + more + SLACK).max(2 * self.bytes.len());
        self.bytes.resize(len, 0);
    }

    pub(super) fn byte(&mut self, byte: u8) {
        let mut pen = self.pen(1);
        pen.put(byte);
        self.at = pen.at;
    }
}

/// Writes into a stage that has room enough. A value of its own, so that its place stays in a register: a place in the
/// stage would be read again after every byte that is written.
pub(super) struct Pen<'a> {
    pub(super) bytes: &'a mut [u8],
    pub(super) at: usize,
}

/// A key in blocks: `,"name":`.
pub(super) struct Key {
    first: [u8; BLOCK],
    more: Vec<[u8; BLOCK]>,
    pub(super) len: usize,
}

impl Key {
    /// That of a name, escaped. Errors: JSON cannot hold it, which no text is.
    pub(super) fn new(name: &str) -> serde_json::Result<Self> {
        let mut key = format!(",{}:", serde_json::to_string(name)?).into_bytes();
        let len = key.len();
        key.resize(len.next_multiple_of(BLOCK), 0);
        let mut blocks = key.as_chunks().0.iter().copied();
        Ok(Self { first: blocks.next().unwrap_or_default(), more: blocks.collect(), len })
    }
}

const ASCII: u64 = 0x3030_3030_3030_3030;

/// The eight digits of a number below 10^8, the first one in the lowest byte.
#[inline(always)]
fn eight(number: u32) -> u64 {
    // Halves, quarters and eighths, each remainder beside its quotient; the factors are 1/100 and 1/10 in fixed point.
    let halves = u64::from(number / 10_000) | (u64::from(number % 10_000) << 32);
    let hundreds = ((halves * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let pairs = hundreds | ((halves - hundreds * 100) << 16);
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((pairs - tens * 10) << 8)
}

impl Pen<'_> {
    #[inline(always)]
    pub(super) fn put(&mut self, byte: u8) {
        self.bytes[self.at] = byte;
        self.at += 1;
    }

    #[inline(always)]
    pub(super) fn all(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    /// The first `len` bytes of whole blocks.
    #[inline(always)]
    fn blocks(&mut self, blocks: &[[u8; BLOCK]], len: usize) {
        for (index, block) in blocks.iter().enumerate() {
            let at = self.at + index * BLOCK;
            self.bytes[at..at + BLOCK].copy_from_slice(block);
        }
        self.at += len;
    }

    #[inline(always)]
    pub(super) fn key(&mut self, key: &Key) {
        let end = self.at + key.len;
        self.blocks(std::slice::from_ref(&key.first), BLOCK);
        if !key.more.is_empty() {
            self.blocks(&key.more, 0);
        }
        self.at = end;
    }

    /// `len` bytes from `start` on; those behind them may be read.
    #[inline(always)]
    pub(super) fn part(&mut self, data: &[u8], start: usize, len: usize) {
        if len <= BLOCK
            && let Some(block) = data.get(start..).and_then(|rest| rest.first_chunk())
        {
            self.blocks(std::slice::from_ref(block), len);
        } else if len <= BLOCK * BLOCKS
            && let Some(blocks) = data.get(start..start + BLOCK * BLOCKS)
        {
            self.blocks(blocks.as_chunks().0, len);
        } else {
            self.all(&data[start..start + len]);
        }
    }

    /// Eight bytes, of which the first `len` count.
    #[inline(always)]
    fn word(&mut self, word: u64, len: usize) {
        self.bytes[self.at..self.at + 8].copy_from_slice(&word.to_le_bytes());
        self.at += len;
    }

    /// A number below 10^8 without zeros in front.
    #[inline(always)]
    fn short(&mut self, number: u32) {
        let digits = eight(number);
        let zeros = (digits.trailing_zeros() / 8).min(7);
        self.word((digits | ASCII) >> (zeros * 8), 8 - zeros as usize);
    }

    #[inline(always)]
    pub(super) fn number(&mut self, number: u64) {
        const SHORT: u64 = 100_000_000;
        if number < SHORT {
            return self.short(number as u32);
        }
        let (high, low) = (number / SHORT, number % SHORT);
        if high < SHORT {
            self.short(high as u32);
        } else {
            self.short((high / SHORT) as u32);
            self.word(eight((high % SHORT) as u32) | ASCII, 8);
        }
        self.word(eight(low as u32) | ASCII, 8);
    }

    #[inline(always)]
    pub(super) fn signed(&mut self, number: i64) {
        self.bytes[self.at] = b'-';
        self.at += usize::from(number < 0);
        self.number(number.unsigned_abs());
    }

    /// A number with up to three decimals, which most are. `false`, and nothing is written, for all others.
    ///
    /// Why these are the digits of the shortest text: a decimal of at most 15 digits is the only one of that length
    /// that a double is nearest to, and a shorter one would be the same with zeros behind it.
    #[inline(always)]
    pub(super) fn short_float(&mut self, value: f64) -> bool {
        let size = value.abs();
        // Smaller and larger ones may be written with an exponent.
        if !(1e-3..1e8).contains(&size) {
            return false;
        }
        let thousandths = (size * 1e3 + 0.5) as i64;
        if thousandths as f64 / 1e3 != size {
            return false;
        }
        self.bytes[self.at] = b'-';
        self.at += usize::from(value < 0.0);
        let digits = if thousandths < 100_000_000 {
            let digits = eight(thousandths as u32);
            // Of the five in front of the decimals one stays at least.
            let zeros = (digits.trailing_zeros() / 8).min(4);
            self.word((digits | ASCII) >> (zeros * 8), 5 - zeros as usize);
            digits
        } else {
            self.short((thousandths / 1_000) as u32);
            eight((thousandths % 1_000) as u32)
        };
        // The point takes the place of the digit before the last three, of which one stays at least.
        let decimals = (digits >> 32) as u32 & !0xff;
        let zeros = (decimals.leading_zeros() / 8).min(2);
        self.word(u64::from(decimals) | (ASCII >> 32) & !0xff | u64::from(b'.'), 4 - zeros as usize);
        true
    }
}

/// Appends text with what has to be escaped in it.
pub(super) fn escape(text: &[u8], out: &mut Vec<u8>) {
    for run in text.chunk_by(|a, b| is_plain(*a) && is_plain(*b)) {
        let short = match run {
            b"\"" => b'"',
            b"\\" => b'\\',
            b"\x08" => b'b',
            b"\t" => b't',
            b"\n" => b'n',
            b"\x0c" => b'f',
            b"\r" => b'r',
            [control @ ..0x20] => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let (high, low) = (HEX[usize::from(control >> 4)], HEX[usize::from(control & 0xf)]);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
                continue;
            }
            plain => {
                out.extend_from_slice(plain);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
}

#[inline(always)]
fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte != b'"' && byte != b'\\'
}

/// Whether no byte has to be escaped.
pub(super) fn all_plain(bytes: &[u8]) -> bool {
    // A chunk without an early end is compared in vectors.
    bytes.chunks(256).all(|chunk| chunk.iter().fold(true, |plain, byte| plain & is_plain(*byte)))
}
