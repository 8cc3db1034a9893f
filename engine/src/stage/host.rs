//! The engines, their clock, and loading: bytes to compiled code, through the cache.

use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::aot;
use super::cache::{Artifact, Cache, Key, hex};
use super::compile::{Compiling, Quiet, Watch, compile};
use super::component::Component;
use super::state::State;
use super::ticker::{self, Ticker};
use super::wasi;
use super::wit::{PACKAGE, Stage, StagePre, TRANSFORM, VERSION};
use crate::error::{Code, Error, Result};
use crate::units::{STAGE_COMPILE_LOOK, STAGE_COMPILE_TIME_MAX, STAGE_COMPONENT_BYTES_MAX};

/// Instances that the pool holds, over all stages and lanes. Each reserves address space only (4 GiB and a guard, so
/// that code needs no bounds checks), no memory.
const POOL_INSTANCES: u32 = 2_048;

/// Stack of a call: interpreters nest deeply; half of what Rust gives a thread, so that the host's own frames fit too.
const STACK_BYTES: usize = 1 << 20;

/// Core instances, memories or tables of one component in the pool: a compiled stage has one, with WASI's adapter five,
/// and what the usual Python and JavaScript tools make fits too. A component of more parts would use the pool up, so
/// it runs on demand.
const POOL_PARTS: u32 = 16;

/// The engines and the cache of compiled components; one a process.
pub struct Host {
    pooled: Option<Engines>,
    on_demand: Engines,
    cache: Option<Cache>,
    /// What compiled code depends on besides the component.
    compatibility: [u8; 32],
    /// Who is told of what is compiled.
    watch: Arc<dyn Watch>,
    clock: ticker::Running,
}

/// An engine and what is linked to its components.
struct Engines {
    engine: Engine,
    linker: Linker<State>,
}

/// How a host is set up.
#[derive(Debug, Clone, Default)]
pub struct HostOptions {
    /// Folder of the AOT cache; `None`: compile anew each time.
    pub cache: Option<PathBuf>,
}

/// A component, and what it took to have it.
pub(super) struct Obtained {
    pub(super) component: Component,
    /// Bytes of its machine code.
    pub(super) code: usize,
    /// `None`: the cache had it. Else it was compiled, and whether the cache has it now.
    pub(super) kept: Option<io::Result<()>>,
}

impl Engines {
    fn new(config: &Config) -> wasmtime::Result<Self> {
        let engine = Engine::new(config)?;
        let mut linker = Linker::new(&engine);
        wasi::link(&mut linker)?;
        Stage::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
        Ok(Self { engine, linker })
    }
}

pub(super) fn config() -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true).epoch_interruption(true).max_wasm_stack(STACK_BYTES);
    config
}

fn pooling() -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(POOL_INSTANCES)
        .total_core_instances(POOL_INSTANCES)
        .total_memories(POOL_INSTANCES)
        .total_tables(POOL_INSTANCES)
        .max_core_instances_per_component(POOL_PARTS)
        .max_memories_per_component(POOL_PARTS)
        .max_tables_per_component(POOL_PARTS)
        // Neither fibers nor collected heaps are used.
        .total_stacks(1);
    let mut config = config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

impl Host {
    /// Starts the engines.
    pub fn new(options: HostOptions) -> Result<Arc<Self>> {
        Self::watched(options, Arc::new(Quiet))
    }

    /// The same with somebody who is told of what is compiled.
    pub fn watched(options: HostOptions, watch: Arc<dyn Watch>) -> Result<Arc<Self>> {
        // Where address space is limited there is no pool, and all run on demand.
        let pooled = Engines::new(&pooling())
            .inspect_err(|e| tracing::warn!(reason = %format!("{e:#}"), "no pool of Wasm instances"))
            .ok();
        Self::with_pool(options, pooled, watch)
    }

    fn with_pool(options: HostOptions, pooled: Option<Engines>, watch: Arc<dyn Watch>) -> Result<Arc<Self>> {
        let on_demand =
            Engines::new(&config()).map_err(|e| Error::internal(format!("the Wasm engine: {e:#}")))?;
        let mut hasher = ShaHasher(Sha256::new());
        on_demand.engine.precompile_compatibility_hash().hash(&mut hasher);
        let compatibility = hasher.0.finalize().into();
        let HostOptions { cache } = options;
        let cache = cache.and_then(|folder| Cache::open(&folder));
        let engines = pooled.iter().chain([&on_demand]).map(|e| e.engine.clone()).collect();
        let clock = ticker::Running::start(engines)?;
        Ok(Arc::new(Self { pooled, on_demand, cache, compatibility, watch, clock }))
    }

    /// What ends calls that take too long.
    pub(super) fn ticker(&self) -> &Arc<Ticker> {
        self.clock.ticker()
    }

    /// Compiles a component, or takes it from the cache.
    pub fn load(self: &Arc<Self>, path: &Path) -> Result<Component> {
        self.load_as(path, &file_label(path))
    }

