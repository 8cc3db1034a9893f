//! The protocol of the consumer group: the classic one, or that of KIP-848 (`group.protocol: consumer`), in which the
//! brokers assign the partitions and decide when a member is dead.
//!
//! Both are incremental, so what is done in a rebalance is the same; what differs is which properties there are.

use rdkafka::error::RDKafkaErrorCode;

use crate::connector::kafka::client::{Cluster, Meaning, Members, Topics, meaning};
use crate::error::{Code, Error, Result};
use crate::problem::Problem;

const PROPERTY: &str = "group.protocol";

/// Properties that librdkafka does not take with the protocol of KIP-848, and what is there instead.
const CLASSIC_ONLY: &[(&str, &str)] = &[
    ("session.timeout.ms", "the brokers say it there: `group.consumer.session.timeout.ms`"),
    ("heartbeat.interval.ms", "the brokers say it there: `group.consumer.heartbeat.interval.ms`"),
    ("group.protocol.type", "leave it out"),
];

/// Which protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// The group's members assign.
    Classic,
    /// The brokers assign (KIP-848).
    Consumer,
}

impl Protocol {
    /// What the properties say; librdkafka takes its values in any case.
    pub(super) fn of(cluster: &Cluster) -> Self {
        match cluster.text(PROPERTY) {
            Some(given) if given.eq_ignore_ascii_case("consumer") => Self::Consumer,
            _ => Self::Classic,
        }
    }

    /// Adds what cannot be had with it to the problems.
    pub(super) fn check(self, cluster: &Cluster, topics: &Topics, problems: &mut Vec<Problem>) {
        if self == Self::Classic {
            return;
        }
        for (name, instead) in CLASSIC_ONLY.iter().filter(|(name, _)| cluster.text(name).is_some()) {
            let message = format!("`{name}` does not exist with `group.protocol: consumer`");
            problems.push(Problem::new(Code::P009, format!("/properties/{name}"), message).help(*instead));
        }
        if topics.has_patterns() {
            // The brokers match them: by another syntax, Kafka's own topics too, and new ones only after minutes.
            let message = "patterns of topics are not supported with `group.protocol: consumer`";
            problems.push(
                Problem::new(Code::P009, "/topics", message)
                    .help("name the topics, or leave `group.protocol` out"),
            );
        }
    }

    /// What is to be known of it.
    pub(super) fn warning(self) -> Option<Problem> {
        let message = "the group protocol of KIP-848 is a preview";
        let help = "see \"What is not promised\" in docs/delivery.md; `classic` carries the delivery promise";
        (self == Self::Consumer)
            .then(|| Problem::new(Code::P010, format!("/properties/{PROPERTY}"), message).help(help))
    }

    /// The engine's own properties for it.
    pub(super) fn defaults(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Classic => &[("partition.assignment.strategy", ASSIGNOR)],
            // The brokers' default assignor is sticky.
            Self::Consumer => &[],
        }
    }
}

/// The assignor of every worker.
const ASSIGNOR: &str = "cooperative-sticky";

/// Who is in the group and cannot be joined is an error that names them; who only shares the partitions is warned of.
pub(super) fn look_at(group: &str, members: &Members, own: &str) -> Result<()> {
    let Members { kind, assignor, clients } = members;
    if !clients.is_empty() && (kind != "consumer" || !(assignor.is_empty() || assignor == ASSIGNOR)) {
        let clients: Vec<String> = clients.iter().map(|(id, host)| format!("`{id}` at {host}")).collect();
        return Err(taken(&clients.join(", ")).context(format!("group `{group}`")));
    }
    for (id, host) in clients.iter().filter(|(id, _)| id != own) {
        tracing::warn!(
            group,
            client = id,
            host,
            "another program is in this consumer group and reads a part of it"
        );
    }
    Ok(())
}

/// A group whose members are of another kind.
pub(super) fn taken(by: &str) -> Error {
    Error::external(
        Code::S002,
        format!("the consumer group is in use by {by}, and cannot be joined beside them"),
    )
    .help("give the pipeline another `name:`, which is its group, or stop them")
}

/// The error of a consumer that librdkafka has given up: nothing but a new one helps.
pub(super) fn given_up(code: RDKafkaErrorCode, text: &str, instance: Option<&str>) -> Error {
    use RDKafkaErrorCode as E;
    let instance = instance.unwrap_or_default();
    match code {
        // Which of the two is the loser is the protocol's choice: with the classic one the older, with that of KIP-848
        // the newer.
        E::FencedInstanceId => {
            let message = format!("another worker has taken over the `group.instance.id` `{instance}`");
            Error::external(Code::X013, message).help("give each worker an own `group.instance.id`")
        }
        E::UnreleasedInstanceId => {
            let message = format!("another worker has the `group.instance.id` `{instance}`");
            Error::external(Code::X013, message).help(
                "give each worker an own `group.instance.id`; one that was killed holds it until its session is over \
                 (`group.consumer.session.timeout.ms` of the brokers)",
            )
        }
        _ if meaning(code) == Meaning::Unsupported => {
            Error::external(Code::S002, format!("the brokers do not know `group.protocol: consumer`: {text}"))
                .help("Kafka has it since version 4.0; leave `group.protocol` out")
        }
        _ => Error::external(Code::S002, format!("the consumer failed: {text}")),
    }
}
