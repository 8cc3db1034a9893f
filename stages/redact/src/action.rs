//! What stands for a value.

use hmac::{Hmac, Mac};
use pipe_stage::{Error, Result, bail};
use sha2::Sha256;

/// HMAC-SHA-256 with its key, ready for values.
#[derive(Clone)]
pub(crate) struct Keyed(Hmac<Sha256>);

impl Keyed {
    /// A key is a secret: it is not printed in an error.
    pub(crate) fn new(key: &str) -> Result<Self> {
        if key.len() < 16 {
            bail!("`key` has {} bytes; at least 16 are needed", key.len());
        }
        Hmac::new_from_slice(key.as_bytes()).map(Self).map_err(|_| Error::new("`key` is not a key"))
    }

    fn write(&self, value: &[u8], length: usize, out: &mut String) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut mac = self.0.clone();
        mac.update(value);
        for byte in mac.finalize().into_bytes().iter().take(length.div_ceil(2)) {
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        if length % 2 == 1 {
            out.pop();
        }
    }
}

/// What stands for a value, or for what was found in it.
pub(crate) enum Change {
    /// A sign for each character but the first and the last ones.
    Mask { sign: char, first: usize, last: usize },
    /// A keyed hash in hexadecimal digits.
    Hash { key: Keyed, length: usize },
    /// Another text.
    Replace(String),
}

impl Change {
    /// Appends what stands for a text.
    pub(crate) fn write(&self, text: &str, out: &mut String) {
        match self {
            Self::Mask { sign, first, last } => {
                let count = text.chars().count();
                // What would be left whole is shorter than what is to be kept of it, and says too much.
                let keep = first.saturating_add(*last) < count;
                let (head, tail) = if keep { (*first, *last) } else { (0, 0) };
                let from = text.char_indices().nth(head).map_or(text.len(), |(at, _)| at);
                let after = tail.checked_sub(1).and_then(|back| text.char_indices().nth_back(back));
                out.push_str(&text[..from]);
                repeat(*sign, count - head - tail, out);
                out.push_str(after.map_or("", |(at, _)| &text[at..]));
            }
            Self::Hash { key, length } => key.write(text.as_bytes(), *length, out),
            Self::Replace(with) => out.push_str(with),
        }
    }

    /// Appends what stands for bytes, which are only ever hashed.
    pub(crate) fn write_bytes(&self, bytes: &[u8], out: &mut String) {
        if let Self::Hash { key, length } = self {
            key.write(bytes, *length, out);
        }
    }
}

/// Appends a sign so many times, each time as many as are there already: long texts cost copies, not a step a sign.
fn repeat(sign: char, times: usize, out: &mut String) {
    let start = out.len();
    let end = start + times * sign.len_utf8();
    if times > 0 {
        out.push(sign);
    }
    while out.len() < end {
        let more = (out.len() - start).min(end - out.len());
        out.extend_from_within(start..start + more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(change: &Change, text: &str) -> String {
        let mut out = String::new();
        change.write(text, &mut out);
        out
    }

    #[test]
    fn masks_count_characters_and_never_leave_a_value_whole() {
        let mask = |first, last| Change::Mask { sign: '*', first, last };
        assert_eq!(write(&mask(0, 4), "4111111111111111"), "************1111");
        assert_eq!(write(&mask(1, 1), "h\u{e9}llo"), "h***o");
        assert_eq!(write(&mask(0, 1), "\u{65e5}\u{672c}\u{8a9e}"), "**\u{8a9e}");
        assert_eq!(write(&mask(2, 2), "abcd"), "****");
        assert_eq!(write(&mask(0, 9), "abc"), "***");
        assert_eq!(write(&mask(0, 0), ""), "");
        assert_eq!(write(&mask(usize::MAX, usize::MAX), "ab"), "**");
        for length in 0..200 {
            let text: String = "a\u{e9}\u{65e5}z".chars().cycle().take(length).collect();
            for (sign, first, last) in [('*', 3, 0), ('*', 0, 2), ('\u{2022}', 1, 4), ('\u{1f512}', 0, 0)] {
                let keep = first + last < length;
                let each = |(at, c)| if keep && (at < first || at >= length - last) { c } else { sign };
                let expected: String = text.chars().enumerate().map(each).collect();
                assert_eq!(write(&Change::Mask { sign, first, last }, &text), expected);
            }
        }
    }

    #[test]
    fn hashes_are_those_of_the_standard() {
        // By another program.
        let hash = |length| Change::Hash { key: Keyed::new("0123456789abcdef").unwrap(), length };
        let whole = write(&hash(64), "what do ya want for nothing?");
        assert_eq!(whole, "e9265dc1bf18d4ec36915d9e82226c7ea0fa4e7f8077f611515bd5e29ec9988c");
        assert_eq!(write(&hash(17), "what do ya want for nothing?"), whole[..17]);
        assert_ne!(write(&hash(64), "what do ya want for nothing!"), whole);
        let error = Keyed::new("secret").err().map(|error| error.to_string()).unwrap();
        assert!(error.contains("at least 16") && !error.contains("secret"));
    }
}