    /// The same for the stage of this name.
    pub fn load_stage(self: &Arc<Self>, path: &Path, stage: &str) -> Result<Component> {
        self.load_as(path, &format!("the stage `{stage}`"))
    }

    fn load_as(self: &Arc<Self>, path: &Path, label: &str) -> Result<Component> {
        let place = |e: Error| e.context(path.display().to_string());
        self.load_labelled(&read(path).map_err(place)?, label).map_err(place)
    }

    /// The same for a component in memory.
    pub fn load_bytes(self: &Arc<Self>, bytes: &[u8]) -> Result<Component> {
        self.load_labelled(bytes, "a component")
    }

    fn load_labelled(self: &Arc<Self>, bytes: &[u8], label: &str) -> Result<Component> {
        let Obtained { component, kept, .. } = self.obtain(bytes, label)?;
        if let Some(Err(reason)) = kept {
            // The cache only saves time.
            let digest = component.digest();
            tracing::warn!(%digest, %reason, "a compiled component cannot be kept in the cache");
        }
        Ok(component)
    }

    /// A component from the cache, or compiled and put there; `label` says whose it is.
    pub(super) fn obtain(self: &Arc<Self>, bytes: &[u8], label: &str) -> Result<Obtained> {
        check_preamble(bytes)?;
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let key = Key::new(&digest, &self.compatibility);
        let cached = self.cache.as_ref().and_then(|cache| cache.get(&key));
        if let Some(artifact) = cached
            && let Ok((component, engines)) = self.deserialize(&artifact)
        {
            let component = self.link(&component, engines, &digest, bytes.len())?;
            tracing::debug!(digest = &**component.digest(), "a component was in the cache");
            return Ok(Obtained { component, code: artifact.bytes().len(), kept: None });
        }
        let compiling = Compiling::new(label, bytes.len(), self.cache.is_some());
        let (look, most) = (STAGE_COMPILE_LOOK, STAGE_COMPILE_TIME_MAX);
        let artifact = compile(&self.on_demand.engine, bytes, look, most, self.watch.begin(&compiling))?;
        let (component, engines) = self
            .deserialize(&artifact)
            .map_err(|e| Error::user(Code::W001, format!("the component cannot be loaded: {e:#}")))?;
        let kept = self.cache.as_ref().map_or(Ok(()), |cache| cache.put(&key, &artifact));
        let component = self.link(&component, engines, &digest, bytes.len())?;
        tracing::debug!(digest = &**component.digest(), "a component was compiled");
        Ok(Obtained { component, code: artifact.bytes().len(), kept: Some(kept) })
    }

    /// Into the pool if it fits there; the code is the same for both engines.
    fn deserialize(
        &self,
        artifact: &Artifact,
    ) -> wasmtime::Result<(wasmtime::component::Component, &Engines)> {
        if let Some(pooled) = &self.pooled {
            match aot::deserialize(&pooled.engine, artifact) {
                Ok(component) => return Ok((component, pooled)),
                Err(e) => tracing::debug!(reason = %format!("{e:#}"), "a component does not fit the pool"),
            }
        }
        Ok((aot::deserialize(&self.on_demand.engine, artifact)?, &self.on_demand))
    }

    fn link(
        self: &Arc<Self>,
        component: &wasmtime::component::Component,
        engines: &Engines,
        digest: &[u8; 32],
        bytes: usize,
    ) -> Result<Component> {
        let ty = component.component_type();
        let imports: Vec<String> = ty.imports(&engines.engine).map(|(name, _)| name.to_owned()).collect();
        check_exports(ty.exports(&engines.engine).map(|(name, _)| name))?;
        check_imports(&imports)?;
        let instance_pre = engines.linker.instantiate_pre(component).map_err(|e| {
            Error::user(Code::W009, format!("the component's imports cannot be satisfied: {e:#}"))
        })?;
        let pre = StagePre::new(instance_pre).map_err(|e| {
            Error::user(Code::W002, format!("`{TRANSFORM}@{VERSION}` has other functions or types: {e:#}"))
                .help("build the stage against the contract's published wit/stage.wit")
        })?;
        let pooled = self.pooled.as_ref().is_some_and(|pooled| std::ptr::eq(pooled, engines));
        Ok(Component::new(Arc::clone(self), pre, hex(digest).into(), bytes, imports, pooled))
    }
}

/// A component that is known by its file alone.
pub(super) fn file_label(path: &Path) -> String {
    format!("`{}`", path.file_name().unwrap_or(path.as_os_str()).to_string_lossy())
}

/// The file of a component, if it is not too large to be one.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let bad = |e: io::Error| Error::user(Code::P004, format!("the component cannot be read: {e}"));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(bad)?;
    file.take(STAGE_COMPONENT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(bad)?;
    if bytes.len() as u64 > STAGE_COMPONENT_BYTES_MAX {
        let message =
            format!("the component is too large: at most {STAGE_COMPONENT_BYTES_MAX} bytes are read");
        return Err(
            Error::user(Code::W013, message).help("build it in release mode, without debug information")
        );
    }
    Ok(bytes)
}

