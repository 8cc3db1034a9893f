//! A line of the log that comes again and again is said once a while, with how often it was left out in between.
//!
//! One broker that is away fails many connections: those of a consumer and of producers, to its address and to the
//! coordinators that it is. All of them speak here, so that it is one line for the whole worker.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::units::{LOG_REPEAT, LOG_REPEAT_KEYS};

/// What was said when.
#[derive(Debug, Default)]
pub struct Repeats {
    clock: SystemClock,
    said: Mutex<HashMap<String, Said>>,
}

#[derive(Debug, Clone, Copy)]
struct Said {
    at: Duration,
    /// How often it was left out since.
    left_out: u64,
}

impl Repeats {
    /// Those of this process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Repeats> = OnceLock::new();
        SHARED.get_or_init(Self::default)
    }

    /// Whether a line is to be said now: then what is to be added to it. Lines of one key are one line.
    pub fn say(&self, key: &str) -> Option<String> {
        self.say_at(key, self.clock.now())
    }

    fn say_at(&self, key: &str, now: Duration) -> Option<String> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = said.get_mut(key) {
            if now.saturating_sub(known.at) < LOG_REPEAT {
                known.left_out += 1;
                return None;
            }
            let left_out = std::mem::take(&mut known.left_out);
            known.at = now;
            return Some(match left_out {
                0 => String::new(),
                n => format!(" ({n} more like it were left out)"),
            });
        }
        if said.len() >= LOG_REPEAT_KEYS {
            said.retain(|_, known| now.saturating_sub(known.at) < LOG_REPEAT);
        }
        // So many different lines within the time are no repetition of anything.
        if said.len() < LOG_REPEAT_KEYS {
            said.insert(key.to_owned(), Said { at: now, left_out: 0 });
        }
        Some(String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_said_once_in_its_time_and_then_says_how_often_it_was_not() {
        let repeats = Repeats::default();
        let ms = Duration::from_millis;
        assert_eq!(repeats.say_at("a", ms(0)).as_deref(), Some(""));
        for n in 1..=11 {
            assert_eq!(repeats.say_at("a", ms(n)), None);
        }
        assert_eq!(repeats.say_at("b", ms(12)).as_deref(), Some(""), "another line");
        assert_eq!(
            repeats.say_at("a", LOG_REPEAT).as_deref(),
            Some(" (11 more like it were left out)"),
            "its time is over"
        );
        assert_eq!(repeats.say_at("a", LOG_REPEAT * 2).as_deref(), Some(""), "none was left out");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_nothing_new_is_left_out() {
        let repeats = Repeats::default();
        for n in 0..3 * LOG_REPEAT_KEYS {
            assert_eq!(repeats.say_at(&format!("line {n}"), Duration::ZERO).as_deref(), Some(""));
        }
        assert_eq!(repeats.said.lock().unwrap().len(), LOG_REPEAT_KEYS);
        assert!(repeats.say_at("later", LOG_REPEAT).is_some());
        assert_eq!(repeats.said.lock().unwrap().len(), 1, "the old ones make room");
    }
}
