//! `file`: rows in files of a folder, each complete and durable when it appears.
//!
//! * [`KIND`] resolves the options.
//! * `part` is one file under way: bytes wait in memory until the disk takes them, so that a full disk costs no row.
//!
//! A file is written under a hidden name (`.name.tmp`), synced, and renamed when its epoch prepares: readers never
//! see half of one, and an aborted epoch leaves none. Names are
//! `<stem>.<sink>.<worker>.<lane>.<milliseconds>-<number>.<extension>`, so that workers and restarts never meet.
//!
//! A run of one lane that comes to an end and commits nothing before makes one file of a path with an extension, under
//! exactly that name. Where the name is taken, the file gets one of the others: nothing is written over.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use schemars::JsonSchema;
use serde::Deserialize;

use super::part::{self, Part};
use crate::batch::Batch;
use crate::clock::{Clock, SystemClock};
use crate::codec::{Format, Layout};
use crate::connector::commit::Prepare;
use crate::connector::sink::{Delivery, Open, Prepared, Refused, Settings, Sink, SinkKind};
use crate::error::{Code, Error, Result};
use crate::problem::Problem;
use crate::quantity::{Period, Size};
use crate::units::{Epoch, FILE_BYTES, PARQUET_GROUP_BYTES, SINK_IDLE, SINK_IDLE_FILE, WRITE_BUFFER_BYTES};

/// Rows in files of a folder.
pub static KIND: SinkKind = SinkKind {
    name: "file",
    summary: "Files in a folder, each complete and durable when it appears.",
    example: "file: { path: out/slow.parquet, roll: { size: 128MiB, time: 5m } }\n",
    options: |generator| generator.subschema_for::<Options>(),
    delivery: Delivery::AtLeastOnce,
    default_format: None,
    needs_format: true,
    durable_on_close: true,
    prepare,
};

/// Options of the file sink.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FileSink")]
struct Options {
    /// A folder (`out/`), or a file (`out/slow.parquet`): the name of the file in a run of one lane that ends, the
    /// beginning of names in any other.
    path: String,
    /// When a file is closed before its commit.
    #[serde(default)]
    roll: Roll,
}

/// When a file is closed before its commit; every commit closes it too.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Roll {
    /// Bytes. Default 128 MiB.
    #[serde(default)]
    size: Option<Size>,
    /// Age. By default only commits close files by time.
    #[serde(default)]
    time: Option<Period>,
}

struct Ready {
    folder: PathBuf,
    /// The name that was given, where it is one of a file and `roll` asks for no more of them.
    name: Option<OsString>,
    /// Beginning of names: stem and sink.
    prefix: String,
    size: u64,
    time: Option<Duration>,
    format: Arc<dyn Format>,
    schema: SchemaRef,
}

fn prepare(settings: &Settings<'_>) -> Result<Box<dyn Prepared>, Vec<Problem>> {
    let mut problems = Vec::new();
    let options: Option<Options> = match serde_json::from_value(settings.options.clone()) {
        Ok(options) => Some(options),
        Err(e) => {
            problems.push(Problem::new(Code::C005, "", e.to_string()));
            None
        }
    };
    match settings.format {
        None => problems.push(
            Problem::new(Code::C004, "", "the format is missing and the path's extension does not tell it")
                .help("add `format:`, for example `format: parquet`"),
        ),
        // Written to nowhere, so that columns a format cannot hold are known before the first row.
        Some(format) => {
            if let Err(e) = format.writer(settings.schema.clone(), Box::new(std::io::sink())) {
                problems.push(Problem::new(e.code(), "", e.message()));
            }
        }
    }
    if let Some(options) = &options
        && options.path.is_empty()
    {
        problems.push(Problem::new(Code::C005, "/path", "a folder was expected"));
    }
    let (Some(options), Some(format), true) = (options, settings.format, problems.is_empty()) else {
        return Err(problems);
    };
    let place = Place::of(settings.base, &options.path, settings.name);
    let is_rolled = options.roll.size.is_some() || options.roll.time.is_some();
    if let Some(packed) =
        place.name.as_ref().and_then(|name| Path::new(name).extension()).filter(|e| is_packed(e))
    {
        let message = format!("files are not compressed as `.{}` says", packed.display());
        let help = "leave that extension out; Parquet and Arrow files are compressed inside";
        return Err(vec![Problem::new(Code::P009, "/path", message).help(help)]);
    }
    Ok(Box::new(Ready {
        folder: place.folder,
        name: place.name.filter(|_| !is_rolled),
        prefix: place.prefix,
        size: options.roll.size.map_or(FILE_BYTES, |size| size.0.max(1)),
        time: options.roll.time.map(|time| time.0),
        format: Arc::clone(format),
        schema: settings.schema.clone(),
    }))
}

