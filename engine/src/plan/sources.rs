//! Sources of a plan: formats prepared, metadata columns appended.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::SourceNode;
use super::formats::{any_format, format, guess, in_each, missing_format, unpacked};
use super::graph::pointer;
use super::tables::Tables;
use crate::batch::headers_type;
use crate::codec::Format;
use crate::config::spec::{KindSpec, OnTombstone, SourceSpec};
use crate::config::{Draft, step, suggestion};
use crate::connector::kafka::client::{Cluster, Topics};
use crate::connector::position::Replay;
use crate::connector::source::{Own, Settings, SourceKind};
use crate::error::Code;
use crate::problem::{Problem, below};

/// Resolves a source; pointers of the mistakes are into the file. One with `missing` keys, which had a mistake that was
/// reported, is never resolved; what else is wrong with it is told.
pub(super) fn prepare(
    tables: &Tables,
    pipeline: &str,
    base: &Path,
    name: &str,
    spec: &SourceSpec,
    missing: &BTreeSet<String>,
    own: &[Own],
) -> Result<SourceNode, Vec<Problem>> {
    let at = pointer("sources", name);
    let Some(kind) = tables.sources.iter().copied().find(|kind| kind.name == spec.kind.name) else {
        let names = tables.sources.iter().map(|kind| kind.name);
        let problem =
            Problem::new(Code::C005, &at, format!("there is no kind of source `{}`", spec.kind.name));
        return Err(vec![problem.help(suggestion(&spec.kind.name, names, "kinds"))]);
    };
    let mut problems = Vec::new();
    let format = match chosen(tables, &at, spec, kind, missing) {
        Ok(format) => format,
        Err(all) => {
            problems.extend(all);
            problems.extend(apart_from_format(tables, pipeline, base, name, spec, kind, own));
            problems.extend(append(&Arc::new(Schema::empty()), &spec.metadata, kind.metadata, &at).1);
            return Err(problems);
        }
    };
    let options = step(&at, kind.name);
    let settings =
        Settings { pipeline, name, base, options: &spec.kind.options, format: format.as_ref(), own };
    let prepared = (kind.prepare)(&settings).map_err(|all| problems.extend(below(all, &options))).ok();
    let columns = prepared.as_ref().map_or_else(|| Arc::new(Schema::empty()), |prepared| prepared.schema());
    let (schema, wrong) = append(&columns, &spec.metadata, kind.metadata, &at);
    problems.extend(wrong);
    let Some(prepared) = prepared.filter(|_| problems.is_empty() && !missing.contains("metadata")) else {
        return Err(problems);
    };
    Ok(SourceNode {
        name: name.into(),
        kind,
        prepared,
        format,
        metadata: spec.metadata.clone(),
        schema,
        on_failure: spec.on_failure,
        // What it is by default depends on what the source feeds: `tombstones` says.
        on_tombstone: spec.on_tombstone.unwrap_or(OnTombstone::DeadLetter),
    })
}

/// The format of a source; `None` where it needs none.
fn chosen(
    tables: &Tables,
    at: &str,
    spec: &SourceSpec,
    kind: &SourceKind,
    missing: &BTreeSet<String>,
) -> Result<Option<Arc<dyn Format>>, Vec<Problem>> {
    if missing.contains("format") {
        return Err(Vec::new());
    }
    let place = &unpacked(&spec.kind.options);
    if let Some(given) = &spec.format {
        let at = step(at, "format");
        if tables.formats.iter().any(|kind| kind.name == given.name && !kind.reads) {
            let names = tables.formats.iter().filter(|kind| kind.reads).map(|kind| kind.name);
            let message = format!("the format `{}` is one of sinks: a source cannot read it", given.name);
            let help = format!("name what the records are: one of {}", names.collect::<Vec<_>>().join(", "));
            return Err(vec![Problem::new(Code::P009, at, message).help(help)]);
        }
        return Ok(Some(format(tables, &at, given, place)?));
    }
    match (guess(tables, at, place)?, kind.default_format) {
        (Some(guessed), _) => Ok(Some(guessed)),
        (None, Some(default)) => {
            let (name, options) = default();
            Ok(Some(format(tables, at, &KindSpec { name: name.to_owned(), options }, place)?))
        }
        (None, None) if kind.needs_format => Err(vec![missing_format(tables, at)]),
        (None, None) => Ok(None),
    }
}

/// What is wrong with a source whose format is not known: what is wrong with it whatever the format is.
fn apart_from_format(
    tables: &Tables,
    pipeline: &str,
    base: &Path,
    name: &str,
    spec: &SourceSpec,
    kind: &SourceKind,
    own: &[Own],
) -> Vec<Problem> {
    let formats = any_format(tables);
    let options = &spec.kind.options;
    let attempts = formats.iter().map(|format| {
        let settings = Settings { pipeline, name, base, options, format: format.as_ref(), own };
        (kind.prepare)(&settings).err().unwrap_or_default()
    });
    below(in_each(attempts), &step(&pointer("sources", name), kind.name))
}

