//! From text to a tree.

use super::Json;
use crate::error::{Error, Result};

/// How deep arrays and objects may nest: each level is a level of the sandbox's stack.
const MAX_DEPTH: usize = 64;

/// Reads one value and nothing after it.
pub(super) fn parse(text: &str) -> Result<Json> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(MAX_DEPTH);
    if value.is_some() {
        parser.space();
    }
    match value {
        Some(value) if parser.at == text.len() => Ok(value),
        _ => Err(Error::new(format!("this is not JSON at byte {}", parser.at))),
    }
}

/// Where it stops (a function gives `None`) is where the text is wrong.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn word(&mut self, word: &str, value: Json) -> Option<Json> {
        let rest = self.text.get(self.at..)?;
        rest.starts_with(word).then(|| {
            self.at += word.len();
            value
        })
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        self.space();
        let depth = depth.checked_sub(1)?;
        match self.peek()? {
            b'n' => self.word("null", Json::Null),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'"' => self.string().map(Json::Text),
            b'[' => self.items(b']', |parser| parser.value(depth)).map(Json::List),
            b'{' => {
                let member = |parser: &mut Self| {
                    parser.space();
                    let key = parser.string()?;
                    parser.space();
                    parser.eat(b':')?;
                    Some((key, parser.value(depth)?))
                };
                self.items(b'}', member).map(Json::Object)
            }
            _ => self.number(),
        }
    }

    /// What stands between an opening and a closing bracket, separated by commas.
    fn items<T>(&mut self, end: u8, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.eat(end).is_some() {
            return Some(items);
        }
        loop {
            items.push(item(self)?);
            self.space();
            if self.eat(end).is_some() {
                return Some(items);
            }
            self.eat(b',')?;
        }
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn number(&mut self) -> Option<Json> {
        let start = self.at;
        let _ = self.eat(b'-');
        if self.eat(b'0').is_none() {
            self.digits()?;
        }
        if self.eat(b'.').is_some() {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(Json::Number(self.text.get(start..self.at)?.into()))
    }

    fn string(&mut self) -> Option<String> {
        self.eat(b'"')?;
        let mut out = String::new();
        loop {
            let start = self.at;
            while !matches!(self.peek()?, b'"' | b'\\' | ..b' ') {
                self.at += 1;
            }
            out.push_str(self.text.get(start..self.at)?);
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(out);
                }
                b'\\' => out.push(self.escape()?),
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        self.at += 1;
        let byte = self.peek()?;
        self.at += 1;
        Some(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\x08',
            b'f' => '\x0c',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => match self.unit()? {
                // Characters beyond 16 bits are written as two units.
                high @ 0xd800..0xdc00 => {
                    self.eat(b'\\')?;
                    self.eat(b'u')?;
                    let low = self.unit()?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                    char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + low)?
                }
                unit => char::from_u32(unit)?,
            },
            _ => return None,
        })
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u32> {
        let mut unit = 0;
        for _ in 0..4 {
            unit = unit << 4 | char::from(self.peek()?).to_digit(16)?;
            self.at += 1;
        }
        Some(unit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_read_is_what_serde_json_reads() {
        for text in [
            "null",
            " [true, false,null ] ",
            "[]",
            "{ }",
            r#"{"a":{"b":[1,-2.5e+3,0]},"c":"\u00e9\ud83d\ude00\n\/"}"#,
            "\"\u{e9}\"",
        ] {
            let ours: serde_json::Value = serde_json::from_str(&parse(text).unwrap().to_string()).unwrap();
            assert_eq!(ours, serde_json::from_str::<serde_json::Value>(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused_where_it_goes_wrong() {
        for (text, at) in [
            ("", 0),
            ("nul", 0),
            ("[1,]", 3),
            ("[1 2]", 3),
            ("{1:2}", 1),
            (r#"{"a" 2}"#, 5),
            ("01", 1),
            ("1.", 2),
            ("-", 1),
            ("1e", 2),
            ("\"a", 2),
            ("\"\n\"", 1),
            (r#""\q""#, 3),
            (r#""\ud800""#, 7),
            (r#""\ud800\u0041""#, 13),
            (r#""\udc00""#, 7),
            ("1 1", 2),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert_eq!(error, format!("this is not JSON at byte {at}"), "{text}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&format!("{}{}", "[".repeat(60), "]".repeat(60))).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_read_as_serde_json_does(text in r#"[\[\]{}",:0-9eE+.\-\\ua nulltrue]{0,24}"#) {
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            match parse(&text) {
                Ok(ours) => {
                    let again: Result<serde_json::Value, _> = serde_json::from_str(&ours.to_string());
                    prop_assert_eq!(again.ok(), theirs.ok());
                }
                Err(_) => prop_assert!(theirs.is_err(), "{}", text),
            }
        }

        #[test]
        fn every_string_survives_quoting(text in any::<String>()) {
            let mut quoted = String::new();
            super::super::quote(&text, &mut quoted);
            prop_assert_eq!(parse(&quoted).unwrap(), Json::Text(text.clone()));
            prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
        }
    }
}
