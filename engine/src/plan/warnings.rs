//! What is suspicious about a plan: it works, but perhaps not as meant. Each says which key to change.

use std::time::Duration;

use arrow::datatypes::DataType;
use serde_json::Value;

use super::cost::Machine;
use super::graph::pointer;
use super::memory::Division;
use super::{DeadLetters, Plan, Ports, SourceNode};
use crate::codec::Layout;
use crate::config::spec::{OnFailure, StageSpec};
use crate::config::{Document, Draft, step};
use crate::connector::kafka::client::Topics;
use crate::connector::sink::Prepared;
use crate::error::Code;
use crate::problem::Problem;
use crate::quantity::Size;
use crate::units;

/// Lanes a core: waiting sinks leave room for some more than one, hundreds only take turns.
const LANES_PER_CORE_WARN: usize = 4;
/// Log lines a second of one instance above which a log is more than a person or a collector reads.
const LOG_LINES_WARN: u32 = 10_000;

fn suspicious(at: impl Into<String>, message: impl Into<String>, help: &str) -> Problem {
    Problem::new(Code::P010, at.into(), message).help(help)
}

fn shown(period: Duration) -> String {
    humantime::format_duration(period).to_string()
}

/// Everything that the file and its plan show by themselves.
pub(super) fn of_plan<B: Ports>(draft: &Draft, plan: &Plan<B>) -> Vec<Problem> {
    let mut warnings = files(plan);
    times(plan, &mut warnings);
    for stage in &plan.stages {
        let at = pointer("stages", &stage.name);
        if let Some(Some(spec)) = draft.stages.get(&*stage.name) {
            limits(&at, spec, plan, &mut warnings);
        }
        warnings.extend(stage.bound.warnings().into_iter().map(|problem| problem.below(&at)));
    }
    for source in &plan.sources {
        let at = step(&pointer("sources", &source.name), source.kind.name);
        warnings.extend(source.prepared.warnings().into_iter().map(|problem| problem.below(&at)));
    }
    for sink in &plan.sinks {
        let at = step(&pointer("sinks", &sink.name), sink.kind.name);
        warnings.extend(sink.prepared.warnings().into_iter().map(|problem| problem.below(&at)));
    }
    skipped(plan, &mut warnings);
    keys(plan, &mut warnings);
    mixed(plan, &mut warnings);
    warnings
}

/// Dictionaries whose keys are too few for a batch in which each row has another word.
fn keys<B>(plan: &Plan<B>, warnings: &mut Vec<Problem>) {
    let rows = plan.room.rows;
    let decoded =
        plan.sources.iter().filter(|s| s.format.as_ref().is_some_and(|f| f.layout() != Layout::Container));
    for source in decoded {
        for field in source.schema.fields() {
            let words = match field.data_type() {
                DataType::Dictionary(key, _) => match **key {
                    DataType::Int8 => 1 << 7,
                    DataType::UInt8 => 1 << 8,
                    DataType::Int16 => 1 << 15,
                    DataType::UInt16 => 1 << 16,
                    _ => continue,
                },
                _ => continue,
            };
            if rows > words {
                let message = format!(
                    "the keys of the column `{}` are enough for {words} different words, and a batch has up to {rows} \
                     rows: a row with one word more is rejected",
                    field.name()
                );
                let help = "take larger keys, such as `dictionary(int32, utf8)`";
                warnings.push(suspicious(pointer("sources", &source.name), message, help));
            }
        }
    }
}

/// Sinks that write to the topic of the dead letters.
fn mixed<B>(plan: &Plan<B>, warnings: &mut Vec<Problem>) {
    let DeadLetters::Kafka(letters, _) = &plan.dead_letters else { return };
    let same = |sink: &dyn Prepared| sink.topic() == letters.topic() && sink.cluster() == letters.cluster();
    for sink in plan.sinks.iter().filter(|sink| same(&*sink.prepared)) {
        let topic = letters.topic().unwrap_or_default();
        let message =
            format!("the sink `{}` writes to the topic `{topic}`, and so do the dead letters", sink.name);
        let at = step(&pointer("sinks", &sink.name), sink.kind.name);
        warnings.push(suspicious(at, message, "name another topic under `dead_letters`"));
    }
}

/// A size of batches for which there is not the memory.
pub(super) fn batch(draft: &Draft, division: &Division) -> Option<Problem> {
    let given = draft.batch.bytes.filter(|given| given.0 > division.batch as u64)?;
    let message =
        format!("with this `memory` a batch has {} at most, not {given}", Size(division.batch as u64));
    Some(suspicious("/batch/bytes", message, "raise `memory`, lower `lanes`, or lower `batch.bytes`"))
}

