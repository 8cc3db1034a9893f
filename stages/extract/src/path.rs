//! Where a value is in a document: `$.a.b[0]['any name']`.

use pipe_stage::{Json, Result, bail};

/// The way from the document to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(usize),
}

impl Path {
    /// Reads a path; the error names the place where it is none.
    pub fn parse(text: &str) -> Result<Self> {
        let Some(mut rest) = text.strip_prefix('$') else {
            bail!("the path `{text}` must begin with `$`, which is the document: `$.user.id`");
        };
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let at = text.len() - rest.len();
            let Some((step, after)) = step(rest) else {
                bail!(
                    "the path `{text}` is not understood at byte {at}; it is made of `.name`, `['any name']`, `[0]`"
                );
            };
            steps.push(step);
            rest = after;
        }
        Ok(Self(steps))
    }

    /// The last name on the way.
    pub fn last_name(&self) -> Option<&str> {
        self.0.iter().rev().find_map(|step| match step {
            Step::Name(name) => Some(name.as_str()),
            Step::Index(_) => None,
        })
    }

    /// The value, if it is there.
    pub fn find<'j>(&self, document: &'j Json) -> Option<&'j Json> {
        self.0.iter().try_fold(document, |value, step| match (step, value) {
            (Step::Name(name), value) => value.get(name),
            (Step::Index(index), Json::List(items)) => items.get(*index),
            (Step::Index(_), _) => None,
        })
    }
}

fn step(text: &str) -> Option<(Step, &str)> {
    if let Some(rest) = text.strip_prefix('.') {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        return (!name.is_empty()).then(|| (Step::Name(name.into()), rest));
    }
    let rest = text.strip_prefix('[')?;
    let quote = rest.chars().next()?;
    if quote == '\'' || quote == '"' {
        return quoted(rest.get(1..)?, quote);
    }
    let (digits, rest) = rest.split_once(']')?;
    let plain =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    Some((Step::Index(digits.parse().ok().filter(|_| plain)?), rest))
}

/// A name up to its quote; a backslash takes the next character as it is.
fn quoted(text: &str, quote: char) -> Option<(Step, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            let rest = text.get(at + 1..)?.strip_prefix(']')?;
            return Some((Step::Name(name), rest));
        }
        name.push(if c == '\\' { chars.next()?.1 } else { c });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_values() {
        let document = r#"{"a":{"b":[10,{"c d":"x"}],"é-1":true},"it's":1,"a\"b":2,"k":1,"k":3}"#;
        let document = Json::parse(document).unwrap();
        for (path, value) in [
            ("$.a.b[0]", Some("10")),
            ("$.a.b[1]['c d']", Some("\"x\"")),
            ("$['a'][\"b\"][1]", Some("{\"c d\":\"x\"}")),
            ("$.a.é-1", Some("true")),
            (r"$['it\'s']", Some("1")),
            (r#"$['a"b']"#, Some("2")),
            // Of several members with one name the last counts.
            ("$.k", Some("3")),
            ("$.a.b[2]", None),
            ("$.a[0]", None),
            ("$.a.b.c", None),
            ("$.a.b[99999999999]", None),
        ] {
            let path = Path::parse(path).unwrap();
            assert_eq!(path.find(&document).map(ToString::to_string).as_deref(), value, "{path:?}");
        }
        assert_eq!(Path::parse("$").unwrap().find(&document), Some(&document));
        assert_eq!(Path::parse("$.a.b[0]").unwrap().last_name(), Some("b"));
        assert_eq!(Path::parse("$[0]").unwrap().last_name(), None);
    }

    #[test]
    fn what_is_no_path_is_refused_where_it_goes_wrong() {
        for (path, place) in [
            ("a.b", "must begin with `$`"),
            ("$a", "byte 1"),
            ("$.", "byte 1"),
            ("$..a", "byte 1"),
            ("$.a[*]", "byte 3"),
            ("$.a[-1]", "byte 3"),
            ("$.a[01]", "byte 3"),
            ("$.a[?(@.x)]", "byte 3"),
            ("$['a", "byte 1"),
            ("$['a'", "byte 1"),
            ("$.a b", "byte 3"),
        ] {
            let error = Path::parse(path).unwrap_err().to_string();
            assert!(error.contains(place), "{path}: {error}");
        }
    }
}
