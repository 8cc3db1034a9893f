//! `traceparent` and `tracestate` of W3C Trace Context (levels 1 and 2): bytes to values and back. Pure.

use crate::units::{TRACE_STATE_BYTES_MAX, TRACE_STATE_MEMBERS_MAX};

/// Name of the header that names the trace and the span that sent a record.
pub const TRACEPARENT: &str = "traceparent";
/// Name of the header that vendors keep their own data in.
pub const TRACESTATE: &str = "tracestate";

/// Bytes of a `traceparent` of version 00, and of what later versions must begin with.
pub const TRACEPARENT_BYTES: usize = 55;

/// Names a trace; never all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

/// Names a span of a trace; never all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(pub [u8; 8]);

impl std::fmt::Display for TraceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Display for SpanId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The sender of a record may have recorded its span.
pub const SAMPLED: u8 = 0b01;
/// Flags that the specification defines: sampled, and that the trace's number is random (level 2). Others are
/// reserved, and must not be passed on.
const FLAGS_KNOWN: u8 = 0b11;

/// What a `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: TraceId,
    /// The span of it that is the parent of whatever comes next.
    pub parent: SpanId,
    /// Flags that are defined.
    pub flags: u8,
}

impl Context {
    /// Whether the trace is recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Reads a header's value. `None`: it is none, and must be taken as absent.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let known: &[u8; TRACEPARENT_BYTES] = value.first_chunk()?;
        if [2, 35, 52].iter().any(|&at| known[at] != b'-') {
            return None;
        }
        let [version] = hex(&known[..2])?;
        match version {
            0xff => return None,
            0 if value.len() != TRACEPARENT_BYTES => return None,
            // A later version may go on after another dash; what it says there is not for us.
            _ if value.get(TRACEPARENT_BYTES).is_some_and(|byte| *byte != b'-') => return None,
            _ => {}
        }
        let (trace, parent, [flags]) =
            (hex::<16>(&known[3..35])?, hex::<8>(&known[36..52])?, hex(&known[53..])?);
        if trace == [0; 16] || parent == [0; 8] {
            return None;
        }
        Some(Self { trace: TraceId(trace), parent: SpanId(parent), flags: flags & FLAGS_KNOWN })
    }

    /// The header's value, in version 00.
    pub fn format(&self) -> [u8; TRACEPARENT_BYTES] {
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut out[3..35], &self.trace.0);
        write_hex(&mut out[36..52], &self.parent.0);
        write_hex(&mut out[53..], &[self.flags]);
        out
    }
}

/// Bytes of lower-case hexadecimal digits, two for each.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn write_hex(out: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// The `tracestate` of a record from all its headers of that name: they are one list. `None` where there is nothing
/// in it, or anything wrong with it: then the whole of it is dropped.
pub fn state<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> Option<String> {
    let mut list = String::new();
    for value in values {
        let value = value?;
        if list.len() + value.len() > TRACE_STATE_BYTES_MAX {
            return None;
        }
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(std::str::from_utf8(value).ok()?);
    }
    let mut members = 0;
    for member in list.split(',').map(|member| member.trim_matches([' ', '\t'])) {
        if member.is_empty() {
            continue;
        }
        let (key, value) = member.split_once('=')?;
        members += 1;
        if members > TRACE_STATE_MEMBERS_MAX || !is_key(key) || !is_value(value) {
            return None;
        }
    }
    (members > 0 && list.len() <= TRACE_STATE_BYTES_MAX).then_some(list)
}

/// Up to 256 of the letters that level 2 allows; those of level 1 are among them.
fn is_key(key: &str) -> bool {
    let first = key.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/@".contains(&b);
    first && key.len() <= 256 && key.bytes().all(rest)
}

