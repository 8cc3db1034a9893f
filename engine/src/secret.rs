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
    let quoted = |text: &String| format!("{text:?}").trim_matches('"').to_owned();
    found.extend(found.iter().map(quoted).collect::<Vec<_>>());
    let mut secrets = SECRETS.write().unwrap_or_else(PoisonError::into_inner);
    secrets.extend(found);
    secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    secrets.dedup();
}

/// Whether the name of a variable says that its value is a secret.
pub fn is_named(variable: &str) -> bool {
    let name = variable.to_ascii_uppercase();
    ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "CREDENTIAL", "PRIVATE", "APIKEY", "API_KEY", "ACCESS_KEY"]
        .iter()
        .any(|word| name.contains(word))
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
