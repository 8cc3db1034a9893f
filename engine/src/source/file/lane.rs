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
            let at = resume.get(&partition).copied().unwrap_or(0);
            found.insert(partition, at);
        }
        let waiting = inputs.iter().cloned().collect();
        Self { node, inputs, format, columns, room, positions: found.clone(), found, waiting, current: None, header: None }
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
                        let file = std::fs::File::open(path).map_err(|e| failed(Code::S001, &partition, &e))?;
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
    fn skip_header(&mut self, frames: &mut Frames, layout: Layout, partition: &Partition, stdin: bool) -> Result<()> {
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
                let message = format!("the header of standard input names {}, not the declared columns", names.join(", "));
                return Err(Error::user(Code::S002, message).help("declare all of its columns in its order"));
            }
            return Ok(());
        }
        match &self.header {
            Some(first) if *first != line => {
                let message = format!("`{}` has another header than the files before it", partition.topic);
                Err(Error::user(Code::S002, message).help("read files of different columns by sources of their own"))
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
    while offsets.len() <= room.rows.max(1) && data.len() < room.bytes {
        match frames.next(&mut data).map_err(|e| failed(Code::S002, partition, &e))? {
            Frame::Record => offsets.push(i32::try_from(data.len()).map_err(|_| Error::internal("a batch beyond 2 GiB"))?),
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
            if let Some(batch) = self.batch()? {
                return Ok(Polled::Batch(batch));
            }
            self.current = None;
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
