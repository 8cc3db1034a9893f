//! Files that grow, move, are cut and written over, run by run.

use std::io::Write;
use std::path::Path;

use arrow::array::Array;

use super::*;
use crate::connector::file::source::prepare;
use crate::connector::position::Kept;
use crate::connector::source::{Open, Opened, Runtime, Settings};

struct Alone;

impl Runtime for Alone {
    fn drain(&self, _: Duration) -> bool {
        true
    }
    fn rewind(&self, _: &str) {}
}

/// A format of one column without an implementation: these tests read bytes only.
struct Bytes(Layout);

impl Format for Bytes {
    fn layout(&self) -> Layout {
        self.0
    }
    fn schema(&self) -> Option<SchemaRef> {
        Some(Arc::new(arrow::datatypes::Schema::empty()))
    }
    fn infer(&self, _: &Path) -> Result<SchemaRef> {
        Ok(Arc::new(arrow::datatypes::Schema::empty()))
    }
    fn decoder(&self, _: SchemaRef) -> Result<Box<dyn crate::codec::Decoder>> {
        Err(Error::internal("unused"))
    }
    fn encoder(&self, _: SchemaRef) -> Result<Box<dyn crate::codec::Encoder>> {
        Err(Error::internal("unused"))
    }
    fn writer(
        &self,
        _: SchemaRef,
        _: Box<dyn std::io::Write + Send>,
    ) -> Result<Box<dyn crate::codec::RowWriter>> {
        Err(Error::internal("unused"))
    }
    fn extension(&self) -> &'static str {
        "txt"
    }
}

fn open(base: &Path, path: &str, layout: Layout, lanes: usize, kept: Vec<Kept>) -> Opened {
    let format: Arc<dyn Format> = Arc::new(Bytes(layout));
    let options = serde_json::json!({ "path": path });
    let settings =
        Settings { pipeline: "p", name: "in", base, options: &options, format: Some(&format), own: &[] };
    let room =
        Room { rows: 2, bytes: 1 << 20, lane_bytes: usize::MAX, age: Duration::from_millis(1), eager: false };
    let open = Open {
        lanes,
        worker: "w".into(),
        until_end: true,
        room,
        held: crate::units::CONTAINER_HELD_BYTES,
        resume: Positions::new(),
        kept,
        runtime: Arc::new(Alone),
        consumers: Arc::default(),
    };
    prepare(&settings).unwrap_or_else(|p| panic!("{p:?}")).open(open).unwrap()
}

/// Reads a lane to its end and commits each batch: name of the file, offset, text.
fn drain(opened: &mut Opened, lane: usize) -> Vec<(String, i64, String)> {
    let mut records = Vec::new();
    loop {
        let batch = match opened.readers[lane].poll(Duration::from_millis(1)).unwrap() {
            Polled::Batch(batch) => batch,
            Polled::Idle => continue,
            Polled::End => break,
        };
        assert_eq!(batch.next, batch.offsets[batch.len() - 1] + 1);
        let Payload::Values(values) = &batch.payload else { panic!("values") };
        for i in 0..values.len() {
            let name = batch.topic.rsplit('/').next().unwrap().to_owned();
            records.push((name, batch.offsets[i], String::from_utf8(values.value(i).to_vec()).unwrap()));
        }
        let at = Partition { topic: Arc::clone(&batch.topic), partition: 0 };
        opened.control.commit(&Positions::from([(at, batch.next)])).unwrap();
    }
    // As the last epoch of a run does.
    opened.control.commit(&Positions::new()).unwrap();
    records
}

/// One run over these files: what it read, and what is kept then.
fn run(base: &Path, path: &str, kept: Vec<Kept>) -> (Vec<String>, Vec<Kept>) {
    run_as(base, path, Layout::Lines, kept)
}

