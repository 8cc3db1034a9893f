//! Records of topics.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Found, Sample, sniff};
use crate::config::spec::KindSpec;
use crate::config::suggestion;
use crate::connector::kafka::client::scan::{self, Record, Scan};
use crate::connector::kafka::client::{Cluster, Known, Probe, Properties, Topics};
use crate::error::{Code, Error, Result};
use crate::problem::Problem;
use crate::units::SAMPLE_BYTES_MAX;

/// Which records of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum From {
    /// Of each partition its first and its last ones.
    Spread,
    /// The first ones.
    Start,
    /// The last ones.
    End,
}

/// The cluster and the topics that the options of a Kafka source name.
pub(super) fn parse(options: &Value) -> Result<(Cluster, Topics), Vec<Problem>> {
    let mut problems = Vec::new();
    let properties = options.get("properties").cloned().unwrap_or_else(|| Value::Object(Map::new()));
    let properties: Properties = crate::connector::kafka::client::parse_options(&properties)?;
    let brokers = options.get("brokers").and_then(Value::as_str).unwrap_or_default();
    let cluster = Cluster::new(brokers, &properties, &mut problems);
    let topics = options.get("topics").and_then(Value::as_array).into_iter().flatten();
    let topics = topics.filter_map(|topic| topic.as_str().map(str::to_owned));
    let topics = Topics::new(topics.collect(), &mut problems);
    if problems.is_empty() { Ok((cluster, topics)) } else { Err(problems) }
}

/// Who reads, in the logs of brokers; librdkafka wants the name of a group, which is never joined.
const READER: &str = "pipe.look";

/// The topics that are there. One that is not is told with those that have a similar name; none is made.
fn known(probe: &Probe, cluster: &Cluster, topics: &Topics) -> Result<Known> {
    for name in topics.names() {
        if probe.partitions_now(name)?.is_none() {
            let all = probe.topics()?;
            let names = all.iter().map(|(name, _)| name.as_str()).filter(|name| !name.starts_with("__"));
            let message = format!("topic `{name}` does not exist on {}", cluster.brokers());
            return Err(Error::external(Code::S003, message).help(suggestion(name, names, "topics")));
        }
    }
    let known = probe.known(topics)?;
    if known.is_empty() {
        let message = format!("no topic on {} matches {}", cluster.brokers(), topics.given().join(", "));
        return Err(Error::external(Code::S003, message).help("correct `topics:`, or make the topic"));
    }
    Ok(known)
}

/// Reads so many records at most, over all topics and their partitions.
pub(super) fn read(
    found: &Found,
    cluster: &Cluster,
    topics: &Topics,
    records: u64,
    from: From,
) -> Result<Sample> {
    let probe = Probe::new(cluster, READER, Code::S002)?;
    let known = known(&probe, cluster, topics)?;
    let each = records.div_ceil(known.len() as u64).max(1);
    let (mut read, mut bytes) = (Vec::new(), 0);
    for (topic, partitions) in &known {
        let ends: Vec<(i64, i64)> =
            (0..*partitions).map(|partition| probe.ends(topic, partition)).collect::<Result<_>>()?;
        let spans = match from {
            From::Spread => scan::spread(&ends, each),
            From::Start => scan::first(&ends, each),
            From::End => scan::last(&ends, each),
        };
        if spans.is_empty() {
            continue;
        }
        let mut scan = Scan::open(cluster, topic, &spans, READER, Code::S002)?;
        while bytes < SAMPLE_BYTES_MAX
            && let Some(record) = scan.record()?
        {
            bytes += size(&record);
            read.push(record);
        }
    }
    let is_cut = bytes >= SAMPLE_BYTES_MAX;
    choose(&mut read, records, from);
    let (format, note) = match &found.format {
        Some(format) => (format.clone(), None),
        None => {
            let (name, note) = sniff::values(read.iter().filter_map(|record| record.value.as_deref()));
            (KindSpec { name: name.to_owned(), options: Value::Object(Map::new()) }, note)
        }
    };
    let names: Vec<&str> = known.keys().map(|topic| &**topic).collect();
    let of = format!("{} on {}", names.join(", "), cluster.brokers());
    let (rows, bad) = (Vec::new(), (0, None));
    Ok(Sample { of, format, records: read, rows, bad, is_file: false, is_cut, note })
}

fn size(record: &Record) -> usize {
    let headers = record.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len));
    let parts = [&record.key, &record.value].map(|part| part.as_ref().map_or(0, Vec::len));
    parts.iter().sum::<usize>() + headers.sum::<usize>() + size_of::<Record>()
}

/// No more than were asked for: partitions are not equally full. In the order of their places.
fn choose(read: &mut Vec<Record>, records: u64, from: From) {
    let count = usize::try_from(records).unwrap_or(usize::MAX);
    let by_place = |record: &Record| (Arc::clone(&record.topic), record.partition, record.offset);
    if read.len() > count {
        match from {
            From::Spread => {}
            From::Start => read.sort_by_key(|record| (record.timestamp, record.offset)),
            From::End => read.sort_by_key(|record| std::cmp::Reverse((record.timestamp, record.offset))),
        }
        read.truncate(count);
    }
    read.sort_by_key(by_place);
}
