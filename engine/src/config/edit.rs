//! Columns put into the text of a pipeline file, at one place and nowhere else: comments, order and layout of all the
//! rest stay as they are.
//!
//! What a place looks like decides how: a block gets lines, `{ .. }` gets entries. Whatever was done, the new text is
//! read again, and it is taken only if its value is the old one with the columns in it; so an alias, a merge or a
//! layout that nobody thought of makes a refusal, never a broken file.

use serde_json::{Map, Value, json};

use super::overrides::plain;
use super::yaml::{self, At, Kind, Node};

/// A column, or a field within one, as it is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its type; not used where it has fields.
    pub ty: String,
    /// The fields of a struct.
    pub fields: Vec<Entry>,
    /// What stands behind it on its line: one line of text, or nothing. Left out of `{ .. }`.
    pub comment: String,
}

/// What was done.
#[derive(Debug, PartialEq, Eq)]
pub struct Edited {
    /// The new text.
    pub text: String,
    /// Names of the columns that were added.
    pub added: Vec<String>,
}

/// Steps that a block is indented by.
const STEP: usize = 2;
/// The column at which comments stand at the earliest, and at the latest.
const COMMENTS: (usize, usize) = (24, 60);

/// Text as a key or a value: bare where no reader of YAML takes it for something else.
pub fn scalar(text: &str) -> String {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let bare = text.starts_with(first) && text.chars().all(rest);
    let words = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"];
    if bare && !words.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    // JSON's text is YAML's, once no character is left that ends a line or turns it around.
    let mut out = String::new();
    for c in Value::from(text).to_string().chars() {
        if c.is_control()
            || matches!(c, '\u{85}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
        {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

/// A type as a value: `decimal128(10, 2)` needs quotes only within `{ .. }`, and has them everywhere.
fn type_text(ty: &str) -> String {
    let plain = ty.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '(' | ')' | '!'));
    if plain { ty.to_owned() } else { scalar(ty) }
}

/// Lines of a block, indented by so many blanks, with their comments below each other.
pub fn block(entries: &[Entry], indent: usize) -> Vec<String> {
    let mut lines: Vec<(String, &str)> = Vec::new();
    gather(entries, indent, &mut lines);
    let widest =
        lines.iter().filter(|(_, comment)| !comment.is_empty()).map(|(line, _)| line.chars().count() + 2);
    let column = widest.max().unwrap_or(0).clamp(COMMENTS.0, COMMENTS.1);
    let line = |(line, comment): (String, &str)| match comment {
        "" => line,
        comment => format!("{line:<column$}  # {comment}", column = column - 2),
    };
    lines.into_iter().map(line).collect()
}

fn gather<'a>(entries: &'a [Entry], indent: usize, lines: &mut Vec<(String, &'a str)>) {
    for entry in entries {
        let start = format!("{:indent$}{}:", "", scalar(&entry.name));
        if entry.fields.is_empty() {
            lines.push((format!("{start} {}", type_text(&entry.ty)), &entry.comment));
        } else {
            lines.push((start, &entry.comment));
            gather(&entry.fields, indent + STEP, lines);
        }
    }
}

/// The same on one line.
pub fn flow(entries: &[Entry]) -> String {
    let each = entries.iter().map(|entry| {
        let value = if entry.fields.is_empty() { type_text(&entry.ty) } else { flow(&entry.fields) };
        format!("{}: {value}", scalar(&entry.name))
    });
    format!("{{ {} }}", each.collect::<Vec<_>>().join(", "))
}

/// The value that the file has then.
fn value(entries: &[Entry]) -> Value {
    let each = entries.iter().map(|entry| {
        let value =
            if entry.fields.is_empty() { Value::from(entry.ty.as_str()) } else { value(&entry.fields) };
        (entry.name.clone(), value)
    });
    Value::Object(each.collect())
}

/// Adds the columns that the format of a source does not declare yet. The error says why this text cannot be edited
/// safely.
pub fn add_columns(text: &str, source: &str, format: &str, entries: &[Entry]) -> Result<Edited, String> {
    let (root, faults) = yaml::parse(text);
    let root = root.filter(|_| faults.is_empty()).ok_or("the file has mistakes: `pipe check` tells them")?;
    let node = child(&root, "sources").and_then(|(_, sources)| child(sources, source));
    let (_, node) = node.ok_or_else(|| format!("there is no source `{source}`"))?;
    let pen = Pen { text, chars: text.char_indices().map(|(at, _)| at).collect() };
    let old = plain(root.clone());
    let declared =
        old.pointer(&pointer(source, format)).and_then(|v| v.as_object()).cloned().unwrap_or_default();
    let new: Vec<Entry> =
        entries.iter().filter(|entry| !declared.contains_key(&entry.name)).cloned().collect();
    let added: Vec<String> = new.iter().map(|entry| entry.name.clone()).collect();
    if new.is_empty() {
        return Ok(Edited { text: text.to_owned(), added });
    }
    let edited = pen.insert(node, format, &new)?;
    let expected = expected(old, source, format, &new);
    let (again, faults) = yaml::parse(&edited);
    match again.filter(|_| faults.is_empty()).map(plain) {
        Some(found) if found == expected => Ok(Edited { text: edited, added }),
        _ => Err("its layout there is not one that can be edited safely".to_owned()),
    }
}

fn pointer(source: &str, format: &str) -> String {
    super::step("/sources", source) + "/format/" + format + "/columns"
}

/// The value of the file with the columns.
fn expected(mut file: Value, source: &str, format: &str, entries: &[Entry]) -> Value {
    let columns = value(entries);
    let Some(node) = file.pointer_mut(&super::step("/sources", source)).and_then(Value::as_object_mut) else {
        return file;
    };
    let given = node.entry("format").or_insert(Value::Null);
    if !given.is_object() {
        *given = json!({ format: {} });
    }
    let Some(given) = given.as_object_mut() else { return file };
    let options = given.entry(format.to_owned()).or_insert(Value::Null);
    if options.is_null() {
        *options = json!({});
    }
    if let Some(options) = options.as_object_mut() {
        let known = options.entry("columns").or_insert(Value::Null);
        if known.is_null() {
            *known = Value::Object(Map::new());
        }
        if let (Some(known), Value::Object(columns)) = (known.as_object_mut(), columns) {
            known.extend(columns);
        }
    }
    file
}

/// A key of a mapping: its place and its value.
fn child<'a>(node: &'a Node, key: &str) -> Option<(At, &'a Node)> {
    let Kind::Mapping(entries) = &node.kind else { return None };
    entries.iter().find(|(name, ..)| name == key).map(|(_, at, node)| (*at, node))
}

/// A text whose places count characters.
struct Pen<'a> {
    text: &'a str,
    /// Byte at which each character begins.
    chars: Vec<usize>,
}

