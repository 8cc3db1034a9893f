//! `NaN` and `Infinity` as JavaScript and Python write them, which is no JSON: where a source accepts them, a record that
//! is no JSON is read again with these words in quotes.

/// The text with its bare `NaN`, `Infinity` and `-Infinity` in quotes; `None` where it has none.
pub(super) fn quoted(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = String::new();
    let (mut at, mut kept) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at += string(&bytes[at..]),
            b'N' | b'I' | b'-' => {
                let word =
                    ["NaN", "Infinity", "-Infinity"].into_iter().find(|word| text[at..].starts_with(word));
                let length = word.map_or(1, str::len);
                if let Some(word) = word {
                    out.push_str(&text[kept..at]);
                    out.push('"');
                    out.push_str(word);
                    out.push('"');
                    kept = at + length;
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    (kept > 0).then(|| out + &text[kept..])
}

/// How many bytes a string takes, its quotes included.
fn string(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn bare_words_get_quotes_and_nothing_else_does() {
        for (text, expected) in [
            (r#"{"a":NaN,"b":[Infinity,-Infinity]}"#, Some(r#"{"a":"NaN","b":["Infinity","-Infinity"]}"#)),
            (r#"{"NaN":-1,"s":"Infinity \" NaN"}"#, None),
            (r#"{"s":"\\","n":NaN"#, Some(r#"{"s":"\\","n":"NaN""#)),
            ("NaN", Some("\"NaN\"")),
            ("\"NaN", None),
            ("\"\\", None),
            ("\u{e9}-\u{e9}N", None),
            ("", None),
        ] {
            assert_eq!(quoted(text).as_deref(), expected, "{text}");
        }
    }
}
