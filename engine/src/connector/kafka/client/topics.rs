//! The topics that a source reads: names, and patterns that begin with `^`.
//!
//! The patterns are matched by librdkafka with the C library's POSIX extended expressions, and here, where a plan is
//! checked and a start looks which topics there are, with the `regex` crate. Where the two would read one pattern
//! otherwise it is refused.

use regex::Regex;

use super::is_topic_name;
use crate::error::Code;
use crate::problem::Problem;

/// Characters of a pattern: a topic's name has 249 at most.
const PATTERN_CHARS_MAX: usize = 1_000;

/// Names and patterns of topics, checked.
#[derive(Debug, Clone)]
pub struct Topics {
    given: Vec<String>,
    patterns: Vec<(String, Regex)>,
}

impl Topics {
    /// Checks a list; every mistake is added to `problems` with its pointer.
    pub fn new(given: Vec<String>, problems: &mut Vec<Problem>) -> Self {
        let mut patterns = Vec::new();
        if given.is_empty() {
            problems.push(Problem::new(Code::C005, "/topics", "no topic is named"));
        }
        for (at, topic) in given.iter().enumerate() {
            let pointer = format!("/topics/{at}");
            if given[..at].contains(topic) {
                problems.push(Problem::new(Code::C005, pointer, format!("`{topic}` is named twice")));
            } else if topic.starts_with('^') {
                match pattern(topic) {
                    Ok(regex) => patterns.push((topic.clone(), regex)),
                    Err((message, help)) => {
                        problems.push(Problem::new(Code::C011, pointer, message).help(help));
                    }
                }
            } else if !is_topic_name(topic) {
                let message = format!("`{topic}` is not a topic's name");
                let help = "1 to 249 letters, digits, `.`, `_` or `-`; a pattern begins with `^`";
                problems.push(Problem::new(Code::C005, pointer, message).help(help));
            }
        }
        Self { given, patterns }
    }

    /// No topic at all.
    pub fn none() -> Self {
        Self { given: Vec::new(), patterns: Vec::new() }
    }

    /// Names and patterns, as they were given.
    pub fn given(&self) -> &[String] {
        &self.given
    }

    /// The names among them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.given.iter().map(String::as_str).filter(|topic| !topic.starts_with('^'))
    }

    /// Whether there are patterns, so that topics may come while the source is read.
    pub fn has_patterns(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Whether Kafka's own topics (`__consumer_offsets`) are meant: by name, or by a pattern that begins so.
    pub fn reads_own(&self) -> bool {
        self.given.iter().any(|topic| topic.trim_start_matches('^').starts_with("__"))
    }

    /// The name or the pattern by which this topic is read, if it is.
    pub fn entry(&self, topic: &str) -> Option<&str> {
        let named = self.names().find(|name| *name == topic);
        let own = topic.starts_with("__") && !self.reads_own();
        let matched = || self.patterns.iter().find(|(_, regex)| !own && regex.is_match(topic));
        named.or_else(|| matched().map(|(pattern, _)| pattern.as_str()))
    }
}

/// Compiles a pattern of which both engines make the same. The error is a sentence, and what to do.
fn pattern(text: &str) -> Result<Regex, (String, String)> {
    let place = |at: usize, why: &str, help: &str| {
        (format!("in the pattern `{text}`, at its character {}, {why}", at + 1), help.to_owned())
    };
    let wrong = |at, why, help| Err(place(at, why, help));
    let chars: Vec<char> = text.chars().collect();
    if chars.len() > PATTERN_CHARS_MAX {
        return Err((format!("a pattern of {} characters", chars.len()), "name the topics".into()));
    }
    let mut at = 0;
    // What a repetition may not follow: nothing, or another one.
    let (mut repeated, mut nothing) = (false, false);
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied();
        let repeats = matches!(c, '*' | '+' | '?' | '{');
        match c {
            _ if !c.is_ascii() || c.is_ascii_control() => {
                return wrong(at, "there is a character that no topic has", "remove it");
            }
            '\\' if !next.is_some_and(|n| n.is_ascii_punctuation())
                || matches!(next, Some('<' | '>' | '`' | '\'')) =>
            {
                let help = "write a class, such as `[0-9]` for `\\d` and `[A-Za-z0-9_]` for `\\w`";
                return wrong(at, "a `\\` stands before something other than punctuation", help);
            }
            '\\' => at += 1,
            '(' if next == Some('?') => {
                return wrong(at, "there is a group with `?`", "write a plain group, `(..)`");
            }
            '[' => at = class(&chars, at).map_err(|(at, why, help)| place(at, why, help))?,
            '^' if at > 0 && !matches!(chars[at - 1], '(' | '|') => {
                return wrong(
                    at,
                    "there is a `^` that is no beginning",
                    "write `\\^` for the sign, or remove it",
                );
            }
            '$' if !matches!(next, None | Some(')' | '|')) => {
                return wrong(at, "there is a `$` that is no end", "write `\\$` for the sign, or remove it");
            }
            _ if repeats && repeated => {
                let help = "write it with a group, such as `(a+)?`";
                return wrong(at, "a repetition follows a repetition", help);
            }
            _ if repeats && nothing => {
                return wrong(at, "a repetition has nothing before it", "write `.*` for anything");
            }
            '{' => at += chars[at..].iter().position(|c| *c == '}').unwrap_or(0),
            _ => {}
        }
        repeated = repeats;
        nothing = matches!(c, '^' | '(' | '|');
        at += 1;
    }
    Regex::new(text).map_err(|e| {
        let why = e.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        (format!("`{text}` is not a regular expression: {why}"), "a topic without `^` is a plain name".into())
    })
}

