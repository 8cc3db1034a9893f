//! A mistake in a pipeline file, found while planning and placed by its pointer.

use crate::error::Code;

/// A mistake in the options of a kind, found while planning. All of them are reported, not the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// JSON pointer within the options that were given (`/topics/0`); empty: the whole.
    pub pointer: String,
    /// Its code.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Problem {
    /// A mistake at a pointer.
    pub fn new(code: Code, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code, message: message.into(), help: None }
    }

    /// Adds what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same below another pointer.
    #[must_use]
    pub fn below(mut self, prefix: &str) -> Self {
        self.pointer.insert_str(0, prefix);
        self
    }
}

/// The same problems below another pointer.
pub fn below(problems: Vec<Problem>, prefix: &str) -> Vec<Problem> {
    problems.into_iter().map(|problem| problem.below(prefix)).collect()
}
