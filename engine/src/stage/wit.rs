//! The bindings that wasmtime generates from `wit/stage.wit`.
//!
//! Types that go in borrow (`ArrayParam<'_>`), so that lowering a batch is one copy into the guest's memory; types
//! that come back are owned (`ArrayResult`).

wasmtime::component::bindgen!({
    path: "../wit",
    world: "stage",
    ownership: Borrowing { duplicate_if_necessary: true },
});

/// The version of the contract that this host knows.
pub(super) const VERSION: &str = "0.1.0";
/// The interface that a stage exports, without its version.
pub(super) const TRANSFORM: &str = "pipe:stage/transform";
/// Everything of the contract's package.
pub(super) const PACKAGE: &str = "pipe:stage/";
