//! The files of one lane, one after the other, as batches.

use std::collections::VecDeque;
use std::io::BufReader;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::BinaryArray;
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::SchemaRef;

use super::Input;
use super::frames::{Frame, Frames};
use super::pipe::{Pipe, Ready};
use crate::batch::{Payload, SourceBatch};
use crate::codec::{CsvFields, Format, Layout, Limits, RowReader};
use crate::error::{Code, Error, Result};
use crate::source::{Partition, Polled, Positions, Reader, Room};
use crate::units::{CONTAINER_HELD_BYTES, READ_BUFFER_BYTES};

/// Reads the files of one lane.
pub(super) struct Lane {
    node: Arc<str>,
    inputs: Vec<Input>,
    format: Arc<dyn Format>,
    columns: SchemaRef,
    room: Room,
    /// Bytes that the reader of a container holds at once.
    held: usize,
    /// Where the lane found each file: what a rewind that does not name it goes back to.
    found: Positions,
    /// Where each file goes on.
    positions: Positions,
    waiting: VecDeque<Input>,
    current: Option<Current>,
    /// A pipe that was open when the lane was rewound.
    paused: Option<Current>,
    /// Names of the pipes that were read to their ends.
    ended: Vec<Arc<str>>,
    /// The header of the first CSV file that has one.
    header: Option<Vec<u8>>,
}

/// The file that is read.
struct Current {
    partition: Partition,
    next: i64,
    body: Body,
    /// Whether the header and the records that were committed are behind.
    begun: bool,
    /// Tells when a pipe goes on; `None` for files, which never wait.
    ready: Option<Ready>,
}

/// What the file that is read gave.
#[expect(clippy::large_enum_variant, reason = "one a batch, moved once: a box would cost more")]
enum Found {
    Batch(SourceBatch),
    /// A pipe is silent now.
    Wait,
    End,
}

enum Body {
    Frames(Frames),
    Rows(Box<dyn RowReader>),
}

impl Lane {
    pub(super) fn new(
        node: Arc<str>,
        inputs: Vec<Input>,
        format: Arc<dyn Format>,
        columns: SchemaRef,
        room: Room,
        resume: &Positions,
    ) -> Self {
        let mut found = Positions::new();
        for input in &inputs {
            let partition = Partition { topic: input.name(), partition: 0 };
            // What a pipe gives is never what an earlier one gave: skipping it would lose it.
            let at = match input {
                Input::Stdin | Input::Pipe(_) => 0,
                Input::File(_) => resume.get(&partition).copied().unwrap_or(0),
            };
            found.insert(partition, at);
        }
        let waiting = inputs.iter().cloned().collect();
        Self {
            node,
            inputs,
            format,
            columns,
            room,
            held: CONTAINER_HELD_BYTES,
            positions: found.clone(),
            found,
            waiting,
            current: None,
            paused: None,
            ended: Vec::new(),
            header: None,
        }
    }

    /// Bounds what the reader of a container holds at once.
    pub(super) fn hold_at_most(&mut self, bytes: usize) {
        self.held = bytes;
    }

    /// The header that every file must have.
    pub(super) fn expect_header(&mut self, header: Option<Vec<u8>>) {
        self.header = header;
    }

    fn open(&mut self, input: &Input) -> Result<Current> {
        let partition = Partition { topic: input.name(), partition: 0 };
        if let Some(paused) = self.paused.take_if(|paused| paused.partition == partition) {
            return Ok(paused);
        }
        let next = self.positions.get(&partition).copied().unwrap_or(0);
        let unread = |e: std::io::Error| failed(Code::S001, &partition, &e);
        let (body, ready) = match (self.format.layout(), input) {
            (Layout::Container, Input::File(path)) => {
                let limits = Limits { rows: self.room.rows, bytes: self.room.bytes, held: self.held };
                (Body::Rows(self.format.reader(path, next.max(0) as u64, &self.columns, limits)?), None)
            }
            (layout, Input::File(path)) => {
                let file = std::fs::File::open(path).map_err(unread)?;
                let bytes = BufReader::with_capacity(READ_BUFFER_BYTES, file);
                (Body::Frames(Frames::new(Box::new(bytes), layout)), None)
            }
            (layout, Input::Stdin | Input::Pipe(_)) => {
                let (pipe, ready) = Pipe::start(input).map_err(unread)?;
                (Body::Frames(Frames::new(Box::new(pipe), layout)), Some(ready))
            }
        };
        Ok(Current { partition, next, body, begun: false, ready })
    }

