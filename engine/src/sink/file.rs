//! Writes rows to files of a folder. A file is hidden while it is written and appears whole, by a rename, when its
//! epoch is prepared: readers never see a half-written one, and what a crash leaves behind is never taken for data.

use std::fs;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Delivery, Open, Prepare, Prepared, Refused, Settings, Sink, SinkKind};
use crate::batch::Batch;
use crate::clock::{Clock, SystemClock};
use crate::codec::{self, Format, Problem, RowWriter};
use crate::config::spec::{Period, Size};
use crate::error::{Code, Error, Result};
use crate::units::Epoch;

/// The kind.
pub static KIND: SinkKind = SinkKind {
    name: "file",
    summary: "Writes files into a folder; each appears whole, when its epoch is committed or it is rolled.",
    example: "from: requests\nfile: { path: out/requests, roll: { size: 64MiB } }\nformat: json\n",
    options: |generator| generator.subschema_for::<Options>(),
    delivery: Delivery::AtLeastOnce,
    default_format: None,
    needs_format: true,
    durable_on_close: true,
    prepare,
};

/// Options of the `file` sink.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// The folder, relative to the pipeline file; it is made when it is missing.
    path: PathBuf,
    /// When a file is closed before its epoch ends. Every file is closed at the end of its epoch
    /// (`delivery.commit_interval`).
    #[serde(default)]
    roll: Roll,
}

/// When a file is closed before its epoch ends.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Roll {
    /// At about this size.
    #[serde(default)]
    size: Option<Size>,
    /// This long after its first row.
    #[serde(default)]
    time: Option<Period>,
}

struct Folder {
    name: String,
    path: PathBuf,
    roll: Roll,
    format: Arc<dyn Format>,
    schema: SchemaRef,
}

fn prepare(settings: &Settings<'_>) -> Result<Box<dyn Prepared>, Vec<Problem>> {
    let options: Options = codec::options(settings.options)?;
    let Some(format) = settings.format else {
        let problem = Problem::new(Code::C004, "", "`file` needs a format");
        return Err(vec![problem.help("add `format: json`, `csv`, `parquet` or `arrow_ipc`")]);
    };
    if options.path.as_os_str().is_empty() {
        return Err(vec![Problem::new(Code::C005, "/path", "the path is empty")]);
    }
    Ok(Box::new(Folder {
        name: settings.name.to_owned(),
        path: settings.base.join(options.path),
        roll: options.roll,
        format: Arc::clone(format),
        schema: Arc::clone(settings.schema),
    }))
}

impl Prepared for Folder {
    fn describe(&self) -> String {
        format!("{} files in {}", self.format.extension(), self.path.display())
    }

    fn open(&self, open: &Open) -> Result<Vec<Box<dyn Sink>>> {
        let failed = |e: io::Error| {
            Error::external(Code::K001, format!("cannot write to the folder {}: {e}", self.path.display()))
                .help("make it writable for this user, or choose another `path`")
        };
        fs::create_dir_all(&self.path).map_err(failed)?;
        // A folder that cannot be written is told at the start, not at the first row.
        tempfile::tempfile_in(&self.path).map_err(failed)?;
        remove_leftovers(&self.path, &open.worker).map_err(failed)?;
        let lane = |lane| -> Box<dyn Sink> {
            Box::new(Files {
                stem: format!("{}-{}-{lane}", self.name, open.worker),
                folder: self.path.clone(),
                roll: self.roll.clone(),
                format: Arc::clone(&self.format),
                schema: Arc::clone(&self.schema),
                clock: SystemClock::default(),
                sequence: 0,
                current: None,
                closed: Vec::new(),
                rows: 0,
            })
        };
        Ok((0..open.lanes).map(lane).collect())
    }
}

