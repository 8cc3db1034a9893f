//! `file`: records out of local files, or of standard input.
//!
//! * [`KIND`] resolves the paths and learns the columns.
//! * `frames` cuts lines and CSV records out of bytes, `lane` hands them over as batches.
//! * `pipe` reads what may stay silent: standard input and named pipes.
//!
//! A file is a partition (its topic is its real path, its number 0); positions count records: lines that are not
//! blank, CSV records after the header, rows of a container. The list of files is made when the worker starts; a file
//! that grows later is read on by the next run, if it grows by whole lines: a last line without a line end counts as
//! a record, and what is added to it later is not seen.

mod frames;
mod lane;
mod pipe;

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use serde_json::Value;

use crate::codec::{Format, Layout, Problem};
use crate::error::{Code, Error, Result};
use crate::source::{Open, Opened, Prepared, Reader, Replay, Settings, SourceKind, Ungrouped};

/// Local files.
pub static KIND: SourceKind = SourceKind {
    name: "file",
    summary: "Local files, by path or glob, or standard input (`-`); each is read once, in order of their names.",
    example: "file: { path: \"requests/*.jsonl\" }\nformat:\n  json:\n    columns: { path: utf8, status: int64 }\n",
    options: |_| {
        schemars::json_schema!({
            "type": "object",
            "additionalProperties": false,
            "required": ["path"],
            "properties": {
                "path": {
                    "description": "A path, a glob such as `logs/*.jsonl`, `-` for standard input, or a list of these.",
                    "anyOf": [
                        { "type": "string" },
                        { "type": "array", "items": { "type": "string" }, "minItems": 1 },
                    ],
                },
            },
        })
    },
    replay: Replay::State,
    metadata: &["topic", "partition", "offset"],
    needs_format: true,
    default_format: None,
    prepare,
};

/// Where records are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Input {
    Stdin,
    /// A named pipe.
    Pipe(PathBuf),
    File(PathBuf),
}

impl Input {
    /// The partition's topic.
    fn name(&self) -> Arc<str> {
        match self {
            Self::Stdin => "-".into(),
            Self::Pipe(path) | Self::File(path) => path.to_string_lossy().into(),
        }
    }

    /// Whether it can be read once only, and may stay silent.
    fn is_pipe(&self) -> bool {
        matches!(self, Self::Stdin | Self::Pipe(_))
    }
}

struct File {
    /// Paths and globs, relative ones below the pipeline's folder.
    patterns: Vec<String>,
    format: Arc<dyn Format>,
    schema: SchemaRef,
    node: Arc<str>,
}