/// A source, and who keeps its positions.
pub struct Kept {
    /// Its name.
    pub source: String,
    /// Its kind.
    pub kind: &'static str,
    /// Where a consumer group keeps them: the cluster, and the topics that are read.
    pub group: Option<(Cluster, Topics)>,
}

/// Who keeps the positions of each source. Needs nothing of the rest of the plan.
pub fn positions(tables: &Tables, draft: &Draft, base: &Path) -> Result<Vec<Kept>, Vec<Problem>> {
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    // One that is left out, or of which something is, has a mistake, which the draft tells.
    let whole = |name: &str| !draft.missing.contains_key(&pointer("sources", name));
    let sources = draft.sources.iter().filter_map(|(name, spec)| Some((name, spec.as_ref()?)));
    for (name, spec) in sources.filter(|(name, _)| whole(name)) {
        let kind = tables.sources.iter().find(|kind| kind.name == spec.kind.name);
        // Others are not prepared: that may open files.
        match kind.filter(|kind| kind.replay != Replay::Group) {
            Some(kind) => all.push(Kept { source: name.clone(), kind: kind.name, group: None }),
            None => match prepare(tables, &draft.name, base, name, spec, &BTreeSet::new(), &[]) {
                Ok(node) => {
                    let group = node.prepared.group().map(|(c, t)| (c.clone(), t.clone()));
                    all.push(Kept { source: name.clone(), kind: node.kind.name, group });
                }
                Err(found) => problems.extend(found),
            },
        }
    }
    if problems.is_empty() { Ok(all) } else { Err(problems) }
}

/// Sources of one cluster are one member of the group, so they have one client, and read each topic once.
pub(super) fn together(sources: &[SourceNode]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let grouped: Vec<_> = sources
        .iter()
        .filter_map(|node| node.prepared.group().map(|(cluster, topics)| (node, cluster, topics)))
        .collect();
    for (at, (node, cluster, topics)) in grouped.iter().enumerate() {
        let of_cluster = |other: &&(_, &Cluster, _)| other.1.brokers() == cluster.brokers();
        let place = step(&pointer("sources", &node.name), node.kind.name);
        for (other, others_cluster, others) in grouped[..at].iter().filter(of_cluster) {
            if let Err(torn) = Cluster::merge([*others_cluster, *cluster]) {
                let message = format!(
                    "`{}` and `{}` share one client, and these properties have several values: {}",
                    other.name,
                    node.name,
                    torn.join(", ")
                );
                let help = "give them the same value in each source of the cluster";
                problems.push(Problem::new(Code::P009, step(&place, "properties"), message).help(help));
            }
            let named = topics.names().filter_map(|topic| Some((topic, others.entry(topic)?)));
            let theirs = others.names().filter_map(|topic| Some((topic, topics.entry(topic)?)));
            let patterns = topics.given().iter().filter(|topic| others.given().contains(topic));
            let patterns = patterns.map(|pattern| (pattern.as_str(), pattern.as_str()));
            let Some((topic, entry)) = named.chain(theirs).chain(patterns).next() else { continue };
            let by = if entry == topic { String::new() } else { format!(", by the pattern `{entry}`") };
            let message = format!("`{}` and `{}` both read `{topic}`{by}", other.name, node.name);
            let help = "a consumer group reads each record once: let one source read it, and several stages or sinks \
                        read from that source";
            problems.push(Problem::new(Code::P009, step(&place, "topics"), message).help(help));
        }
    }
    problems
}

/// The metadata column of a name.
fn column(name: &str) -> Option<Field> {
    let (ty, nullable) = match name {
        "key" => (DataType::Binary, true),
        "topic" => (DataType::Utf8, false),
        "partition" => (DataType::Int32, false),
        "offset" => (DataType::Int64, false),
        "timestamp" => (DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
        "headers" => (headers_type(), true),
        _ => return None,
    };
    Some(Field::new(format!("_{name}"), ty, nullable))
}

fn append(schema: &SchemaRef, wanted: &[String], known: &[&str], node: &str) -> (SchemaRef, Vec<Problem>) {
    let at = step(node, "metadata");
    let mut fields: Vec<Arc<Field>> = schema.fields().to_vec();
    let mut problems = Vec::new();
    for (i, name) in wanted.iter().enumerate() {
        let at = format!("{at}/{i}");
        match column(name).filter(|_| known.contains(&name.as_str())) {
            None => problems.push(
                Problem::new(Code::C005, at, format!("this source has no metadata `{name}`"))
                    .help(suggestion(name, known.iter().copied(), "metadata")),
            ),
            Some(field) if fields.iter().any(|other| other.name() == field.name()) => problems.push(
                Problem::new(Code::P009, at, format!("there is already a column `{}`", field.name()))
                    .help("rename the column or leave this metadata out"),
            ),
            Some(field) => fields.push(Arc::new(field)),
        }
    }
    (Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())), problems)
}
