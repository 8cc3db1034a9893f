//! What an error of a partition that is read means: it is waited for, asked about, or ends the source.

use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;

use super::absent::Absent;
use super::offset_policy::{Jumps, outside_log};
use crate::connector::kafka::client::{Meaning, meaning, reason};
use crate::connector::position::Partition;
use crate::error::{Code, Error, Result};
use crate::repeats::Repeats;
use crate::units::{KAFKA_UNCLEAR, KAFKA_UNCLEAR_GAP};

/// Errors of a partition that may pass or stay, without a record in between.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Trouble {
    /// When the first and the last came.
    times: Option<(Duration, Duration)>,
}

impl Trouble {
    /// Notes one; for how long they have come.
    fn note(&mut self, now: Duration) -> Duration {
        let (first, _) = self
            .times
            .filter(|(_, last)| now.saturating_sub(*last) < KAFKA_UNCLEAR_GAP)
            .unwrap_or((now, now));
        self.times = Some((first, now));
        now.saturating_sub(first)
    }

    /// A record came.
    pub(super) fn over(&mut self) {
        self.times = None;
    }
}

/// What sorts the errors of a partition.
pub(super) struct Judge<'a> {
    pub(super) jumps: &'a Jumps,
    pub(super) absent: &'a Absent,
    pub(super) now: Duration,
}

impl Judge<'_> {
    /// What an error of a partition means. librdkafka fetches on after all of them but those of an offset, so one that may
    /// pass is only told, and what it says is not there is asked for.
    pub(super) fn fault(
        &self,
        partition: &Partition,
        next: i64,
        trouble: &mut Trouble,
        code: RDKafkaErrorCode,
        text: &str,
    ) -> Result<()> {
        let Partition { topic, partition: number } = partition;
        let meaning = meaning(code);
        match meaning {
            Meaning::Outside => return Err(outside_log(partition, next, None).context(text)),
            Meaning::Missing => self.absent.told(partition, self.now),
            // A record that a broker sends damaged is fetched again, too.
            Meaning::Unclear | Meaning::Record if trouble.note(self.now) < KAFKA_UNCLEAR => {}
            meaning if meaning.passes() => {}
            _ => {
                let message = format!("{topic}/{number} cannot be read at offset {next}: {code}: {text}");
                let rights = "check the credentials and the rights of this user on the cluster";
                let help = if meaning == Meaning::Denied { rights } else { reason(code) };
                return Err(Error::external(Code::S002, message).help(help));
            }
        }
        if let Some(more) = Repeats::shared().say(&format!("{topic}/{number}: {code}")) {
            tracing::warn!(topic = &**topic, partition = number, "kafka: {text}: asking again{more}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::OutOfRange;
    use super::*;

    #[test]
    fn an_error_of_a_partition_that_may_pass_is_waited_for_and_one_that_stays_ends_the_source() {
        use RDKafkaErrorCode as E;
        let partition = Partition { topic: "t".into(), partition: 3 };
        let (jumps, absent) = (Jumps::new(OutOfRange::Fail), Absent::default());
        let judge = |secs, trouble: &mut Trouble, code| {
            let judge = Judge { jumps: &jumps, absent: &absent, now: Duration::from_secs(secs) };
            judge.fault(&partition, 7, trouble, code, "it says")
        };
        let mut trouble = Trouble::default();
        for secs in 0..200 {
            for code in
                [E::OffsetNotAvailable, E::NotLeaderForPartition, E::UnknownPartition, E::KafkaStorageError]
            {
                assert!(judge(secs, &mut trouble, code).is_ok(), "{code:?}");
            }
        }
        for secs in 0..60 {
            assert!(judge(secs, &mut trouble, E::Unknown).is_ok(), "after {secs} s");
        }
        let error = judge(60, &mut trouble, E::Unknown).unwrap_err();
        assert_eq!((error.code(), error.is_passing()), (Code::S002, false));
        assert!(error.message().contains("t/3 cannot be read at offset 7"), "{error}");
        assert!(judge(75, &mut trouble, E::Unknown).is_ok(), "another trouble");
        trouble.over();
        for (code, ours) in [(E::TopicAuthorizationFailed, Code::S002), (E::OffsetOutOfRange, Code::S004)] {
            let error = judge(0, &mut trouble, code).unwrap_err();
            assert_eq!((error.code(), error.is_passing()), (ours, false), "{code:?}");
        }
    }
}