impl Pen<'_> {
    fn byte(&self, at: usize) -> usize {
        self.chars.get(at).copied().unwrap_or(self.text.len())
    }

    /// The place of what is written last within a node. The end of a block is where the next thing begins: it is no use.
    fn last(&self, node: &Node) -> At {
        let in_brackets = self.text[self.byte(node.at.start)..].starts_with(['{', '[']);
        match &node.kind {
            Kind::Mapping(entries) if !in_brackets => match entries.last() {
                Some((_, key, value)) => {
                    let below = self.last(value);
                    if below.end > key.end { below } else { *key }
                }
                None => node.at,
            },
            Kind::Sequence(items) if !in_brackets => items.last().map_or(node.at, |item| self.last(item)),
            _ => node.at,
        }
    }

    fn newline(&self) -> &'static str {
        if self.text.contains("\r\n") { "\r\n" } else { "\n" }
    }

    /// Whether a value is written in braces.
    fn is_flow(&self, node: &Node) -> bool {
        self.text[self.byte(node.at.start)..].starts_with('{')
    }

    /// Blanks before a key that begins its line; `None`: something else stands there.
    fn indent(&self, key: At) -> Option<usize> {
        let at = self.byte(key.start);
        let line = self.text[..at].rfind('\n').map_or(0, |end| end + 1);
        let before = &self.text[line..at];
        before.bytes().all(|byte| byte == b' ').then_some(before.len())
    }

    /// The end of the line of a byte, without its line end.
    fn end_of_line(&self, at: usize) -> usize {
        let end = self.text[at..].find('\n').map_or(self.text.len(), |end| at + end);
        at + self.text[at..end].trim_end_matches('\r').len()
    }

    /// The text with `new` in place of these bytes.
    fn splice(&self, from: usize, to: usize, new: &str) -> String {
        format!("{}{new}{}", &self.text[..from], &self.text[to..])
    }

    /// Lines behind the line on which a byte lies.
    fn below(&self, at: usize, lines: &[String]) -> String {
        let (end, newline) = (self.end_of_line(at), self.newline());
        let lines: String = lines.iter().map(|line| format!("{newline}{line}")).collect();
        self.splice(end, end, &lines)
    }

    /// An entry at the beginning of a mapping in braces.
    fn first(&self, node: &Node, entry: &str) -> Option<String> {
        let at = self.byte(node.at.start) + 1;
        let Kind::Mapping(entries) = &node.kind else { return None };
        let (blank, comma) = match (entries.is_empty(), self.text[at..].starts_with('}')) {
            (true, true) => (" ", " "),
            (true, false) => (" ", ""),
            (false, _) => (" ", ","),
        };
        Some(self.splice(at, at, &format!("{blank}{entry}{comma}")))
    }

    fn insert(&self, source: &Node, format: &str, entries: &[Entry]) -> Result<String, String> {
        let awkward = || "its layout there is not one that can be edited safely".to_owned();
        let Kind::Mapping(keys) = &source.kind else { return Err(awkward()) };
        let columns = format!("columns: {}", flow(entries));
        let Some((_, given)) = child(source, "format") else {
            if self.is_flow(source) {
                return self
                    .first(source, &format!("format: {{ {format}: {{ {columns} }} }}"))
                    .ok_or_else(awkward);
            }
            let indent = keys.first().and_then(|(_, at, _)| self.indent(*at)).ok_or_else(awkward)?;
            let end = self.byte(self.last(source).end);
            return Ok(self.below(end, &nest(&["format", format, "columns"], entries, indent)));
        };
        let key = child(source, "format").map(|(at, _)| at).ok_or_else(awkward)?;
        let Some((format_key, options)) = child(given, format) else {
            // Only its name is given.
            if !matches!(given.kind, Kind::Scalar { .. }) {
                return Err(format!("the source has another format than `{format}`"));
            }
            let (from, to) = (self.byte(given.at.start), self.byte(given.at.end));
            return match (self.is_flow(source), self.indent(key)) {
                (true, _) => Ok(self.splice(from, to, &format!("{{ {format}: {{ {columns} }} }}"))),
                (false, Some(indent)) => {
                    self.name_to_block(from, to, &nest(&[format, "columns"], entries, indent + STEP))
                }
                _ => Err(awkward()),
            };
        };
        match child(options, "columns") {
            Some((_, known)) if matches!(&known.kind, Kind::Mapping(k) if !k.is_empty()) => {
                self.more(known, entries)
            }
            Some(_) => {
                Err("`columns:` is there and holds no columns: remove it, and run this again".to_owned())
            }
            None if self.is_flow(options) => self.first(options, &columns).ok_or_else(awkward),
            None => match &options.kind {
                Kind::Mapping(keys) => {
                    let indent = keys.first().and_then(|(_, at, _)| self.indent(*at)).ok_or_else(awkward)?;
                    let end = self.byte(self.last(options).end);
                    Ok(self.below(end, &nest(&["columns"], entries, indent)))
                }
                // `json:` and nothing behind it.
                _ if self.is_flow(given) => Err(awkward()),
                _ => {
                    let indent = self.indent(format_key).ok_or_else(awkward)?;
                    let lines = nest(&["columns"], entries, indent + STEP);
                    Ok(self.below(self.byte(format_key.end), &lines))
                }
            },
        }
    }

    /// `format: json` to a block: the name goes, what stands behind it stays.
    fn name_to_block(&self, from: usize, to: usize, lines: &[String]) -> Result<String, String> {
        let end = self.end_of_line(to);
        let newline = self.newline();
        let lines: String = lines.iter().map(|line| format!("{newline}{line}")).collect();
        let head = self.text[..from].trim_end_matches(' ');
        let rest = self.text[to..end].trim_end();
        Ok(format!("{head}{rest}{lines}{}", &self.text[end..]))
    }

    /// More columns behind those that are declared.
    fn more(&self, known: &Node, entries: &[Entry]) -> Result<String, String> {
        let awkward = || "its `columns:` are not written in a way that can be edited safely".to_owned();
        if self.is_flow(known) {
            let list = flow(entries);
            // Once each: the last column may be a mapping, too.
            let inner =
                list.strip_prefix("{ ").and_then(|list| list.strip_suffix(" }")).ok_or_else(awkward)?;
            // Behind the last one, which may be a mapping itself.
            let Kind::Mapping(keys) = &known.kind else { return Err(awkward()) };
            let end = self.byte(keys.last().map_or(known.at, |(.., value)| self.last(value)).end);
            // A mapping may end behind the blanks that follow it.
            let end = self.text[..end].trim_end().len();
            return Ok(self.splice(end, end, &format!(", {inner}")));
        }
        let Kind::Mapping(keys) = &known.kind else { return Err(awkward()) };
        let indent = keys.first().and_then(|(_, at, _)| self.indent(*at)).ok_or_else(awkward)?;
        Ok(self.below(self.byte(self.last(known).end), &block(entries, indent)))
    }
}