fn prepare(settings: &Settings<'_>) -> Result<Box<dyn Prepared>, Vec<Problem>> {
    let mut problems = Vec::new();
    for key in
        settings.options.as_object().into_iter().flat_map(|map| map.keys()).filter(|key| *key != "path")
    {
        let problem = Problem::new(Code::C003, format!("/{key}"), format!("there is no option `{key}`"));
        problems.push(problem.help("it takes path"));
    }
    let patterns = paths(settings, &mut problems);
    let Some(format) = settings.format else {
        problems.push(
            Problem::new(Code::C004, "", "the format is missing and the path's extension does not tell it")
                .help("add `format:`, for example `format: json`"),
        );
        return Err(problems);
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let schema = learn(&patterns, format.as_ref()).map_err(|problem| vec![problem.below("/path")])?;
    Ok(Box::new(File { patterns, format: Arc::clone(format), schema, node: settings.name.into() }))
}

/// The given paths, made absolute.
fn paths(settings: &Settings<'_>, problems: &mut Vec<Problem>) -> Vec<String> {
    let given: Vec<&Value> = match settings.options.get("path") {
        Some(Value::Array(paths)) => paths.iter().collect(),
        Some(path) => vec![path],
        None => Vec::new(),
    };
    if given.is_empty() {
        problems.push(
            Problem::new(Code::C004, "/path", "a path was expected").help("for example `path: in.jsonl`"),
        );
    }
    let mut patterns = Vec::new();
    for path in given {
        match path.as_str() {
            Some("-") => patterns.push("-".to_owned()),
            Some(path) if !path.is_empty() => {
                let absolute = if Path::new(path).is_absolute() {
                    path.to_owned()
                } else {
                    let base = glob::Pattern::escape(&settings.base.to_string_lossy());
                    // The base itself is no pattern, unless there is none.
                    if base.is_empty() { path.to_owned() } else { format!("{base}/{path}") }
                };
                match glob::Pattern::new(&absolute) {
                    Ok(_) => patterns.push(absolute),
                    Err(e) => {
                        problems.push(Problem::new(Code::C005, "/path", format!("`{path}` is no glob: {e}")));
                    }
                }
            }
            _ => problems.push(Problem::new(Code::C005, "/path", format!("a path was expected, not {path}"))),
        }
    }
    if patterns.len() > 1 && patterns.iter().any(|path| path == "-") {
        problems.push(Problem::new(Code::P009, "/path", "standard input cannot be read together with files"));
    }
    patterns
}

/// The columns: declared, or learnt from the first file.
fn learn(patterns: &[String], format: &dyn Format) -> Result<SchemaRef, Problem> {
    let found = expand(patterns).map_err(|e| problem(&e))?;
    let first = match first_header(&found, format.layout()).map_err(|e| problem(&e))? {
        Some((path, _)) => Some(path),
        None => match found.first() {
            Some(Input::File(first)) => Some(first.as_path()),
            _ => None,
        },
    };
    match first {
        Some(_) if format.layout() == Layout::Container => {
            let files = found.iter().filter_map(|input| match input {
                Input::File(path) => Some(path.as_path()),
                Input::Stdin | Input::Pipe(_) => None,
            });
            format.infer_all(&files.collect::<Vec<_>>()).map_err(|e| problem(&e))
        }
        Some(first) => format.infer(first).map_err(|e| problem(&e)),
        _ if format.layout() == Layout::Container => {
            Err(Problem::new(Code::P009, "", "whole files of columns cannot be read from a pipe")
                .help("give the path of a file"))
        }
        _ => format.schema().ok_or_else(|| {
            Problem::new(Code::C004, "", "the columns of standard input and of named pipes must be declared")
                .help("add `columns:` to the format, for example `json: { columns: { status: int64 } }`")
        }),
    }
}

/// The first file with a header, and that header: an empty file says nothing about columns.
fn first_header(inputs: &[Input], layout: Layout) -> Result<Option<(&Path, Vec<u8>)>> {
    for input in inputs {
        if let Input::File(path) = input
            && let Some(header) = lane::header(path, layout)?
        {
            return Ok(Some((path, header)));
        }
    }
    Ok(None)
}

fn problem(e: &Error) -> Problem {
    let full = e.to_string();
    let message = full.strip_prefix(&format!("{}: ", e.code())).unwrap_or(&full);
    let message =
        e.help_text().map_or(message, |help| message.strip_suffix(&format!(" ({help})")).unwrap_or(message));
    let problem = Problem::new(e.code(), "", message);
    match e.help_text() {
        Some(help) => problem.help(help),
        None => problem,
    }
}

/// The files that are there now, sorted and each once; an error where a pattern has none.
fn expand(patterns: &[String]) -> Result<Vec<Input>> {
    let mut files = Vec::new();
    for pattern in patterns {
        if pattern == "-" {
            return Ok(vec![Input::Stdin]);
        }
        let before = files.len();
        let found = glob::glob(pattern).map_err(|e| Error::user(Code::C005, format!("`{pattern}`: {e}")))?;
        let magic = pattern.contains(['*', '?', '[']);
        for path in found {
            let path = path.map_err(|e| Error::external(Code::S001, e.to_string()))?;
            if path.is_dir() {
                if magic {
                    continue;
                }
                let message = format!("`{}` is a folder", path.display());
                return Err(
                    Error::user(Code::S001, message).help("name its files, for example by `/*.jsonl`")
                );
            }
            // One name a file, however the pipeline, its folder or a link spells it: positions are kept by it.
            files.push(path.canonicalize().unwrap_or(path));
        }
        if files.len() == before {
            let name = pattern.replace("[[]", "[");
            return Err(Error::user(Code::S001, format!("there is no file `{name}`")));
        }
    }
    files.sort();
    files.dedup();
    let input = |path: PathBuf| match path.metadata() {
        Ok(found) if found.file_type().is_fifo() => Input::Pipe(path),
        _ => Input::File(path),
    };
    Ok(files.into_iter().map(input).collect())
}

impl Prepared for File {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn describe(&self) -> String {
        format!("file {}", self.patterns.join(", ").replace("[[]", "["))
    }

    fn is_container(&self) -> bool {
        self.format.layout() == Layout::Container
    }

    fn open(&self, open: Open) -> Result<Opened> {
        let inputs = expand(&self.patterns)?;
        if self.format.layout() == Layout::Container && inputs.iter().any(Input::is_pipe) {
            return Err(Error::user(Code::P009, "whole files of columns cannot be read from a pipe"));
        }
        for input in &inputs {
            if let Input::File(path) = input {
                // A file that cannot be opened stops the worker before the first record, not in the middle.
                std::fs::File::open(path).map_err(|e| {
                    Error::external(Code::S001, format!("cannot be opened: {e}"))
                        .context(path.display().to_string())
                })?;
            }
        }
        // The decoder's columns are those of the first file, whichever lane another one falls to.
        let header = first_header(&inputs, self.format.layout())?.map(|(_, header)| header);
        let mut lanes: Vec<Vec<Input>> = vec![Vec::new(); open.lanes.max(1)];
        for (i, input) in inputs.into_iter().enumerate() {
            let lane = i % lanes.len();
            lanes[lane].push(input);
        }
        let readers = lanes
            .into_iter()
            .map(|inputs| {
                let node = Arc::clone(&self.node);
                let columns = Arc::clone(&self.schema);
                let mut lane =
                    lane::Lane::new(node, inputs, Arc::clone(&self.format), columns, open.room, &open.resume);
                lane.expect_header(header.clone());
                lane.hold_at_most(open.held);
                Box::new(lane) as Box<dyn Reader>
            })
            .collect();
        Ok(Opened { readers, control: Arc::new(Ungrouped) })
    }
}
