//! `${VAR}`, `${VAR:-default}` and `${file:path}` in scalars, after parsing: structure and positions hold.
//!
//! A scalar that is exactly one unquoted reference is read again as a plain scalar, so `lanes: ${LANES:-2}` is a
//! number; anything else is text. `$${` writes a literal `${`. Keys are not expanded, nor is what came out of an
//! expansion.

use std::io::Read;
use std::path::Path;

use crate::units::CONFIG_SECRET_BYTES_MAX;

/// Where variables come from.
pub struct Variables<'a> {
    /// Looks a variable up.
    pub get: &'a dyn Fn(&str) -> Option<String>,
    /// Folder that `${file:}` paths are relative to.
    pub base: &'a Path,
}

/// A scalar after expansion.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) text: String,
    /// The whole scalar was one reference.
    pub(super) whole: bool,
    /// What was put in from outside the file, with the reference it came from: never printed.
    pub(super) secrets: Vec<(String, String)>,
}

/// Expands a scalar; `None` where it holds no reference. The error is a sentence and what to do.
pub(super) fn expand(text: &str, variables: &Variables<'_>) -> Result<Option<Expanded>, (String, String)> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut out = String::new();
    let mut secrets = Vec::new();
    let mut whole = false;
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            out.push_str(&rest[..start]);
            out.push('{');
            rest = &rest[start + 2..];
            continue;
        }
        let Some(length) = rest[start..].find('}') else {
            return Err((
                "a `${` is not closed".into(),
                "write `}` after the name, or `$${` for the text `${`".into(),
            ));
        };
        let reference = &rest[start + 2..start + length];
        let (value, secret) = look_up(reference, variables)?;
        whole = start == 0 && rest.len() == text.len() && length + 1 == text.len();
        out.push_str(&rest[..start]);
        out.push_str(&value);
        if secret && !value.is_empty() {
            let name = reference.split_once(":-").map_or(reference, |(name, _)| name);
            secrets.push((value, format!("${{{name}}}")));
        }
        rest = &rest[start + length + 1..];
    }
    out.push_str(rest);
    Ok(Some(Expanded { text: out, whole, secrets }))
}

/// The value of a reference, and whether it came from outside the file.
fn look_up(reference: &str, variables: &Variables<'_>) -> Result<(String, bool), (String, String)> {
    if let Some(path) = reference.strip_prefix("file:") {
        let value = read(&variables.base.join(path)).map_err(|e| {
            (format!("the file of `${{{reference}}}` cannot be read: {e}"), "check the path".into())
        })?;
        return Ok((value, true));
    }
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let help = "write `${NAME}`, `${NAME:-default}` or `${file:path}`, or `$${` for the text `${`";
        return Err((format!("`${{{reference}}}` is not a variable"), help.into()));
    }
    match ((variables.get)(name), default) {
        (Some(value), Some(default)) if value.is_empty() => Ok((default.to_owned(), false)),
        (Some(value), _) => Ok((value, true)),
        (None, Some(default)) => Ok((default.to_owned(), false)),
        (None, None) => Err((
            format!("the variable `{name}` is not set"),
            format!("set it, or write `${{{name}:-default}}`"),
        )),
    }
}

fn read(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    let mut text = String::new();
    file.take(CONFIG_SECRET_BYTES_MAX + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > CONFIG_SECRET_BYTES_MAX {
        return Err(format!("it is larger than {CONFIG_SECRET_BYTES_MAX} bytes"));
    }
    // Editors and `echo` end a file with a line end that is no part of a password.
    let end = text.trim_end_matches(['\n', '\r']).len();
    text.truncate(end);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<Option<Expanded>, (String, String)> {
        let get = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        expand(text, &Variables { get: &get, base: Path::new("/nowhere") })
    }

    fn text(input: &str) -> String {
        run(input).unwrap().unwrap().text
    }

    #[test]
    fn references_are_expanded_once() {
        assert_eq!(run("plain $HOME").unwrap(), None);
        assert_eq!(text("${A}"), "1");
        assert_eq!(text("x${A}y${B:-2}z"), "x1y2z");
        assert_eq!(text("${EMPTY:-d}"), "d");
        assert_eq!(text("$${A}"), "${A}");
        assert_eq!(text("$${A} ${A}"), "${A} 1");
        assert!(run("${A}").unwrap().unwrap().whole);
        assert!(!run("${A}${A}").unwrap().unwrap().whole);
        assert!(!run("$${A}").unwrap().unwrap().whole);
    }

    #[test]
    fn mistakes_say_what_to_do() {
        assert_eq!(run("${B}").unwrap_err().0, "the variable `B` is not set");
        assert!(run("${A").unwrap_err().0.contains("not closed"));
        assert!(run("${a b}").unwrap_err().0.contains("not a variable"));
        assert!(run("${file:absent}").unwrap_err().0.contains("cannot be read"));
    }

    #[test]
    fn files_lose_their_last_line_end_and_are_secret() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pw"), "s3cret\n").unwrap();
        let got =
            expand("u:${file:pw}", &Variables { get: &|_| None, base: folder.path() }).unwrap().unwrap();
        assert_eq!(got.text, "u:s3cret");
        assert_eq!(got.secrets, [("s3cret".to_owned(), "${file:pw}".to_owned())]);
    }
}
