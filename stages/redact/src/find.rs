//! What is found within a text: by presets, or by a regular expression. Both take time that is linear in the text.

use std::ops::Range;

use pipe_stage::{Error, Result, bail};
use regex_lite::{Regex, RegexBuilder};
use serde::Deserialize;

use crate::action::Change;
use crate::card::cards;

/// What is known by a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Addresses of electronic mail.
    Email,
    /// Numbers of payment cards: 13 to 19 digits, perhaps with single spaces or dashes between, whose check digit
    /// (Luhn) is right, also among other digits.
    Card,
    /// IPv4 addresses.
    Ipv4,
    /// International telephone numbers: `+` and 7 to 15 digits, perhaps with signs between.
    Phone,
}

/// Letters of other scripts, for a class of a pattern; without their signs and spaces, so that a quotation mark or a full
/// stop of theirs ends an address.
const LETTERS: &str = r"\u{AA}\u{B5}\u{BA}\u{C0}-\u{1FFF}\u{2C00}-\u{2DFF}\u{3005}-\u{3007}\u{3021}-\u{FDFF}\u{FE70}-\u{FEFE}\u{FF10}-\u{FF19}\u{FF21}-\u{FF3A}\u{FF41}-\u{FF5A}\u{FF66}-\u{FFDC}\u{10000}-\u{10FFFF}";

impl Preset {
    /// `None` for what no pattern can say.
    fn pattern(self) -> Option<String> {
        Some(match self {
            Self::Email => format!(
                r"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~{LETTERS}-]+@[A-Za-z0-9{LETTERS}-]+(?:\.[A-Za-z0-9{LETTERS}-]+)+"
            ),
            Self::Card => return None,
            Self::Ipv4 => {
                r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])".into()
            }
            Self::Phone => r"\+[1-9](?:[ .()/-]{0,2}[0-9]){6,14}".into(),
        })
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
            Self::Ipv4 => !digit_around,
            Self::Email | Self::Phone | Self::Card => true,
        }
    }
}

/// Finds what is to be changed within a text.
pub(crate) struct Finder(Vec<Search>);

/// One thing that is looked for: a preset, an own pattern.
struct Search {
    preset: Option<Preset>,
    pattern: Option<Regex>,
}

impl Search {
    /// Where it is, in order.
    fn all(&self, text: &str) -> Vec<Range<usize>> {
        if self.preset.is_some_and(|preset| !preset.possible(text.as_bytes())) {
            return Vec::new();
        }
        let Some(pattern) = &self.pattern else { return cards(text) };
        let holds = |found: &Range<usize>| {
            self.preset.is_none_or(|preset| preset.holds(text, found.start, found.end))
        };
        pattern.find_iter(text).map(|found| found.range()).filter(holds).collect()
    }
}

impl Finder {
    /// `None` where the whole value is meant.
    pub(crate) fn new(presets: Option<&[Preset]>, pattern: Option<&str>) -> Result<Option<Self>> {
        let mut all = Vec::new();
        for preset in presets.unwrap_or_default() {
            let pattern = preset.pattern().map(|pattern| compile(&pattern)).transpose()?;
            all.push(Search { preset: Some(*preset), pattern });
        }
        if let Some(pattern) = pattern {
            let compiled = compile(pattern)?;
            if compiled.is_match("") {
                bail!("the pattern `{pattern}` matches the empty text, and would be found everywhere");
            }
            all.push(Search { preset: None, pattern: Some(compiled) });
        }
        if all.is_empty() && presets.is_some() {
            bail!("`find` needs at least one");
        }
        Ok((!all.is_empty()).then_some(Self(all)))
    }

    /// The text with what is found changed; `None` where nothing is found.
    pub(crate) fn replace(&self, text: &str, change: &Change) -> Option<String> {
        let mut changed: Option<String> = None;
        for search in &self.0 {
            let now = changed.as_deref().unwrap_or(text);
            let mut out = String::new();
            let mut after = 0;
            for found in search.all(now) {
                out.push_str(now.get(after..found.start).unwrap_or_default());
                change.write(now.get(found.clone()).unwrap_or_default(), &mut out);
                after = found.end;
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
            (Preset::Email, "an joe@ex\u{e4}mple.com, m\u{fc}ller@example.com", "an #, #"),
            (
                Preset::Email,
                "\u{201c}u\u{308}ber@b.de\u{201d} \u{7528}\u{6237}@\u{4f8b}\u{5b50}.\u{4e2d}\u{56fd}\u{3002}",
                "\u{201c}#\u{201d} #\u{3002}",
            ),
            (Preset::Card, "card 4111 1111 1111 1111 12/27", "card # 12/27"),
            (Preset::Card, "4111 1111 1111 1112", "4111 1111 1111 1112"),
            (Preset::Card, "41111111111111111111111", "#1111111"),
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