/// Up to 256 printable characters but `,` and `=`; the blanks around it are cut off already.
fn is_value(value: &str) -> bool {
    let fits = |b: u8| matches!(b, b' '..=b'~') && b != b',' && b != b'=';
    !value.is_empty() && value.len() <= 256 && value.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "b7ad6b7169203331";

    fn parent(version: &str, flags: &str, rest: &str) -> Option<Context> {
        Context::parse(format!("{version}-{TRACE}-{PARENT}-{flags}{rest}").as_bytes())
    }

    #[test]
    fn what_the_specification_accepts() {
        for (flags, sampled, out) in [
            ("00", false, "00"),
            ("01", true, "01"),
            ("03", true, "03"),
            ("02", false, "02"),
            ("ff", true, "03"),
        ] {
            let context = parent("00", flags, "").unwrap();
            assert_eq!(context.is_sampled(), sampled, "{flags}");
            assert_eq!(context.format(), format!("00-{TRACE}-{PARENT}-{out}").as_bytes(), "{flags}");
            assert_eq!(
                (context.trace.to_string(), context.parent.to_string()),
                (TRACE.into(), PARENT.into())
            );
        }
        // Later versions: what we know of them is read, and what we write is version 00.
        for (version, rest) in
            [("01", ""), ("cc", "-what-the-future-will-be-like"), ("fe", "-"), ("02", "-\u{ff}")]
        {
            let context = parent(version, "01", rest).unwrap_or_else(|| panic!("{version}{rest}"));
            assert_eq!(context.format(), format!("00-{TRACE}-{PARENT}-01").as_bytes());
        }
    }

    #[test]
    fn what_it_refuses() {
        let good = format!("00-{TRACE}-{PARENT}-01");
        assert!(Context::parse(good.as_bytes()).is_some());
        let wrong = [
            String::new(),
            "00".into(),
            good.replace('-', "_"),
            good.replacen("00-", "ff-", 1),
            good.replacen("00-", "0-", 1),
            good.replacen("00-", "0x-", 1),
            good.replacen("00-", "FE-", 1),
            format!("{good}-"),
            format!("{good}-extra"),
            format!("{good} "),
            format!(" {good}"),
            good[..54].to_owned(),
            good.to_uppercase(),
            good.replace("0af7", "0AF7"),
            good.replace("b7ad", "b7aD"),
            good.replace("0af7", "0ag7"),
            good.replace(TRACE, &"0".repeat(32)),
            good.replace(PARENT, &"0".repeat(16)),
            format!("00-{TRACE}-{PARENT}-0g"),
            format!("00-{TRACE}-{PARENT}-1"),
            format!("00-{}-{PARENT}-01", &TRACE[1..]),
            format!("00-{TRACE}-{}-01", &PARENT[1..]),
            format!("01-{TRACE}-{PARENT}-01.more"),
            format!("01-{TRACE}-{PARENT}-0"),
            format!("ff-{TRACE}-{PARENT}-01-x"),
            "x".repeat(10_000),
        ];
        for text in wrong {
            assert_eq!(Context::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Context::parse(&[0xff; 55]), None);
    }

    #[test]
    fn a_state_is_passed_on_or_dropped_whole() {
        let one = |text: &str| state([Some(text.as_bytes())].into_iter());
        let long = |n: usize| "k".repeat(n);
        let members = |n: usize| (0..n).map(|i| format!("k{i}=1")).collect::<Vec<_>>().join(",");
        for text in [
            "foo=1",
            "foo=1,bar=2",
            " foo=1 \t,\t bar=2 ",
            "foo=1,,bar=2,",
            "foo=1,foo=2",
            "t@v=x y!~",
            "0k=1",
            &format!("{}=1", long(256)),
            &format!("k={}", long(256)),
            &members(32),
        ] {
            assert_eq!(one(text).as_deref(), Some(text), "{text}");
        }
        for text in [
            "",
            " ",
            ",",
            "foo",
            "foo=",
            "=1",
            "FOO=1",
            "foo.bar=1",
            "@v=1",
            "foo =1",
            "foo=1=2",
            "foo=\u{e9}",
            "foo=\t1\u{1}",
            "foo=1,bar",
            &format!("{}=1", long(257)),
            &format!("k={}", long(257)),
            &members(33),
            &format!("a={},b={},c=1", long(256), long(256)),
        ] {
            assert_eq!(one(text), None, "{text}");
        }
        assert_eq!(state([Some(&b"a=1"[..]), Some(b"b=2")].into_iter()).as_deref(), Some("a=1,b=2"));
        assert_eq!(state([Some(&b"a=1"[..]), None].into_iter()), None);
        assert_eq!(state([Some(&b"a=\xff"[..])].into_iter()), None);
        assert_eq!(state(std::iter::empty()), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trace: [u8; 16], parent: [u8; 8], flags in 0..4u8) {
            prop_assume!(trace != [0; 16] && parent != [0; 8]);
            let context = Context { trace: TraceId(trace), parent: SpanId(parent), flags };
            prop_assert_eq!(Context::parse(&context.format()), Some(context));
        }

        #[test]
        fn bytes_never_panic_and_are_written_back_as_they_were(bytes: Vec<u8>, text in "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]") {
            prop_assert!(Context::parse(&bytes).is_none_or(|c| Context::parse(&c.format()) == Some(c)));
            let _ = state([Some(&bytes[..])].into_iter());
            if let Some(context) = Context::parse(text.as_bytes()) {
                prop_assert_eq!(&context.format()[2..], &text.as_bytes()[2..]);
            }
        }

        #[test]
        fn one_wrong_byte_is_never_another_trace(at in 0..55usize, byte: u8) {
            let good = format!("00-{TRACE}-{PARENT}-01").into_bytes();
            let mut changed = good;
            changed[at] = byte;
            if let Some(context) = Context::parse(&changed) {
                // A later version is read as what we know of it.
                let version = if at < 2 { &b"00"[..] } else { &changed[..2] };
                let flags = context.format()[53..].to_vec();
                prop_assert_eq!(&context.format()[2..53], &changed[2..53]);
                prop_assert_eq!((&context.format()[..2], flags[0]), (version, b'0'));
            }
        }
    }
}
