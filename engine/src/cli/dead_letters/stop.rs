//! Signals during a replay.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Code, Error, Result};
use crate::run::Stopper;

/// Ends a replay in order on the first signal, at once on the second.
#[derive(Clone, Default)]
pub(super) struct Stop {
    asked: Arc<AtomicBool>,
    running: Arc<Mutex<Option<Stopper>>>,
}

impl Stop {
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    pub fn watch(&self, running: Option<Stopper>) {
        if let (Some(stopper), true) = (&running, self.asked()) {
            stopper.stop();
        }
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = running;
    }

    pub fn listen(&self) -> Result<()> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])
            .map_err(|e| Error::external(Code::X004, format!("signals cannot be handled: {e}")))?;
        let stop = self.clone();
        std::thread::spawn(move || {
            let mut received = signals.forever();
            if received.next().is_some() {
                stop.asked.store(true, Ordering::Release);
                if let Some(stopper) = &*stop.running.lock().unwrap_or_else(PoisonError::into_inner) {
                    stopper.stop();
                }
            }
            if let Some(signal) = received.next() {
                #[expect(clippy::disallowed_methods, reason = "the second signal asks for it")]
                std::process::exit(128 + signal);
            }
        });
        Ok(())
    }
}