fn files<B>(plan: &Plan<B>) -> Vec<Problem> {
    let millis = plan.commit_interval.as_millis().max(1);
    let files = (3_600_000 / millis).saturating_mul(plan.lanes as u128);
    let many = files > u128::from(units::FILES_PER_HOUR_WARN);
    let sinks = plan.sinks.iter().filter(|sink| sink.kind.durable_on_close && many);
    sinks
        .map(|sink| {
            let message = format!("the sink `{}` may write {files} files an hour", sink.name);
            let help = "raise `delivery.commit_interval`, or use fewer `lanes`";
            suspicious("/delivery/commit_interval", message, help)
        })
        .collect()
}

fn times<B>(plan: &Plan<B>, warnings: &mut Vec<Problem>) {
    let (interval, stop) = (plan.commit_interval, plan.shutdown_timeout);
    if interval > stop {
        let (interval, stop) = (shown(interval), shown(stop));
        let message =
            format!("a stop has {stop} to write out and commit what may have gathered for {interval}");
        let help = "raise `delivery.shutdown_timeout`, or lower `delivery.commit_interval`";
        warnings.push(suspicious("/delivery/shutdown_timeout", message, help));
    }
    if plan.room.age > interval {
        let (age, interval) = (shown(plan.room.age), shown(interval));
        let message =
            format!("a batch may wait for {age}, and commits come every {interval}: most hold nothing");
        let help = "lower `batch.age`, or raise `delivery.commit_interval`";
        warnings.push(suspicious("/batch/age", message, help));
    }
}

/// The limits that the file gives a stage; the defaults fit each other.
fn limits<B: Ports>(at: &str, spec: &StageSpec, plan: &Plan<B>, warnings: &mut Vec<Problem>) {
    let given = &spec.limits;
    let grouped = plan.sources.iter().any(|source| source.prepared.cluster().is_some());
    if let Some(time) = given.time {
        // A call that hangs is tried once more.
        let twice = time.0.saturating_mul(2);
        let (bound, what) = if grouped && units::REVOKE_TIMEOUT < plan.shutdown_timeout {
            (units::REVOKE_TIMEOUT, "a rebalance waits")
        } else {
            (plan.shutdown_timeout, "a stop waits")
        };
        if twice > bound {
            let message = format!(
                "a call that hangs and its retry take {}, and {what} for {} only: what is under way then comes again",
                shown(twice),
                shown(bound),
            );
            warnings.push(suspicious(format!("{at}/limits/time"), message, "lower `limits.time`"));
        }
    }
    if let Some(rows) = given.rows.filter(|rows| *rows < plan.room.rows) {
        let message = format!(
            "a stage that passes a full batch of {} rows on returns more than {rows}: it is split",
            plan.room.rows
        );
        let help = "raise `limits.rows`, or lower `batch.rows`";
        warnings.push(suspicious(format!("{at}/limits/rows"), message, help));
    }
    let least = (plan.room.bytes as u64).saturating_mul(2);
    if let Some(memory) = given.memory.filter(|memory| memory.0 < least) {
        let batch = Size(plan.room.bytes as u64);
        let message = format!("{memory} of memory hardly hold a batch of {batch} and what is made of it");
        let help = "raise `limits.memory`, or lower `batch.bytes`";
        warnings.push(suspicious(format!("{at}/limits/memory"), message, help));
    }
    if let Some(lines) = given.log_lines.filter(|lines| *lines > LOG_LINES_WARN) {
        let message = format!("each instance may log {lines} lines a second");
        warnings.push(suspicious(format!("{at}/limits/log_lines"), message, "lower `limits.log_lines`"));
    }
}

/// Where rows that fail are dropped.
fn skipped<B>(plan: &Plan<B>, warnings: &mut Vec<Problem>) {
    let sources = plan.sources.iter().map(|n| ("sources", &n.name, n.on_failure));
    let stages = plan.stages.iter().map(|n| ("stages", &n.name, n.on_failure));
    let sinks = plan.sinks.iter().map(|n| ("sinks", &n.name, n.on_failure));
    for (section, name, on_failure) in sources.chain(stages).chain(sinks) {
        if on_failure == OnFailure::Skip {
            let message =
                format!("what fails at `{name}` is dropped: it is counted, and nothing else is kept");
            let help = "`on_failure: dead_letter` keeps it with its cause";
            warnings.push(suspicious(format!("{}/on_failure", pointer(section, name)), message, help));
        }
    }
}

/// Topics that a sink may write, as far as they are known: its own, those that it names, and of those that its patterns
/// allow the ones that the source names.
fn written<'a>(sink: &'a dyn Prepared, source: &'a SourceNode) -> Vec<&'a str> {
    let mut all: Vec<&str> = sink.topic().into_iter().collect();
    if let Some(allowed) = sink.topics() {
        all.extend(allowed.names());
        let read = source.prepared.group().map(|(_, topics)| topics);
        let named = read.into_iter().flat_map(Topics::names).filter(|topic| allowed.entry(topic).is_some());
        all.extend(named);
        all.sort_unstable();
        all.dedup();
    }
    all
}

