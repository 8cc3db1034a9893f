//! `pipe cache show` and `pipe cache clear`.

use std::path::Path;
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use serde_json::json;

use super::{count, shown, size};
use crate::cli::text::{Out, moment, table};
use crate::error::Result;
use crate::stage::{self, Entry};

/// List what the cache holds: each file with its size and when it was written.
///
/// A file is named after a digest of the component, of this version's compiler with its settings, and of the kind of
/// processor. Files of older versions stay until `pipe cache clear`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pipe cache show
  PIPE_CACHE=/var/cache/pipe/stages pipe cache show --json | jq -s 'map(.bytes) | add'")]
pub struct ShowArgs {
    /// One JSON object a line for each file; the sum goes to standard error
    #[arg(long)]
    json: bool,
}

/// Delete what the cache holds.
///
/// Workers that run have loaded their code and are not touched; the next start compiles anew. It is a way to be rid of
/// what older versions left behind: nothing is deleted from the cache by itself. Other files in the folder stay.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pipe cache clear && pipe cache warm pipeline.yaml")]
pub struct ClearArgs {}

/// Prints them.
pub(super) fn show(args: &ShowArgs, folder: &Path) -> Result<ExitCode> {
    let entries = stage::entries(folder)?;
    let mut out = Out::new();
    let sum = sum(&entries, "in", folder);
    if args.json {
        eprint!("{sum}");
        out.print(&entries.iter().map(json_line).collect::<String>())?;
    } else {
        out.print(&(text(&entries) + &sum))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Deletes them.
pub(super) fn clear(_: &ClearArgs, folder: &Path) -> Result<ExitCode> {
    let entries = stage::clear(folder)?;
    Out::new().print(&sum(&entries, "deleted from", folder))?;
    Ok(ExitCode::SUCCESS)
}

fn sum(entries: &[Entry], what: &str, folder: &Path) -> String {
    let bytes = entries.iter().map(|entry| entry.bytes).sum();
    format!("{}, {} {what} {}\n", count(entries.len(), "file"), size(bytes), shown(folder))
}

fn written(entry: &Entry) -> String {
    let since = entry.written.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    since.map_or("-".to_owned(), |since| moment(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}

fn text(entries: &[Entry]) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let mut lines = vec![["FILE", "SIZE", "WRITTEN"].map(str::to_owned).to_vec()];
    lines.extend(entries.iter().map(|entry| {
        let name = entry.path.file_name().map(Path::new).unwrap_or(&entry.path);
        vec![shown(name), size(entry.bytes), written(entry)]
    }));
    table(&lines, &[1])
}

fn json_line(entry: &Entry) -> String {
    let path = entry.path.display().to_string();
    format!("{}\n", json!({ "file": path, "bytes": entry.bytes, "written": written(entry) }))
}
