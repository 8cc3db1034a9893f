//! The files of one lane, one after the other, as batches.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::BinaryArray;
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::SchemaRef;

use super::begin::{self, Behind, Past, print};
use super::framing::{Frame, Frames};
use super::headers;
use super::known::Known;
use super::names::{Id, Input, Patterns};
use super::stdin::{Pipe, Ready};
use super::watch::{self, Signs};
use crate::batch::{Payload, SourceBatch};
use crate::codec::{CsvFields, CsvSigns, Format, Layout, Limits, RowReader};
use crate::connector::position::{Mark, Partition, Positions, Unended};
use crate::connector::source::{Polled, Reader, Room};
use crate::error::{Code, Error, Result};
use crate::input::{self, Wants};

/// What the lanes of a source share.
pub(super) struct Shared {
    pub node: Arc<str>,
    pub format: Arc<dyn Format>,
    pub columns: SchemaRef,
    pub room: Room,
    /// Bytes that the reader of a container holds at once.
    pub held: usize,
    pub wants: Wants,
    pub patterns: Patterns,
    pub known: Arc<Known>,
    /// The header of the first CSV file that has one: every file must have it.
    pub header: Option<Vec<u8>>,
}

impl Shared {
    /// Reads a container from a row on.
    fn reader(&self, path: &Path, from: u64) -> Result<Box<dyn RowReader>> {
        let limits = Limits { rows: self.room.rows, bytes: self.room.bytes, held: self.held };
        self.format.reader(path, from, &self.columns, limits)
    }
}

/// Reads the files of one lane.
pub(super) struct Lane {
    shared: Arc<Shared>,
    inputs: Vec<Input>,
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
    /// Lines at which the records of the last batch begin.
    lines: Vec<u64>,
}

/// The file that is read.
struct Current {
    partition: Partition,
    next: i64,
    body: Body,
    /// Whether the header and the records that were committed are behind.
    begun: bool,
    /// Tells when a pipe goes on; `None` for files.
    ready: Option<Ready>,
    /// What the file is known by; `None` for pipes.
    file: Option<Followed>,
    /// The last record, longer than it was when it was read first.
    grown: Option<Vec<u8>>,
    /// What comes behind the records that were handed over.
    fault: Option<Error>,
    /// Whether its end was read: what is appended later is left to the next run.
    at_end: bool,
}

/// A file that is followed through its names.
struct Followed {
    input: Input,
    id: Id,
    file: Arc<std::fs::File>,
    signs: Arc<Signs>,
    plain: bool,
    lines: bool,
    behind: Behind,
}

/// What the file that is read gave.
#[expect(clippy::large_enum_variant, reason = "one a batch, moved once: a box would cost more")]
enum Found {
    Batch(SourceBatch),
    /// A pipe is silent now, or a last line waits for its rest.
    Wait,
    End,
}

enum Body {
    Frames(Frames),
    Rows(Box<dyn RowReader>),
}

/// Records of one batch.
#[derive(Default)]
struct Records {
    data: Vec<u8>,
    offsets: Vec<i32>,
    lines: Vec<u64>,
}

/// Between two looks at a file whose last line waits for its rest.
const REST_PAUSE: Duration = Duration::from_millis(20);

impl Lane {
    pub(super) fn new(shared: Arc<Shared>, inputs: Vec<Input>, resume: &Positions) -> Self {
        let mut found = Positions::new();
        for input in &inputs {
            let partition = Partition { topic: input.name(), partition: 0 };
            // What a pipe gives is never what an earlier one gave: skipping it would lose it.
            let at = match input {
                Input::Stdin | Input::Pipe(_) => 0,
                Input::File(..) => resume.get(&partition).copied().unwrap_or(0),
            };
            found.insert(partition, at);
        }
        Self {
            shared,
            waiting: inputs.iter().cloned().collect(),
            inputs,
            positions: found.clone(),
            found,
            current: None,
            paused: None,
            ended: Vec::new(),
            lines: Vec::new(),
        }
    }

