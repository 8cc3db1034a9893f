//! The one place that trusts machine code: what the cache gave back, after the cache checked it.

use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache::Artifact;

/// Loads compiled code. An error says that this engine does not take it (other version, other settings, or a
/// component that does not fit a pool).
#[expect(unsafe_code, reason = "wasmtime cannot check that machine code is what its own compiler made")]
pub(super) fn deserialize(engine: &Engine, artifact: &Artifact) -> wasmtime::Result<Component> {
    // SAFETY: an `Artifact` is made in two places only: from the bytes that this process's own engine has just
    // compiled, and from a cache file that is owned by the worker's user, lies in a folder that nobody else can
    // write, and carries a checksum and the whole key. A stage's author cannot place bytes in either.
    unsafe { Component::deserialize(engine, artifact.bytes()) }
}