    /// Reads past the header and the records that were committed; false: a pipe has not given its header yet.
    fn begin(&mut self, current: &mut Current) -> Result<bool> {
        let Body::Frames(frames) = &mut current.body else { return Ok(true) };
        if let Layout::Csv { header: true, delimiter, quote } = self.format.layout() {
            let mut line = Vec::new();
            let found = loop {
                match frames.next(&mut line).map_err(|e| failed(Code::S002, &current.partition, &e))? {
                    Frame::Blank => {}
                    found => break found,
                }
            };
            match found {
                Frame::Wait => return Ok(false),
                Frame::Record => {
                    self.check_header(&line, (delimiter, quote), &current.partition)?;
                }
                Frame::Blank | Frame::End => {}
            }
        }
        skip(frames, current.next, &current.partition)?;
        Ok(true)
    }

    /// The first record of a CSV file names its columns; all files must agree, because one decoder reads them. Where
    /// none had a header when the columns were learnt (a pipe, empty files), they are the declared ones in their order.
    fn check_header(&self, line: &[u8], (delimiter, quote): (u8, u8), partition: &Partition) -> Result<()> {
        if let Some(first) = &self.header {
            if first == line {
                return Ok(());
            }
            let message = format!("`{}` has another header than the files before it", partition.topic);
            let help = "read files of different columns by sources of their own";
            return Err(Error::user(Code::S002, message).help(help));
        }
        let mut names = Vec::new();
        let split = CsvFields::new(delimiter, quote)
            .split(line, |text, _| names.push(String::from_utf8_lossy(text).into_owned()));
        let declared: Vec<&String> = self.columns.fields().iter().map(|field| field.name()).collect();
        if split.is_err() || names.iter().collect::<Vec<_>>() != declared {
            let what = if &*partition.topic == "-" { "standard input" } else { &partition.topic };
            let message =
                format!("the header of {what} names {}, not the declared columns", names.join(", "));
            return Err(Error::user(Code::S002, message).help("declare all of its columns in its order"));
        }
        Ok(())
    }

    /// The next records of the file that is open.
    fn batch(&mut self, current: &mut Current) -> Result<Found> {
        if !current.begun {
            current.begun = self.begin(current)?;
            if !current.begun {
                return Ok(Found::Wait);
            }
        }
        let from = current.next;
        let payload = match &mut current.body {
            Body::Frames(frames) => match records(frames, self.room, &current.partition)? {
                (Some(values), _) => Payload::Values(values),
                (None, Frame::Wait) => return Ok(Found::Wait),
                (None, _) => return Ok(Found::End),
            },
            Body::Rows(rows) => match rows.next()? {
                Some(rows) => Payload::Rows(rows),
                None => return Ok(Found::End),
            },
        };
        let rows = match &payload {
            Payload::Values(values) => arrow::array::Array::len(values),
            Payload::Rows(rows) => rows.num_rows(),
        };
        current.next += rows as i64;
        self.positions.insert(current.partition.clone(), current.next);
        Ok(Found::Batch(SourceBatch {
            source: Arc::clone(&self.node),
            topic: Arc::clone(&current.partition.topic),
            partition: 0,
            offsets: (from..current.next).collect(),
            timestamps: None,
            keys: None,
            headers: None,
            payload,
            next: current.next,
            trace: None,
            hold: None,
        }))
    }
}

fn failed(code: Code, partition: &Partition, e: &std::io::Error) -> Error {
    Error::external(code, format!("cannot be read: {e}")).context(partition.topic.to_string())
}

/// The header of a CSV file, where it has one.
pub(super) fn header(path: &std::path::Path, layout: Layout) -> Result<Option<Vec<u8>>> {
    let Layout::Csv { header: true, .. } = layout else { return Ok(None) };
    let partition = Partition { topic: path.to_string_lossy().into(), partition: 0 };
    let unread = |e: std::io::Error| failed(Code::S001, &partition, &e);
    let mut frames =
        Frames::new(Box::new(BufReader::new(std::fs::File::open(path).map_err(unread)?)), layout);
    let mut line = Vec::new();
    loop {
        match frames.next(&mut line).map_err(unread)? {
            Frame::Record => return Ok(Some(line)),
            Frame::Blank => {}
            Frame::Wait | Frame::End => return Ok(None),
        }
    }
}

/// Reads past the records that were committed.
fn skip(frames: &mut Frames, records: i64, partition: &Partition) -> Result<()> {
    let mut line = Vec::new();
    let mut left = records;
    while left > 0 {
        line.clear();
        match frames.next(&mut line).map_err(|e| failed(Code::S002, partition, &e))? {
            Frame::Record => left -= 1,
            Frame::Blank => {}
            // A pipe starts at its first record: there is nothing to skip.
            Frame::Wait | Frame::End => {
                let message = format!("{records} records of it are committed, but it has {}", records - left);
                return Err(Error::user(Code::S004, message)
                    .context(partition.topic.to_string())
                    .help("it was cut or replaced; start over with --fresh"));
            }
        }
    }
    Ok(())
}