fn run_as(base: &Path, path: &str, layout: Layout, kept: Vec<Kept>) -> (Vec<String>, Vec<Kept>) {
    let mut opened = open(base, path, layout, 1, kept);
    let texts = drain(&mut opened, 0).into_iter().map(|(_, _, text)| text).collect();
    (texts, opened.control.kept().unwrap())
}

/// Makes files old, so that their last lines wait for nothing.
fn age(base: &Path) {
    let old = std::time::SystemTime::now() - Duration::from_secs(60);
    for entry in std::fs::read_dir(base).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let file = std::fs::File::options().append(true).open(path).unwrap();
            file.set_times(std::fs::FileTimes::new().set_modified(old)).unwrap();
        }
    }
}

fn append(path: &Path, text: &str) {
    std::fs::File::options().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// A position of a version that knew names alone.
fn by_name(base: &Path, name: &str, next: i64) -> Kept {
    let topic = base.canonicalize().unwrap().join(name).to_string_lossy().into();
    Kept { partition: Partition { topic, partition: 0 }, next, mark: None }
}

#[test]
fn files_are_read_in_order_and_resumed_and_rewound() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("b.txt"), "b0\n\nb1\nb2").unwrap();
    std::fs::write(dir.path().join("a.txt"), "a0\r\na1\r\n").unwrap();
    age(dir.path());
    let mut opened = open(dir.path(), "*.txt", Layout::Lines, 1, Vec::new());
    let all = drain(&mut opened, 0);
    let texts: Vec<&str> = all.iter().map(|(_, _, text)| text.as_str()).collect();
    assert_eq!(texts, ["a0", "a1", "b0", "b1", "b2"]);
    assert_eq!(all[3], ("b.txt".into(), 1, "b1".into()));
    let kept = by_name(dir.path(), "b.txt", 2);
    let mut lanes = open(dir.path(), "*.txt", Layout::Lines, 2, vec![kept.clone()]);
    assert_eq!(drain(&mut lanes, 0), all[..2]);
    assert_eq!(drain(&mut lanes, 1), all[4..]);
    opened.readers[0].rewind(&Positions::from([(kept.partition, 2)])).unwrap();
    assert_eq!(drain(&mut opened, 0).len(), 3, "a from the start, b from its position");
    let mut beyond = open(dir.path(), "b.txt", Layout::Lines, 1, vec![by_name(dir.path(), "b.txt", 9)]);
    assert_eq!(beyond.readers[0].poll(Duration::ZERO).unwrap_err().code(), Code::S004);
}

#[test]
fn lines_of_a_file_are_known_behind_blank_ones_and_behind_a_position() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.csv"), "x\r\n\r\n1\r\n\"2\n3\"\r\n4\r\n").unwrap();
    let layout = Layout::Csv { skip_lines: 0, header: true, signs: crate::codec::CsvSigns::default() };
    for (kept, expected) in [(0, vec![vec![3, 4], vec![6]]), (2, vec![vec![6]])] {
        let kept = vec![by_name(dir.path(), "a.csv", kept)];
        let mut opened = open(dir.path(), "a.csv", layout, 1, kept);
        let mut lines = Vec::new();
        while let Polled::Batch(batch) = opened.readers[0].poll(Duration::ZERO).unwrap() {
            lines.push((0..batch.len()).map(|row| opened.readers[0].line(row).unwrap()).collect::<Vec<_>>());
        }
        assert_eq!(lines, expected);
    }
}

#[test]
fn headers_are_no_records_and_must_agree() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::Csv { skip_lines: 0, header: true, signs: crate::codec::CsvSigns::default() };
    std::fs::write(dir.path().join("1.csv"), "x,y\n1,\"a\nb\"\n2,c\n").unwrap();
    std::fs::write(dir.path().join("2.csv"), "x,y\n3,d\n").unwrap();
    let records = drain(&mut open(dir.path(), "*.csv", layout, 1, Vec::new()), 0);
    assert_eq!(records.len(), 3);
    assert_eq!(records[0], ("1.csv".into(), 0, "1,\"a\nb\"".into()));
    // The list of files is made when the worker starts; a header may still be rewritten after the plan was made.
    let mut opened = {
        std::fs::write(dir.path().join("3.csv"), "x,y\nd,3\n").unwrap();
        let opened = open(dir.path(), "*.csv", layout, 1, Vec::new());
        std::fs::write(dir.path().join("3.csv"), "y,x\nd,3\n").unwrap();
        opened
    };
    let e = (0..9).find_map(|_| opened.readers[0].poll(Duration::ZERO).err()).unwrap();
    assert_eq!(e.code(), Code::S013);
    assert!(e.to_string().contains("3.csv"), "{e}");
}

