//! Tests of lift.rs
