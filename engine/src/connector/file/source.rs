//! `file`: records out of local files, or of standard input.
//!
//! * [`KIND`] resolves the paths and learns the columns.
//! * `names` finds files by paths and globs, `known` which position belongs to which of them (ADR 0015).
//! * `watch` reads a file that others may write, `begin` past what was committed of it; what its bytes are is told by
//!   [`crate::input`].
//! * `framing` cuts lines and CSV records out of bytes, `reader` hands them over as batches.
//! * `stdin` reads what may stay silent: standard input and named pipes.
//!
//! A file is a partition (its topic is its real path, its number 0); positions count records: lines that are not
//! blank, CSV records after the header, rows of a container. The list of files is made when the worker starts; a file
//! that grows later is read on by the next run.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use serde_json::Value;

use super::known::{self, Known};
use super::names::{Input, Patterns};
use super::{begin, headers, reader};
use crate::codec::{Format, Layout};
use crate::connector::position::{Kept, Mark, Positions, Replay};
use crate::connector::source::{Open, Opened, Prepared, Reader, Settings, SourceKind};
use crate::error::{Code, Error, Result};
use crate::input::{self, Kind, Wants};
use crate::problem::Problem;

/// Local files.
pub static KIND: SourceKind = SourceKind {
    name: "file",
    summary: "Local files, by path or glob, or standard input (`-`); each is read once, in order of their names. gzip and zstd \
              are unpacked.",
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

struct File {
    /// Relative ones are below the pipeline's folder.
    patterns: Patterns,
    format: Arc<dyn Format>,
    schema: SchemaRef,
    node: Arc<str>,
}

pub(super) fn prepare(settings: &Settings<'_>) -> Result<Box<dyn Prepared>, Vec<Problem>> {
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

/// The given paths.
fn paths(settings: &Settings<'_>, problems: &mut Vec<Problem>) -> Patterns {
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
            Some(path) if !path.is_empty() => match glob::Pattern::new(path) {
                Ok(_) => patterns.push(path.to_owned()),
                Err(e) => {
                    problems.push(Problem::new(Code::C005, "/path", format!("`{path}` is no glob: {e}")));
                }
            },
            _ => problems.push(Problem::new(Code::C005, "/path", format!("a path was expected, not {path}"))),
        }
    }
    if patterns.len() > 1 && patterns.iter().any(|path| path == "-") {
        problems.push(Problem::new(Code::P009, "/path", "standard input cannot be read together with files"));
    }
    Patterns { base: settings.base.to_owned(), given: patterns, own: settings.own.to_vec() }
}

/// The columns: declared, or learnt from the first file.
fn learn(patterns: &Patterns, format: &dyn Format) -> Result<SchemaRef, Problem> {
    let found = patterns.expand().map_err(|e| problem(&e))?;
    let first = match headers::first(&found, format.layout()).map_err(|e| problem(&e))? {
        Some((path, _)) => Some(path),
        None => match found.first() {
            Some(Input::File(first, _)) => Some(first.as_path()),
            _ => None,
        },
    };
    match first {
        Some(_) if format.layout() == Layout::Container => {
            let files: Vec<&Path> = found.iter().filter_map(Input::path).collect();
            files.iter().try_for_each(|file| expect(file, format)).map_err(|e| problem(&e))?;
            format.infer_all(&files).map_err(|e| problem(&e))
        }
        Some(first) => {
            expect(first, format).map_err(|e| problem(&e))?;
            let columns = format.infer(first).map_err(|e| problem(&e))?;
            headers::agree(&found, format.layout()).map_err(|e| problem(&e))?;
            Ok(columns)
        }
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

/// Refuses a file that is plainly of another format.
fn expect(path: &Path, format: &dyn Format) -> Result<()> {
    let place = |e: Error| e.context(path.display().to_string());
    match (format.layout(), format.extension()) {
        (Layout::Container, "parquet") => input::expect_columns(path, Kind::Parquet).map_err(place),
        (Layout::Container, "arrow") => input::expect_columns(path, Kind::ArrowFile).map_err(place),
        (Layout::Container, _) => Ok(()),
        _ => input::text(path, format.is_json()).map(|_| ()).map_err(place),
    }
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

impl File {
    /// Which position belongs to which file.
    fn recall(&self, inputs: &[Input], kept: Vec<Kept>, wants: Wants) -> (Vec<Kept>, Vec<Kept>) {
        let layout = self.format.layout();
        let is_text = layout != Layout::Container;
        let holds =
            |path: &Path, mark: &Mark, next: i64| is_text && begin::holds(path, layout, wants, mark, next);
        known::recall(inputs, kept, &holds, &|path| is_text && begin::is_packed(path))
    }
}

impl Prepared for File {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn describe(&self) -> String {
        format!("file {}", self.patterns.describe())
    }

    fn is_container(&self) -> bool {
        self.format.layout() == Layout::Container
    }

    fn ends(&self) -> bool {
        // A pipe ends when its writer does, which may be never.
        self.patterns.expand().is_ok_and(|inputs| !inputs.iter().any(Input::is_pipe))
    }

    fn open(&self, open: Open) -> Result<Opened> {
        let inputs = self.patterns.expand()?;
        let layout = self.format.layout();
        if layout == Layout::Container && inputs.iter().any(Input::is_pipe) {
            return Err(Error::user(Code::P009, "whole files of columns cannot be read from a pipe"));
        }
        for input in &inputs {
            if let Input::File(path, _) = input {
                // A file that cannot be opened, or is of another format, stops the worker before the first record.
                std::fs::File::open(path).map_err(|e| {
                    Error::external(Code::S001, format!("cannot be opened: {e}"))
                        .context(path.display().to_string())
                })?;
                expect(path, self.format.as_ref())?;
            }
        }
        let binary = self.schema.fields().iter().any(|field| *field.data_type() == DataType::Binary);
        let wants = Wants { json: self.format.is_json(), binary, silent: false };
        let (files, unseen) = self.recall(&inputs, open.kept, wants);
        let resume: Positions = files.iter().map(|kept| (kept.partition.clone(), kept.next)).collect();
        let known = Arc::new(Known::new(files, unseen));
        let shared = Arc::new(reader::Shared {
            node: Arc::clone(&self.node),
            format: Arc::clone(&self.format),
            columns: Arc::clone(&self.schema),
            room: open.room,
            held: open.held,
            wants,
            patterns: self.patterns.clone(),
            known: Arc::clone(&known),
            // The decoder's columns are those of the first file, whichever lane another one falls to.
            header: headers::first(&inputs, layout)?.map(|(_, header)| header),
        });
        let mut lanes: Vec<Vec<Input>> = vec![Vec::new(); open.lanes.max(1)];
        for (i, input) in inputs.into_iter().enumerate() {
            let lane = i % lanes.len();
            lanes[lane].push(input);
        }
        let reader =
            |inputs| Box::new(reader::Lane::new(Arc::clone(&shared), inputs, &resume)) as Box<dyn Reader>;
        Ok(Opened { readers: lanes.into_iter().map(reader).collect(), control: known })
    }
}