/// A topic that is both read and written: each record comes back, for ever. The errors, then the warnings.
pub(super) fn loops<B>(plan: &Plan<B>) -> (Vec<Problem>, Vec<Problem>) {
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    let letters = match &plan.dead_letters {
        DeadLetters::Kafka(sink, _) => Some((None, &**sink)),
        DeadLetters::File(_) => None,
    };
    let sinks = plan.sinks.iter().map(|sink| (Some(&sink.name), &*sink.prepared)).chain(letters);
    for (name, sink) in sinks {
        let cluster = sink.cluster();
        let sources = || plan.sources.iter().filter(|source| source.prepared.cluster() == cluster);
        let places =
            sources().flat_map(|source| written(sink, source).into_iter().map(move |topic| (source, topic)));
        for (source, topic) in places {
            let Some(entry) = source.prepared.reads(topic) else { continue };
            let by = if entry == topic { String::new() } else { format!(" by its pattern `{entry}`") };
            let writer = name.map_or("the dead letters".to_owned(), |name| format!("the sink `{name}`"));
            let message = format!("`{}` reads{by} the topic `{topic}`, which {writer} write to", source.name);
            let message = if name.is_some() { message.replace(" write to", " writes to") } else { message };
            let at = step(&step(&pointer("sources", &source.name), "kafka"), "topics");
            let help = match name {
                Some(_) => {
                    "narrow the pattern, or name the output so that it does not match: a record would come back for ever"
                }
                None => {
                    "narrow the pattern, or name another topic under `dead_letters`; `pipe dead-letters replay` reads them"
                }
            };
            let problem = Problem::new(Code::P011, at, message).help(help);
            // One may name a topic twice on purpose: a stage may let only some records go round again.
            if entry == topic && name.is_some() { warnings.push(problem) } else { errors.push(problem) }
        }
    }
    (errors, warnings)
}

/// What is too much for this machine.
pub fn of_machine<B: Ports>(plan: &Plan<B>, machine: &Machine) -> Vec<Problem> {
    let mut warnings = Vec::new();
    if plan.lanes > machine.cores.saturating_mul(LANES_PER_CORE_WARN) {
        let message = format!("{} lanes take turns on {} cores", plan.lanes, machine.cores);
        warnings.push(suspicious(
            "/lanes",
            message,
            "lower `lanes`; more workers on more machines share the work",
        ));
    }
    if let (Some(Division { total, .. }), Some(memory)) = (plan.memory, machine.memory) {
        if total > memory {
            let message = format!("there are {} of memory for this process", Size(memory));
            warnings.push(suspicious("/memory", message, "lower `memory`, or give the process more"));
        }
        return warnings;
    }
    let stages = super::cost::stage_memory(plan);
    if let Some(memory) = machine.memory.filter(|memory| stages > *memory) {
        let message = format!(
            "the stages may take {} of memory ({} lanes, each with an instance of each stage), and there are {}",
            Size(stages),
            plan.lanes,
            Size(memory),
        );
        warnings.push(suspicious("/lanes", message, "lower `lanes` or the stages' `limits.memory`"));
    }
    warnings
}

/// Secrets that stand in the file itself.
pub fn plain_secrets(document: &Document) -> Vec<Problem> {
    let mut warnings = Vec::new();
    walk(&document.value, String::new(), &mut |pointer, key, value| {
        let plain = value.as_str().is_some_and(|text| !text.is_empty()) && !document.is_from_outside(pointer);
        if plain && is_secret(pointer, key) {
            let message = format!("`{key}` is written into the file");
            let help = "write `${file:/run/secrets/..}` or `${VARIABLE}`, and keep the value out of the file";
            warnings.push(suspicious(pointer, message, help));
        }
    });
    warnings
}

/// Whether a key's value is a secret: a property of a client, or a variable of a stage. Names of users are none.
fn is_secret(pointer: &str, key: &str) -> bool {
    const WORDS: &[&str] = &["password", "passwd", "secret", "token", "key.pem", "private_key", "api_key"];
    let key = key.to_ascii_lowercase();
    let place = pointer.contains("/properties/") || pointer.contains("/grants/env/");
    let names = ["endpoint", ".url", ".name", ".file", ".location"].iter().any(|end| key.contains(end));
    place && !names && WORDS.iter().any(|word| key.contains(word))
}

fn walk(value: &Value, at: String, seen: &mut impl FnMut(&str, &str, &Value)) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let at = step(&at, key);
                seen(&at, key, value);
                walk(value, at, seen);
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| walk(item, format!("{at}/{i}"), seen));
        }
        _ => {}
    }
}
