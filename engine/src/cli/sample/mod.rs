//! What `columns`, `init` and `peek` look at: a source of a pipeline, a data file, or a topic. No group is joined, and no
//! position is kept or committed.
//!
//! A data file or a topic becomes the pipeline that `pipe init` would write (`draft`), so that variables, formats and
//! mistakes are treated in one way. `files` and `topics` read records, `sniff` finds out what they are.

pub(super) mod draft;
mod files;
mod sniff;
mod topics;

use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use clap::ValueHint;
use clap::builder::PossibleValuesParser;
use serde_json::{Map, Value};

use super::load::{Form, rendered_draft};
use super::say;
use crate::config::spec::{KindSpec, SourceSpec};
use crate::config::{Loaded, Variables, load, load_text, step, suggestion};
use crate::connector::kafka::client::scan::Record;
use crate::connector::kafka::client::{Cluster, Topics};
use crate::error::{Code, Error, Result};
use crate::format::FORMATS;
use crate::plan::{self, DeadLetters, Tables};
use crate::problem::Problem;
use draft::Draft;
pub(super) use topics::From;

/// What is looked at.
#[derive(Debug, clap::Args)]
pub(super) struct Where {
    /// A pipeline file (`.yaml`, `.yml`), a data file, or with `--brokers` a topic
    #[arg(default_value = "pipeline.yaml", value_name = "PIPELINE|DATA|TOPIC", value_hint = ValueHint::AnyPath)]
    pub place: String,
    /// Of a pipeline the source [default: the only one]
    pub source: Option<String>,
    #[command(flatten)]
    pub how: How,
    /// Overrides a key of the pipeline: `--set lanes=2`. Variables are expanded as in the file
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// How a data file or a topic is read.
#[derive(Debug, clap::Args)]
pub(super) struct How {
    /// Read the topic of this cluster: `host:port` of some of its brokers, with commas between
    #[arg(long, value_name = "ADDRESSES", value_hint = ValueHint::Hostname)]
    pub brokers: Option<String>,
    /// A property of librdkafka, such as `security.protocol=SASL_SSL`; may be given several times. Secrets stay out of
    /// the list of processes as `'sasl.password=${file:/run/secrets/kafka}'`
    #[arg(long, value_name = "KEY=VALUE", requires = "brokers")]
    pub property: Vec<String>,
    /// The format of a data file or a topic [default: found out]
    #[arg(long, value_parser = PossibleValuesParser::new(FORMATS.iter().filter(|kind| kind.reads).map(|kind| kind.name)))]
    pub format: Option<String>,
}

/// Where the records are.
enum Place {
    Files { options: Value, base: PathBuf },
    Topics { cluster: Cluster, topics: Topics },
}

/// What was found to look at.
pub(super) struct Found {
    /// The pipeline file; `None`: there is none, and `draft` says what one would be.
    pub pipeline: Option<PathBuf>,
    /// The pipeline that a data file or a topic would have.
    pub draft: Option<Draft>,
    /// Name of the source.
    pub source: String,
    /// The format that is named, or told by the file.
    pub format: Option<KindSpec>,
    place: Place,
}

/// Records that were looked at.
pub(super) struct Sample {
    /// Where they came from, in words.
    pub of: String,
    /// The format that they are in.
    pub format: KindSpec,
    /// They; of a file the topic is its path and the offset the number of the record. Containers have none.
    pub records: Vec<Record>,
    /// The rows of CSV, all columns text, and of containers.
    pub rows: Vec<RecordBatch>,
    /// Records that are not what the format says, and the first of the reasons.
    pub bad: (u64, Option<String>),
    /// Whether they are of files.
    pub is_file: bool,
    /// Whether a bound on bytes ended it.
    pub is_cut: bool,
    /// What is worth knowing about them.
    pub note: Option<String>,
}

impl Where {
    /// Finds it; `None` when the pipeline file is wrong, which has been printed.
    pub fn find(&self) -> Result<Option<Found>> {
        if self.how.brokers.is_some() || !is_pipeline(Path::new(&self.place)) {
            if let Some(source) = &self.source {
                let message = format!("`{source}` is named as a source, and `{}` is no pipeline", self.place);
                return Err(Error::user(Code::C004, message)
                    .help("a pipeline file ends in `.yaml` or `.yml`; leave the source out otherwise"));
            }
            return self.how.find(&self.place).map(Some);
        }
        let path = PathBuf::from(&self.place);
        let loaded = load(&path, &plan::schema::pipeline(), &self.set)?;
        let Some(source) = self.choose(&loaded)? else {
            let (text, _) = rendered_draft(&path, &loaded, &[], Form::Auto);
            say(&text);
            return Ok(None);
        };
        let spec = loaded.draft.sources.get(&source).and_then(Option::as_ref);
        let Some(spec) = spec else { return Ok(None) };
        let found = Found::of(&loaded, &source, spec)?;
        Ok(Some(Found { pipeline: Some(path), ..found }))
    }