    fn open(&mut self, input: &Input) -> Result<Current> {
        let partition = Partition { topic: input.name(), partition: 0 };
        if let Some(paused) = self.paused.take_if(|paused| paused.partition == partition) {
            return Ok(paused);
        }
        let next = self.positions.get(&partition).copied().unwrap_or(0);
        let mut current = Current {
            partition,
            next,
            body: Body::Frames(Frames::new(Box::new(std::io::empty()), Layout::Lines)),
            begun: false,
            ready: None,
            file: None,
            grown: None,
            fault: None,
            at_end: false,
        };
        let Input::File(path, id) = input else {
            let topic = current.partition.topic.to_string();
            let unread = |e: std::io::Error| input::failed(&e).coded(Code::S001).context(topic);
            let (pipe, ready) = Pipe::start(input, self.shared.wants).map_err(unread)?;
            current.body = Body::Frames(Frames::new(Box::new(pipe), self.shared.format.layout()));
            current.ready = Some(ready);
            return Ok(current);
        };
        let place = |e: Error| e.context(path.display().to_string());
        let (file, path) = begin::find(path, id, || self.moved(id))?;
        let file = Arc::new(file);
        let mark = self.shared.known.mark(&current.partition, next);
        let is_still =
            mark.as_ref().is_some_and(|mark| mark.still.is_some() && mark.still == watch::still(&file));
        let mut followed = Followed {
            input: input.clone(),
            id: *id,
            file: Arc::clone(&file),
            signs: Arc::default(),
            plain: false,
            lines: false,
            behind: Behind::default(),
        };
        if is_still {
            // It was read to its end, and has not changed since.
            (current.begun, current.at_end) = (true, true);
        } else if self.shared.format.layout() == Layout::Container {
            followed.behind.print = begin::ends(&file)
                .map_err(|e| place(Error::external(Code::S002, format!("cannot be read: {e}"))))?;
            if next > 0 && mark.as_ref().is_some_and(|mark| mark.print != followed.behind.print) {
                self.start_over(&mut current);
            }
            let from = current.next.max(0) as u64;
            current.body = Body::Rows(self.shared.reader(&path, from)?);
        } else {
            let opened = begin::open(file, self.shared.format.layout(), self.shared.wants).map_err(place)?;
            (followed.signs, followed.plain, followed.lines) = (opened.signs, opened.plain, opened.lines);
            current.body = Body::Frames(opened.frames);
        }
        current.file = Some(followed);
        Ok(current)
    }

    /// Where a file is by now that is no longer where it was found.
    fn moved(&self, id: &Id) -> Option<std::path::PathBuf> {
        self.shared.patterns.expand().ok()?.into_iter().find_map(|input| match input {
            Input::File(path, other) if other == *id => Some(path),
            _ => None,
        })
    }

    /// The file does not hold what was committed of it: it is read from its start.
    fn start_over(&mut self, current: &mut Current) {
        let (path, records) = (&*current.partition.topic, current.next);
        tracing::warn!(
            path,
            records,
            "the file does not begin with the records that were read of it: it was replaced or cut, and is read from its start"
        );
        current.next = 0;
        self.positions.insert(current.partition.clone(), 0);
        self.shared.known.back(&current.partition, 0);
    }

    /// Reads past the header and the records that were committed; false: a pipe has not given its header yet.
    fn begin(&mut self, current: &mut Current) -> Result<bool> {
        if !self.pass_header(current)? {
            return Ok(false);
        }
        let Body::Frames(frames) = &mut current.body else { return Ok(true) };
        let Some(followed) = &mut current.file else { return Ok(true) };
        if current.next > 0 {
            let mark = self.shared.known.mark(&current.partition, current.next);
            match begin::pass(frames, current.next, mark.as_ref())? {
                Past::Whole(behind) => {
                    followed.behind = behind;
                    current.at_end = behind.unended.is_some();
                }
                Past::Grown(record, behind) => {
                    let path = &*current.partition.topic;
                    tracing::warn!(
                        path,
                        "the last line had no end when it was read as a record, and has grown: it is read again, whole"
                    );
                    followed.behind = behind;
                    current.next -= 1;
                    current.grown = Some(record);
                    self.shared.known.back(&current.partition, current.next);
                }
                Past::Other => {
                    self.start_over(current);
                    let Some(Followed { input, .. }) = current.file.take() else { return Ok(true) };
                    *current = self.open(&input)?;
                    if !self.pass_header(current)? {
                        return Ok(false);
                    }
                }
                Past::Short(has) => {
                    let message = format!("{} records of it are committed, but it has {has}", current.next);
                    return Err(Error::user(Code::S004, message)
                        .help("it was cut or replaced; start over with --fresh"));
                }
            }
        }
        if let Some(followed) = &current.file {
            followed.signs.waits.store(followed.plain, Ordering::Release);
        }
        Ok(true)
    }