/// Keys within each other and the columns below them.
fn nest(keys: &[&str], entries: &[Entry], indent: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for (depth, key) in keys.iter().enumerate() {
        lines.push(format!("{:width$}{key}:", "", width = indent + depth * STEP));
    }
    lines.extend(block(entries, indent + keys.len() * STEP));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, ty: &str, comment: &str) -> Entry {
        Entry { name: name.into(), ty: ty.into(), fields: Vec::new(), comment: comment.into() }
    }

    fn entries() -> Vec<Entry> {
        let place =
            Entry { fields: vec![entry("unit price", "decimal128(10, 2)", "")], ..entry("o", "", "in all") };
        vec![entry("id", "int64", "in all"), place]
    }

    fn edited(text: &str) -> Result<String, String> {
        add_columns(text, "in", "json", &entries()).map(|edited| edited.text)
    }

    #[test]
    fn columns_go_where_the_layout_has_a_place_for_them() {
        let lines = |indent: usize| {
            let blank = " ".repeat(indent);
            let id = format!("{:<22}  # in all", format!("{blank}id: int64"));
            let o = format!("{:<22}  # in all", format!("{blank}o:"));
            format!("{id}\n{o}\n{blank}  \"unit price\": \"decimal128(10, 2)\"\n")
        };
        let short = "{ id: int64, o: { \"unit price\": \"decimal128(10, 2)\" } }";
        let block = |rest: &str| {
            format!("# A\nname: p\nsources:\n  in: # B\n    file: {{ path: \u{fc}.jsonl }} # C\n{rest}")
        };
        let after = "  other: { file: { path: b } } # D\n";
        for (before, expected) in [
            (
                block(&format!("    format: json  # E\n{after}")),
                block(&format!("    format:  # E\n      json:\n        columns:\n{}{after}", lines(10))),
            ),
            (
                block(&format!("    format:\n      json:\n{after}")),
                block(&format!("    format:\n      json:\n        columns:\n{}{after}", lines(10))),
            ),
            (
                block(&format!("    format:\n      json: # E\n        unknown: keep # F\n\n{after}")),
                block(&format!(
                    "    format:\n      json: # E\n        unknown: keep # F\n        columns:\n{}\n{after}",
                    lines(10)
                )),
            ),
            (
                block(&format!("    format:\n      json:\n        columns:\n          a: utf8 # E\n{after}")),
                block(&format!(
                    "    format:\n      json:\n        columns:\n          a: utf8 # E\n{}{after}",
                    lines(10)
                )),
            ),
            (
                block(&format!("    format: {{ json: {{ columns: {{ a: {{ b: utf8 }} }} }} }} # E\n{after}")),
                block(&format!(
                    "    format: {{ json: {{ columns: {{ a: {{ b: utf8 }}, {} }} }} }} # E\n{after}",
                    &short[2..short.len() - 2]
                )),
            ),
            (
                block(&format!("    format: {{ json: {{ unknown: keep }} }}\n{after}")),
                block(&format!("    format: {{ json: {{ columns: {short}, unknown: keep }} }}\n{after}")),
            ),
            (
                block(&format!("    format: {{ json: {{}} }}\n{after}")),
                block(&format!("    format: {{ json: {{ columns: {short} }} }}\n{after}")),
            ),
            (
                block(after),
                block(&format!("    format:\n      json:\n        columns:\n{}{after}", lines(10))),
            ),
            (
                "name: p\nsources: { in: { file: { path: a } } }\n".to_owned(),
                format!(
                    "name: p\nsources: {{ in: {{ format: {{ json: {{ columns: {short} }} }}, file: {{ path: a }} }} }}\n"
                ),
            ),
            (
                "sources: { in: { format: json, file: { path: a } } }".to_owned(),
                format!(
                    "sources: {{ in: {{ format: {{ json: {{ columns: {short} }} }}, file: {{ path: a }} }} }}"
                ),
            ),
        ] {
            assert_eq!(edited(&before).as_deref(), Ok(&*expected), "of:\n{before}");
            assert_eq!(edited(&expected).as_deref(), Ok(&*expected), "a second time changes nothing");
            let windows = before.replace('\n', "\r\n");
            assert_eq!(edited(&windows), Ok(expected.replace('\n', "\r\n")), "with its line ends");
        }
    }

    #[test]
    fn what_cannot_be_edited_safely_is_refused() {
        for (text, why) in [
            ("a: [", "mistakes"),
            ("sources: { other: { file: { path: a } } }", "no source `in`"),
            ("sources:\n  in: { file: { path: a }, format: csv: }", "mistakes"),
            ("sources:\n  in: { file: { path: a }, format: { csv: {} } }", "another format"),
            ("sources:\n  in: { file: { path: a }, format: { json: { columns: } } }", "holds no columns"),
            (
                "x: &f { json: { columns: { a: utf8 } } }\nsources:\n  in: { file: { path: a }, format: *f }",
                "safely",
            ),
            (
                "x: &f json\nsources:\n  in:\n    format: *f\n    file: { path: a }\n  b:\n    format: *f\n",
                "",
            ),
            ("sources:\n  in:\n    ? format\n    : json\n", "safely"),
        ] {
            match edited(text) {
                Err(said) => assert!(said.contains(why), "{text}: {said}"),
                // An alias that is replaced as a whole is a sound edit.
                Ok(_) => assert_eq!(why, "", "{text}"),
            }
        }
    }

    #[test]
    fn hostile_names_stay_keys() {
        let names = [
            "a: b",
            "# c",
            "\n x",
            "null",
            "-",
            "",
            "\u{2028}d",
            "\u{202e}e",
            "{f}",
            "\"",
            "\\",
            "*g",
            "1",
            "\u{1f600}",
        ];
        let entries: Vec<Entry> = names.iter().map(|name| entry(name, "utf8", "")).collect();
        for text in ["sources:\n  in:\n    format: json\n", "sources: { in: { format: json } }"] {
            let edited = add_columns(text, "in", "json", &entries).unwrap();
            assert_eq!(edited.added, names);
            let bad = |c: &char| c.is_control() && *c != '\n' || matches!(c, '\u{2028}' | '\u{202e}');
            assert!(!edited.text.chars().any(|c| bad(&c)), "{:?}", edited.text);
        }
    }

    proptest::proptest! {
        /// Whatever the text is: it is refused, or the columns are in it and everything else is as it was.
        #[test]
        fn no_text_is_broken(
            head in "[ #\\n]{0,6}",
            format in proptest::sample::select(vec!["json", "{ json: }", "{ json: {} }", "\n      json:", "'json'", "[json]", "|\n      json", "{ json: { columns: { a: utf8, } } }"]),
            tail in "[ #{}\\[\\],:a&*\\n-]{0,12}",
        ) {
            let text = format!("{head}sources:\n  in:\n    file: {{ path: a }}\n    format: {format}{tail}\n");
            if let Ok(edited) = add_columns(&text, "in", "json", &entries()) {
                let (root, faults) = yaml::parse(&edited.text);
                proptest::prop_assert!(root.is_some() && faults.is_empty());
            }
        }
    }
}
