//! The pipeline file.

use std::cell::LazyCell;
use std::path::Path;

use pipe_engine::config::report::{Style, render};
use pipe_engine::config::{Variables, check, load_checked};
use pipe_engine::plan::schema;

thread_local! {
    /// Made once: compiling it takes longer than a file does.
    static SCHEMA: LazyCell<(serde_json::Value, check::Validator)> = LazyCell::new(|| {
        let schema = schema::pipeline();
        let compiled = check::compile(&schema).unwrap_or_else(|e| panic!("{e}"));
        (schema, compiled)
    });
}

/// A text that should be a pipeline: its mistakes are found and can be shown, and their places lie in the text.
pub fn pipeline(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // A target opens no files.
    if text.contains("file:/") || text.contains("file:.") {
        return;
    }
    let get = |name: &str| (name == "SET").then(|| "a value".to_owned());
    let variables = Variables { get: &get, base: Path::new("nowhere") };
    let path = Path::new("pipeline.yaml");
    let loaded = SCHEMA.with(|compiled| {
        let (schema, validator) = &**compiled;
        let check = |value: &serde_json::Value| Ok(check::check_compiled(value, schema, validator));
        load_checked(path, text, &check, &[], &variables)
    });
    let loaded = loaded.unwrap_or_else(|e| panic!("{e}"));
    let diagnostics = loaded.diagnose(&[], &[]);
    let chars = text.chars().count();
    for at in diagnostics.iter().filter_map(|d| d.at) {
        assert!(at.start <= at.end && at.start <= chars && at.end <= chars + 1, "{at:?} of {chars}");
    }
    if !diagnostics.is_empty() {
        render(path, text, &diagnostics, Style::Plain, false);
        // The one with the lines of the text takes longer than all the rest.
        if bytes.len().is_multiple_of(8) {
            render(path, text, &diagnostics, Style::Pretty, false);
        }
    }
}
