//! What a plan is made with: the tables of kinds, and the folders that paths are relative to.

use std::path::Path;

use crate::connector::sink::SinkKind;
use crate::connector::source::SourceKind;
use crate::connector::{SINKS, SOURCES};
use crate::format::{FORMATS, FormatKind};

/// The tables of kinds.
#[derive(Clone, Copy)]
pub struct Tables {
    /// Sources.
    pub sources: &'static [&'static SourceKind],
    /// Sinks.
    pub sinks: &'static [&'static SinkKind],
    /// Formats.
    pub formats: &'static [&'static FormatKind],
}

impl Default for Tables {
    fn default() -> Self {
        Self { sources: SOURCES, sinks: SINKS, formats: FORMATS }
    }
}

/// Where paths are relative to.
#[derive(Clone, Copy)]
pub struct Folders<'a> {
    /// Folder of the pipeline file.
    pub base: &'a Path,
    /// The working folder, for the dead letters of a pipeline without Kafka.
    pub working: &'a Path,
}