/// Records of one batch, `None` where there are none, and what was found last.
fn records(frames: &mut Frames, room: Room, partition: &Partition) -> Result<(Option<BinaryArray>, Frame)> {
    let mut data = Vec::new();
    let mut offsets = vec![0i32];
    let mut found = Frame::Blank;
    while offsets.len() <= room.rows.max(1) && data.len() < room.bytes {
        found = frames.next(&mut data).map_err(|e| failed(Code::S002, partition, &e))?;
        match found {
            Frame::Record => {
                offsets.push(i32::try_from(data.len()).map_err(|_| Error::internal("a batch beyond 2 GiB"))?);
            }
            Frame::Blank => {}
            // A pipe may stay silent for long: what it gave is handed over first.
            Frame::Wait | Frame::End => break,
        }
    }
    if offsets.len() == 1 {
        return Ok((None, found));
    }
    let values = BinaryArray::new(OffsetBuffer::new(offsets.into()), Buffer::from_vec(data), None);
    Ok((Some(values), found))
}

impl Reader for Lane {
    fn poll(&mut self, wait: Duration) -> Result<Polled> {
        let mut waited = false;
        loop {
            if let Some(mut current) = self.current.take() {
                match self.batch(&mut current) {
                    Ok(Found::Batch(batch)) => {
                        self.current = Some(current);
                        return Ok(Polled::Batch(batch));
                    }
                    Ok(Found::Wait) => {
                        let more = !waited && current.ready.as_ref().is_some_and(|ready| ready.wait(wait));
                        self.current = Some(current);
                        if !more {
                            return Ok(Polled::Idle);
                        }
                        waited = true;
                        continue;
                    }
                    Ok(Found::End) if current.ready.is_some() => self.ended.push(current.partition.topic),
                    Ok(Found::End) => {}
                    Err(e) => {
                        // What was read of the batch is lost with it: the file is opened again at its position.
                        let name = current.partition.topic;
                        let input = self.inputs.iter().find(|input| input.name() == name);
                        self.waiting.extend(input.cloned());
                        self.waiting.rotate_right(usize::from(input.is_some()));
                        return Err(e);
                    }
                }
            }
            let Some(input) = self.waiting.pop_front() else { return Ok(Polled::End) };
            match self.open(&input) {
                Ok(current) => self.current = Some(current),
                Err(e) => {
                    // It is asked for again should the runtime try again.
                    self.waiting.push_front(input);
                    return Err(e);
                }
            }
        }
    }

