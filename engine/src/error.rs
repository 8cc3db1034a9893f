//! The engine's one error type, its codes, and the two choices every throw site must make.

use std::fmt;

/// Who can do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// The author of the pipeline file, a stage or the data.
    User,
    /// A broker, a file system, a network.
    External,
    /// Us: an invariant that did not hold.
    Internal,
}

/// Whether trying again can help. The retry loops in `run/` read only this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Final.
    No,
    /// Passing: try again, later and later.
    Backoff,
    /// What is in flight is void: the worker goes back to what is committed and does it again.
    Rewind,
}

macro_rules! codes {
    ($($name:ident $summary:literal)*) => {
        /// A code of the error catalogue (`docs/errors.md` has a section for each; a test keeps the two equal).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "each variant's text is its summary, printed by `summary`")]
        pub enum Code { $($name),* }

        impl Code {
            /// Every code, in order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// `C001`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// What went wrong, in a few words.
            pub fn summary(self) -> &'static str {
                match self { $(Self::$name => $summary),* }
            }
        }
    };
}

// C configuration, P plan, S source, D decode, W stage, K sink, X commit and runtime.
codes! {
    C001 "the file cannot be read"
    C002 "this is not YAML"
    C003 "unknown key"
    C004 "missing key"
    C005 "wrong type or value"
    C006 "a variable is not set"
    C007 "a duplicate key"
    C008 "a bad override"
    C009 "an Arrow type that does not exist"
    C010 "a secret's file cannot be used"
    C011 "a pattern of topics that is wrong"
    C012 "a folder without pipelines"
    P001 "an input that does not exist"
    P002 "a cycle"
    P003 "a node that nothing reads"
    P004 "a component that cannot be loaded"
    P005 "a stage refuses its configuration or input"
    P006 "inputs of one node have different schemas"
    P007 "this guarantee cannot be had here"
    P008 "a column that does not exist"
    P009 "options that do not fit together"
    P010 "a suspicious setting"
    P011 "a pipeline that reads what it writes"
    P012 "a grant that cannot be given"
    P013 "two pipelines of one name"
    P017 "spans cannot go where they shall"
    S001 "a source cannot be opened"
    S002 "a source cannot be read"
    S003 "a topic does not exist"
    S004 "a committed offset is outside the log"
    S005 "offsets cannot be shown or set"
    S010 "a file is of another format"
    S013 "files that are read as one do not fit each other"
    D001 "a record cannot be decoded"
    D002 "a record is too large"
    W001 "a component cannot be compiled"
    W002 "a component does not implement the stage world"
    W003 "a stage failed a batch"
    W004 "a stage trapped"
    W005 "a stage took too long"
    W006 "a stage asked for more memory than its limit"
    W007 "a stage returned invalid output"
    W008 "a stage rejected a row"
    W009 "a stage imports what it is not granted"
    W013 "a component is too large"
    W014 "a component takes too long to compile"
    W017 "a grant that the stage cannot use"
    W018 "a stage reaches for what it is not granted"
    W019 "the cache of compiled components cannot be used"
    K001 "a sink cannot be opened"
    K002 "a sink cannot be written"
    K003 "a sink refused a record"
    K004 "dead letters cannot be written"
    K005 "dead letters cannot be read"
    K006 "dead letters cannot be replayed"
    X001 "offsets cannot be committed"
    X002 "a failure with `on_failure: stop`"
    X003 "the state folder cannot be used"
    X004 "the worker failed"
    X007 "the admin server cannot start"
    X011 "spans are not delivered"
    X012 "a transaction did not commit"
    X013 "another worker has the same identity"
    X017 "more dead letters than are allowed"
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What went wrong: a code, a domain, a retry hint, a message, and where.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    code: Code,
    domain: Domain,
    retry: Retry,
    message: String,
    help: Option<String>,
    context: Vec<String>,
}

/// A result of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error; the domain and the retry hint are chosen where it is thrown.
    #[cold]
    pub fn new(code: Code, domain: Domain, retry: Retry, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(Box::new(Inner { code, domain, retry, message, help: None, context: Vec::new() }))
    }

    /// The pipeline's, stage's or data's author can mend it; trying again cannot.
    #[cold]
    pub fn user(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Domain::User, Retry::No, message)
    }

    /// Something outside failed for good.
    #[cold]
    pub fn external(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Domain::External, Retry::No, message)
    }

    /// Something outside failed and may come back.
    #[cold]
    pub fn passing(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Domain::External, Retry::Backoff, message)
    }

    /// Something outside made what is in flight void; from what is committed it can be done again.
    #[cold]
    pub fn stale(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Domain::External, Retry::Rewind, message)
    }

    /// An invariant of ours did not hold.
    #[cold]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::X004, Domain::Internal, Retry::No, message)
    }

    /// The same under another code: where it happened says more than what it was.
    #[must_use]
    pub fn coded(mut self, code: Code) -> Self {
        self.0.code = code;
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Adds where it happened; the outermost place is printed first.
    #[must_use]
    pub fn context(mut self, place: impl Into<String>) -> Self {
        self.0.context.push(place.into());
        self
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Who can do something about it.
    pub fn domain(&self) -> Domain {
        self.0.domain
    }

    /// Whether trying again can help.
    pub fn is_passing(&self) -> bool {
        self.0.retry == Retry::Backoff
    }

    /// Whether what is in flight is void and the worker must go back to what is committed.
    pub fn is_stale(&self) -> bool {
        self.0.retry == Retry::Rewind
    }

    /// The message without code, context and help.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do about it.
    pub fn help_text(&self) -> Option<&str> {
        self.0.help.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.0.code)?;
        for place in self.0.context.iter().rev() {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.0.message)?;
        if let Some(help) = &self.0.help {
            write!(f, " ({help})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_has_a_section_for_each_code() {
        let catalogue = include_str!("../../docs/errors.md");
        let sections: Vec<&str> = catalogue.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        let codes: Vec<String> = Code::ALL.iter().map(|code| format!("{code}: {}", code.summary())).collect();
        assert_eq!(sections, codes);
        assert_eq!(catalogue.matches("\nWhat to do: ").count(), codes.len());
    }
}
