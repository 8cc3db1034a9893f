//! Values that must never be printed: whoever learns one tells it here, and whoever prints a text that may hold one
//! hides them. By value, not by key: a secret that wanders into an error of a library is found all the same.

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock};

use crate::units::SECRET_CHARS_MIN;

/// Longest first: one may be part of another.
static SECRETS: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// What stands in a secret's place.
pub const HIDDEN: &str = "***";

/// Lines of a secret with several (a private key) that are hidden alone, as a message may hold just one.
const LINE_CHARS_MIN: usize = 16;
/// A number shorter than this is no secret: it would be found in too many others.
const DIGITS_MIN: usize = 8;

/// This value is secret from now on, also as a quoted text holds it. Values that would be found in every other word
/// are left out: shorter than [`SECRET_CHARS_MIN`], or a short number.
pub fn keep(value: &str) {
    let long = value.trim().chars().count() >= SECRET_CHARS_MIN;
    let number = value.len() < DIGITS_MIN && value.chars().all(|c| c.is_ascii_digit());
    if !long || number {
        return;
    }
    let lines = value.lines().map(str::trim).filter(|line| line.len() >= LINE_CHARS_MIN);
    let lines = lines.filter(|line| !line.starts_with("-----"));
    let mut found: Vec<String> = [value.trim()].into_iter().chain(lines).map(str::to_owned).collect();
    let rust = |text: &String| within_quotes(&format!("{text:?}"));
    let json = |text: &String| within_quotes(&serde_json::Value::from(text.as_str()).to_string());
    let quoted: Vec<String> = found.iter().flat_map(|text| [rust(text), json(text)]).collect();
    found.extend(quoted);
    let mut secrets = SECRETS.write().unwrap_or_else(PoisonError::into_inner);
    secrets.extend(found);
    secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    secrets.dedup();
}

fn within_quotes(text: &str) -> String {
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text).to_owned()
}

/// Whether the name of a variable says that its value is a secret.
pub fn is_named(variable: &str) -> bool {
    let name = variable.to_ascii_uppercase();
    ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "CREDENTIAL", "PRIVATE", "APIKEY", "API_KEY", "ACCESS_KEY"]
        .iter()
        .any(|word| name.contains(word))
}

/// Bytes of the longest: whoever cuts a text before it is whole keeps so many more.
pub fn longest() -> usize {
    SECRETS.read().unwrap_or_else(PoisonError::into_inner).first().map_or(0, String::len)
}

/// The beginning of a text, without the secrets: they are hidden first, as the beginning of one is not found.
pub fn cut(text: &str, bytes_max: usize) -> String {
    let shown = hide(text);
    shown[..shown.floor_char_boundary(bytes_max)].to_owned()
}

/// A text without the secrets.
pub fn hide(text: &str) -> Cow<'_, str> {
    let secrets = SECRETS.read().unwrap_or_else(PoisonError::into_inner);
    let mut shown = Cow::Borrowed(text);
    for secret in secrets.iter() {
        if shown.contains(secret.as_str()) {
            shown = Cow::Owned(shown.replace(secret.as_str(), HIDDEN));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_hidden_whole_and_quoted() {
        keep("zebra-crossing");
        keep("zebra-crossing-long");
        keep("zeb\"ra\nqu\\agga-stands-alone");
        assert_eq!(hide("a zebra-crossing-long b zebra-crossing."), "a *** b ***.");
        assert_eq!(hide("zebra crossing"), "zebra crossing");
        assert_eq!(hide(r#"zeb\"ra\nqu\\agga-stands-alone"#), "***");
        assert_eq!(hide(r"only qu\agga-stands-alone here"), "only *** here");
    }

    #[test]
    fn one_that_is_quoted_in_any_way_or_longer_than_the_cut_is_hidden() {
        let secret = "tapir\u{7}of\u{200b}the\"hill";
        keep(secret);
        for shown in [secret.to_owned(), format!("{secret:?}"), serde_json::json!([secret]).to_string()] {
            let hidden = hide(&shown);
            assert!(hidden.contains("***") && !hidden.contains("tapir"), "{hidden}");
        }
        let long = "okapi".repeat(1_000);
        keep(&long);
        assert!(longest() >= long.len());
        assert_eq!(
            (cut(&format!("a {long}"), 100), cut("\u{e9}\u{e9}", 3)),
            ("a ***".into(), "\u{e9}".into())
        );
    }

    #[test]
    fn what_would_be_found_everywhere_is_not_kept() {
        for value in ["abc", " ab ", "1000", "1234567", ""] {
            keep(value);
        }
        assert_eq!(hide("abc ab 1000 1234567"), "abc ab 1000 1234567");
    }

    #[test]
    fn names_of_secrets() {
        assert!(["DB_PASSWORD", "github_token", "AWS_SECRET_ACCESS_KEY"].iter().all(|n| is_named(n)));
        assert!(["KAFKA_BROKERS", "OUT", "LANES", "KEY"].iter().all(|n| !is_named(n)));
    }
}
