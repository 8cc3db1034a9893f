//! What is known of a topic that confirms nothing, and whether it is gone.

use std::time::Duration;

use crate::units::{KAFKA_ABSENT, KAFKA_ASK};

/// What is known of a topic that confirms nothing. It outlives what a rewind makes void.
#[derive(Debug, Default)]
pub(in crate::connector::kafka::sink) struct Doubt {
    /// Records that were delivered when it was looked at last, and since when there are no more.
    quiet: Option<(u64, Duration)>,
    /// When the cluster was asked last.
    asked: Option<Duration>,
    /// Since when it says that there is no such topic.
    denied: Option<Duration>,
}

/// A topic is asked for when nothing was confirmed for this long: longer than a leader's move takes, as a rule.
const QUIET: Duration = Duration::from_secs(2);

/// What the cluster says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    There,
    Denied,
    None,
}

impl Doubt {
    /// Records wait, and so many were delivered so far; answers whether the cluster is to be asked now.
    pub(super) fn waits(&mut self, delivered: u64, now: Duration) -> bool {
        let (before, since) = *self.quiet.get_or_insert((delivered, now));
        if before != delivered {
            *self = Self { quiet: Some((delivered, now)), ..Self::default() };
            return false;
        }
        now.saturating_sub(since) >= QUIET && self.asked.is_none_or(|at| now.saturating_sub(at) >= KAFKA_ASK)
    }

    /// The cluster has answered; answers whether the topic is gone.
    pub(super) fn hears(&mut self, answer: Answer, now: Duration) -> bool {
        self.asked = Some(now);
        match answer {
            Answer::Denied => now.saturating_sub(*self.denied.get_or_insert(now)) >= KAFKA_ABSENT,
            Answer::There | Answer::None => {
                self.denied = None;
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_topic_is_asked_for_only_while_nothing_is_confirmed_and_once_a_second() {
        let mut doubt = Doubt::default();
        assert!(!doubt.waits(7, SECOND), "it has just begun");
        assert!(!doubt.waits(7, 2 * SECOND));
        assert!(doubt.waits(7, 3 * SECOND));
        assert!(!doubt.hears(Answer::There, 3 * SECOND));
        assert!(!doubt.waits(7, 3 * SECOND + SECOND / 2), "it was asked");
        assert!(doubt.waits(7, 4 * SECOND));
        assert!(!doubt.waits(8, 5 * SECOND), "something was confirmed");
        assert!(!doubt.waits(8, 6 * SECOND) && doubt.waits(8, 7 * SECOND));
    }

    #[test]
    fn a_topic_is_gone_when_the_cluster_has_said_so_for_a_while_without_a_break() {
        let mut doubt = Doubt::default();
        assert!(!doubt.hears(Answer::Denied, SECOND));
        assert!(!doubt.hears(Answer::Denied, 4 * SECOND));
        assert!(!doubt.hears(Answer::None, 5 * SECOND), "no answer is none");
        assert!(!doubt.hears(Answer::Denied, 7 * SECOND));
        assert!(doubt.hears(Answer::Denied, 7 * SECOND + KAFKA_ABSENT));
    }
}
