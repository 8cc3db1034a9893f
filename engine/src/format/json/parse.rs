//! The grammar of RFC 8259, by pull: a reader asks for what it wants next, and numbers stay text until a column says
//! what they are, so that none loses a digit.
//!
//! What is read is UTF-8 already, as RFC 8259 demands. Nothing here recurses: a value that nobody asked for is skipped
//! by a list of the brackets that are open.

/// One JSON text.
pub(super) struct Parser<'a> {
    text: &'a str,
    at: usize,
}

/// The kinds of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    True,
    False,
    Number,
    String,
    Array,
    Object,
}

/// What is wrong with the text.
type Fault = String;

/// 1 in each byte.
const ONES: u64 = u64::MAX / 255;
/// The highest bit of each byte.
const HIGHEST: u64 = ONES << 7;

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is no whitespace.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.byte() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other,
            }
        }
    }

    /// The fault of what is next.
    #[cold]
    pub(super) fn unexpected(&self, wanted: &str) -> Fault {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(found) => {
                format!("{wanted} was expected, not `{}` (byte {})", found.escape_debug(), self.at + 1)
            }
            None => format!("{wanted} was expected, not the end (byte {})", self.at + 1),
        }
    }

    /// What the next value is, by its first byte; it is still to be read.
    #[inline]
    pub(super) fn kind(&mut self) -> Result<Kind, Fault> {
        Ok(match self.peek() {
            Some(b'"') => Kind::String,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'n') => Kind::Null,
            Some(b't') => Kind::True,
            Some(b'f') => Kind::False,
            _ => return Err(self.unexpected("a value")),
        })
    }

    /// Reads the literal of a kind.
    pub(super) fn literal(&mut self, kind: Kind) -> Result<(), Fault> {
        let word = match kind {
            Kind::Null => "null",
            Kind::True => "true",
            _ => "false",
        };
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.unexpected("a value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// Opens an array or an object, which [`Parser::kind`] has seen.
    pub(super) fn open(&mut self) {
        self.at += 1;
    }

    /// Whether another item or member follows; its end is read if not.
    #[inline]
    pub(super) fn more(&mut self, first: bool, end: u8) -> Result<bool, Fault> {
        match self.peek() {
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(false)
            }
            Some(b',') if !first => {
                self.at += 1;
                Ok(true)
            }
            Some(_) if first => Ok(true),
            _ => Err(self.unexpected(if end == b']' { "`,` or `]`" } else { "`,` or `}`" })),
        }
    }

    /// The key of a member and the colon behind it. `scratch` holds what had escapes.
    #[inline]
    pub(super) fn key<'s>(&mut self, scratch: &'s mut String) -> Result<&'s str, Fault>
    where
        'a: 's,
    {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("a key"));
        }
        let key = self.string(scratch)?;
        self.colon()?;
        Ok(key)
    }

    fn colon(&mut self) -> Result<(), Fault> {
        if self.peek() != Some(b':') {
            return Err(self.unexpected("`:`"));
        }
        self.at += 1;
        Ok(())
    }

    /// Nothing but whitespace may follow.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected("the end of the record")),
        }
    }

    /// A number as it is written.
    #[inline]
    pub(super) fn number(&mut self) -> Result<&'a str, Fault> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
        self.at += count;
        if count == 0 { Err(self.unexpected("a digit")) } else { Ok(()) }
    }

    /// Goes to the next quote, backslash or control character.
    #[inline]
    fn plain(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        let (words, tail) = rest.as_chunks::<8>();
        for word in words {
            let word = u64::from_le_bytes(*word);
            let (quote, slash) = (word ^ (ONES * u64::from(b'"')), word ^ (ONES * u64::from(b'\\')));
            // Subtracting borrows into the highest bit of bytes that are too small. A borrow may go on into bytes
            // after the first hit, never before it, and only the first is used.
            let hits = (word.wrapping_sub(ONES * 0x20) & !word)
                | (quote.wrapping_sub(ONES) & !quote)
                | (slash.wrapping_sub(ONES) & !slash);
            if hits & HIGHEST != 0 {
                self.at += (hits & HIGHEST).trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
        self.at += tail.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20)).unwrap_or(tail.len());
    }

    /// What [`Parser::plain`] stopped at is neither a quote nor a backslash.
    #[cold]
    fn broken(&self) -> Fault {
        match self.byte() {
            Some(byte) => format!("the control character {byte:#04x} in a string (byte {})", self.at + 1),
            None => self.unexpected("the end of a string"),
        }
    }

    /// A string, at its opening quote.
    #[inline]
    pub(super) fn string<'s>(&mut self, scratch: &'s mut String) -> Result<&'s str, Fault>
    where
        'a: 's,
    {
        self.at += 1;
        let start = self.at;
        self.plain();
        if self.byte() == Some(b'"') {
            self.at += 1;
            return Ok(&self.text[start..self.at - 1]);
        }
        scratch.clear();
        scratch.push_str(&self.text[start..self.at]);
        loop {
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(scratch);
                }
                Some(b'\\') => scratch.push(self.escape()?),
                _ => return Err(self.broken()),
            }
            let start = self.at;
            self.plain();
            scratch.push_str(&self.text[start..self.at]);
        }
    }

    /// What an escape stands for.
    fn escape(&mut self) -> Result<char, Fault> {
        self.at += 1;
        let Some(sign) = self.byte() else { return Err(self.unexpected("an escape")) };
        let plain = match sign {
            b'"' | b'\\' | b'/' => char::from(sign),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err(self.unexpected("an escape")),
        };
        self.at += 1;
        Ok(plain)
    }

    /// `\u0061`, or the two halves of a surrogate pair, at its `u`.
    fn unicode(&mut self) -> Result<char, Fault> {
        let start = self.at;
        let alone = || format!("half of a surrogate pair is no text (byte {start})");
        let first = self.hex()?;
        if !(0xd800..0xe000).contains(&first) {
            return char::from_u32(first).ok_or_else(alone);
        }
        if first >= 0xdc00 || !self.text.as_bytes()[self.at..].starts_with(b"\\u") {
            return Err(alone());
        }
        self.at += 1;
        let second = self.hex()?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(alone());
        }
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or_else(alone)
    }

    /// The four digits behind a `u`.
    fn hex(&mut self) -> Result<u32, Fault> {
        self.at += 1;
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.byte().and_then(|b| char::from(b).to_digit(16));
            let Some(digit) = digit else { return Err(self.unexpected("a hexadecimal digit")) };
            value = value * 16 + digit;
            self.at += 1;
        }
        Ok(value)
    }

    /// Reads past a string, at its opening quote. Halves of surrogate pairs pass: the grammar has them.
    fn skip_string(&mut self) -> Result<(), Fault> {
        self.at += 1;
        loop {
            self.plain();
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') if self.text.as_bytes().get(self.at + 1) == Some(&b'u') => {
                    self.at += 1;
                    self.hex()?;
                }
                Some(b'\\') => drop(self.escape()?),
                _ => return Err(self.broken()),
            }
        }
    }

    /// Reads past a value, however deep; `open` holds its brackets.
    pub(super) fn skip(&mut self, open: &mut Vec<u8>) -> Result<(), Fault> {
        open.clear();
        loop {
            let mut first = false;
            match self.kind()? {
                Kind::String => self.skip_string()?,
                Kind::Number => drop(self.number()?),
                kind @ (Kind::Array | Kind::Object) => {
                    self.open();
                    open.push(if kind == Kind::Array { b']' } else { b'}' });
                    first = true;
                }
                literal => self.literal(literal)?,
            }
            loop {
                let Some(end) = open.last().copied() else { return Ok(()) };
                if self.more(first, end)? {
                    break;
                }
                open.pop();
                first = false;
            }
            if open.last() == Some(&b'}') {
                if self.peek() != Some(b'"') {
                    return Err(self.unexpected("a key"));
                }
                self.skip_string()?;
                self.colon()?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn accepts(text: &str) -> bool {
        let mut parser = Parser::new(text);
        parser.skip(&mut Vec::new()).and_then(|()| parser.end()).is_ok()
    }

    fn string(text: &str) -> Result<String, Fault> {
        let (mut parser, mut scratch) = (Parser::new(text), String::new());
        let value = parser.string(&mut scratch)?.to_owned();
        parser.end().map(|()| value)
    }

    #[test]
    fn faults_name_what_was_expected_and_where() {
        for (text, fault) in [
            ("", "a value was expected, not the end (byte 1)"),
            ("[1,]", "a value was expected, not `]` (byte 4)"),
            ("[1 2]", "`,` or `]` was expected, not `2` (byte 4)"),
            ("{\"a\" 1}", "`:` was expected, not `1` (byte 6)"),
            ("{1:1}", "a key was expected, not `1` (byte 2)"),
            ("-", "a digit was expected, not the end (byte 2)"),
            ("\"a\u{1}\"", "the control character 0x01 in a string (byte 3)"),
            ("\"\\x\"", "an escape was expected, not `x` (byte 3)"),
            ("\"\\u12g4\"", "a hexadecimal digit was expected, not `g` (byte 6)"),
            ("\u{e9}", "a value was expected, not `\u{e9}` (byte 1)"),
        ] {
            assert_eq!(Parser::new(text).skip(&mut Vec::new()).unwrap_err(), fault, "{text}");
        }
    }

    #[test]
    fn escapes() {
        let all = r#""\"\\\/\b\f\n\r\t\u0041\u00e9\u20AC\ud83d\ude00\u0000 \u007F""#;
        assert_eq!(string(all).unwrap(), "\"\\/\u{8}\u{c}\n\r\tA\u{e9}\u{20ac}\u{1f600}\0 \u{7f}");
        for bad in [r#""\ud800""#, r#""\udc00""#, r#""\ud800\u0041""#, r#""\ud800\ud800""#, r#""\ud800\n""#] {
            assert!(string(bad).unwrap_err().contains("surrogate"), "{bad}");
            assert!(accepts(bad), "{bad}");
        }
    }

    /// Texts near JSON.
    fn near() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            "[\\[\\]{}:,\"\\\\ \n]",
            "-?[0-9]{1,3}(\\.[0-9]{0,2})?([eE][-+]?[0-9]{0,2})?",
            "true|false|null|nul|NaN",
            "\"[a-z\\\\/u0-9\u{e9}]{0,12}\"",
            "\"k\":",
            "\\\\u[0-9a-fD]{3,5}",
            "\\PC",
        ];
        prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        /// serde_json is the second opinion on what is JSON.
        #[test]
        fn another_parser_agrees(text in near()) {
            prop_assert_eq!(accepts(&text), serde_json::from_str::<IgnoredAny>(&text).is_ok(), "{}", text);
            let strings = serde_json::from_str::<String>(&text).ok();
            if text.starts_with('"') {
                prop_assert_eq!(string(&text).ok(), strings, "{}", text);
            }
        }

        #[test]
        fn strings_are_read_as_they_were_written(text in "\\PC{0,40}", plain in "[a-z\"\\\\\u{0}-\u{1f}]{0,40}") {
            for text in [text, plain] {
                prop_assert_eq!(string(&serde_json::to_string(&text).unwrap()), Ok(text));
            }
        }
    }
}
