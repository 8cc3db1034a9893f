//! The headers of CSV files that one source reads: they name the same columns in the same order, because one decoder
//! reads all of them.

use std::path::Path;

use super::begin;
use super::names::Input;
use crate::codec::{CsvFields, CsvSigns, Layout};
use crate::error::{Code, Error, Result};

/// Files that an error lists.
const LISTED: usize = 20;
pub(super) const HELP: &str =
    "write them with the same columns in the same order, or read them by sources of their own";

/// The first file with a header, and that header: an empty file says nothing about columns.
pub(super) fn first(inputs: &[Input], layout: Layout) -> Result<Option<(&Path, Vec<u8>)>> {
    for path in inputs.iter().filter_map(Input::path) {
        if let Some(header) = begin::header(path, layout)? {
            return Ok(Some((path, header)));
        }
    }
    Ok(None)
}

/// Refuses files whose headers differ, before the first row of any of them is read.
pub(super) fn agree(inputs: &[Input], layout: Layout) -> Result<()> {
    let (Layout::Csv { signs, .. }, Some((path, header))) = (layout, first(inputs, layout)?) else {
        return Ok(());
    };
    let mut wrong = Vec::new();
    for other in inputs.iter().filter_map(Input::path).filter(|other| *other != path) {
        if let Some(found) = begin::header(other, layout)?
            && let Some(how) = difference(&header, &found, signs)
        {
            wrong.push(format!("{}: {how}", other.display()));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let more = wrong.len().saturating_sub(LISTED);
    wrong.truncate(LISTED);
    if more > 0 {
        wrong.push(format!("and {more} more"));
    }
    let text = format!(
        "its files do not fit the header of {}, which is {}:\n  {}",
        path.display(),
        String::from_utf8_lossy(&header),
        wrong.join("\n  ")
    );
    Err(Error::user(Code::S013, text).help(HELP))
}

/// How a header differs from the one that is expected; `None`: it names the same columns in the same order.
pub(super) fn difference(expected: &[u8], found: &[u8], signs: CsvSigns) -> Option<String> {
    if expected == found {
        return None;
    }
    let (Some(expected), Some(names)) = (names(expected, signs), names(found, signs)) else {
        return Some(format!("its header is {}", String::from_utf8_lossy(found)));
    };
    if expected == names {
        return None;
    }
    let absent = |from: &[String], of: &[String]| -> Vec<String> {
        of.iter().filter(|name| !from.contains(name)).map(|name| format!("`{name}`")).collect()
    };
    let (lacks, adds) = (absent(&names, &expected), absent(&expected, &names));
    let mut parts = Vec::new();
    if !lacks.is_empty() {
        parts.push(format!("lacks {}", lacks.join(", ")));
    }
    if !adds.is_empty() {
        parts.push(format!("adds {}", adds.join(", ")));
    }
    if parts.is_empty() {
        parts.push(format!("has another order, {}", names.join(", ")));
    }
    Some(parts.join(" and "))
}

fn names(header: &[u8], signs: CsvSigns) -> Option<Vec<String>> {
    let mut names = Vec::new();
    CsvFields::new(signs)
        .split(header, |text, _| names.push(String::from_utf8_lossy(text).into_owned()))
        .ok()?;
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_compared_by_the_names_in_them() {
        let differ = |a: &str, b: &str| difference(a.as_bytes(), b.as_bytes(), CsvSigns::default());
        assert_eq!(differ("x,y", "x,y"), None);
        assert_eq!(differ("x,y", "\"x\",y"), None, "quotes are not part of a name");
        assert_eq!(differ("x,y", "y,x").unwrap(), "has another order, y, x");
        assert_eq!(differ("x,y", "x").unwrap(), "lacks `y`");
        assert_eq!(differ("x,y", "x,z").unwrap(), "lacks `y` and adds `z`");
        assert_eq!(differ("x,y", "\"x,y").unwrap(), "its header is \"x,y");
    }
}
