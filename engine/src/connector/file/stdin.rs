//! Standard input and named pipes: a thread of their own reads them, because a read of a silent pipe cannot be
//! ended, and a lane must never wait for longer than it was asked to.

use std::io::{self, BufRead, Read};
use std::time::Duration;

use crossbeam_channel::{Receiver, Select, TryRecvError, bounded};

use super::names::Input;
use crate::input::{Bytes, Wants};
use crate::units::READ_BUFFER_BYTES;

/// Chunks that are read ahead: enough to keep the lane busy, little to lose at a stop.
const CHUNKS: usize = 4;

/// Bytes of a pipe as far as they came; [`io::ErrorKind::WouldBlock`] where none are there now.
pub(super) struct Pipe {
    chunks: Receiver<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
    used: usize,
}

/// Tells when a [`Pipe`] goes on, without taking anything from it.
pub(super) struct Ready(Receiver<io::Result<Vec<u8>>>);

impl Pipe {
    /// Starts to read. A named pipe is opened once, by the thread: its opening waits for a writer.
    pub(super) fn start(input: &Input, wants: Wants) -> io::Result<(Self, Ready)> {
        let input = input.clone();
        Self::spawn(move || {
            let bytes: Bytes = match input {
                Input::Stdin => Box::new(io::stdin()),
                Input::Pipe(path) | Input::File(path, _) => Box::new(std::fs::File::open(path)?),
            };
            // What may stay silent is told by what it gives first, and a byte order mark is not cut in two.
            let text = crate::input::open(bytes, Wants { silent: true, ..wants });
            text.map(|text| text.bytes).map_err(crate::input::carried)
        })
    }

    fn spawn(open: impl FnOnce() -> io::Result<Bytes> + Send + 'static) -> io::Result<(Self, Ready)> {
        let (give, chunks) = bounded(CHUNKS);
        // Nobody waits for this thread: it ends with its pipe, with the lane, or with the process.
        std::thread::Builder::new().name("pipe reader".into()).spawn(move || {
            let mut input = match open() {
                Ok(input) => input,
                Err(e) => return drop(give.send(Err(e))),
            };
            let mut buffer = vec![0; READ_BUFFER_BYTES];
            loop {
                let read = input.read(&mut buffer);
                let chunk = match read {
                    Ok(0) => return,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    read => read.map(|n| buffer[..n].to_vec()),
                };
                let failed = chunk.is_err();
                if give.send(chunk).is_err() || failed {
                    return;
                }
            }
        })?;
        Ok((Self { chunks: chunks.clone(), chunk: Vec::new(), used: 0 }, Ready(chunks)))
    }
}

impl Ready {
    /// Waits until there are bytes, an error or the end, at most for the given time.
    pub(super) fn wait(&self, at_most: Duration) -> bool {
        let mut select = Select::new();
        select.recv(&self.0);
        select.ready_timeout(at_most).is_ok()
    }
}

impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(out)?;
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Pipe {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.chunk.len() {
            self.used = 0;
            self.chunk.clear();
            match self.chunks.try_recv() {
                Ok(chunk) => self.chunk = chunk?,
                Err(TryRecvError::Empty) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(TryRecvError::Disconnected) => {}
            }
        }
        Ok(&self.chunk[self.used..])
    }

    fn consume(&mut self, n: usize) {
        self.used = (self.used + n).min(self.chunk.len());
    }
}
