//! One line of an access log.

use std::borrow::Cow;

use pipe_stage::time::{days, parse_offset, parse_time};
use serde::Deserialize;

/// A part of a line without its escapes.
pub type Unescaped<'a> = Cow<'a, str>;

/// What a line has beside the parts of the common and the combined format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Variant {
    /// A virtual host stands before everything else.
    pub virtual_host: bool,
    /// Where a list of forwarded addresses stands.
    pub forwarded_for: Option<Side>,
}

/// Where a list of forwarded addresses stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// In the host's place.
    First,
    /// In quotes behind the user agent.
    Last,
}

/// The parts of a line; `-` is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// Host, ident, user, method, path, protocol, referer, user agent, virtual host and forwarded addresses.
    pub text: [Option<Unescaped<'a>>; 10],
    /// Milliseconds since 1970 in UTC.
    pub time_ms: i64,
    /// Status of the response.
    pub status: i32,
    /// Bytes of the response.
    pub bytes: Option<i64>,
}

/// Reads `host ident user [time] "request" status bytes`, and perhaps `"referer" "user agent"`. What follows is
/// left alone: log formats often append fields of their own. A line with more fields in front, or with others, is
/// refused, so that none is taken for its neighbour.
pub fn parse(line: &str, variant: Variant) -> Result<Line<'_>, &'static str> {
    let mut rest = line.trim_end_matches(['\r', '\n']);
    let virtual_host = match variant.virtual_host {
        true => Some(word(&mut rest).filter(|name| is_host(name)).ok_or("there is no virtual host")?),
        false => None,
    };
    let (host, mut forwarded) = host(&mut rest, variant.forwarded_for == Some(Side::First))?;
    let ident = word(&mut rest).ok_or("there is no ident")?;
    // A user name may hold spaces, so it ends where the time begins.
    let (user, after) = before_bracket(rest).ok_or("there is no time in brackets")?;
    check_names(ident, user)?;
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
    if variant.forwarded_for == Some(Side::Last) {
        forwarded = Some(quoted(&mut rest).ok_or("there are no forwarded addresses in quotes at the end")?);
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
        virtual_host.and_then(|name| some(Cow::Borrowed(name))),
        forwarded.and_then(some),
    ];
    Ok(Line { text, time_ms, status: status as i32, bytes })
}

/// Takes the host; of a list of addresses that is the first, and the list is told too.
fn host<'a>(rest: &mut &'a str, is_list: bool) -> Result<(&'a str, Option<Unescaped<'a>>), &'static str> {
    let all = *rest;
    let mut last = word(rest).ok_or("there is no host")?;
    if !is_list {
        return match last {
            _ if last.contains(',') => {
                Err("the host is a list of addresses, which `forwarded_for: first` reads")
            }
            _ if is_host(last) => Ok((last, None)),
            _ => Err("the host is not one name or address"),
        };
    }
    while last.ends_with(',') {
        last = word(rest).ok_or("the list of forwarded addresses is cut off")?;
    }
    let list = all.get(..all.len() - rest.len()).unwrap_or(all).trim_end_matches(' ');
    let mut addresses = list.split(',').map(|address| address.trim_start_matches(' '));
    if !addresses.clone().all(|address| is_host(address.trim_start_matches('[').replace(']', "").as_str())) {
        return Err("the list of forwarded addresses holds something else");
    }
    Ok((addresses.next().unwrap_or(list), Some(Cow::Borrowed(list))))
}

/// Whether it may be a name or an address, with a port or without.
fn is_host(text: &str) -> bool {
    !text.is_empty() && !text.contains(['"', '[', ']', '(', ')', '{', '}', '<', '>', ',', '=', '\\'])
}

/// Refuses what a line with more fields in front has in these places. A user name with spaces is believed behind an
/// ident of `-` alone, and never one with the dash or the address of another field in it.
fn check_names(ident: &str, user: &str) -> Result<(), &'static str> {
    const SHIFTED: &str = "there are more fields before the time than host, ident and user: a virtual host is read \
                           by `virtual_host: true`, a list of forwarded addresses by `forwarded_for: first`";
    if user.is_empty() {
        return Err("there is no user");
    }
    let mut words = user.split(' ');
    let several = user.contains(' ');
    let dash = several && words.clone().any(|word| word == "-");
    let foreign = several && (ident != "-" || words.any(is_address));
    if ident.contains([',', ':', '"', '[']) || is_address(ident) || dash || foreign {
        return Err(SHIFTED);
    }
    Ok(())
}

