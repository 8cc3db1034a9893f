//! The name section of a core module, cut to the names that help: functions of the stage's author, without the
//! compiler's mangling. A trap is then told with the function it came from, for a hundredth of the component's bytes
//! where all names are a tenth.

use super::frames::of_author;

/// Subsection of function names within a name section.
const FUNCTIONS: u8 = 1;
/// Bytes of a name that are kept: generic code can have names of kilobytes.
const NAME_BYTES_MAX: usize = 120;

/// The module with its name section cut. One that cannot be read is left as it is: making a component of it says why.
pub fn keep_authors(module: &[u8]) -> Vec<u8> {
    cut(module).unwrap_or_else(|| module.to_vec())
}

fn cut(module: &[u8]) -> Option<Vec<u8>> {
    let (header, mut rest) = module.split_at_checked(8)?;
    let mut out = header.to_vec();
    while let Some((&id, after)) = rest.split_first() {
        let (section, after) = sized(after)?;
        match (id, sized(section)) {
            (0, Some((b"name", names))) => custom(&mut out, &functions(names)?),
            _ => out.extend_from_slice(&rest[..rest.len() - after.len()]),
        }
        rest = after;
    }
    Some(out)
}

/// Appends a name section of these functions, unless there are none.
fn custom(out: &mut Vec<u8>, functions: &[(u32, String)]) {
    if functions.is_empty() {
        return;
    }
    let mut map = Vec::new();
    number(&mut map, functions.len() as u32);
    for (index, name) in functions {
        number(&mut map, *index);
        bytes(&mut map, name.as_bytes());
    }
    let mut section = Vec::new();
    bytes(&mut section, b"name");
    section.push(FUNCTIONS);
    bytes(&mut section, &map);
    out.push(0);
    bytes(out, &section);
}

/// The functions of the author in a name section.
fn functions(mut rest: &[u8]) -> Option<Vec<(u32, String)>> {
    let mut found = Vec::new();
    while let Some((&id, after)) = rest.split_first() {
        let (subsection, after) = sized(after)?;
        rest = after;
        if id != FUNCTIONS {
            continue;
        }
        let (count, mut names) = read(subsection)?;
        for _ in 0..count {
            let (index, after) = read(names)?;
            let (name, after) = sized(after)?;
            names = after;
            if let Some(mut name) = of_author(std::str::from_utf8(name).ok()?) {
                name.truncate(name.floor_char_boundary(NAME_BYTES_MAX));
                found.push((index, name));
            }
        }
    }
    Some(found)
}

/// A number, and what follows it.
fn read(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut value = 0u32;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        value |= u32::from(byte & 0x7f).checked_shl(at as u32 * 7)?;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

/// Bytes behind their number, and what follows them.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = read(bytes)?;
    rest.split_at_checked(length as usize)
}

fn number(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len() as u32);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A module of some sections, the names, and a section behind them.
    fn module(names: Option<&[(u32, &str)]>) -> Vec<u8> {
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        for (id, length) in [(1u8, 3u32), (3, 300)] {
            module.push(id);
            bytes(&mut module, &vec![7; length as usize]);
        }
        if let Some(names) = names {
            let mut map = Vec::new();
            number(&mut map, names.len() as u32);
            for (index, name) in names {
                number(&mut map, *index);
                bytes(&mut map, name.as_bytes());
            }
            let mut section = Vec::new();
            bytes(&mut section, b"name");
            for (id, content) in [(0, &b"\x01m"[..]), (FUNCTIONS, &map), (6, b"\x01\0\x01a")] {
                section.push(id);
                bytes(&mut section, content);
            }
            module.push(0);
            bytes(&mut module, &section);
        }
        module.push(0);
        bytes(&mut module, b"\x09producers..");
        module
    }

    /// The same with a name section of functions alone.
    fn cut_by_hand(names: &[(u32, &str)]) -> Vec<u8> {
        let whole = module(None);
        let (before, after) = whole.split_at(whole.len() - 14);
        let mut module = before.to_vec();
        let names: Vec<(u32, String)> =
            names.iter().map(|(index, name)| (*index, (*name).to_owned())).collect();
        custom(&mut module, &names);
        module.extend_from_slice(after);
        module
    }

    #[test]
    fn only_names_of_the_author_stay() {
        let long = format!("late::{}", "x".repeat(1_000));
        let all = module(Some(&[
            (3, "_ZN4core9panicking5panic17h0123456789abcdefE"),
            (200, "_ZN4late4work17h0123456789abcdefE"),
            (70_000, &long),
        ]));
        let wanted = cut_by_hand(&[(200, "late::work"), (70_000, &long[..NAME_BYTES_MAX])]);
        assert_eq!(keep_authors(&all), wanted);
        assert_eq!(keep_authors(&wanted), wanted, "once more changes nothing");
        let none = module(None);
        assert_eq!(keep_authors(&none), none);
        assert_eq!(keep_authors(&module(Some(&[(3, "memcmp")]))), none, "no empty section stays");
    }

    proptest! {
        #[test]
        fn what_is_no_module_is_left_as_it_is(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let kept = keep_authors(&bytes);
            prop_assert!(kept.len() <= bytes.len() + 4);
        }

        #[test]
        fn a_module_cut_anywhere_makes_no_panic(at in 0usize..900) {
            let whole = module(Some(&[(3, "late::work"), (4, "core::x")]));
            keep_authors(&whole[..at.min(whole.len())]);
        }
    }
}
