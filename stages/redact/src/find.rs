//! What is found within a text: by presets, or by a regular expression. Both take time that is linear in the text.

use pipe_stage::{Error, Result, bail};
use regex_lite::{Regex, RegexBuilder};
use serde::Deserialize;

use crate::action::Change;

/// What is known by a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Addresses of electronic mail.
    Email,
    /// Numbers of payment cards: 13 to 19 digits, perhaps with single spaces or dashes between, whose check digit
    /// (Luhn) is right.
    Card,
    /// IPv4 addresses.
    Ipv4,
    /// International telephone numbers: `+` and 7 to 15 digits, perhaps with signs between.
    Phone,
}

impl Preset {
    fn pattern(self) -> &'static str {
        match self {
            Self::Email => r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+",
            Self::Card => r"[0-9](?:[ -]?[0-9]){12,18}",
            Self::Ipv4 => {
                r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
            }
            Self::Phone => r"\+[1-9](?:[ .()/-]{0,2}[0-9]){6,14}",
        }
    }

    /// Whether a text can hold one at all: a glance that is many times as fast as a search.
    fn possible(self, text: &[u8]) -> bool {
        let digits = || text.iter().filter(|byte| byte.is_ascii_digit()).count();
        match self {
            Self::Email => text.contains(&b'@'),
            Self::Card => digits() >= 13,
            Self::Ipv4 => text.iter().filter(|byte| **byte == b'.').count() >= 3 && digits() >= 4,
            Self::Phone => text.contains(&b'+') && digits() >= 7,
        }
    }

    /// Whether what the pattern matched is one, seen with what is around it.
    fn holds(self, text: &str, start: usize, end: usize) -> bool {
        let bytes = text.as_bytes();
        let near = |at: Option<usize>, is: fn(&u8) -> bool| at.and_then(|at| bytes.get(at)).is_some_and(is);
        let digit_around =
            near(start.checked_sub(1), u8::is_ascii_digit) || near(Some(end), u8::is_ascii_digit);
        match self {
            Self::Email | Self::Phone => true,
            Self::Ipv4 => !digit_around,
            Self::Card => !digit_around && luhn(bytes.get(start..end).unwrap_or_default()),
        }
    }
}

/// Whether the last digit checks those before it.
fn luhn(text: &[u8]) -> bool {
    let mut sum = 0u32;
    let digits = text.iter().rev().filter(|byte| byte.is_ascii_digit());
    for (at, digit) in digits.map(|byte| u32::from(byte - b'0')).enumerate() {
        let doubled = if at % 2 == 1 { digit * 2 } else { digit };
        sum += if doubled > 9 { doubled - 9 } else { doubled };
    }
    sum.is_multiple_of(10)
}

/// Finds what is to be changed within a text.
pub(crate) struct Finder(Vec<(Option<Preset>, Regex)>);

impl Finder {
    /// `None` where the whole value is meant.
    pub(crate) fn new(presets: Option<&[Preset]>, pattern: Option<&str>) -> Result<Option<Self>> {
        let mut patterns = Vec::new();
        for preset in presets.unwrap_or_default() {
            patterns.push((Some(*preset), compile(preset.pattern())?));
        }
        if let Some(pattern) = pattern {
            let compiled = compile(pattern)?;
            if compiled.is_match("") {
                bail!("the pattern `{pattern}` matches the empty text, and would be found everywhere");
            }
            patterns.push((None, compiled));
        }
        if patterns.is_empty() && presets.is_some() {
            bail!("`find` needs at least one");
        }
        Ok((!patterns.is_empty()).then_some(Self(patterns)))
    }

    /// The text with what is found changed; `None` where nothing is found.
    pub(crate) fn replace(&self, text: &str, change: &Change) -> Option<String> {
        let mut changed: Option<String> = None;
        for (preset, pattern) in &self.0 {
            let now = changed.as_deref().unwrap_or(text);
            if preset.is_some_and(|preset| !preset.possible(now.as_bytes())) {
                continue;
            }
            let mut out = String::new();
            let mut after = 0;
            for found in pattern.find_iter(now) {
                if preset.is_some_and(|preset| !preset.holds(now, found.start(), found.end())) {
                    continue;
                }
                out.push_str(now.get(after..found.start()).unwrap_or_default());
                change.write(found.as_str(), &mut out);
                after = found.end();
            }
            if after > 0 {
                out.push_str(now.get(after..).unwrap_or_default());
                changed = Some(out);
            }
        }
        changed
    }
}

fn compile(pattern: &str) -> Result<Regex> {
    RegexBuilder::new(pattern)
        .build()
        .map_err(|error| Error::new(format!("the pattern `{pattern}` is no regular expression: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(preset: Preset, text: &str) -> String {
        let finder = Finder::new(Some(&[preset]), None).unwrap().unwrap();
        finder.replace(text, &Change::Replace("#".into())).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn presets_find_what_they_say() {
        for (preset, text, expected) in [
            (Preset::Email, "to ada.l+x@example.co.uk, or a@b", "to #, or a@b"),
            (Preset::Email, "<a@b.de><c@d.fr>", "<#><#>"),
            (Preset::Email, "no at sign", "no at sign"),
            (Preset::Card, "card 4111 1111 1111 1111.", "card #."),
            (Preset::Card, "4111-1111-1111-1111,378282246310005", "#,#"),
            // A wrong check digit, too few digits, too many.
            (Preset::Card, "4111 1111 1111 1112", "4111 1111 1111 1112"),
            (Preset::Card, "411111111111", "411111111111"),
            (Preset::Card, "41111111111111111111111", "41111111111111111111111"),
            (Preset::Ipv4, "from 10.0.0.255 to 256.1.1.1", "from # to 256.1.1.1"),
            (Preset::Ipv4, "[192.168.1.1]:80", "[#]:80"),
            (Preset::Ipv4, "1.2.3", "1.2.3"),
            (Preset::Phone, "call +44 20 7946 0958 or +1 (555) 010-9999", "call # or #"),
            (Preset::Phone, "+123, 030 1234567", "+123, 030 1234567"),
        ] {
            assert_eq!(found(preset, text), expected);
        }
    }

    #[test]
    fn own_patterns_are_checked() {
        assert!(Finder::new(None, None).unwrap().is_none());
        for (pattern, word) in [("(", "no regular expression"), ("a*", "matches the empty text")] {
            let error = Finder::new(None, Some(pattern)).err().map(|error| error.to_string()).unwrap();
            assert!(error.contains(word), "{error}");
        }
        let finder = Finder::new(Some(&[Preset::Email]), Some("tok_[a-z]+")).unwrap().unwrap();
        let masked = finder.replace("a@b.de tok_abc x", &Change::Mask { sign: '-', first: 0, last: 0 });
        assert_eq!(masked.as_deref(), Some("------ ------- x"));
    }

    #[test]
    fn long_texts_that_nearly_match_take_no_longer_than_others() {
        // A backtracking engine would not come back from these.
        let text = format!("{}!", "a".repeat(20_000));
        let finder = Finder::new(None, Some("(a+)+b")).unwrap().unwrap();
        assert!(finder.replace(&text, &Change::Replace(String::new())).is_none());
        let digits = format!("{}@", "1-".repeat(5_000));
        assert_eq!(found(Preset::Email, &digits), digits);
    }
}