/// The end of a class in brackets; else where it goes wrong, why, and what to do.
fn class(chars: &[char], start: usize) -> Result<usize, (usize, &'static str, &'static str)> {
    let mut at = start + 1;
    if chars.get(at) == Some(&'^') {
        at += 1;
    }
    let first = at;
    while let Some(&c) = chars.get(at) {
        match c {
            ']' if at > first => return Ok(at),
            '[' | ']' | '\\' | '&' | '~' => {
                let help = "a class names characters and ranges: `[a-z0-9._-]`";
                return Err((at, "a class holds something other than characters and ranges", help));
            }
            '-' if chars.get(at + 1) == Some(&'-') => {
                return Err((at, "a class holds `--`", "put one `-` at its end"));
            }
            _ => at += 1,
        }
    }
    Err((start, "a class is not closed", "write `]` at its end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(given: &[&str]) -> Result<Topics, Vec<Problem>> {
        let mut problems = Vec::new();
        let topics = Topics::new(given.iter().map(|s| (*s).to_owned()).collect(), &mut problems);
        if problems.is_empty() { Ok(topics) } else { Err(problems) }
    }

    #[test]
    fn names_are_names_and_patterns_match() {
        let all = topics(&["plain", "^orders-.*", "^(eu|us)[.]v[0-9]{1,2}$", "^a\\.b+$"]).unwrap();
        for (topic, entry) in [
            ("plain", Some("plain")),
            ("plain2", None),
            ("orders-eu", Some("^orders-.*")),
            ("my-orders-eu", None),
            ("us.v12", Some("^(eu|us)[.]v[0-9]{1,2}$")),
            ("us.v123", None),
            ("a.bb", Some("^a\\.b+$")),
            ("axb", None),
        ] {
            assert_eq!(all.entry(topic), entry, "{topic}");
        }
        assert_eq!(all.names().collect::<Vec<_>>(), ["plain"]);
    }

    #[test]
    fn topics_of_kafka_itself_are_read_only_where_they_are_meant() {
        assert_eq!(topics(&["^.*"]).unwrap().entry("__consumer_offsets"), None);
        assert!(topics(&["^__cons.*"]).unwrap().entry("__consumer_offsets").is_some());
        assert!(topics(&["__consumer_offsets"]).unwrap().entry("__consumer_offsets").is_some());
    }

    #[test]
    fn what_the_two_engines_would_read_otherwise_is_refused_with_its_place() {
        for (text, part) in [
            ("^orders-\\d+", "character 9"),
            ("^\\w", "character 2"),
            ("^a\\", "character 3"),
            ("^(?:a|b)", "group with `?`"),
            ("^(?i)a", "group with `?`"),
            ("^a+?", "repetition follows"),
            ("^a*+", "repetition follows"),
            ("^a{1,2}?", "repetition follows"),
            ("^[a", "not closed"),
            ("^[a[:alpha:]]", "characters and ranges"),
            ("^[\\d]", "characters and ranges"),
            ("^[a&&b]", "characters and ranges"),
            ("^(a", "not a regular expression"),
            ("^a{2,1}", "not a regular expression"),
            ("^*", "nothing before"),
            ("^(a|+)", "nothing before"),
            ("^b\u{fc}cher", "no topic has"),
            ("^$a$", "a `$` that is no end"),
            ("^a^b", "a `^` that is no beginning"),
        ] {
            let problems = topics(&[text]).err().unwrap_or_else(|| panic!("{text}"));
            assert_eq!((problems.len(), problems[0].code), (1, Code::C011), "{text}");
            assert_eq!(problems[0].pointer, "/topics/0");
            assert!(problems[0].message.contains(part), "{text}: {}", problems[0].message);
        }
    }

    /// Which of these lines the C library's engine matches, by `grep -E`; `None` where it refuses the pattern.
    fn posix(text: &str, lines: &[&str]) -> Option<Vec<bool>> {
        use std::io::Write;
        use std::process::{Command, Stdio};
        let mut grep = Command::new("grep")
            .env("LC_ALL", "C")
            .args(["-n", "-E", "-e", text])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        grep.stdin.take().unwrap().write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
        let ended = grep.wait_with_output().unwrap();
        let said = String::from_utf8(ended.stdout).unwrap();
        let found: Vec<usize> =
            said.lines().map(|line| line.split(':').next().unwrap().parse().unwrap()).collect();
        (ended.status.code() != Some(2)).then(|| (1..=lines.len()).map(|n| found.contains(&n)).collect())
    }

    proptest::proptest! {
        #[test]
        fn both_engines_make_the_same_of_what_is_taken(rest in "[ab1.^$|()\\[\\]*+?{},\\\\-]{0,9}") {
            let lines = ["a", "b", "ab", "ba", "aab", "abab", "a.b", "a-b", "a1", "b11", "^a", "a$", "{1}", "[a]", "(", "-"];
            let text = format!("^{rest}");
            if let Ok(regex) = pattern(&text) {
                let ours: Vec<bool> = lines.iter().map(|line| regex.is_match(line)).collect();
                proptest::prop_assert_eq!(Some(ours), posix(&text, &lines), "{}", text);
            }
        }
    }
}
