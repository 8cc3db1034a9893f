//! Lines into the engine's log.

pub use crate::bindings::pipe::stage::host::Level;

/// Writes a line. Natively, in unit tests, it goes to standard error.
pub fn log(level: Level, message: &str) {
    #[cfg(target_family = "wasm")]
    crate::bindings::pipe::stage::host::log(level, message);
    #[cfg(not(target_family = "wasm"))]
    eprintln!("{level:?}: {message}");
}

/// Sends panics to the log: without it, a trap says nothing of its cause.
pub(crate) fn log_panics() {
    #[cfg(target_family = "wasm")]
    std::panic::set_hook(Box::new(|info| log(Level::Error, &info.to_string())));
}

/// Logs at level `debug`; takes what `format!` takes.
#[macro_export]
macro_rules! debug { ($($arg:tt)*) => { $crate::log::log($crate::log::Level::Debug, &::std::format!($($arg)*)) }; }

/// Logs at level `info`; takes what `format!` takes.
#[macro_export]
macro_rules! info { ($($arg:tt)*) => { $crate::log::log($crate::log::Level::Info, &::std::format!($($arg)*)) }; }

/// Logs at level `warn`; takes what `format!` takes.
#[macro_export]
macro_rules! warn { ($($arg:tt)*) => { $crate::log::log($crate::log::Level::Warn, &::std::format!($($arg)*)) }; }

/// Logs at level `error`; takes what `format!` takes.
#[macro_export]
macro_rules! error { ($($arg:tt)*) => { $crate::log::log($crate::log::Level::Error, &::std::format!($($arg)*)) }; }