/// Whether it is an IP address. The library's parser is larger than the rest of this file.
fn is_address(text: &str) -> bool {
    let octets = |text: &str| {
        text.split('.').count() == 4
            && text.split('.').all(|part| (1..=3).contains(&part.len()) && number(part).is_some())
    };
    let six = |text: &str| {
        text.bytes().filter(|byte| *byte == b':').count() >= 2
            && text.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
    };
    octets(text) || six(text)
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
    *rest = if after.is_empty() { after } else { after.strip_prefix(' ')? };
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

/// Reads `31/Jan/2026:23:59:59 +0000`, and nothing shorter or longer.
fn parse_clf_time(text: &str) -> Option<i64> {
    let form = text.bytes().map(|byte| match byte {
        b'0'..=b'9' => b'0',
        b'a'..=b'z' | b'A'..=b'Z' => b'a',
        b'-' => b'+',
        other => other,
    });
    if !form.eq(*b"00/aaa/0000:00:00:00 +0000") {
        return None;
    }
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (date, rest) = text.split_once(':')?;
    let (time, zone) = rest.split_once(' ')?;
    let mut parts = date.split('/');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
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

    /// Reads a line without any variant.
    fn plain(line: &str) -> Result<Line<'_>, &'static str> {
        parse(line, Variant::default())
    }

    fn texts<'a>(line: &'a Line<'_>) -> Vec<Option<&'a str>> {
        line.text.iter().map(|part| part.as_deref()).collect()
    }

    #[test]
    fn combined_and_common_lines_are_read() {
        let line = plain(COMBINED).unwrap();
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
                None,
                None,
            ]
        );
        assert_eq!((line.time_ms, line.status, line.bytes), (971_211_336_000, 200, Some(2_326)));
        let common = plain("::1 - - [01/Jan/1970:00:00:00 +0000] \"-\" 408 -\n").unwrap();
        assert_eq!((common.time_ms, common.status, common.bytes), (0, 408, None));
        assert_eq!(texts(&common), [Some("::1"), None, None, None, None, None, None, None, None, None]);
    }

    #[test]
    fn escapes_odd_requests_and_users_with_spaces_are_read() {
        let line =
            plain(r#"h - a b [01/Jan/1970:00:00:01 +0000] "\x16\x03 \\ \"q\"" 400 0 "-" "\xff""#).unwrap();
        let found = texts(&line);
        assert_eq!(found[2], Some("a b"));
        assert_eq!(found[3..6], [None, Some("\x16\x03 \\ \"q\""), None]);
        // What makes no text stays as it was written.
        assert_eq!(found[6..8], [None, Some("\\xff")]);
    }

    #[test]
    fn every_cut_of_a_line_is_read_or_refused_and_never_panics() {
        let end = COMBINED.find(" \"http").unwrap();
        for (at, _) in COMBINED.char_indices() {
            let cut = &COMBINED[..at];
            assert!(plain(cut).is_err() || at >= end - 3, "{cut}");
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
            assert!(plain(bad).unwrap_err().contains(reason), "{bad}");
        }
    }

    const REST: &str = r#"[03/Oct/2026:21:59:47 +0200] "GET /c HTTP/1.1" 200 12 "-" "x""#;

    #[test]
    fn what_the_servers_write_is_read() {
        for (line, path) in [
            (r#"203.0.113.9 - - [03/Oct/2026:21:59:43 +0200] "" 400 0 "-" "-""#, ""),
            (r#"203.0.113.9 - - [03/Oct/2026:21:59:45 +0200] "GET /old" 200 612 "-" "-""#, "GET /old"),
            (r#"2001:db8::7 - - [03/Oct/2026:21:59:46 +0200] "GET /b HTTP/2.0" 304 - "-" "x""#, "/b"),
            (r#"unix: - - [03/Oct/2026:21:59:46 +0200] "GET /b HTTP/2.0" 304 - "-" "x" 0.003 "-""#, "/b"),
            (
                r#"fe80::1%eth0 id user@example.com [03/Oct/2026:21:59:46 +0200] "GET /b HTTP/2.0" 304 - 17"#,
                "/b",
            ),
        ] {
            assert_eq!(plain(line).unwrap().text[4].as_deref(), Some(path), "{line}");
        }
    }

    /// No field is taken for its neighbour.
    #[test]
    fn fields_before_the_line_refuse_it() {
        for front in [
            "203.0.113.9, 10.2.19.0 - -",
            "203.0.113.9,10.2.19.0 - -",
            "203.0.113.9, 10.2.19.0, 10.2.19.1 - alice",
            "www.example.org:443 203.0.113.9 - alice",
            "www.example.org 203.0.113.9 - -",
            "www.example.org 203.0.113.9 alice",
            "www.example.org host.example.net - alice",
            "www.example.org host.example.net ident alice",
            "- 203.0.113.9 - -",
            "203.0.113.9 - 10.2.19.0 - alice",
            "203.0.113.9 - 10.2.19.0 alice",
            "Oct 03 21:59:42 web nginx: 203.0.113.9 - -",
            "<13>Oct - -",
            "{\"log\":\"203.0.113.9 - -",
            "time=1 203.0.113.9 -",
            "203.0.113.9 -",
            "203.0.113.9  - -",
        ] {
            let line = format!("{front} {REST}");
            let fault = plain(&line).expect_err(&line);
            assert!(
                fault.contains("host")
                    || fault.contains("fields")
                    || fault.contains("time")
                    || fault.contains("ident"),
                "{line}: {fault}"
            );
        }
    }

    #[test]
    fn variants_are_read_where_they_are_asked_for() {
        let of = |front: &str, variant| {
            let line = format!("{front} {REST}");
            let line = parse(&line, variant)?;
            Ok::<_, &str>([0, 1, 2, 8, 9].map(|at: usize| line.text[at].as_deref().map(str::to_owned)))
        };
        let expected = |texts: [&str; 5]| texts.map(|text| (text != "-").then(|| text.to_owned()));
        let first = Variant { forwarded_for: Some(Side::First), ..Variant::default() };
        let host = Variant { virtual_host: true, ..Variant::default() };
        let both = Variant { virtual_host: true, ..first };
        for (front, variant, texts) in [
            ("203.0.113.9, 10.2.19.0 - -", first, ["203.0.113.9", "-", "-", "-", "203.0.113.9, 10.2.19.0"]),
            ("a,b,::1 - alice", first, ["a", "-", "alice", "-", "a,b,::1"]),
            (
                "[2001:db8::1]:4711, b - -",
                first,
                ["[2001:db8::1]:4711", "-", "-", "-", "[2001:db8::1]:4711, b"],
            ),
            ("unknown - -", first, ["unknown", "-", "-", "-", "unknown"]),
            ("- - -", first, ["-"; 5]),
            (
                "www.example.org:443 203.0.113.9 - alice",
                host,
                ["203.0.113.9", "-", "alice", "www.example.org:443", "-"],
            ),
            ("w 1.2.3.4, 5.6.7.8 - al ice", both, ["1.2.3.4", "-", "al ice", "w", "1.2.3.4, 5.6.7.8"]),
        ] {
            assert_eq!(of(front, variant), Ok(expected(texts)), "{front}");
        }
        for (front, variant) in [
            ("203.0.113.9, - -", first),
            ("203.0.113.9, 10.2.19.0 1.2.3.4 - -", first),
            ("203.0.113.9, \"a\" - -", first),
            ("203.0.113.9, , 1.2.3.4 - -", first),
            ("203.0.113.9 - alice", host),
            ("a b 203.0.113.9 - alice", host),
        ] {
            of(front, variant).expect_err(front);
        }
        let last = Variant { forwarded_for: Some(Side::Last), ..Variant::default() };
        let line = format!("10.2.19.0 - - {REST} \"203.0.113.9, 10.2.19.1\" 0.003");
        assert_eq!(parse(&line, last).unwrap().text[9].as_deref(), Some("203.0.113.9, 10.2.19.1"));
        let line = format!("10.2.19.0 - - {REST} \"-\"");
        assert_eq!(parse(&line, last).unwrap().text[9], None);
        assert!(parse(&format!("10.2.19.0 - - {REST}"), last).is_err());
    }

    #[test]
    fn each_part_has_its_exact_form() {
        for (rest, reason) in [
            (r#"[03/Oct/2026:21:59 +0200] "-" 200 1"#, "time"),
            (r#"[03/Oct/2026:21:59:47.123 +0200] "-" 200 1"#, "time"),
            (r#"[03/Oct/2026:21:59:47 Z] "-" 200 1"#, "time"),
            (r#"[03/Oct/2026:21:59:47 +02:00] "-" 200 1"#, "time"),
            (r#"[03/oct/2026:21:59:47 +0200] "-" 200 1"#, "time"),
            (r#"[2026-10-03T21:59:47+0200] "-" 200 1"#, "time"),
            (r#"[03/Oct/2026:21:59:47 +0200]  "-" 200 1"#, "quotes"),
            (r#"[03/Oct/2026:21:59:47 +0200] "-"200 1"#, "quotes"),
            (r#"[03/Oct/2026:21:59:47 +0200] "-" 0200 1"#, "status"),
            (r#"[03/Oct/2026:21:59:47 +0200] "-" +20 1"#, "status"),
            (r#"[03/Oct/2026:21:59:47 +0200] "-" 200 1.5"#, "size"),
            (r#"[03/Oct/2026:21:59:47 +0200] "-" 200 99999999999999999999"#, "size"),
            (r#"[03/Oct/2026:21:59:47 +0200] "-" 200 1 "r""#, "agent"),
            (r#"[03/Oct/2026:21:59:47 +0200] "-" 200 1 "r" "a"x"#, "agent"),
            (r#"[03/Oct/2026:21:59:47 +0200] "-" 200 1 "r"x "a""#, "referer"),
        ] {
            let line = format!("h - - {rest}");
            assert!(plain(&line).unwrap_err().contains(reason), "{line}: {:?}", plain(&line));
        }
    }
}
