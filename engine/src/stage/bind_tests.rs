//! Tests of bind.rs
