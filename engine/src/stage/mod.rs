//! The Wasm host: components compiled once, instances bounded in memory, time and output, nothing trusted that
//! comes back.
