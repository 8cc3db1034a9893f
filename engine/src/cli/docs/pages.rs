//! The pages, each as text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;

use super::options::table;
use crate::config::value_of;
use crate::connector::kafka::client;
use crate::connector::position::Replay;
use crate::connector::{SINKS, SOURCES};
use crate::error::{Code, Error, Result};
use crate::format::FORMATS;
use crate::plan::schema;
use crate::stage::{Host, Limits};

/// The sentence that every page ends with.
const MADE: &str = "\n---\n\nMade by `pipe docs`; a test compares. Change the source, not this page.\n";

/// A page of the reference.
pub(super) struct Page {
    pub(super) file: String,
    pub(super) title: String,
    summary: String,
    pub(super) text: String,
}

impl Page {
    pub(super) fn new(file: String, title: String, summary: &str, body: &str) -> Self {
        let summary = sentence(summary);
        let text = format!("# {title}\n\n{summary}\n\n{}\n{MADE}", body.trim());
        Self { file, title, summary, text }
    }
}

fn sentence(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() || text.ends_with('.') { text } else { format!("{text}.") }
}

fn unlinked(_: &str) -> Option<String> {
    None
}

/// The table of a kind's options, from what makes their schema and from its example.
fn options(name: &str, make: fn(&mut SchemaGenerator) -> Schema, example: &str) -> String {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = make(&mut generator).to_value();
    let definitions = generator.take_definitions(true);
    if let Value::Object(map) = &mut schema {
        map.insert("$defs".into(), Value::Object(definitions));
    }
    let example = value_of(example).unwrap_or_default();
    table(&schema, &schema, example.get(name).unwrap_or(&Value::Null), &unlinked)
}

fn block(section: &str, name: &str, example: &str) -> String {
    let mut out = format!("```yaml\n{section}:\n  {name}:\n");
    for line in example.trim_end().lines() {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "    {line}");
    }
    out + "```\n"
}

/// A page for each source, sink and format of the tables.
pub(super) fn kinds() -> Vec<Page> {
    let mut pages = Vec::new();
    for kind in SOURCES {
        let keeps = match kind.replay {
            Replay::Group => "the consumer group on the cluster",
            Replay::State => "the worker's state folder (`--state`)",
        };
        let metadata = kind.metadata.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let metadata = if metadata.is_empty() { "none".to_owned() } else { metadata };
        let format = match (kind.needs_format, kind.default_format) {
            (_, Some(default)) => format!("`format:` is `{}` where it is left out.", default().0),
            (true, None) => "It needs a `format:`; a path's ending may tell it.".to_owned(),
            (false, None) => "It needs no `format:`.".to_owned(),
        };
        // Of those that keep their positions in a group keys mean something: they come from a log.
        let tombstones = match kind.replay {
            Replay::Group => {
                "- A record without a value is a tombstone: `on_tombstone:` of the source says whether it passes, is a \
                 row of nulls, is skipped or is a dead letter ([formats](../formats.md#tombstones)).\n"
            }
            Replay::State => "",
        };
        let body = format!(
            "{}\n## Options\n\nUnder `{}:`.\n\n{}\n## What holds\n\n- {format}\n- Metadata that can become columns: \
             {metadata}.\n{tombstones}- Committed positions are kept by {keeps}.\n",
            block("sources", "in", kind.example),
            kind.name,
            options(kind.name, kind.options, kind.example),
        );
        pages.push(Page::new(
            format!("source-{}.md", kind.name),
            format!("Source `{}`", kind.name),
            kind.summary,
            &body,
        ));
    }
    for kind in SINKS {
        let format = match (kind.needs_format, kind.default_format) {
            (_, Some(default)) => format!("`format:` is `{default}` where it is left out."),
            (true, None) => "It needs a `format:`; a path's ending may tell it.".to_owned(),
            (false, None) => "It needs no `format:`.".to_owned(),
        };
        let durable = if kind.durable_on_close {
            "\n- Its files are durable when they are closed, at every commit: `delivery.commit_interval` is 30 s by \
             default. A run of one lane that ends commits once, and makes one file of exactly the name in `path:`, unless \
             `roll` or `delivery.commit_interval` asks for several."
        } else {
            ""
        };
        let body = format!(
            "{}\n## Options\n\nUnder `{}:`.\n\n{}\n## What holds\n\n- {format}{durable}\n",
            block("sinks", "out", &format!("from: in\n{}", kind.example)),
            kind.name,
            options(kind.name, kind.options, kind.example),
        );
        pages.push(Page::new(
            format!("sink-{}.md", kind.name),
            format!("Sink `{}`", kind.name),
            kind.summary,
            &body,
        ));
    }
    for kind in FORMATS {
        let endings = kind.extensions.iter().map(|e| format!("`.{e}`")).collect::<Vec<_>>().join(", ");
        let endings =
            if endings.is_empty() { String::new() } else { format!("Endings that tell it: {endings}.\n\n") };
        let body = format!(
            "{endings}```yaml\nformat: {}\n```\n\n## Options\n\nUnder `format: {{ {}: .. }}`.\n\n{}",
            kind.name,
            kind.name,
            options(kind.name, kind.options, "")
        );
        pages.push(Page::new(
            format!("format-{}.md", kind.name),
            format!("Format `{}`", kind.name),
            kind.summary,
            &body,
        ));
    }
    pages
}

