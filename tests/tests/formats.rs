//! JSON and CSV to the letter: the suites of the field, round trips of every type, and one wrong record among good
//! ones, by the formats' own decoders and encoders and by the binary over files.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails it by panicking")]

mod formats_parts;
