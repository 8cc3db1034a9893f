//! The files of one lane, one after the other, as batches.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::BinaryArray;
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::SchemaRef;

use super::Input;
use super::frames::{Frame, Frames};
use crate::batch::{Payload, SourceBatch};
use crate::codec::{CsvFields, Format, Layout, RowReader};
use crate::error::{Code, Error, Result};
use crate::source::{Partition, Polled, Positions, Reader, Room};
use crate::units::READ_BUFFER_BYTES;

/// Reads the files of one lane.
pub(super) struct Lane {
    node: Arc<str>,
    inputs: Vec<Input>,
    format: Arc<dyn Format>,
    columns: SchemaRef,
    room: Room,
    /// Where the lane found each file: what a rewind that does not name it goes back to.
    found: Positions,
    /// Where each file goes on.
    positions: Positions,
    waiting: VecDeque<Input>,
    current: Option<Current>,
    /// The header of the first CSV file.
    header: Option<Vec<u8>>,
}

/// The file that is read.
struct Current {
    partition: Partition,
    next: i64,
    body: Body,
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
                Input::Stdin => 0,
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
            positions: found.clone(),
            found,
            waiting,
            current: None,
            header: None,
        }
    }

    fn open(&mut self, input: &Input) -> Result<Current> {
        let partition = Partition { topic: input.name(), partition: 0 };
        let next = self.positions.get(&partition).copied().unwrap_or(0);
        let body = match (self.format.layout(), input) {
            (Layout::Container, Input::File(path)) => {
                Body::Rows(self.format.reader(path, next.max(0) as u64, self.room.rows)?)
            }
            (layout, input) => {
                let bytes: Box<dyn BufRead + Send> = match input {
                    Input::Stdin => Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, std::io::stdin())),
                    Input::File(path) => {
                        let file =
                            std::fs::File::open(path).map_err(|e| failed(Code::S001, &partition, &e))?;
                        Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, file))
                    }
                };
                let mut frames = Frames::new(bytes, layout);
                self.skip_header(&mut frames, layout, &partition, input == &Input::Stdin)?;
                skip(&mut frames, next, &partition)?;
                Body::Frames(frames)
            }
        };
        Ok(Current { partition, next, body })
    }

    /// The first record of a CSV file names its columns; all files must agree, because one decoder reads them.
    fn skip_header(
        &mut self,
        frames: &mut Frames,
        layout: Layout,
        partition: &Partition,
        stdin: bool,
    ) -> Result<()> {
        let Layout::Csv { header: true, delimiter, quote } = layout else { return Ok(()) };
        let mut line = Vec::new();
        while frames.next(&mut line).map_err(|e| failed(Code::S002, partition, &e))? == Frame::Blank {}
        if line.is_empty() {
            return Ok(());
        }
        if stdin {
            let mut names = Vec::new();
            let split = CsvFields::new(delimiter, quote)
                .split(&line, |text, _| names.push(String::from_utf8_lossy(text).into_owned()));
            let declared: Vec<&String> = self.columns.fields().iter().map(|field| field.name()).collect();
            if split.is_err() || names.iter().collect::<Vec<_>>() != declared {
                let message = format!(
                    "the header of standard input names {}, not the declared columns",
                    names.join(", ")
                );
                return Err(Error::user(Code::S002, message).help("declare all of its columns in its order"));
            }
            return Ok(());
        }
        match &self.header {
            Some(first) if *first != line => {
                let message = format!("`{}` has another header than the files before it", partition.topic);
                Err(Error::user(Code::S002, message)
                    .help("read files of different columns by sources of their own"))
            }
            _ => {
                self.header = Some(line);
                Ok(())
            }
        }
    }

    fn batch(&mut self) -> Result<Option<SourceBatch>> {
        let Some(current) = &mut self.current else { return Ok(None) };
        let from = current.next;
        let payload = match &mut current.body {
            Body::Frames(frames) => records(frames, self.room, &current.partition)?.map(Payload::Values),
            Body::Rows(rows) => rows.next()?.map(Payload::Rows),
        };
        let Some(payload) = payload else { return Ok(None) };
        let rows = match &payload {
            Payload::Values(values) => arrow::array::Array::len(values),
            Payload::Rows(rows) => rows.num_rows(),
        };
        current.next += rows as i64;
        self.positions.insert(current.partition.clone(), current.next);
        Ok(Some(SourceBatch {
            source: Arc::clone(&self.node),
            topic: Arc::clone(&current.partition.topic),
            partition: 0,
            offsets: (from..current.next).collect(),
            timestamps: None,
            keys: None,
            headers: None,
            payload,
            next: current.next,
        }))
    }
}

fn failed(code: Code, partition: &Partition, e: &std::io::Error) -> Error {
    Error::external(code, format!("cannot be read: {e}")).context(partition.topic.to_string())
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
            Frame::End => {
                let message = format!("{records} records of it are committed, but it has {}", records - left);
                return Err(Error::user(Code::S004, message)
                    .context(partition.topic.to_string())
                    .help("it was cut or replaced; start over with --fresh"));
            }
        }
    }
    Ok(())
}

/// Records of one batch; `None` at the end.
fn records(frames: &mut Frames, room: Room, partition: &Partition) -> Result<Option<BinaryArray>> {
    let mut data = Vec::new();
    let mut offsets = vec![0i32];
    let wait = &*partition.topic != "-";
    while offsets.len() <= room.rows.max(1) && data.len() < room.bytes {
        // A pipe may stay silent for long: what it gave is handed over first.
        if !wait && offsets.len() > 1 && frames.is_drained() {
            break;
        }
        match frames.next(&mut data).map_err(|e| failed(Code::S002, partition, &e))? {
            Frame::Record => {
                offsets.push(i32::try_from(data.len()).map_err(|_| Error::internal("a batch beyond 2 GiB"))?);
            }
            Frame::Blank => {}
            Frame::End => break,
        }
    }
    if offsets.len() == 1 {
        return Ok(None);
    }
    Ok(Some(BinaryArray::new(OffsetBuffer::new(offsets.into()), Buffer::from_vec(data), None)))
}

impl Reader for Lane {
    fn poll(&mut self, _: Duration) -> Result<Polled> {
        loop {
            match self.batch() {
                Ok(Some(batch)) => return Ok(Polled::Batch(batch)),
                Ok(None) => self.current = None,
                Err(e) => {
                    // What was read of the batch is lost with it: the file is opened again at its position.
                    let name = self.current.take().map(|current| current.partition.topic);
                    let input = self.inputs.iter().find(|input| Some(input.name()) == name);
                    self.waiting.extend(input.cloned());
                    self.waiting.rotate_right(usize::from(input.is_some()));
                    return Err(e);
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
        for (partition, found) in &self.found {
            let at = to.get(partition).copied().unwrap_or(*found);
            let now = self.positions.insert(partition.clone(), at).unwrap_or(0);
            if &*partition.topic == "-" && at < now {
                return Err(Error::external(Code::S002, "standard input cannot be read again")
                    .help("read from a file where a pipeline must survive a rewind"));
            }
        }
        // Standard input that did not go back is read on where it is.
        if self.inputs != [Input::Stdin] {
            self.current = None;
            self.waiting = self.inputs.iter().cloned().collect();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
        fn reader(&self, _: &std::path::Path, _: u64, _: usize) -> Result<Box<dyn RowReader>> {
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
        let room = Room { rows: 2, bytes: 1 << 20, age: Duration::from_millis(1) };
        let open =
            Open { lanes, worker: "w".into(), until_end: true, room, resume, runtime: Arc::new(Alone) };
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
}
