//! The shared parts of sources, each served by a thread of its own until the worker closes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Sender as Tell;

use super::signals::Event;
use crate::clock::Clock;
use crate::connector::source::Control;
use crate::error::{Error, Result};
use crate::progress::{Doing, Pulse};
use crate::repeats::Repeats;

/// A control queue is served at least this often.
const CONTROL_WAIT: Duration = Duration::from_millis(100);
/// Leaving the groups takes at most this long.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// The shared parts of all sources.
#[derive(Default)]
pub(super) struct Controls {
    all: Vec<Arc<dyn Control>>,
    threads: Vec<JoinHandle<()>>,
    closing: Arc<AtomicBool>,
}

impl Controls {
    /// One without a control queue: it is closed with the others.
    pub fn hold(&mut self, control: Arc<dyn Control>) {
        self.all.push(control);
    }

    /// Starts the thread that serves a source's control queue.
    pub fn serve(
        &mut self,
        control: Arc<dyn Control>,
        tell: Tell<Event>,
        pulse: Arc<Pulse>,
        span: tracing::Span,
    ) -> Result<()> {
        let (served, closing) = (Arc::clone(&control), Arc::clone(&self.closing));
        let body = move || {
            let _span = span.enter();
            while !closing.load(Ordering::Acquire) {
                match served.poll(CONTROL_WAIT) {
                    Ok(()) => pulse.now(Doing::Waiting),
                    Err(error) if error.is_passing() => {
                        if let Some(more) = Repeats::shared().say(&format!("a source is in trouble: {error}"))
                        {
                            tracing::warn!(%error, "a source is in trouble{more}");
                        }
                        pulse.retrying(&error);
                    }
                    Err(error) => {
                        pulse.died(&error);
                        // The coordinator may be gone already: the first failure is the one that is told.
                        let _ = tell.send(Event::Failed(error));
                        return;
                    }
                }
            }
            pulse.now(Doing::Ended);
        };
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(body)
            .map_err(|e| Error::internal(format!("cannot start a thread: {e}")))?;
        self.threads.push(thread);
        self.all.push(control);
        Ok(())
    }

    /// Leaves the groups, in bounded time: a client whose broker is away may not come to an end by itself.
    pub fn close(self, clock: &dyn Clock) -> Result<()> {
        let (done, closed) = crossbeam_channel::bounded(1);
        let body = move || {
            self.closing.store(true, Ordering::Release);
            for thread in self.threads {
                // A control thread that panicked has nothing left to serve.
                let _ = thread.join();
            }
            // Whoever waited no longer needs no answer.
            let _ = done.send(self.all.iter().try_for_each(|control| control.close()));
        };
        std::thread::Builder::new()
            .name("closing".to_owned())
            .spawn(body)
            .map_err(|e| Error::internal(format!("cannot start a thread: {e}")))?;
        let start = clock.now();
        closed.recv_timeout(CLOSE_WAIT).unwrap_or_else(|_| {
            // All is committed by now; the group notices at the end of the session.
            tracing::warn!(waited = ?(clock.now() - start), "a source cannot be closed; left behind");
            Ok(())
        })
    }
}