/// The page of the pipeline file.
pub(super) fn pipeline() -> Page {
    let root = schema::pipeline();
    let linked = |key: &str| {
        let inner =
            |names: &[&str], kind: &str| names.contains(&key).then(|| format!("[`{key}`]({kind}-{key}.md)"));
        let sources: Vec<&str> = SOURCES.iter().map(|k| k.name).collect();
        inner(&sources, "source")
    };
    let linked_sinks =
        |key: &str| SINKS.iter().any(|k| k.name == key).then(|| format!("[`{key}`](sink-{key}.md)"));
    let empty = Value::Null;
    let section =
        |name: &str| root.pointer(&format!("/properties/{name}/additionalProperties")).unwrap_or(&empty);
    let whole = table(&root, &root, &Value::Null, &|key: &str| {
        ["sources", "stages", "sinks"].contains(&key).then(|| format!("mapping, [below](#{key})"))
    });
    let mut body = String::from(
        "Relative paths are relative to the file. In values, `${VAR}`, `${VAR:-default}` and `${file:path}` are \
         replaced after the file is parsed, so that a value never changes the structure; `$${` writes `${`. Of the file \
         that `${file:path}` names, one line end at its end is cut, and an empty one is refused. `pipe schema` prints \
         the JSON Schema for editors.\n\n## The file\n\n",
    );
    body.push_str(&whole);
    for (name, text, linked) in [
        (
            "sources",
            "Each source has a name and exactly one kind.",
            &linked as &dyn Fn(&str) -> Option<String>,
        ),
        ("stages", "Each stage has a name, and either `wasm` or `use`.", &unlinked),
        ("sinks", "Each sink has a name and exactly one kind.", &linked_sinks),
    ] {
        // Writing to a string cannot fail.
        let _ =
            write!(body, "\n## {name}\n\n{text}\n\n{}", table(section(name), &root, &Value::Null, linked));
    }
    body.push_str(GRANTS);
    Page::new("pipeline.md".into(), "The pipeline file".into(), "Every key of a pipeline file.", &body)
}

const GRANTS: &str = "
## What a stage may use

A stage sees the columns that it reads, its configuration, and nothing else. Components of some languages import all of
WASI because their library does; that is allowed, and there is nothing behind it: no variables, no files, no network.
`grants:` puts something there:

```yaml
stages:
  geo:
    from: requests
    wasm: geo.wasm
    grants:
      env: { REGION: \"${REGION}\", TABLE: eu }
      folders: { /data: ./geo-data }
```

- `env`: the variables that the stage sees, with their values. `pipe check` and `pipe explain` print the names only.
- `folders`: what the stage sees as `/data` is the folder, read only: nothing in it can be made, changed, renamed,
  linked or removed, and no path or link leads out of it. Only plain files and folders are opened: a pipe, a socket or a
  device is refused. The folder is opened once, when the worker starts. Folders of the kernel (`/proc`, `/sys`, `/dev`)
  are refused. A read cannot be interrupted by `limits.time`, so take folders of a local disk: one on a network file
  system that hangs holds the lane as it would any reader.
- A stage is a pure function of its columns: the engine may drop an instance and repeat a batch at any time, each lane
  has an instance, and each reads for itself. So what a granted folder holds must not change while the pipeline runs;
  for new data start the worker again.