    /// Reads past the header of a CSV file; false: a pipe has not given it yet.
    fn pass_header(&self, current: &mut Current) -> Result<bool> {
        let Body::Frames(frames) = &mut current.body else { return Ok(true) };
        let Layout::Csv { header: true, signs, .. } = self.shared.format.layout() else {
            return Ok(true);
        };
        let mut line = Vec::new();
        loop {
            match frames.next(&mut line).map_err(|e| input::failed(&e))? {
                Frame::Blank => {}
                Frame::Wait => return Ok(false),
                Frame::Record => {
                    return self.check_header(&line, signs, &current.partition).map(|()| true);
                }
                Frame::End => return Ok(true),
            }
        }
    }

    /// The first record of a CSV file names its columns; all files must agree, because one decoder reads them. Where
    /// none had a header when the columns were learnt (a pipe, empty files), they are the declared ones in their order.
    fn check_header(&self, line: &[u8], signs: CsvSigns, partition: &Partition) -> Result<()> {
        if let Some(first) = &self.shared.header {
            let Some(how) = headers::difference(first, line, signs) else { return Ok(()) };
            let message = format!("it does not fit the files before it: {how}");
            return Err(Error::user(Code::S013, message).help(headers::HELP));
        }
        let mut names = Vec::new();
        let split = CsvFields::new(signs)
            .split(line, |text, _| names.push(String::from_utf8_lossy(text).into_owned()));
        let declared: Vec<&String> = self.shared.columns.fields().iter().map(|field| field.name()).collect();
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
        if let Some(fault) = current.fault.take() {
            return Err(fault);
        }
        if !current.begun {
            current.begun = self.begin(current)?;
            if !current.begun {
                return Ok(Found::Wait);
            }
        }
        if current.at_end {
            return Ok(Found::End);
        }
        let from = current.next;
        let (payload, mark) = match &mut current.body {
            Body::Rows(rows) => match rows.next()? {
                Some(rows) => {
                    let mark = current.file.as_ref().map(|file| file.mark());
                    self.lines.clear();
                    (Payload::Rows(rows), mark)
                }
                None => return Ok(Found::End),
            },
            Body::Frames(frames) => {
                let mut records = Records::default();
                if let Some(record) = current.grown.take() {
                    records.begin(&record, frames.began());
                }
                let found = match records.fill(frames, self.shared.room) {
                    Ok(found) => found,
                    Err(e) if records.offsets.is_empty() => return Err(e),
                    // What was whole before the fault is handed over first.
                    Err(e) => {
                        current.fault = Some(e);
                        Frame::Blank
                    }
                };
                if records.offsets.is_empty() {
                    return Ok(if found == Frame::Wait { Found::Wait } else { Found::End });
                }
                current.at_end = frames.is_unended();
                let mark = current.file.as_mut().map(|file| file.advance(&records, frames.is_unended()));
                self.lines.clear();
                // Of a pipe of JSON values nobody knows whether they were lines.
                if current.file.as_ref().map_or(!self.shared.wants.json, |file| file.lines) {
                    self.lines.clone_from(&records.lines);
                }
                (Payload::Values(records.values()), mark)
            }
        };
        let rows = match &payload {
            Payload::Values(values) => arrow::array::Array::len(values),
            Payload::Rows(rows) => rows.num_rows(),
        };
        current.next += rows as i64;
        self.positions.insert(current.partition.clone(), current.next);
        if let Some(mark) = mark {
            self.shared.known.handed(&current.partition, current.next, mark);
        }
        Ok(Found::Batch(SourceBatch {
            source: Arc::clone(&self.shared.node),
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

    /// The file that is open was read to its end.
    fn end(&mut self, current: Current) {
        match (current.ready, current.file) {
            (Some(_), _) => self.ended.push(current.partition.topic),
            (None, Some(file)) => self.shared.known.ended(&current.partition, watch::still(&file.file)),
            (None, None) => {}
        }
    }

    /// What was read of the file that is open is at fault. A file that was cut is given up, and ends the run when all
    /// that was read of it is committed: nobody can read that again.
    fn give_up(&mut self, current: Current, error: Error) -> Result<()> {
        let error = match &current.body {
            Body::Frames(_) => error.context(current.partition.topic.to_string()),
            // A reader of columns says it itself.
            Body::Rows(_) => error,
        };
        if current.file.as_ref().is_some_and(|file| file.signs.cut.load(Ordering::Acquire)) {
            self.shared.known.fail(current.partition, error);
            return Ok(());
        }
        // What was read of the batch is lost with it: the file is opened again at its position.
        let name = current.partition.topic;
        let input = self.inputs.iter().find(|input| input.name() == name);
        self.waiting.extend(input.cloned());
        self.waiting.rotate_right(usize::from(input.is_some()));
        Err(error)
    }
}

impl Followed {
    /// What the file is known by at its position.
    fn mark(&self) -> Mark {
        let Behind { print, unended } = self.behind;
        Mark { device: self.id.device, inode: self.id.inode, born: self.id.born, print, unended, still: None }
    }

    /// The same after these records.
    fn advance(&mut self, records: &Records, unended: bool) -> Mark {
        let last = records.offsets[records.offsets.len() - 1] as usize;
        let so_far = self.behind.print;
        self.behind = if unended {
            let before = print(so_far, &records.data[..last]);
            let rest = &records.data[last..];
            Behind {
                print: before,
                unended: Some(Unended { bytes: rest.len() as u64, print: print(before, rest) }),
            }
        } else {
            Behind { print: print(so_far, &records.data), unended: None }
        };
        self.mark()
    }
}

impl Records {
    /// A record whose bytes are given; `offsets` are where records begin.
    fn begin(&mut self, record: &[u8], line: u64) {
        self.offsets.push(0);
        self.lines.push(line);
        self.data.extend_from_slice(record);
    }

    /// Reads records as far as there is room; answers what was found last.
    fn fill(&mut self, frames: &mut Frames, room: Room) -> Result<Frame> {
        let mut found = Frame::Blank;
        while self.offsets.len() < room.rows.max(1) && self.data.len() < room.bytes && !frames.is_unended() {
            let start = self.data.len();
            found = match frames.next(&mut self.data) {
                Ok(found) => found,
                Err(e) => {
                    self.data.truncate(start);
                    return Err(input::failed(&e));
                }
            };
            match found {
                Frame::Record => {
                    self.offsets
                        .push(i32::try_from(start).map_err(|_| Error::internal("a batch beyond 2 GiB"))?);
                    self.lines.push(frames.began());
                }
                Frame::Blank => {}
                // A pipe may stay silent for long: what it gave is handed over first.
                Frame::Wait | Frame::End => break,
            }
        }
        Ok(found)
    }

    fn values(mut self) -> BinaryArray {
        self.offsets.push(i32::try_from(self.data.len()).unwrap_or(i32::MAX));
        BinaryArray::new(OffsetBuffer::new(self.offsets.into()), Buffer::from_vec(self.data), None)
    }
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
                        if current.ready.is_none() {
                            std::thread::sleep(wait.min(REST_PAUSE));
                        }
                        self.current = Some(current);
                        if !more {
                            return Ok(Polled::Idle);
                        }
                        waited = true;
                        continue;
                    }
                    Ok(Found::End) => self.end(current),
                    Err(e) => self.give_up(current, e)?,
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
            self.shared.known.back(&partition, at);
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

    fn line(&self, row: usize) -> Option<u64> {
        self.lines.get(row).copied()
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
