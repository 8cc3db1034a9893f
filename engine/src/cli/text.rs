//! Text on a terminal that comes from hostile code and data, so nothing in it may drive the terminal.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::{Duration, UNIX_EPOCH};

use crate::error::{Code, Error, Result};

/// Whether a character is shown as an escape: controls, and what turns the direction of the text around.
fn is_escaped(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// One line of text.
pub(super) fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_escaped(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// The same cut to a number of characters.
pub(super) fn cut(text: &str, width: usize) -> String {
    // What is far behind the cut need not be looked at; an escape is at most nine characters.
    let line = line(&text.chars().take(width + 1).collect::<String>());
    if line.chars().count() <= width {
        return line;
    }
    let mut cut: String = line.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// JSON with the characters escaped that JSON itself leaves as they are; they can only lie in its strings.
pub(super) fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_escaped(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Several lines of text, each behind `indent`; bytes that are no text as hexadecimal digits.
pub(super) fn block(bytes: &[u8], indent: &str) -> String {
    let mut out = String::new();
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            for part in text.split('\n') {
                let _ = writeln!(out, "{indent}{}", line(part));
            }
        }
        Err(_) => {
            for (at, row) in bytes.chunks(16).enumerate() {
                let _ = write!(out, "{indent}{:08x} ", at * 16);
                row.iter().for_each(|byte| {
                    let _ = write!(out, " {byte:02x}");
                });
                out.push('\n');
            }
        }
    }
    out
}

/// Bytes in one line.
pub(super) fn inline(bytes: Option<&[u8]>) -> String {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => "null".to_owned(),
        Some((_, Ok(text))) => format!("\"{}\"", line(text)),
        Some((bytes, Err(_))) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("hex {hex}")
        }
    }
}

/// A moment as RFC 3339.
pub(super) fn moment(unix_ms: i64) -> String {
    let Ok(ms) = u64::try_from(unix_ms) else { return unix_ms.to_string() };
    // Later years than 9999 have no such form.
    match UNIX_EPOCH.checked_add(Duration::from_millis(ms)) {
        Some(at) if ms < 253_402_300_800_000 => humantime::format_rfc3339_millis(at).to_string(),
        _ => unix_ms.to_string(),
    }
}

/// A table: as wide as its widest cells, numbers to the right.
pub(super) fn table(lines: &[Vec<String>], right: &[usize]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| lines.iter().filter_map(|l| l.get(at)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    let mut out = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(at, (cell, &width))| {
            if right.contains(&at) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// Standard output whose reader may have seen enough (`| head`).
pub(super) struct Out(io::StdoutLock<'static>);

impl Out {
    pub(super) fn new() -> Self {
        Self(io::stdout().lock())
    }

    /// Prints text; `false` when nobody reads any more.
    pub(super) fn print(&mut self, text: &str) -> Result<bool> {
        match self.0.write_all(text.as_bytes()).and_then(|()| self.0.flush()) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(e) => Err(Error::external(Code::X004, format!("standard output: {e}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_drives_the_terminal() {
        let hostile = "a\u{1b}[2Jb\u{9b}31mc\u{7}\r\nd\u{202e}e\u{7f}";
        let shown = [line(hostile), cut(hostile, 100), json(hostile), block(hostile.as_bytes(), "  ")];
        for shown in shown {
            assert!(!shown.chars().any(|c| is_escaped(c) && c != '\n'), "{shown:?}");
            assert!(shown.contains('a') && shown.contains("1b"), "{shown:?}");
        }
        assert_eq!(line("é ü 漢"), "é ü 漢");
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({ "m": "\u{1b}x\u{85}\u{feff}\u{202e}\u{1f600}\"\\" });
        let text = json(&value.to_string());
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        assert!(!text.contains('\u{85}') && text.contains('\u{1f600}'));
    }

    #[test]
    fn lines_are_cut_with_a_sign() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("\u{1b}\u{1b}", 6), "\\u{1b…");
        assert_eq!(cut(&"x".repeat(1 << 20), 10).chars().count(), 10);
    }

    #[test]
    fn bytes_and_moments_have_a_form() {
        assert_eq!(block(&[0xff, 0, 1], "  "), "  00000000  ff 00 01\n");
        assert_eq!(inline(Some(&[0xff])), "hex ff");
        assert_eq!((inline(None), inline(Some(b""))), ("null".to_owned(), "\"\"".to_owned()));
        assert_eq!(moment(1_700_000_000_000), "2023-11-14T22:13:20.000Z");
        assert_eq!(moment(-1), "-1");
        assert_eq!(moment(i64::MAX), i64::MAX.to_string());
    }

    #[test]
    fn tables_are_aligned() {
        let lines = [vec!["A", "N"], vec!["bb", "10"], vec!["c", ""]];
        let lines: Vec<Vec<String>> =
            lines.iter().map(|l| l.iter().map(|c| (*c).to_owned()).collect()).collect();
        assert_eq!(table(&lines, &[1]), "A    N\nbb  10\nc\n");
    }
}
