//! Tests of the host through real guests (`tests/guests`, checked in as components).

mod guests;
mod identity;
