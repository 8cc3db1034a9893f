//! A compiled component: what it says of itself, and instances of it.

use std::sync::Arc;

use wasmtime::Store;

use super::grants::Grants;
use super::host::Host;
use super::invoke::{answer, arm};
use super::limits::Limits;
use super::log::plain;
use super::outcome::CallFailure;
use super::schema;
use super::state::State;
use super::wit::StagePre;
use super::wit::exports::pipe::stage::transform as wit;
use crate::error::{Code, Error, Result};

/// Bytes of each text of a description.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// A compiled component. Cheap to clone.
#[derive(Clone)]
pub struct Component(Arc<Inner>);

struct Inner {
    /// Keeps the engines and their clock alive.
    host: Arc<Host>,
    pre: StagePre<State>,
    digest: Arc<str>,
    bytes: usize,
    imports: Vec<String>,
    pooled: bool,
}

/// What a stage says of itself.
#[derive(Debug, Clone)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One sentence.
    pub summary: String,
    /// JSON Schema of its configuration; empty when it takes none.
    pub config_schema: String,
    /// SDK and its version.
    pub sdk: String,
}

impl Component {
    pub(super) fn new(
        host: Arc<Host>,
        pre: StagePre<State>,
        digest: Arc<str>,
        bytes: usize,
        imports: Vec<String>,
        pooled: bool,
    ) -> Self {
        Self(Arc::new(Inner { host, pre, digest, bytes, imports, pooled }))
    }

    /// SHA-256 of the component's bytes, in hexadecimal.
    pub fn digest(&self) -> &Arc<str> {
        &self.0.digest
    }

    /// Size of the component's file, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.bytes
    }

    /// Names of the interfaces that it imports.
    pub fn imports(&self) -> &[String] {
        &self.0.imports
    }

    /// Whether its instances come from the pool (else from the on-demand allocator).
    pub fn pooled(&self) -> bool {
        self.0.pooled
    }

    /// Asks the stage what it is. It is granted nothing for that: what it says depends on nothing else.
    pub fn describe(&self, limits: &Limits) -> Result<Description> {
        let node: Arc<str> = "describe".into();
        let failed = |e: CallFailure| e.into_error().context("`describe` of the stage");
        let (mut store, transform) = self.start(&node, limits, &Arc::default()).map_err(failed)?;
        arm(&mut store, limits.start_time());
        let result = transform.call_describe(&mut store).map(Ok);
        let said = answer(&store, result).map_err(failed)?;
        if !said.config_schema.trim().is_empty() {
            schema::check(&said.config_schema).map_err(|e| {
                Error::user(
                    Code::W007,
                    format!("the stage's `config-schema` is no JSON Schema: {}", plain(&e, 1_000)),
                )
            })?;
        }
        let short = |text: String| plain(&text, TEXT_BYTES_MAX);
        Ok(Description {
            name: short(said.name),
            version: short(said.version),
            summary: short(said.summary),
            config_schema: said.config_schema,
            sdk: short(said.sdk),
        })
    }

    /// A fresh instance, not bound yet.
    pub(super) fn start(
        &self,
        node: &Arc<str>,
        limits: &Limits,
        grants: &Arc<Grants>,
    ) -> Result<(Store<State>, wit::Guest), CallFailure> {
        let engine = self.0.pre.engine();
        let ticker = Arc::clone(self.0.host.ticker());
        let mut store = Store::new(engine, State::new(node, limits, Arc::clone(grants), ticker));
        store.limiter(|state| &mut state.meter);
        // Each call, in either direction, may hand over this many bytes at most: lists within lists may all point at
        // one buffer, so the guest's memory does not bound them.
        store.set_hostcall_fuel(limits.output_bytes);
        arm(&mut store, limits.start_time());
        let stage = self.0.pre.instantiate(&mut store).map(Ok);
        let stage = answer(&store, stage)?;
        let transform = stage.pipe_stage_transform().clone();
        Ok((store, transform))
    }
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component").field("digest", &self.digest()).finish_non_exhaustive()
    }
}

/// An error of a component that was asked before the pipeline runs.
pub(super) fn refused(failure: CallFailure) -> Error {
    failure.into_error().context("`bind` of the stage")
}
