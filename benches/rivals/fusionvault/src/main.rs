//! The filter job on FusionVault with its Wasm step, with its defaults.
//!
//! `rival-fusionvault run BROKERS IN OUT FOLDER` runs until it is told to end; FOLDER is for its checkpoints.
//! `rival-fusionvault component MODULE COMPONENT` makes a component of the guest's core module.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fv_streams::Pipeline;
use tokio::signal::unix::{SignalKind, signal};

/// Where the component and its manifest are.
const TRANSFORMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/transforms");

const PIPELINE: &str = r#"
name = "<OUTPUT>"

[brokers]
default = "<BROKERS>"

[settings]
STREAM_OFFSET_RESET = "earliest"
STREAM_STATE_STORE = "<FOLDER>/state"
FV_TRANSFORMS_DIR = "<TRANSFORMS>"

[datasets.in]
connector = "kafka"
topic = "<INPUT>"
schema = [
  { name = "ts", type = "int" },
  { name = "user_id", type = "string" },
  { name = "country", type = "string" },
  { name = "url", type = "string" },
  { name = "status", type = "int" },
  { name = "latency_ms", type = "float" },
  { name = "bytes", type = "int" },
]

[datasets.out]
sink = "kafka"
topic = "<OUTPUT>"

[[transforms]]
inputs = ["in"]
output = "out"

  [[transforms.steps]]
  op = "wasm"
  ref = "badRequests"
"#;

const MANIFEST: &str = r#"
id = "badRequests"
version = "0.1.0"
impl = "wasm"
entry = "main.wasm"

[[inputs]]
columns = [
  { name = "ts", type = "int64" },
  { name = "user_id", type = "utf8" },
  { name = "country", type = "utf8" },
  { name = "url", type = "utf8" },
  { name = "status", type = "int64" },
  { name = "latency_ms", type = "float64" },
  { name = "bytes", type = "int64" },
]

[output]
columns = [
  { name = "ts", type = "int64" },
  { name = "user_id", type = "utf8" },
  { name = "country", type = "utf8" },
  { name = "url", type = "utf8" },
  { name = "status", type = "int64" },
  { name = "latency_ms", type = "float64" },
  { name = "bytes", type = "int64" },
  { name = "slow", type = "bool" },
  { name = "rid", type = "utf8" },
]
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["run", brokers, input, output, folder] => run(brokers, input, output, folder),
        ["component", module, component] => componentize(Path::new(module), Path::new(component)),
        _ => Err("usage: rival-fusionvault run BROKERS IN OUT FOLDER | component MODULE COMPONENT".into()),
    }
}

fn run(brokers: &str, input: &str, output: &str, folder: &str) -> Result<(), Box<dyn Error>> {
    let values = [
        ("<TRANSFORMS>", TRANSFORMS),
        ("<BROKERS>", brokers),
        ("<FOLDER>", folder),
        ("<INPUT>", input),
        ("<OUTPUT>", output),
    ];
    let text = values.iter().fold(PIPELINE.to_owned(), |text, (name, value)| text.replace(name, value));
    let pipeline = Pipeline::parse(&text, "the pipeline")?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let mut end = signal(SignalKind::terminate())?;
        tokio::spawn(async move {
            end.recv().await;
            flag.store(true, Ordering::Relaxed);
        });
        Ok(pipeline.run(stop).await?)
    })
}

fn componentize(module: &Path, component: &Path) -> Result<(), Box<dyn Error>> {
    let encoder = wit_component::ComponentEncoder::default().validate(true);
    let bytes = encoder.module(&fs::read(module)?)?.encode()?;
    let folder = component.parent().ok_or("a file in a folder is wanted")?;
    fs::create_dir_all(folder)?;
    fs::write(folder.join("transform.toml"), MANIFEST)?;
    fs::write(component, bytes)?;
    Ok(())
}