    fn rewind(&mut self, to: &Positions) -> Result<()> {
        for input in &self.inputs {
            let partition = Partition { topic: input.name(), partition: 0 };
            let found = self.found.get(&partition).copied().unwrap_or(0);
            let at = to.get(&partition).copied().unwrap_or(found);
            let now = self.positions.insert(partition.clone(), at).unwrap_or(0);
            if input.is_pipe() && at < now {
                let what = if *input == Input::Stdin { "standard input" } else { &*partition.topic };
                return Err(Error::external(Code::S002, format!("{what} cannot be read again"))
                    .help("read from a file where a pipeline must survive a rewind"));
            }
        }
        // A pipe that did not go back is read on where it is, and is not opened again once it has ended.
        if let Some(current) = self.current.take_if(|current| current.ready.is_some()) {
            self.paused = Some(current);
        }
        self.current = None;
        let ended = &self.ended;
        self.waiting = self.inputs.iter().filter(|input| !ended.contains(&input.name())).cloned().collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use arrow::array::Array;

    use super::*;
    use crate::source::file::{expand, prepare};
    use crate::source::{Open, Runtime, Settings};

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
        fn infer(&self, _: &std::path::Path) -> Result<SchemaRef> {
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

    fn open(
        base: &std::path::Path,
        path: &str,
        layout: Layout,
        lanes: usize,
        resume: Positions,
    ) -> Vec<Box<dyn Reader>> {
        let format: Arc<dyn Format> = Arc::new(Bytes(layout));
        let options = serde_json::json!({ "path": path });
        let settings = Settings { pipeline: "p", name: "in", base, options: &options, format: Some(&format) };
        let room = Room {
            rows: 2,
            bytes: 1 << 20,
            lane_bytes: usize::MAX,
            age: Duration::from_millis(1),
            eager: false,
        };
        let open = Open {
            lanes,
            worker: "w".into(),
            until_end: true,
            room,
            held: CONTAINER_HELD_BYTES,
            resume,
            runtime: Arc::new(Alone),
            consumers: Arc::default(),
        };
        prepare(&settings).unwrap_or_else(|p| panic!("{p:?}")).open(open).unwrap().readers
    }

    fn drain(reader: &mut dyn Reader) -> Vec<(String, i64, String)> {
        let mut records = Vec::new();
        while let Polled::Batch(batch) = reader.poll(Duration::ZERO).unwrap() {
            assert_eq!(batch.next, batch.offsets[batch.len() - 1] + 1);
            let Payload::Values(values) = &batch.payload else { panic!("values") };
            for i in 0..values.len() {
                let name = batch.topic.rsplit('/').next().unwrap().to_owned();
                records.push((name, batch.offsets[i], String::from_utf8(values.value(i).to_vec()).unwrap()));
            }
        }
        records
    }

    #[test]
    fn files_are_read_in_order_and_resumed_and_rewound() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("b.txt"), "b0\n\nb1\nb2").unwrap();
        std::fs::write(dir.path().join("a.txt"), "a0\r\na1\r\n").unwrap();
        let mut readers = open(dir.path(), "*.txt", Layout::Lines, 1, Positions::new());
        let all = drain(readers[0].as_mut());
        let texts: Vec<&str> = all.iter().map(|(_, _, text)| text.as_str()).collect();
        assert_eq!(texts, ["a0", "a1", "b0", "b1", "b2"]);
        assert_eq!(all[3], ("b.txt".into(), 1, "b1".into()));
        let b = Partition { topic: dir.path().join("b.txt").to_string_lossy().into(), partition: 0 };
        let resume = Positions::from([(b.clone(), 2)]);
        let mut lanes = open(dir.path(), "*.txt", Layout::Lines, 2, resume.clone());
        assert_eq!(drain(lanes[0].as_mut()), all[..2]);
        assert_eq!(drain(lanes[1].as_mut()), all[4..]);
        readers[0].rewind(&resume).unwrap();
        assert_eq!(drain(readers[0].as_mut()).len(), 3, "a from the start, b from its position");
        let mut beyond = open(dir.path(), "b.txt", Layout::Lines, 1, Positions::from([(b, 9)]));
        assert_eq!(beyond[0].poll(Duration::ZERO).unwrap_err().code(), Code::S004);
    }

    #[test]
    fn headers_are_no_records_and_must_agree() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::Csv { header: true, delimiter: b',', quote: b'"' };
        std::fs::write(dir.path().join("1.csv"), "x,y\n1,\"a\nb\"\n2,c\n").unwrap();
        std::fs::write(dir.path().join("2.csv"), "x,y\n3,d\n").unwrap();
        let records = drain(open(dir.path(), "*.csv", layout, 1, Positions::new())[0].as_mut());
        assert_eq!(records.len(), 3);
        assert_eq!(records[0], ("1.csv".into(), 0, "1,\"a\nb\"".into()));
        std::fs::write(dir.path().join("3.csv"), "y,x\nd,3\n").unwrap();
        let mut readers = open(dir.path(), "*.csv", layout, 1, Positions::new());
        let e = (0..9).find_map(|_| readers[0].poll(Duration::ZERO).err()).unwrap();
        assert_eq!(e.code(), Code::S002);
        std::fs::remove_file(dir.path().join("2.csv")).unwrap();
        let mut lanes = open(dir.path(), "*.csv", layout, 2, Positions::new());
        assert_eq!(lanes[1].poll(Duration::ZERO).unwrap_err().code(), Code::S002, "the first of its lane");
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
        let mut reader = open(dir.path(), "in.fifo", Layout::Lines, 1, Positions::new()).remove(0);
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
            };
            let Err(problems) = prepare(&settings) else { panic!("`{path}` was accepted") };
            assert_eq!(problems[0].pointer, "/path", "{path}");
        }
        assert_eq!(expand(&["-".to_owned()]).unwrap(), [Input::Stdin]);
    }

    #[test]
    fn a_file_has_one_name_however_it_is_spelled() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("a.txt"), "1\n2\n").unwrap();
        std::os::unix::fs::symlink(dir.path().join("a.txt"), dir.path().join("b.txt")).unwrap();
        let spelled = |path: &str| expand(&[format!("{}/{path}", dir.path().display())]).unwrap();
        assert_eq!(spelled("a.txt"), spelled("sub/../a.txt"));
        assert_eq!(spelled("*.txt"), spelled("a.txt"), "a link to it is no second file");
    }
}
