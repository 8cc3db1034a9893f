//! `${VAR}`, `${VAR:-default}` and `${file:path}` in scalars, after parsing: structure and positions hold.
//!
//! A scalar that is exactly one unquoted reference is read again as a plain scalar, so `lanes: ${LANES:-2}` is a
//! number; anything else is text, and so is what only resembles a number (`007`, `1e5`): it may be a password. `$${` writes a literal `${`. Keys are not expanded, nor is what came out of an
//! expansion.
//!
//! Of a file that `${file:path}` names, one line end at its end is cut: editors and `echo` write it. All else is part of
//! the value. A file that is empty is refused: it is nearly always a mount or a script that failed.

use std::io::Read;
use std::path::Path;

use crate::error::Code;
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

/// A reference that cannot be expanded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) code: Code,
    /// A sentence.
    pub(super) message: String,
    /// What to do.
    pub(super) help: String,
}

impl Failed {
    fn new(code: Code, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: help.into() }
    }
}

/// Expands a scalar; `None` where it holds no reference.
pub(super) fn expand(text: &str, variables: &Variables<'_>) -> Result<Option<Expanded>, Failed> {
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
            let help = "write `}` after the name, or `$${` for the text `${`";
            return Err(Failed::new(Code::C006, "a `${` is not closed", help));
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
fn look_up(reference: &str, variables: &Variables<'_>) -> Result<(String, bool), Failed> {
    if let Some(path) = reference.strip_prefix("file:") {
        let path = variables.base.join(path);
        let value = read(&path).map_err(|(why, help)| {
            let message = format!("the file of `${{{reference}}}`, `{}`, {why}", path.display());
            Failed::new(Code::C010, message, help)
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
        return Err(Failed::new(Code::C006, format!("`${{{reference}}}` is not a variable"), help));
    }
    match ((variables.get)(name), default) {
        (Some(value), Some(default)) if value.is_empty() => Ok((default.to_owned(), false)),
        (Some(value), _) => Ok((value, true)),
        (None, Some(default)) => Ok((default.to_owned(), false)),
        (None, None) => Err(Failed::new(
            Code::C006,
            format!("the variable `{name}` is not set"),
            format!("set it, or write `${{{name}:-default}}`"),
        )),
    }
}

/// The text of a secret's file; the error is the end of a sentence, and what to do.
fn read(path: &Path) -> Result<String, (String, &'static str)> {
    const PATH: &str = "check the path, which is relative to the pipeline file, and its permissions";
    let unreadable = |e: std::io::Error| (format!("cannot be read: {e}"), PATH);
    let file = super::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(("is a folder".into(), "name the file in it"));
    }
    let mut bytes = Vec::new();
    file.take(CONFIG_SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > CONFIG_SECRET_BYTES_MAX {
        let help = "is it the right file? secrets and certificates are smaller";
        return Err((format!("is larger than {CONFIG_SECRET_BYTES_MAX} bytes"), help));
    }
    let Ok(mut text) = String::from_utf8(bytes) else {
        return Err(("is not UTF-8".into(), "a value is text: encode bytes, for example as base64"));
    };
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(("is empty".into(), "did whatever writes it fail? for an empty value write `\"\"`"));
    }
    if text.contains('\0') {
        return Err(("holds a zero byte".into(), "a value is text: encode bytes, for example as base64"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<Option<Expanded>, Failed> {
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
        assert_eq!(run("${B}").unwrap_err().message, "the variable `B` is not set");
        assert!(run("${A").unwrap_err().message.contains("not closed"));
        assert!(run("${a b}").unwrap_err().message.contains("not a variable"));
        assert!(run("${file:absent}").unwrap_err().message.contains("cannot be read"));
    }

    /// A scalar that names the file `pw`, which holds this.
    fn from_file(bytes: &[u8]) -> Result<Expanded, Failed> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pw"), bytes).unwrap();
        expand("u:${file:pw}", &Variables { get: &|_| None, base: folder.path() }).map(Option::unwrap)
    }

    #[test]
    fn files_lose_one_line_end_and_are_secret() {
        let got = from_file(b"s3cret\n").unwrap();
        assert_eq!(got.secrets, [("s3cret".to_owned(), "${file:pw}".to_owned())]);
        for (bytes, value) in [
            ("s3cret", "s3cret"),
            ("s3cret\n", "s3cret"),
            ("s3cret\r\n", "s3cret"),
            ("s3cret\n\n", "s3cret\n"),
            ("s3cret\r", "s3cret\r"),
            (" s3cret ", " s3cret "),
            ("two\nlines\n", "two\nlines"),
        ] {
            assert_eq!(from_file(bytes.as_bytes()).unwrap().text, format!("u:{value}"), "{bytes:?}");
        }
    }

    #[test]
    fn a_secret_that_is_none_is_refused_with_its_path() {
        let too_large = vec![b'x'; CONFIG_SECRET_BYTES_MAX as usize + 1];
        for (bytes, part) in [
            (&b""[..], "is empty"),
            (b"\n", "is empty"),
            (b"\r\n", "is empty"),
            (b"a\0b", "zero byte"),
            (b"\xff\xfe", "not UTF-8"),
            (&too_large, "larger than"),
        ] {
            let failed = from_file(bytes).unwrap_err();
            assert_eq!(failed.code, Code::C010);
            assert!(failed.message.contains(part) && failed.message.contains("/pw"), "{}", failed.message);
        }
        let folder = tempfile::tempdir().unwrap();
        let variables = Variables { get: &|_| None, base: folder.path() };
        std::fs::create_dir(folder.path().join("inner")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(folder.path().join("fifo")).status();
        assert!(made.unwrap().success());
        for (path, part) in [
            ("inner", "is a folder"),
            ("absent", "cannot be read: No such file"),
            ("fifo", "cannot be read: it is a FIFO"),
        ] {
            let failed = expand(&format!("${{file:{path}}}"), &variables).unwrap_err();
            assert_eq!(failed.code, Code::C010);
            assert!(failed.message.contains(part) && failed.message.contains(path), "{}", failed.message);
        }
    }
}