#[test]
fn a_name_that_another_file_has_by_now_is_read_from_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("app.log");
    std::fs::write(&log, "1\n2\n3\n").unwrap();
    let (read, kept) = run(dir.path(), "app.log", Vec::new());
    assert_eq!(read, ["1", "2", "3"]);
    assert_eq!(run(dir.path(), "app.log", kept.clone()).0, [""; 0]);
    append(&log, "4\n");
    let (read, kept) = run(dir.path(), "app.log", kept);
    assert_eq!(read, ["4"], "it grew");
    // Renamed: the name is another file's, and both are seen or only the new one.
    std::fs::rename(&log, dir.path().join("app.log.1")).unwrap();
    std::fs::write(&log, "5\n6\n7\n8\n9\n").unwrap();
    let (new, later) = run(dir.path(), "app.log", kept.clone());
    assert_eq!(new, ["5", "6", "7", "8", "9"]);
    assert_eq!(run(dir.path(), "app.log*", later).0, [""; 0], "the old one is remembered");
    append(&dir.path().join("app.log.1"), "late\n");
    let (read, kept) = run(dir.path(), "app.log*", kept);
    assert_eq!(read, ["5", "6", "7", "8", "9", "late"]);
    // And once more, the names moving on.
    std::fs::rename(dir.path().join("app.log.1"), dir.path().join("app.log.2")).unwrap();
    std::fs::rename(&log, dir.path().join("app.log.1")).unwrap();
    std::fs::write(&log, "1\n2\n3\n4\nlate\n10\n").unwrap();
    let (read, kept) = run(dir.path(), "app.log*", kept);
    assert_eq!(read, ["1", "2", "3", "4", "late", "10"], "as the oldest one began");
    assert_eq!(run(dir.path(), "app.log*", kept).0, [""; 0]);
}

#[test]
fn a_file_that_is_written_over_is_read_from_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let csv = dir.path().join("a.csv");
    let layout = Layout::Csv { skip_lines: 0, header: true, signs: crate::codec::CsvSigns::default() };
    std::fs::write(&csv, "x\n1\n2\n3\n4\n").unwrap();
    let (read, mut kept) = run_as(dir.path(), "a.csv", layout, Vec::new());
    assert_eq!(read, ["1", "2", "3", "4"]);
    for (text, expected) in [
        ("x\n5\n6\n7\n8\n9\n", vec!["5", "6", "7", "8", "9"]),
        ("x\n5\n", vec!["5"]),
        // The same ends, another row between them.
        ("x\n1\n2\n3\n4\n", vec!["1", "2", "3", "4"]),
        ("x\n1\n7\n3\n4\n5\n", vec!["1", "7", "3", "4", "5"]),
    ] {
        std::fs::write(&csv, text).unwrap();
        let (read, later) = run_as(dir.path(), "a.csv", layout, kept);
        assert_eq!(read, expected, "{text:?}");
        kept = later;
    }
    // By rename, with the rows of the day before at its beginning: another file all the same.
    std::fs::write(dir.path().join("new"), "x\n1\n7\n3\n4\n5\n6\n").unwrap();
    std::fs::rename(dir.path().join("new"), &csv).unwrap();
    assert_eq!(run_as(dir.path(), "a.csv", layout, kept).0.len(), 6);
}