/// Hidden files that this worker left behind when it was killed: their rows were never committed and come again.
fn remove_leftovers(folder: &Path, worker: &str) -> io::Result<()> {
    let of_worker = format!("-{worker}-");
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') && name.ends_with(".tmp") && name.contains(&of_worker) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The files of one lane.
struct Files {
    stem: String,
    folder: PathBuf,
    roll: Roll,
    format: Arc<dyn Format>,
    schema: SchemaRef,
    clock: SystemClock,
    sequence: u64,
    current: Option<Current>,
    /// Complete and synced, hidden until their epoch is prepared: (hidden, visible).
    closed: Vec<(PathBuf, PathBuf)>,
    /// Rows taken since the last prepare.
    rows: u64,
}

struct Current {
    writer: Box<dyn RowWriter>,
    file: fs::File,
    hidden: PathBuf,
    visible: PathBuf,
    since: Duration,
}

impl Files {
    fn failed(&self, e: &dyn std::fmt::Display) -> Error {
        Error::external(Code::K002, format!("cannot write to {}: {e}", self.folder.display()))
            .help("what is not committed comes again when the worker is started")
    }

    fn current(&mut self) -> Result<&mut Current> {
        if self.current.is_none() {
            self.sequence += 1;
            // Sorted names are in order of time; worker, lane and sequence keep them apart.
            let extension = self.format.extension();
            let name = format!("{}-{:013}-{:04}.{extension}", self.stem, self.clock.unix_ms(), self.sequence);
            let hidden = self.folder.join(format!(".{name}.tmp"));
            let file = fs::File::options()
                .write(true)
                .create_new(true)
                .open(&hidden)
                .map_err(|e| self.failed(&e))?;
            let out = BufWriter::new(file.try_clone().map_err(|e| self.failed(&e))?);
            let writer = self.format.writer(Arc::clone(&self.schema), Box::new(out))?;
            let (visible, since) = (self.folder.join(name), self.clock.now());
            self.current = Some(Current { writer, file, hidden, visible, since });
        }
        self.current.as_mut().ok_or_else(|| Error::internal("a file was just opened"))
    }

    /// Completes and syncs the current file; it stays hidden.
    fn close_current(&mut self) -> Result<()> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        let done = current.writer.finish();
        let synced = done.and_then(|()| current.file.sync_all().map_err(|e| self.failed(&e)));
        self.closed.push((current.hidden, current.visible));
        synced
    }

    fn is_due(&self) -> bool {
        let Some(current) = &self.current else { return false };
        self.roll.size.is_some_and(|size| current.writer.bytes() >= size.0)
            || self.roll.time.is_some_and(|time| self.clock.now() - current.since >= time.0)
    }
}

impl Sink for Files {
    fn write(&mut self, batch: &Batch, _: &mut Vec<Refused>) -> Result<()> {
        self.current()?.writer.write(&batch.records)?;
        self.rows += batch.len() as u64;
        if self.is_due() { self.close_current() } else { Ok(()) }
    }

    fn idle(&mut self) -> Result<()> {
        if self.is_due() { self.close_current() } else { Ok(()) }
    }

    fn prepare(&mut self, _: Epoch, _: &mut Vec<Refused>) -> Result<Prepare> {
        self.close_current()?;
        let mut bytes = 0;
        for (hidden, visible) in std::mem::take(&mut self.closed) {
            bytes += fs::metadata(&hidden).map_err(|e| self.failed(&e))?.len();
            fs::rename(&hidden, &visible).map_err(|e| self.failed(&e))?;
        }
        if bytes > 0 {
            // The names are durable only when the folder is.
            fs::File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(|e| self.failed(&e))?;
        }
        Ok(Prepare { rows: std::mem::take(&mut self.rows), bytes })
    }

    fn abort(&mut self) -> Result<()> {
        self.rows = 0;
        let current = self.current.take().map(|current| current.hidden);
        let closed = std::mem::take(&mut self.closed).into_iter().map(|(hidden, _)| hidden);
        current
            .into_iter()
            .chain(closed)
            .try_for_each(|hidden| fs::remove_file(hidden).map_err(|e| self.failed(&e)))
    }

    fn close(&mut self) -> Result<()> {
        self.abort()
    }
}

impl Drop for Files {
    /// A worker that fails leaves nothing hidden behind; what is left after a kill is removed at the next start.
    fn drop(&mut self) {
        let _ = self.abort();
    }
}
