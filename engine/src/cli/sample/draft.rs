//! The pipeline that a data file or a topic would have: what `pipe init` writes.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{Sample, sniff};
use crate::config::edit::{Entry, block, scalar};
use crate::config::spec::KindSpec;
use crate::error::{Code, Error, Result};
use crate::format::json;

/// A pipeline of one source and one sink.
pub(in crate::cli) struct Draft {
    /// Its name, which is that of the source too.
    pub name: String,
    from: From,
    /// The format of the source; `None`: not known yet.
    pub format: Option<KindSpec>,
}

enum From {
    File(PathBuf),
    Topic { brokers: String, topic: String, properties: Vec<(String, String)> },
}

/// A name of a pipeline and of a source, made of any text.
fn name(text: &str) -> String {
    let sign = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' };
    let name: String = text.chars().take(60).map(sign).collect();
    let name = name.trim_matches(['-', '_']);
    if name.is_empty() { "records".to_owned() } else { name.to_owned() }
}

/// A file to read: there, and one that can be read again.
fn check(path: &Path) -> Result<()> {
    let shown = path.display();
    let failed = |why: &str, help: &str| {
        Err(Error::user(Code::S001, format!("`{shown}` {why}")).help(help.to_owned()))
    };
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(found) if found.is_dir() => failed("is a folder", "name a file in it"),
        Ok(_) => failed(
            "is no regular file",
            "a sample takes records away from the program that reads it: write a file",
        ),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => failed(
            "does not exist",
            "name a data file or a pipeline file; for a topic add `--brokers host:port`",
        ),
        Err(e) => failed(&format!("cannot be looked at: {e}"), "check its permissions"),
    }
}

impl Draft {
    /// Of a data file, whose format is looked for unless it is named.
    pub fn of_file(path: &Path, format: Option<&str>) -> Result<Self> {
        check(path)?;
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = name(file.trim_start_matches('.').split('.').next().unwrap_or_default());
        let format = sniff::file(path, format)?;
        Ok(Self { name, from: From::File(path.to_owned()), format: Some(format) })
    }

    /// Of a topic.
    pub fn of_topic(brokers: &str, topic: &str, properties: &[String]) -> Result<Self> {
        let each = properties.iter().map(|property| match property.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok((key.trim().to_owned(), value.trim().to_owned()))
            }
            _ => {
                let message = format!("`--property {property}` has no `=`");
                Err(Error::user(Code::C005, message)
                    .help("for example `--property security.protocol=SASL_SSL`"))
            }
        });
        let properties = each.collect::<Result<_>>()?;
        let from = From::Topic { brokers: brokers.to_owned(), topic: topic.to_owned(), properties };
        Ok(Self { name: name(topic), from, format: None })
    }

    /// The file or the topic, in words.
    pub fn place(&self) -> String {
        match &self.from {
            From::File(path) => path.display().to_string(),
            From::Topic { brokers, topic, .. } => format!("topic {topic} on {brokers}"),
        }
    }

    /// A property that holds a secret in plain text.
    pub fn plain_secret(&self) -> Option<&str> {
        let From::Topic { properties, .. } = &self.from else { return None };
        let plain = |(key, value): &&(String, String)| {
            crate::connector::kafka::client::is_secret(key) && !value.contains("${")
        };
        properties.iter().find(plain).map(|(key, _)| key.as_str())
    }

    /// The pipeline in a folder: a path is relative to the folder of its file.
    pub fn into_folder(mut self, folder: &Path) -> Result<Self> {
        if let From::File(path) = &mut self.from
            && path.is_relative()
            && !folder.as_os_str().is_empty()
            && folder != Path::new(".")
        {
            let whole = std::path::absolute(&*path);
            *path = whole.map_err(|e| Error::external(Code::S001, format!("{}: {e}", path.display())))?;
        }
        Ok(self)
    }

    /// Takes the format that the sample was found to have.
    pub fn learn(&mut self, sample: &Sample) {
        let name = sample.format.name.clone();
        self.format.get_or_insert_with(|| KindSpec { options: options(&name), name });
    }

    /// Its text, with these columns.
    pub fn text(&self, columns: &[Entry]) -> String {
        let name = &self.name;
        let mut lines = vec![format!("name: {name}"), "sources:".to_owned(), format!("  {name}:")];
        match &self.from {
            From::File(path) => {
                let path = path.to_string_lossy();
                let special = path.contains(['*', '?', '[', ']']);
                let path = if special { glob::Pattern::escape(&path) } else { path.into_owned() };
                lines.push(format!("    file: {{ path: {} }}", scalar(&path)));
            }
            From::Topic { brokers, topic, properties } => {
                lines.push("    kafka:".to_owned());
                lines.push(format!("      brokers: {}", scalar(brokers)));
                lines.push(format!("      topics: [{}]", scalar(topic)));
                if !properties.is_empty() {
                    lines.push("      properties:".to_owned());
                }
                let each = properties
                    .iter()
                    .map(|(key, value)| format!("        {}: {}", scalar(key), scalar(value)));
                lines.extend(each);
            }
        }
        lines.extend(self.format(columns));
        lines.extend([
            "sinks:".to_owned(),
            "  out:".to_owned(),
            format!("    from: {name}"),
            "    stdout: {}".to_owned(),
        ]);
        let raw = self.format.as_ref().is_some_and(|format| format.name == "raw");
        lines.push(format!("    format: {}", if raw { "raw" } else { "json" }));
        if let From::Topic { .. } = &self.from {
            lines.push("# Without this they would go to a topic beside the one that is read.".to_owned());
            lines.push(format!("dead_letters: {{ file: {{ path: {name}.dead-letters.jsonl }} }}"));
        }
        lines.join("\n") + "\n"
    }

    fn format(&self, columns: &[Entry]) -> Vec<String> {
        let Some(KindSpec { name, options }) = &self.format else { return Vec::new() };
        let empty = Map::new();
        let options = options.as_object().unwrap_or(&empty);
        if options.is_empty() && columns.is_empty() {
            return vec![format!("    format: {name}")];
        }
        let mut lines = vec!["    format:".to_owned(), format!("      {name}:")];
        let each = options
            .iter()
            .filter_map(|(key, value)| Some(format!("        {key}: {}", scalar(value.as_str()?))));
        lines.extend(each);
        if !columns.is_empty() {
            lines.push("        columns:".to_owned());
            lines.extend(block(columns, 10));
        }
        lines
    }
}

/// The options of a format that a new pipeline has: none is lost that no column holds, where a format can keep it.
pub(super) fn options(format: &str) -> Value {
    let keep = serde_json::json!({ "unknown": "keep" });
    match format == "json" && (json::KIND.prepare)(&keep).is_ok() {
        true => keep,
        false => Value::Object(Map::new()),
    }
}