#[test]
fn a_log_that_is_copied_and_cut_is_followed_to_its_copy() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("app.log");
    std::fs::write(&log, "1\n2\n").unwrap();
    let (_, kept) = run(dir.path(), "app.log*", Vec::new());
    append(&log, "3\n");
    std::fs::copy(&log, dir.path().join("app.log.1")).unwrap();
    std::fs::write(&log, "").unwrap();
    append(&log, "4\n");
    let (read, kept) = run(dir.path(), "app.log*", kept);
    assert_eq!(read, ["4", "3"], "what the copy has more, and the log from its start");
    append(&log, "5\n");
    // The copy is packed, and its name moves on.
    let packed = dir.path().join("app.log.2.gz");
    let mut gzip = flate2::write::GzEncoder::new(std::fs::File::create(packed).unwrap(), Default::default());
    gzip.write_all(b"1\n2\n3\n").unwrap();
    gzip.finish().unwrap();
    std::fs::remove_file(dir.path().join("app.log.1")).unwrap();
    let (read, kept) = run(dir.path(), "app.log*", kept);
    assert_eq!(read, ["5"]);
    assert_eq!(run(dir.path(), "app.log*", kept).0, [""; 0]);
}

#[test]
fn a_last_line_that_grew_is_read_again_whole() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("app.log");
    std::fs::write(&log, "1\n2").unwrap();
    age(dir.path());
    let (read, kept) = run(dir.path(), "app.log", Vec::new());
    assert_eq!(read, ["1", "2"], "nobody has written to it for a while");
    assert_eq!(run(dir.path(), "app.log", kept.clone()).0, [""; 0]);
    append(&log, "2\n3\n");
    let mut opened = open(dir.path(), "app.log", Layout::Lines, 1, kept);
    let read = drain(&mut opened, 0);
    assert_eq!(
        read.iter().map(|(_, at, text)| (*at, text.as_str())).collect::<Vec<_>>(),
        [(1, "22"), (2, "3")]
    );
    let kept = opened.control.kept().unwrap();
    assert_eq!(run(dir.path(), "app.log", kept.clone()).0, [""; 0]);
    append(&log, "4");
    age(dir.path());
    let (read, kept) = run(dir.path(), "app.log", kept);
    assert_eq!(read, ["4"]);
    append(&log, "\n");
    let (read, kept) = run(dir.path(), "app.log", kept);
    assert_eq!(read, [""; 0], "only its end came");
    append(&log, "5\n");
    assert_eq!(run(dir.path(), "app.log", kept).0, ["5"]);
}

#[test]
fn a_file_that_is_cut_while_it_is_read_gives_whole_records_and_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (log, next) = (dir.path().join("app.log"), dir.path().join("next.log"));
    let lines: String = (0..200_000).map(|n| format!("line {n}\n")).collect();
    std::fs::write(&log, &lines).unwrap();
    std::fs::write(&next, "next\n").unwrap();
    let mut opened = open(dir.path(), "*.log", Layout::Lines, 1, Vec::new());
    let Polled::Batch(first) = opened.readers[0].poll(Duration::ZERO).unwrap() else { panic!("a batch") };
    std::fs::write(&log, "new\n").unwrap();
    let read = drain(&mut opened, 0);
    let (next, cut) = read.split_last().unwrap();
    assert_eq!(next.2, "next", "the next file is read");
    assert!(cut.iter().enumerate().all(|(i, (_, _, text))| *text == format!("line {}", i + first.len())));
    let error = opened.control.close().unwrap_err();
    assert!(error.code() == Code::S002 && error.to_string().contains("app.log: became shorter"), "{error}");
    assert!(opened.control.poll(Duration::ZERO).is_err(), "all that was read is committed");
    assert_eq!(run(dir.path(), "*.log", opened.control.kept().unwrap()).0, ["new"]);
}

