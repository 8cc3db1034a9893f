//! The SDK's one error type: a message.

use std::fmt;

/// Why a binding is refused, a whole batch fails, or a row is rejected: a message for people.
///
/// Any `std::error::Error` becomes one with `?`; [`bail!`](crate::bail) makes one from a format string.
pub struct Error(String);

/// A result of the SDK.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with this message.
    #[cold]
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// The message.
    pub fn into_message(self) -> String {
        self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// `Error` is no `std::error::Error` itself, so that this conversion may exist.
impl<E: std::error::Error> From<E> for Error {
    #[cold]
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Returns an [`Error`](crate::Error) made from a format string.
#[macro_export]
macro_rules! bail {
    ($($arg:tt)*) => { return ::core::result::Result::Err($crate::Error::new(::std::format!($($arg)*))) };
}