- A component that imports an interface that no stage can be given (`wasi:http`, a vendor's own) is refused: W009. One
  that tries to open a socket when it is bound is warned of: W018. A grant that the component does not import is
  warned of: W017.
- `pipe check` sees what a component imports, and what it reaches for in `describe` and `bind`: it calls these two and
  no others. What a stage reaches for only in `process` is not seen: without a grant it finds nothing there, and what
  it makes of that is in its dead letters and its log.
- `describe` is granted nothing.
";

/// The page of librdkafka's errors: what each means and what a worker does.
pub(super) fn kafka_errors() -> Page {
    let mut body = String::from(
        "A worker sorts every error that librdkafka or a broker gives by one table. An error of ours, such as S002, carries \
         the words that stand here. A broker that is newer than the client may send a code that is not listed: it is taken \
         for `Unknown`.\n\n## What a worker does\n\n| meaning | |\n|---|---|\n",
    );
    // Writing to a string cannot fail.
    for meaning in client::Meaning::ALL {
        let _ = writeln!(body, "| {} | {} |", meaning.name(), meaning.deed());
    }
    body.push_str("\n## The errors\n\n| error | number | meaning | why |\n|---|---|---|---|\n");
    for (code, meaning, reason) in client::TABLE {
        let _ = writeln!(body, "| `{code:?}` | {} | {} | {reason} |", *code as i32, meaning.name());
    }
    let summary = "What each error of librdkafka and of the brokers means, and what a worker does about it.";
    Page::new("kafka-errors.md".into(), "Errors of Kafka".into(), summary, &body)
}

/// The page of the command line.
pub(super) fn command_line(command: &clap::Command) -> Page {
    let mut command = command.clone().term_width(100);
    command.build();
    let mut body = String::new();
    help(&mut command, "pipe", &mut body);
    let summary = "Each command with its arguments, as `--help` prints them.";
    Page::new("command-line.md".into(), "The command line".into(), summary, &body)
}

fn help(command: &mut clap::Command, path: &str, body: &mut String) {
    // Writing to a string cannot fail.
    let _ = write!(body, "## {path}\n\n```text\n");
    for line in command.render_long_help().to_string().trim_end().lines() {
        let _ = writeln!(body, "{}", line.trim_end());
    }
    body.push_str("```\n\n");
    let inner: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for name in inner {
        if let Some(inner) = command.find_subcommand_mut(&name)
            && !inner.is_hide_set()
            && name != "help"
        {
            help(inner, &format!("{path} {name}"), body);
        }
    }
}

/// What a page needs of a stage's manifest.
#[derive(Deserialize)]
struct Manifest {
    name: String,
    language: String,
    summary: String,
    #[serde(default)]
    limits: BTreeMap<String, String>,
}

/// The first block of YAML of a page.
fn first_yaml(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("```yaml\n")?;
    rest.split_once("```").map(|(block, _)| block)
}

/// The page of a ready-made stage: its manifest, and what its component says of itself.
pub(super) fn stage(host: &Arc<Host>, manifest: &Path, components: &[PathBuf]) -> Result<Page> {
    let wrong = |e: String| Error::user(Code::P004, format!("`{}`: {e}", manifest.display()));
    let text = fs::read_to_string(manifest).map_err(|e| wrong(e.to_string()))?;
    let Manifest { name, language, summary, limits } =
        toml::from_str(&text).map_err(|e| wrong(e.message().to_owned()))?;
    let found =
        components.iter().map(|folder| folder.join(format!("{name}.wasm"))).find(|path| path.is_file());
    let Some(path) = found else {
        return Err(wrong(format!("there is no component `{name}.wasm`")).help("build it: scripts/guests.sh"));
    };
    let component = host.load(&path)?;
    let said = component.describe(&Limits::defaults_for(component.bytes()))?;
    let schema = match said.config_schema.trim() {
        "" => Value::Null,
        text => serde_json::from_str(text).map_err(|e| wrong(format!("its schema: {e}")))?,
    };
    let folder = manifest.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let imports = component.imports().iter().filter(|name| !name.starts_with("pipe:stage/"));
    let imports = imports.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let imports = if imports.is_empty() { "nothing but the host's log".to_owned() } else { imports };
    let mut bounds = String::new();
    for (key, value) in &limits {
        // Writing to a string cannot fail.
        let _ = write!(bounds, "{}`{key}: {value}`", if bounds.is_empty() { "" } else { ", " });
    }
    let bounds = if bounds.is_empty() { "the defaults".to_owned() } else { bounds };
    let readme = manifest.with_file_name("README.md");
    let readme = fs::read_to_string(&readme).map_err(|e| wrong(format!("`{}`: {e}", readme.display())))?;
    let example = first_yaml(&readme).ok_or_else(|| wrong("its README has no example in YAML".into()))?;
    let id = name.replace('-', "_");
    let example = block("stages", &id, &format!("from: in\n{example}"));
    let body = format!(
        "{example}\nMore examples and their \
         meaning are in [its README](../../stages/{folder}/README.md).\n\n## Configuration\n\nUnder `config:`.\n\n{}\n## \
         What holds\n\n- It is written in {language}, and imports {imports}.\n- Limits that it is content with: \
         {bounds}.\n",
        table(&schema, &schema, &Value::Null, &unlinked),
    );
    Ok(Page::new(format!("stage-{name}.md"), format!("Stage `{name}`"), &summary, &body))
}

/// The page that names all others.
pub(super) fn index(pages: &[Page]) -> Page {
    let mut body = String::from("| page | |\n|---|---|\n");
    for Page { file, title, summary, .. } in pages {
        // Writing to a string cannot fail.
        let _ = writeln!(body, "| [{title}]({file}) | {summary} |");
    }
    let summary =
        "Every key, option and command. Errors have a catalogue of their own: [errors.md](../errors.md).";
    Page::new("README.md".into(), "Reference".into(), summary, &body)
}