/// Says what a file is that is no component, before the compiler does so in its own words.
fn check_preamble(bytes: &[u8]) -> Result<()> {
    let not =
        |what: &str| Err(Error::user(Code::P004, format!("this is not a WebAssembly component: {what}")));
    match bytes.get(..8) {
        _ if bytes.is_empty() => not("the file is empty"),
        Some([0, b'a', b's', b'm', _, _, 1, 0]) => Ok(()),
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => {
            Err(Error::user(Code::P004, "this is a core WebAssembly module, not a component")
                .help("build it as a component: `pipe stage build`, or `wasm-tools component new`"))
        }
        Some([0, b'a', b's', b'm', ..]) => not("a version of WebAssembly that is not known"),
        _ => not("it does not begin as WebAssembly does"),
    }
}

/// The contract is looked for under its exact name: a near version would fail on types, with a worse message.
fn check_exports<'a>(exports: impl Iterator<Item = &'a str>) -> Result<()> {
    let wanted = format!("{TRANSFORM}@{VERSION}");
    let mut near = None;
    for name in exports {
        if name == wanted {
            return Ok(());
        }
        if name.split('@').next() == Some(TRANSFORM) {
            near = Some(name.to_owned());
        }
    }
    let message = match near {
        Some(near) => format!("the component exports `{near}`, and this host knows `{wanted}`"),
        None => format!("the component does not export `{wanted}`"),
    };
    Err(Error::user(Code::W002, message).help("a stage implements the world `pipe:stage/stage`"))
}

/// Packages of WASI 0.2 that are linked. Importing them is no use of them: what a language's library brings along is
/// there, with nothing behind it but what is granted.
const WASI: &[&str] = &["cli", "clocks", "filesystem", "io", "random", "sockets"];

fn check_imports(imports: &[String]) -> Result<()> {
    for name in imports {
        let known = ["host", "arrow"].map(|interface| format!("{PACKAGE}{interface}@{VERSION}"));
        let wasi = name.strip_prefix("wasi:").and_then(|rest| rest.split('/').next());
        if wasi.is_some_and(|package| WASI.contains(&package)) || known.contains(name) {
            continue;
        }
        if name.starts_with(PACKAGE) {
            let known = known.join("` and `");
            return Err(Error::user(
                Code::W002,
                format!("the component imports `{name}`, and this host knows `{known}`"),
            ));
        }
        return Err(Error::user(
            Code::W009,
            format!("the component imports `{name}`, which no stage is given"),
        )
        .help(
            "a stage gets `pipe:stage/host` and WASI 0.2: environment and folders as its `grants:` say, no network",
        ));
    }
    Ok(())
}

/// Feeds what is hashed to SHA-256, so that the hash is the same in every process.
struct ShaHasher(Sha256);

impl Hasher for ShaHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        u64::from_le_bytes(self.0.clone().finalize()[..8].try_into().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::*;

    #[test]
    fn one_artifact_serves_the_pool_and_the_on_demand_engine() {
        let dir = tempfile::tempdir().unwrap();
        let options = HostOptions { cache: Some(dir.path().join("cache")) };
        let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guests/prebuilt/crossing.wasm");
        let pooled = Host::new(options.clone()).unwrap();
        assert!(pooled.load(&guest).unwrap().pooled());
        let on_demand = Host::with_pool(options.clone(), None, Arc::new(Quiet)).unwrap();
        assert_eq!(pooled.compatibility, on_demand.compatibility);
        let component = on_demand.load(&guest).unwrap();
        assert!(!component.pooled());
        let limits = Limits::defaults_for(component.bytes());
        assert_eq!(component.describe(&limits).unwrap().name, "crossing");
        let entries = std::fs::read_dir(options.cache.unwrap()).unwrap().count();
        assert_eq!(entries, 1, "the second host compiled nothing of its own");
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(STAGE_COMPONENT_BYTES_MAX + 1).unwrap();
        assert_eq!(read(file.path()).unwrap_err().code(), Code::W013);
    }

    #[test]
    fn imports_that_no_stage_is_given_are_refused() {
        let check = |name: &str| check_imports(&[name.to_owned()]).map_err(|e| e.code());
        assert_eq!(check("wasi:io/poll@0.2.6"), Ok(()));
        assert_eq!(check("pipe:stage/host@0.1.0"), Ok(()));
        assert_eq!(check("pipe:stage/host@0.2.0"), Err(Code::W002));
        assert_eq!(check("acme:secret/vault"), Err(Code::W009));
        assert_eq!(check("wasi:http/outgoing-handler@0.2.6"), Err(Code::W009));
        assert_eq!(check("wasi:nn/graph@0.2.0"), Err(Code::W009));
    }
}
