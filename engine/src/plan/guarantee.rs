//! Whether the guarantee that a pipeline asks for can be kept.

use super::graph::pointer;
use super::{DeadLetters, Plan};
use crate::config::spec::Guarantee;
use crate::config::step;
use crate::connector::position::Replay;
use crate::connector::sink::Delivery;
use crate::error::Code;
use crate::problem::Problem;
use crate::units::KAFKA_TRANSACTION_INTERVAL_MAX;

/// Everything that stands in the way of `exactly_once`, each with what can be done.
pub(super) fn check<B>(plan: &Plan<B>) -> Vec<Problem> {
    if plan.guarantee != Guarantee::ExactlyOnce {
        return Vec::new();
    }
    let mut problems = Vec::new();
    let mut add = |at: String, message: String, help: &str| {
        problems.push(Problem::new(Code::P007, at, message).help(help.to_owned()));
    };
    const CAN: &str = "exactly once is from Kafka to Kafka on one cluster; use `guarantee: at_least_once`, and let \
                       readers drop repeats by topic, partition and offset (`metadata:`)";
    if plan.commit_interval > KAFKA_TRANSACTION_INTERVAL_MAX {
        let most = humantime::format_duration(KAFKA_TRANSACTION_INTERVAL_MAX);
        let message =
            format!("`exactly_once` commits every {most} at least: brokers end what is open for longer");
        add("/delivery/commit_interval".into(), message, "lower it, or use `guarantee: at_least_once`");
    }
    for source in &plan.sources {
        if source.kind.replay != Replay::Group {
            let message = format!(
                "`exactly_once` cannot be had from `{}`: no consumer group holds the positions of a source of kind `{}`",
                source.name, source.kind.name
            );
            add(pointer("sources", &source.name), message, CAN);
        }
    }
    for sink in plan.sinks.iter().filter(|sink| sink.kind.delivery == Delivery::AtLeastOnce) {
        let message = format!(
            "`exactly_once` cannot be had in `{}`: a sink of kind `{}` takes no part in a transaction",
            sink.name, sink.kind.name
        );
        add(pointer("sinks", &sink.name), message, CAN);
    }
    let letters = match &plan.dead_letters {
        DeadLetters::Kafka(prepared, _) => prepared.cluster(),
        DeadLetters::File(_) => {
            let message = "`exactly_once` cannot be had with dead letters in a file: they would come twice";
            let help = "leave `dead_letters` out, or name a topic: `dead_letters: { kafka: { topic: .. } }`";
            add("/dead_letters".into(), message.into(), help);
            None
        }
    };
    let sources =
        plan.sources.iter().map(|s| (pointer("sources", &s.name), s.kind.name, s.prepared.cluster()));
    let sinks = plan.sinks.iter().map(|s| (pointer("sinks", &s.name), s.kind.name, s.prepared.cluster()));
    let letters = ("/dead_letters".to_owned(), "kafka", letters);
    let clusters: Vec<(String, String)> = sources
        .chain(sinks)
        .chain([letters])
        .filter_map(|(at, kind, cluster)| Some((step(&at, kind), cluster?)))
        .collect();
    if let Some((_, first)) = clusters.first() {
        for (at, other) in clusters.iter().filter(|(_, other)| other != first) {
            let message =
                format!("`exactly_once` is within one cluster: here is `{other}`, above is `{first}`");
            let help = "write the same `brokers:` everywhere, or use `guarantee: at_least_once`";
            add(at.clone(), message, help);
        }
    }
    if let Err(torn) = plan.client() {
        let message = format!(
            "under `exactly_once` all sinks share one client, and these properties have several values: {}",
            torn.join(", ")
        );
        add(
            "/delivery/guarantee".into(),
            message,
            "give them the same value in each sink and in `dead_letters`",
        );
    }
    problems
}