fn is_packed(extension: &OsStr) -> bool {
    ["gz", "zst", "bz2", "xz", "lz4", "zip"].iter().any(|packed| extension.eq_ignore_ascii_case(packed))
}

/// Where a sink writes.
pub struct Place {
    /// The folder.
    pub folder: PathBuf,
    /// The name of the file, where the path is one of a file.
    pub name: Option<OsString>,
    /// The beginning of all other names: stem and sink.
    pub prefix: String,
}

impl Place {
    /// Where the sink of this name writes, whose path this is.
    pub fn of(base: &Path, given: &str, sink: &str) -> Self {
        let path = base.join(given);
        let is_folder = given.ends_with('/') || path.extension().is_none();
        match (is_folder, path.parent(), path.file_stem(), path.file_name()) {
            (false, Some(parent), Some(stem), Some(name)) => Self {
                folder: parent.to_owned(),
                name: Some(name.to_owned()),
                prefix: format!("{}.{}", plain(&stem.to_string_lossy()), plain(sink)),
            },
            _ => Self { folder: path, name: None, prefix: plain(sink) },
        }
    }
}

/// A part of a name in which dots, which separate parts, are spelt out.
fn plain(text: &str) -> String {
    let mut name = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => name.push(byte as char),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

impl Prepared for Ready {
    fn describe(&self) -> String {
        format!("file {}/{}.*.{}", self.folder.display(), self.prefix, self.format.extension())
    }

    fn is_one_file(&self) -> bool {
        self.name.is_some()
    }

    fn gathers(&self) -> usize {
        // A group is encoded while the columns that it is made of are still there.
        if self.format.layout() == Layout::Container {
            2 * PARQUET_GROUP_BYTES
        } else {
            2 * WRITE_BUFFER_BYTES
        }
    }

    fn open(&self, open: &Open) -> Result<Vec<Box<dyn Sink>>> {
        let place = |e: std::io::Error| {
            Error::external(
                Code::K001,
                format!("the folder `{}` cannot be written: {e}", self.folder.display()),
            )
        };
        std::fs::create_dir_all(&self.folder).map_err(place)?;
        let ours = format!("{}.{}.", self.prefix, plain(&open.worker));
        clean(&self.folder, &format!(".{ours}")).map_err(place)?;
        // Found out now rather than at the first row.
        let probe = self.folder.join(format!(".{ours}probe.tmp"));
        std::fs::File::create(&probe).and_then(|_| std::fs::remove_file(&probe)).map_err(place)?;
        let name = self.name.as_ref().filter(|_| open.whole && open.lanes == 1);
        let whole = name.map(|name| self.folder.join(name));
        let sinks = (0..open.lanes).map(|lane| {
            let clock = SystemClock::default();
            let sink = Files {
                folder: self.folder.clone(),
                size: if whole.is_some() { u64::MAX } else { self.size },
                whole: whole.clone(),
                prefix: format!("{ours}{lane}.{}", clock.unix_ms()),
                format: Arc::clone(&self.format),
                schema: self.schema.clone(),
                time: self.time,
                clock: Box::new(clock),
                number: 0,
                current: None,
                closed: Vec::new(),
                prepared: Prepare::default(),
            };
            Box::new(sink) as Box<dyn Sink>
        });
        Ok(sinks.collect())
    }
}

/// Removes what a dead run of the same worker left unfinished: no epoch of it was committed.
fn clean(folder: &Path, prefix: &str) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(prefix) && name.ends_with(".tmp") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The files of one lane.
struct Files {
    folder: PathBuf,
    prefix: String,
    /// The path that the next file gets that is published, where it is free.
    whole: Option<PathBuf>,
    format: Arc<dyn Format>,
    schema: SchemaRef,
    size: u64,
    time: Option<Duration>,
    clock: Box<dyn Clock>,
    /// Number of the next file.
    number: u64,
    current: Option<(Part, Duration)>,
    /// Complete but not yet visible.
    closed: Vec<Part>,
    /// What an interrupted prepare already published.
    prepared: Prepare,
}

impl Files {
    /// Completes the current file; it stays hidden until its epoch prepares.
    fn roll(&mut self) -> Result<()> {
        if let Some((part, _)) = &mut self.current {
            part.finish()?;
        }
        self.closed.extend(self.current.take().map(|(part, _)| part));
        Ok(())
    }

    fn is_due(&self) -> bool {
        self.current.as_ref().is_some_and(|(part, since)| {
            part.bytes() >= self.size || self.time.is_some_and(|time| self.clock.now() >= *since + time)
        })
    }

    fn begin(&mut self) -> Result<()> {
        if self.current.is_none() {
            let name = format!("{}-{:06}.{}", self.prefix, self.number, self.format.extension());
            let part = Part::create(&self.folder, &name, self.format.as_ref(), &self.schema)?;
            self.number += 1;
            self.current = Some((part, self.clock.now()));
        }
        Ok(())
    }
}

impl Sink for Files {
    fn write(&mut self, batch: &Batch, _: &mut Vec<Refused>) -> Result<()> {
        // Everything that may pass comes before the rows are taken, so that a second call takes them once.
        if self.is_due() {
            self.roll()?;
        }
        self.begin()?;
        let Some((part, _)) = &mut self.current else { return Err(Error::internal("a file was begun")) };
        part.drain()?;
        part.write(batch)
    }

    fn idles(&self) -> Duration {
        if self.current.is_some() && self.time.is_some() { SINK_IDLE_FILE } else { SINK_IDLE }
    }

    fn idle(&mut self) -> Result<()> {
        if self.is_due() { self.roll() } else { Ok(()) }
    }

    fn prepare(&mut self, _: Epoch, _: &mut Vec<Refused>) -> Result<Prepare> {
        self.roll()?;
        let mut published = false;
        while let Some(part) = self.closed.first_mut() {
            let (rows, bytes) = part.publish(self.whole.as_deref())?;
            self.whole = None;
            self.prepared.rows += rows;
            self.prepared.bytes += bytes;
            self.closed.remove(0);
            published = true;
        }
        if published || self.prepared != Prepare::default() {
            part::sync_folder(&self.folder)?;
        }
        Ok(std::mem::take(&mut self.prepared))
    }

    fn abort(&mut self) -> Result<()> {
        self.closed.extend(self.current.take().map(|(part, _)| part));
        self.prepared = Prepare::default();
        self.closed.drain(..).try_for_each(|part| part.discard())
    }

    fn close(&mut self) -> Result<()> {
        self.abort()
    }
}

impl Drop for Files {
    /// A worker that fails leaves nothing hidden behind; what a kill leaves is removed by the same worker's next run.
    fn drop(&mut self) {
        let _ = self.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use arrow::array::{BinaryArray, RecordBatch};

    use super::*;
    use crate::batch::{Origins, Payload, SourceBatch};
    use crate::codec::{BadRow, Decoded, Decoder, Encoder, Layout, RowWriter};

    /// Lines of the first column, so that these tests need no format of `format/`.
    struct Plain;

    struct PlainWriter(Box<dyn std::io::Write + Send>, u64);

    impl RowWriter for PlainWriter {
        fn write(&mut self, batch: &Batch) -> Result<()> {
            use arrow::array::AsArray;
            for value in batch.records.column(0).as_binary::<i32>() {
                let line = [value.unwrap_or_default(), b"\n"].concat();
                self.0.write_all(&line).map_err(|e| Error::internal(e.to_string()))?;
                self.1 += line.len() as u64;
            }
            Ok(())
        }
        fn bytes(&self) -> u64 {
            self.1
        }
        fn finish(&mut self) -> Result<()> {
            self.0.write_all(b"END\n").map_err(|e| Error::internal(e.to_string()))
        }
    }

    impl Format for Plain {
        fn layout(&self) -> Layout {
            Layout::Lines
        }
        fn schema(&self) -> Option<SchemaRef> {
            None
        }
        fn infer(&self, _: &Path) -> Result<SchemaRef> {
            Err(Error::internal("unused"))
        }
        fn decoder(&self, _: SchemaRef) -> Result<Box<dyn Decoder>> {
            let _: Option<(BadRow, Decoded)> = None;
            Err(Error::internal("unused"))
        }
        fn encoder(&self, _: SchemaRef) -> Result<Box<dyn Encoder>> {
            Err(Error::internal("unused"))
        }
        fn writer(&self, _: SchemaRef, out: Box<dyn std::io::Write + Send>) -> Result<Box<dyn RowWriter>> {
            Ok(Box::new(PlainWriter(out, 0)))
        }
        fn extension(&self) -> &'static str {
            "txt"
        }
    }

    fn batch(lines: &[&str]) -> Batch {
        let values = BinaryArray::from_vec(lines.iter().map(|l| l.as_bytes()).collect());
        let field = arrow::datatypes::Field::new("v", arrow::datatypes::DataType::Binary, true);
        let schema = Arc::new(arrow::datatypes::Schema::new(vec![field]));
        let records = RecordBatch::try_new(schema, vec![Arc::new(values.clone())]).unwrap();
        let origins = Origins::whole(Arc::new(SourceBatch {
            source: "s".into(),
            topic: "t".into(),
            partition: 0,
            offsets: (0..lines.len() as i64).collect(),
            timestamps: None,
            keys: None,
            headers: None,
            payload: Payload::Values(values),
            next: lines.len() as i64,
            trace: None,
            hold: None,
        }));
        Batch::new(records, origins)
    }

    fn ready(base: &Path, options: serde_json::Value) -> Result<Box<dyn Prepared>, Vec<Problem>> {
        let format: Arc<dyn Format> = Arc::new(Plain);
        let schema = batch(&[]).schema();
        prepare(&Settings {
            pipeline: "p",
            name: "o.ut",
            base,
            options: &options,
            format: Some(&format),
            schema: &schema,
        })
    }

    fn sink(base: &Path, options: serde_json::Value, worker: &str) -> Box<dyn Sink> {
        opened(base, options, worker, false)
    }

    fn opened(base: &Path, options: serde_json::Value, worker: &str, whole: bool) -> Box<dyn Sink> {
        let open =
            Open { lanes: 1, worker: worker.into(), transaction: None, traced: false, letters: false, whole };
        ready(base, options).unwrap_or_else(|p| panic!("{p:?}")).open(&open).unwrap().remove(0)
    }

    fn names(folder: &Path) -> BTreeSet<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn files_appear_whole_when_their_epoch_prepares() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = sink(dir.path(), serde_json::json!({"path": "x/a.txt", "roll": {"size": 4}}), "w.1");
        let mut refused = Vec::new();
        for line in ["one", "two", "three"] {
            sink.write(&batch(&[line]), &mut refused).unwrap();
        }
        let folder = dir.path().join("x");
        assert!(names(&folder).iter().all(|name| name.starts_with('.')), "{:?}", names(&folder));
        let done = sink.prepare(Epoch(1), &mut refused).unwrap();
        assert_eq!(done, Prepare { rows: 3, bytes: 26 });
        let visible = names(&folder);
        assert_eq!(visible.len(), 3, "each is over the size");
        assert!(visible.iter().all(|name| name.starts_with("a.o%2Eut.w%2E1.0.")), "{visible:?}");
        let first = visible.iter().next().unwrap();
        assert_eq!(std::fs::read_to_string(folder.join(first)).unwrap(), "one\nEND\n");
        assert_eq!(sink.prepare(Epoch(2), &mut refused).unwrap(), Prepare::default());
        assert_eq!(names(&folder).len(), 3, "an epoch without rows makes no file");
    }

    #[test]
    fn a_whole_run_makes_one_file_of_the_name_that_was_given_and_writes_over_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.x");
        let options = || serde_json::json!({"path": "a.x"});
        let mut refused = Vec::new();
        let mut first = opened(dir.path(), options(), "w", true);
        for line in ["one", "two"] {
            first.write(&batch(&[line]), &mut refused).unwrap();
        }
        assert_eq!(first.prepare(Epoch(1), &mut refused).unwrap().rows, 2);
        assert_eq!(names(dir.path()), BTreeSet::from(["a.x".to_owned()]));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\nEND\n");
        // A rebalance may ask for a second epoch.
        first.write(&batch(&["three"]), &mut refused).unwrap();
        first.prepare(Epoch(2), &mut refused).unwrap();
        assert_eq!(names(dir.path()).len(), 2);
        let mut second = opened(dir.path(), options(), "w", true);
        second.write(&batch(&["four"]), &mut refused).unwrap();
        second.prepare(Epoch(1), &mut refused).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\nEND\n", "it is not written over");
        assert_eq!(names(dir.path()).len(), 3);
        let mut none = opened(dir.path(), serde_json::json!({"path": "none.x"}), "w", true);
        none.prepare(Epoch(1), &mut refused).unwrap();
        assert!(!dir.path().join("none.x").exists(), "a run without rows makes no file");
        let rolled = serde_json::json!({"path": "rolled.x", "roll": {"size": 1}});
        let mut rolled = opened(dir.path(), rolled, "w", true);
        rolled.write(&batch(&["five"]), &mut refused).unwrap();
        rolled.prepare(Epoch(1), &mut refused).unwrap();
        assert!(!dir.path().join("rolled.x").exists(), "several files were asked for");
        let Err(packed) = ready(dir.path(), serde_json::json!({"path": "a.jsonl.gz"})) else {
            panic!("taken")
        };
        assert_eq!((packed[0].code, packed[0].pointer.as_str()), (Code::P009, "/path"));
    }

    #[test]
    fn an_aborted_epoch_and_a_dead_run_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let options = || serde_json::json!({"path": "./"});
        let mut refused = Vec::new();
        let mut first = sink(dir.path(), options(), "w");
        let mut other = sink(dir.path(), options(), "w-2");
        first.write(&batch(&["gone"]), &mut refused).unwrap();
        first.abort().unwrap();
        assert!(names(dir.path()).is_empty());
        first.write(&batch(&["dead"]), &mut refused).unwrap();
        other.write(&batch(&["alive"]), &mut refused).unwrap();
        // A kill runs no destructor.
        std::mem::forget(first);
        let mut second = sink(dir.path(), options(), "w");
        assert_eq!(names(dir.path()).len(), 1, "only the other worker's is left");
        second.write(&batch(&["again"]), &mut refused).unwrap();
        second.prepare(Epoch(1), &mut refused).unwrap();
        other.prepare(Epoch(1), &mut refused).unwrap();
        assert_eq!(names(dir.path()).iter().filter(|name| !name.starts_with('.')).count(), 2);
    }

    #[test]
    fn a_worker_that_fails_leaves_nothing_hidden() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = sink(dir.path(), serde_json::json!({"path": ".", "roll": {"size": 1}}), "w");
        sink.write(&batch(&["rolled"]), &mut Vec::new()).unwrap();
        sink.write(&batch(&["under way"]), &mut Vec::new()).unwrap();
        assert_eq!(names(dir.path()).len(), 2);
        drop(sink);
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let ready =
            ready(dir.path(), serde_json::json!({"path": "file/x/"})).unwrap_or_else(|p| panic!("{p:?}"));
        let open = Open {
            lanes: 1,
            worker: "w".into(),
            transaction: None,
            traced: false,
            letters: false,
            whole: false,
        };
        let Err(e) = ready.open(&open) else { panic!("it was opened") };
        assert_eq!(e.code(), Code::K001);
    }

    #[test]
    fn time_closes_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = sink(dir.path(), serde_json::json!({"path": ".", "roll": {"time": "1ms"}}), "w");
        let mut refused = Vec::new();
        sink.write(&batch(&["a"]), &mut refused).unwrap();
        std::thread::sleep(Duration::from_millis(3));
        sink.idle().unwrap();
        sink.write(&batch(&["b"]), &mut refused).unwrap();
        sink.prepare(Epoch(1), &mut refused).unwrap();
        assert_eq!(names(dir.path()).len(), 2);
    }
}
