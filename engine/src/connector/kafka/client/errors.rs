//! What each error of librdkafka means: one table, asked by everything that sorts errors.
//!
//! A code says what went wrong; what to do about it follows from its [`Meaning`], and only where a call gives a code a
//! sense of its own does that call look at the code. The table is a page of the reference (`pipe docs`), and a test holds
//! it to all codes that librdkafka has.

mod table;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::is_secret;
use crate::error::{Code, Error};

pub use table::TABLE;

/// What an error of librdkafka means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meaning {
    /// It goes away by itself: brokers that boot or are away, leaders and coordinators that move.
    Passing,
    /// The group knows this member or its generation no longer. A member joins again; an outsider learns that the group
    /// is live.
    Member,
    /// A broker does not know the topic or the partition. That may be news that has not reached it yet.
    Missing,
    /// It may go away or stay, and the code does not say which.
    Unclear,
    /// The log does not hold the offset.
    Outside,
    /// The reason lies in the record, or in one that was sent with it.
    Record,
    /// The transaction is void.
    Void,
    /// A newer client has the transactional id.
    Fenced,
    /// Another member has the static id.
    Twin,
    /// Credentials or rights are missing.
    Denied,
    /// The cluster does not take a setting of the pipeline.
    Setting,
    /// The brokers are older than what is asked of them.
    Unsupported,
    /// An event or an answer, which is reported by a code.
    Notice,
    /// It stays.
    Final,
}

impl Meaning {
    /// All of them, in the order in which they are explained.
    pub const ALL: [Self; 14] = [
        Self::Passing,
        Self::Member,
        Self::Missing,
        Self::Unclear,
        Self::Outside,
        Self::Record,
        Self::Void,
        Self::Fenced,
        Self::Twin,
        Self::Denied,
        Self::Setting,
        Self::Unsupported,
        Self::Notice,
        Self::Final,
    ];

    /// Whether asking again is the answer, for as long as it takes.
    pub fn passes(self) -> bool {
        matches!(self, Self::Passing | Self::Member)
    }

    /// Whether asking again for a while is the answer: what is told then, if anything, is no passing error.
    pub fn may_pass(self) -> bool {
        self.passes() || matches!(self, Self::Missing | Self::Unclear)
    }

    /// Its name, as the reference has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Member => "member",
            Self::Missing => "missing",
            Self::Unclear => "unclear",
            Self::Outside => "outside",
            Self::Record => "record",
            Self::Void => "void",
            Self::Fenced => "fenced",
            Self::Twin => "twin",
            Self::Denied => "denied",
            Self::Setting => "setting",
            Self::Unsupported => "unsupported",
            Self::Notice => "notice",
            Self::Final => "final",
        }
    }

    /// What a worker does about it, for the reference.
    pub fn deed(self) -> &'static str {
        match self {
            Self::Passing => "The worker asks again, for as long as it takes; after a while it is not ready.",
            Self::Member => {
                "A worker joins the group again and goes on from what is committed. `pipe offsets reset` says that the \
                 group is live (S005)."
            }
            Self::Missing => {
                "The worker asks again for a bounded time, as news of a topic takes a moment to reach every broker. Then \
                 it ends (S003, K001, K002)."
            }
            Self::Unclear => "The worker asks again for a bounded time, then ends with the error.",
            Self::Outside => "`out_of_range:` of the source decides; by default the worker ends (S004).",
            Self::Record => "The record is sent alone. If it fails again it is a dead letter (K003).",
            Self::Void => "The worker gives the transaction up and goes back to what is committed.",
            Self::Fenced => {
                "The worker goes back once, as that may be a late request of its own. The second time it ends (X013)."
            }
            Self::Twin => "The worker joins again once. The second time it ends (X013).",
            Self::Denied => "The worker ends, and says what has to be allowed.",
            Self::Setting => "The worker ends, and names the setting.",
            Self::Unsupported => "The worker ends, and says what the brokers do not know.",
            Self::Notice => "The call that gets it knows what to do; alone it is no error.",
            Self::Final => {
                "The worker ends with the error. Under `exactly_once` a transaction is given up first."
            }
        }
    }
}

/// One line of the table: the code, what it means, and why.
pub type Line = (RDKafkaErrorCode, Meaning, &'static str);

fn line(code: RDKafkaErrorCode) -> Option<&'static Line> {
    TABLE.iter().find(|(known, ..)| *known == code)
}

/// Sorts an error code. One that this table does not know is of a later librdkafka: nothing says that it passes.
pub fn meaning(code: RDKafkaErrorCode) -> Meaning {
    line(code).map_or(Meaning::Final, |(_, meaning, _)| *meaning)
}