#[test]
fn a_file_that_moves_between_the_look_and_its_turn_is_found_and_one_that_is_gone_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["1.log", "2.log", "3.log"] {
        std::fs::write(path(name), format!("{name}\n")).unwrap();
    }
    let mut opened = open(dir.path(), "*.log", Layout::Lines, 1, Vec::new());
    std::fs::rename(path("2.log"), path("4.log")).unwrap();
    std::fs::rename(path("1.log"), path("2.log")).unwrap();
    std::fs::write(path("1.log"), "another\n").unwrap();
    std::fs::remove_file(path("3.log")).unwrap();
    let mut read = Vec::new();
    let error = loop {
        match opened.readers[0].poll(Duration::ZERO) {
            Ok(Polled::Batch(batch)) => {
                let Payload::Values(values) = &batch.payload else { panic!("values") };
                read.push((batch.topic.rsplit('/').next().unwrap().to_owned(), values.value(0).to_vec()));
            }
            Ok(other) => panic!("{other:?}"),
            Err(e) => break e,
        }
    };
    assert_eq!(
        read,
        [("1.log".to_owned(), b"1.log\n"[..5].to_vec()), ("2.log".to_owned(), b"2.log".to_vec())]
    );
    assert!(error.code() == Code::S001 && error.to_string().contains("3.log"), "{error}");
}

/// Polls until something comes.
fn next(reader: &mut dyn Reader) -> Vec<String> {
    for _ in 0..200 {
        match reader.poll(Duration::from_millis(50)).unwrap() {
            Polled::Batch(batch) => {
                let Payload::Values(values) = &batch.payload else { panic!("values") };
                return values.iter().flatten().map(|v| String::from_utf8(v.to_vec()).unwrap()).collect();
            }
            Polled::Idle => {}
            Polled::End => return Vec::new(),
        }
    }
    panic!("nothing came")
}

#[test]
fn a_silent_pipe_is_idle_and_its_records_come_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.fifo");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let mut reader = open(dir.path(), "in.fifo", Layout::Lines, 1, Vec::new()).readers.remove(0);
    let idle = |reader: &mut dyn Reader| {
        let clock = crate::clock::SystemClock::default();
        let polled = reader.poll(Duration::from_millis(20)).unwrap();
        assert!(matches!(polled, Polled::Idle), "{polled:?}");
        assert!(crate::clock::Clock::now(&clock) < Duration::from_secs(5));
    };
    idle(reader.as_mut());
    let mut writer = std::fs::File::create(&path).unwrap();
    writer.write_all(b"a\nb\nc1").unwrap();
    assert_eq!(next(reader.as_mut()), ["a", "b"]);
    idle(reader.as_mut());
    let at = Partition { topic: path.canonicalize().unwrap().to_string_lossy().into(), partition: 0 };
    reader.rewind(&Positions::from([(at.clone(), 2)])).unwrap();
    idle(reader.as_mut());
    writer.write_all(b"c2\nd").unwrap();
    assert_eq!(next(reader.as_mut()), ["c1c2"]);
    drop(writer);
    assert_eq!(next(reader.as_mut()), ["d"]);
    assert_eq!(next(reader.as_mut()), [""; 0]);
    reader.rewind(&Positions::from([(at.clone(), 4)])).unwrap();
    assert_eq!(next(reader.as_mut()), [""; 0], "it is not opened again");
    assert!(reader.rewind(&Positions::from([(at, 1)])).is_err());
}

#[test]
fn paths_without_files_are_found_while_planning() {
    let dir = tempfile::tempdir().unwrap();
    let format: Arc<dyn Format> = Arc::new(Bytes(Layout::Lines));
    for path in ["none.txt", "*.none", ".", "[", "", "none/*"] {
        let options = serde_json::json!({ "path": path });
        let settings = Settings {
            pipeline: "p",
            name: "in",
            base: dir.path(),
            options: &options,
            format: Some(&format),
            own: &[],
        };
        let Err(problems) = prepare(&settings) else { panic!("`{path}` was accepted") };
        assert_eq!(problems[0].pointer, "/path", "{path}");
    }
}
