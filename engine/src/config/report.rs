//! Diagnostics as text: with the lines they are about on a terminal, one line each elsewhere, or JSON.

use std::fmt::Write;
use std::path::Path;

use ariadne::{Config, Label, Report, ReportKind, Source};
use serde_json::json;

use super::document::{Diagnostic, Severity};

/// How diagnostics are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Style {
    /// The lines they are about, in colour; for terminals.
    Pretty,
    /// `file:line:column: code: message`, one a line.
    #[default]
    Plain,
    /// One JSON object a line.
    Json,
}

/// Prints diagnostics of one file.
pub fn render(path: &Path, text: &str, diagnostics: &[Diagnostic], style: Style, colour: bool) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        match style {
            Style::Pretty => pretty(&mut out, path, text, diagnostic, colour),
            Style::Plain => plain(&mut out, path, diagnostic),
            Style::Json => json(&mut out, path, diagnostic),
        }
    }
    out
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn plain(out: &mut String, path: &Path, diagnostic: &Diagnostic) {
    let Diagnostic { severity, code, at, message, help } = diagnostic;
    let place = at.map(|at| format!(":{}:{}", at.line, at.column)).unwrap_or_default();
    // Writing to a string cannot fail.
    let _ = write!(out, "{}{place}: {} {code}: {}", path.display(), word(*severity), line(message));
    if let Some(help) = help {
        let _ = write!(out, " ({})", line(help));
    }
    out.push('\n');
}

/// One line, whatever a component or a parser wrote.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn json(out: &mut String, path: &Path, diagnostic: &Diagnostic) {
    let Diagnostic { severity, code, at, message, help } = diagnostic;
    let object = json!({
        "file": path.display().to_string(),
        "line": at.map(|at| at.line),
        "column": at.map(|at| at.column),
        "severity": word(*severity),
        "code": code.as_str(),
        "message": message,
        "help": help,
    });
    let _ = writeln!(out, "{object}");
}

fn pretty(out: &mut String, path: &Path, text: &str, diagnostic: &Diagnostic, colour: bool) {
    let Some(at) = diagnostic.at else { return plain(out, path, diagnostic) };
    let kind = match diagnostic.severity {
        Severity::Error => ReportKind::Error,
        Severity::Warning => ReportKind::Warning,
    };
    let file = path.display().to_string();
    let length = text.chars().count();
    let start = at.start.min(length);
    let span = start..at.end.clamp(start, length);
    let mut report = Report::build(kind, (file.clone(), span.clone()))
        .with_config(Config::default().with_color(colour))
        .with_code(diagnostic.code)
        .with_message(diagnostic.code.summary())
        .with_label(Label::new((file.clone(), span)).with_message(&diagnostic.message));
    if let Some(help) = &diagnostic.help {
        report = report.with_help(help);
    }
    let mut bytes = Vec::new();
    match report.finish().write((file, Source::from(text)), &mut bytes) {
        Ok(()) => out.push_str(&String::from_utf8_lossy(&bytes)),
        Err(_) => plain(out, path, diagnostic),
    }
}
