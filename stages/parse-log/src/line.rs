//! One line of an access log.

use std::borrow::Cow;

use pipe_stage::time::{days, parse_offset, parse_time};

/// A part of a line without its escapes.
pub type Unescaped<'a> = Cow<'a, str>;

/// The parts of a line; `-` is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// Host, ident, user, method, path, protocol, referer and user agent.
    pub text: [Option<Unescaped<'a>>; 8],
    /// Milliseconds since 1970 in UTC.
    pub time_ms: i64,
    /// Status of the response.
    pub status: i32,
    /// Bytes of the response.
    pub bytes: Option<i64>,
}

/// Reads `host ident user [time] "request" status bytes`, and perhaps `"referer" "user agent"`. What follows is
/// left alone: log formats often append fields of their own.
pub fn parse(line: &str) -> Result<Line<'_>, &'static str> {
    let mut rest = line.trim_end_matches(['\r', '\n']);
    let host = word(&mut rest).ok_or("there is no host")?;
    let ident = word(&mut rest).ok_or("there is no ident")?;
    // A user name may hold spaces, so it ends where the time begins.
    let (user, after) = before_bracket(rest).ok_or("there is no time in brackets")?;
    let (time, after) = after.split_once(']').ok_or("the time's bracket is not closed")?;
    let time_ms = parse_clf_time(time).ok_or("the time is not like 31/Jan/2026:23:59:59 +0000")?;
    rest = after.strip_prefix(' ').ok_or("there is no request")?;
    let request = quoted(&mut rest).ok_or("the request is not in quotes")?;
    let status = word(&mut rest).ok_or("there is no status")?;
    let status =
        number(status).filter(|_| status.len() == 3).ok_or("the status is not a number of three digits")?;
    let bytes = match word(&mut rest).ok_or("there is no size")? {
        "-" => None,
        size => Some(number(size).ok_or("the size is not a number")?),
    };
    let (mut referer, mut agent) = (None, None);
    if rest.starts_with('"') {
        referer = Some(quoted(&mut rest).ok_or("the referer's quotes are not closed")?);
        agent = Some(quoted(&mut rest).ok_or("the user agent is not in quotes")?);
    }
    let [method, path, protocol] = request_parts(request);
    let text = [
        some(Cow::Borrowed(host)),
        some(Cow::Borrowed(ident)),
        some(Cow::Borrowed(user)),
        method,
        path,
        protocol,
        referer.and_then(some),
        agent.and_then(some),
    ];
    Ok(Line { text, time_ms, status: status as i32, bytes })
}

/// Splits at the first ` [`. The library's search for a string is larger than the rest of this file.
fn before_bracket(text: &str) -> Option<(&str, &str)> {
    let at = text.as_bytes().windows(2).position(|two| two == b" [")?;
    Some((text.get(..at)?, text.get(at + 2..)?))
}

/// `-` stands for nothing.
fn some(part: Unescaped<'_>) -> Option<Unescaped<'_>> {
    (part != "-").then_some(part)
}

/// Takes a word and the space after it.
fn word<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
    *rest = after;
    (!word.is_empty()).then_some(word)
}

/// Takes a quoted part and the space after it. `\"`, `\\`, `\n`, `\t`, `\r` and `\xhh` are undone where the result is
/// text; every other backslash stands for itself.
fn quoted<'a>(rest: &mut &'a str) -> Option<Unescaped<'a>> {
    let text = rest.strip_prefix('"')?;
    let bytes = text.as_bytes();
    let (mut end, mut escaped) = (0, false);
    while *bytes.get(end)? != b'"' {
        let step = if bytes[end] == b'\\' { 2 } else { 1 };
        escaped |= step == 2;
        end += step;
    }
    let (inner, after) = (text.get(..end)?, text.get(end + 1..)?);
    *rest = after.strip_prefix(' ').unwrap_or(after);
    Some(if escaped { Cow::Owned(unescape(inner)) } else { Cow::Borrowed(inner) })
}

fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, taken) = match (first, after) {
            (b'\\', [c @ (b'"' | b'\\'), ..]) => (*c, 2),
            (b'\\', [b'n', ..]) => (b'\n', 2),
            (b'\\', [b't', ..]) => (b'\t', 2),
            (b'\\', [b'r', ..]) => (b'\r', 2),
            (b'\\', [b'x', high, low, ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 4),
                _ => (b'\\', 1),
            },
            (byte, _) => (*byte, 1),
        };
        out.push(byte);
        rest = &rest[taken..];
    }
    // Escaped bytes that make no text stay as they were written.
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// Method, path and protocol; a request that is not three parts (attacks, HTTP/0.9) is all path.
fn request_parts(request: Unescaped<'_>) -> [Option<Unescaped<'_>>; 3] {
    let found = request.split_once(' ').and_then(|(method, rest)| {
        let (path, protocol) = rest.rsplit_once(' ')?;
        let sound = protocol.starts_with("HTTP/") && method.bytes().all(|byte| byte.is_ascii_uppercase());
        sound.then_some((method.len(), method.len() + 1 + path.len()))
    });
    let Some((method, path)) = found else { return [None, some(request), None] };
    let parts = [0..method, method + 1..path, path + 1..request.len()];
    match request {
        Cow::Borrowed(text) => parts.map(|part| text.get(part).map(Cow::Borrowed)),
        Cow::Owned(text) => parts.map(|part| text.get(part).map(|part| Cow::Owned(part.to_owned()))),
    }
}

fn number(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Reads `31/Jan/2026:23:59:59 +0000`.
fn parse_clf_time(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (date, rest) = text.split_once(':')?;
    let (time, zone) = rest.split_once(' ')?;
    let mut parts = date.split('/');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    if day.len() != 2 || year.len() != 4 || parts.next().is_some() {
        return None;
    }
    let month = MONTHS.iter().position(|name| *name == month)? as u32 + 1;
    let days = days(number(year)? as i32, month, number(day)? as u32)?;
    let (seconds, nanos) = parse_time(time)?;
    let seconds = i64::from(days) * 86_400 + i64::from(seconds) - i64::from(parse_offset(zone)?);
    Some(seconds * 1_000 + i64::from(nanos / 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMBINED: &str = r#"203.0.113.9 - frank [10/Oct/2000:13:55:36 -0700] "GET /a%20b?c=d HTTP/1.0" 200 2326 "http://example.com/" "Mozilla/4.08 \"x\" [en]""#;

    fn texts<'a>(line: &'a Line<'_>) -> Vec<Option<&'a str>> {
        line.text.iter().map(|part| part.as_deref()).collect()
    }

    #[test]
    fn combined_and_common_lines_are_read() {
        let line = parse(COMBINED).unwrap();
        assert_eq!(
            texts(&line),
            [
                Some("203.0.113.9"),
                None,
                Some("frank"),
                Some("GET"),
                Some("/a%20b?c=d"),
                Some("HTTP/1.0"),
                Some("http://example.com/"),
                Some("Mozilla/4.08 \"x\" [en]"),
            ]
        );
        assert_eq!((line.time_ms, line.status, line.bytes), (971_211_336_000, 200, Some(2_326)));
        let common = parse("::1 - - [01/Jan/1970:00:00:00 +0000] \"-\" 408 -\n").unwrap();
        assert_eq!((common.time_ms, common.status, common.bytes), (0, 408, None));
        assert_eq!(texts(&common), [Some("::1"), None, None, None, None, None, None, None]);
    }

    #[test]
    fn escapes_odd_requests_and_users_with_spaces_are_read() {
        let line =
            parse(r#"h i a b [01/Jan/1970:00:00:01 +0000] "\x16\x03 \\ \"q\"" 400 0 "-" "\xff""#).unwrap();
        let found = texts(&line);
        assert_eq!(found[2], Some("a b"));
        assert_eq!(found[3..6], [None, Some("\x16\x03 \\ \"q\""), None]);
        // What makes no text stays as it was written.
        assert_eq!(found[6..], [None, Some("\\xff")]);
    }

    #[test]
    fn every_cut_of_a_line_is_read_or_refused_and_never_panics() {
        let end = COMBINED.find(" \"http").unwrap();
        for (at, _) in COMBINED.char_indices() {
            let cut = &COMBINED[..at];
            assert!(parse(cut).is_err() || at >= end - 3, "{cut}");
        }
        for (bad, reason) in [
            ("", "host"),
            ("a b c d", "bracket"),
            ("a - - [31/Feb/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200 1", "time"),
            ("a - - [01/Jan/2026:00:00:00 +0000] GET 200 1", "quotes"),
            ("a - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 2x0 1", "status"),
            ("a - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200 -1", "size"),
            ("a - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.1\\", "quotes"),
        ] {
            assert!(parse(bad).unwrap_err().contains(reason), "{bad}");
        }
    }
}