/// Why: what the code says of the cluster or the client.
pub fn reason(code: RDKafkaErrorCode) -> &'static str {
    line(code).map_or("a code of a later librdkafka", |(.., reason)| reason)
}

/// The code of an error. The client's own question leaves out that of the admin client.
pub fn code_of(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// Our error for one of librdkafka's. The property values that it may carry are left out.
pub fn error(code: Code, what: &str, error: &KafkaError) -> Error {
    let text = match error {
        KafkaError::ClientConfig(_, why, key, _) if !is_secret(key) => why.clone(),
        KafkaError::ClientConfig(_, _, key, _) => format!("the value of `{key}` is not taken"),
        other => other.to_string(),
    };
    let message = format!("{what}: {text}");
    let Some(theirs) = code_of(error) else { return Error::external(code, message) };
    match meaning(theirs) {
        meaning if meaning.passes() => Error::passing(code, message),
        Meaning::Denied => Error::external(code, message)
            .help("check the credentials and the rights of this user on the cluster"),
        _ => Error::external(code, message).help(reason(theirs)),
    }
}

/// What a code's text is where it is one of a later broker, which librdkafka hands on as it came.
pub fn known(code: i32) -> RDKafkaErrorCode {
    rdkafka::types::RDKafkaRespErr::try_from(code).map_or(RDKafkaErrorCode::Unknown, Into::into)
}

#[cfg(test)]
mod tests {
    use RDKafkaErrorCode as E;
    use rdkafka::types::RDKafkaRespErr;

    use super::*;

    /// All that librdkafka has: its codes are the numbers that its own enumeration takes.
    fn all() -> impl Iterator<Item = RDKafkaErrorCode> {
        (-1_000..10_000).filter_map(|number| RDKafkaRespErr::try_from(number).ok()).map(Into::into)
    }

    #[test]
    fn every_code_of_librdkafka_stands_in_the_table_once_with_its_reason() {
        let codes: Vec<RDKafkaErrorCode> = all().collect();
        assert!(codes.len() > 150, "{}", codes.len());
        let table: Vec<RDKafkaErrorCode> = TABLE.iter().map(|(code, ..)| *code).collect();
        assert_eq!(table, codes, "in the order of the numbers, each once");
        for (code, meaning, reason) in TABLE {
            assert!(reason.len() > 5 && !reason.ends_with('.'), "{code:?}: {reason}");
            assert!(Meaning::ALL.contains(meaning), "{code:?}");
        }
        for meaning in Meaning::ALL {
            assert!(TABLE.iter().any(|(_, used, _)| *used == meaning), "{meaning:?} is of no code");
        }
    }

    #[test]
    fn a_code_of_a_later_broker_is_unknown_and_no_wild_value() {
        for wild in [103, 98, 2_000, i32::MIN] {
            assert_eq!(known(wild), RDKafkaErrorCode::Unknown, "{wild}");
        }
        assert_eq!(known(78), RDKafkaErrorCode::OffsetNotAvailable);
        assert_eq!(meaning(known(103)), Meaning::Unclear);
    }

    #[test]
    fn what_comes_while_leaders_and_coordinators_move_passes() {
        for code in [
            E::OffsetNotAvailable,
            E::NotLeaderForPartition,
            E::LeaderNotAvailable,
            E::FencedLeaderEpoch,
            E::UnknownLeaderEpoch,
            E::KafkaStorageError,
            E::NotCoordinator,
            E::CoordinatorLoadInProgress,
            E::ConcurrentTransactions,
            E::UnstableOffsetCommit,
            E::ThrottlingQuotaExceeded,
            E::NotController,
        ] {
            assert!(meaning(code).passes(), "{code:?}");
            for theirs in [KafkaError::Global(code), KafkaError::AdminOp(code)] {
                assert!(error(Code::S002, "x", &theirs).is_passing(), "{theirs}");
            }
        }
        for code in [E::UnknownPartition, E::UnknownTopic, E::UnknownTopicOrPartition, E::UnknownTopicId] {
            assert!(!meaning(code).passes() && meaning(code).may_pass(), "{code:?}");
        }
    }

    #[test]
    fn an_error_that_stays_gives_its_reason_and_one_of_rights_says_what_to_check() {
        let stays = error(Code::S002, "x", &KafkaError::Global(E::InvalidTopic));
        assert!(!stays.is_passing() && stays.help_text().is_some_and(|help| help.contains("topic's name")));
        let denied = error(Code::S002, "x", &KafkaError::Global(E::TopicAuthorizationFailed));
        assert!(denied.help_text().is_some_and(|help| help.contains("rights of this user")), "{denied}");
    }
}