    /// The dead letters of a pipeline.
    pub fn find_letters(&self) -> Result<Option<Found>> {
        let path = PathBuf::from(&self.place);
        let loaded = load(&path, &plan::schema::pipeline(), &self.set)?;
        let working =
            std::env::current_dir().map_err(|e| Error::internal(format!("no working folder: {e}")))?;
        let found = plan::dead_letters(&Tables::default(), &loaded.draft, &loaded.document.base(), &working);
        let (place, problems) = match found {
            Ok(place) => (Some(place), Vec::new()),
            Err(problems) => (None, problems),
        };
        let (text, wrong) = rendered_draft(&path, &loaded, &problems, Form::Auto);
        say(&text);
        let json = Some(KindSpec { name: "json".to_owned(), options: Value::Object(Map::new()) });
        let source = loaded.draft.name;
        let found = |place, format| Found { pipeline: None, draft: None, source, format, place };
        Ok(match place.filter(|_| !wrong) {
            None => None,
            Some(DeadLetters::File(path)) => {
                let options = serde_json::json!({ "path": glob::Pattern::escape(&path.to_string_lossy()) });
                Some(found(Place::Files { options, base: PathBuf::from(".") }, json))
            }
            Some(DeadLetters::Kafka(_, topic)) => {
                let topics = Topics::new(vec![topic.name], &mut Vec::new());
                Some(found(Place::Topics { cluster: topic.cluster, topics }, None))
            }
        })
    }

    /// The source that is meant; `None`: the file has mistakes there.
    fn choose(&self, loaded: &Loaded) -> Result<Option<String>> {
        let sources = &loaded.draft.sources;
        let names: Vec<&str> = sources.keys().map(String::as_str).collect();
        let name = match (&self.source, names.as_slice()) {
            (Some(name), _) if sources.contains_key(name) => name.clone(),
            (_, []) => return Ok(None),
            (Some(name), names) => {
                let message = format!("the pipeline has no source `{name}`");
                let help = suggestion(name, names.iter().copied(), "sources");
                return Err(Error::user(Code::C005, message).help(help));
            }
            (None, [one]) => (*one).to_owned(),
            (None, names) => {
                let message = format!("the pipeline has {} sources", names.len());
                let help = format!("say which behind the file: {}", names.join(", "));
                return Err(Error::user(Code::C004, message).help(help));
            }
        };
        Ok(sources.get(&name).is_some_and(Option::is_some).then_some(name))
    }
}

impl How {
    /// Finds a data file or, with brokers, a topic.
    pub fn find(&self, place: &str) -> Result<Found> {
        let draft = match &self.brokers {
            Some(brokers) => Draft::of_topic(brokers, place, &self.property)?,
            None => Draft::of_file(Path::new(place), self.format.as_deref())?,
        };
        let get = |name: &str| std::env::var(name).ok();
        let base = Path::new(".");
        let variables = Variables { get: &get, base };
        let text = draft.text(&[]);
        let loaded =
            load_text(Path::new("pipeline.yaml"), &text, &plan::schema::pipeline(), &[], &variables)?;
        let spec = loaded.draft.sources.get(&draft.name).and_then(Option::as_ref);
        let Some(spec) = spec else {
            let first = loaded.diagnose(&[], &[]).into_iter().next();
            let first = first.map_or_else(String::new, |first| first.message);
            return Err(Error::user(Code::C005, format!("`{place}` cannot be looked at: {first}")));
        };
        let mut found = Found::of(&loaded, &draft.name, spec)?;
        if let (Some(name), true) = (&self.format, self.brokers.is_some()) {
            found.format = Some(KindSpec { name: name.clone(), options: Value::Object(Map::new()) });
        }
        Ok(Found { draft: Some(draft), ..found })
    }
}

/// Whether a path is one of a pipeline file: by its ending.
pub(super) fn is_pipeline(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml")
}

/// The first of several mistakes as an error: the command line has no lines to show them in.
fn first(problems: Vec<Problem>) -> Error {
    match problems.into_iter().next() {
        Some(Problem { code, message, help: Some(help), .. }) => Error::user(code, message).help(help),
        Some(Problem { code, message, .. }) => Error::user(code, message),
        None => Error::internal("a mistake without a message"),
    }
}

impl Found {
    fn of(loaded: &Loaded, source: &str, spec: &SourceSpec) -> Result<Self> {
        let options = &spec.kind.options;
        let base = loaded.document.base();
        let place = match spec.kind.name.as_str() {
            "kafka" => {
                let (cluster, topics) = topics::parse(options).map_err(first)?;
                Place::Topics { cluster, topics }
            }
            "file" => Place::Files { options: options.clone(), base },
            other => {
                let message = format!(
                    "the source `{source}` is of the kind `{other}`, which has no records to look at"
                );
                return Err(Error::user(Code::C005, message).help("`file` and `kafka` sources have"));
            }
        };
        let failed = step(&step("/sources", source), "format");
        let given = spec.format.clone().filter(|_| !loaded.document.is_from_outside(&failed));
        let format = match (given, &place) {
            (Some(format), _) => Some(format),
            (None, Place::Files { options, .. }) => sniff::by_path(options),
            (None, Place::Topics { .. }) => None,
        };
        Ok(Self { pipeline: None, draft: None, source: source.to_owned(), format, place })
    }

    /// Reads so many records at most.
    pub fn read(&self, records: u64, from: From) -> Result<Sample> {
        match &self.place {
            Place::Files { options, base } => files::read(self, options, base, records),
            Place::Topics { cluster, topics } => topics::read(self, cluster, topics, records, from),
        }
    }

    /// Whether it lies in topics.
    pub fn is_topic(&self) -> bool {
        matches!(self.place, Place::Topics { .. })
    }
}
