//! Names of the headers that tell the cause of a dead letter.

/// What all of them begin with.
pub const PREFIX: &str = "pipe.error.";

macro_rules! names {
    ($($name:ident $text:literal $help:literal)*) => {
        $(#[doc = $help] pub const $name: &str = concat!("pipe.error.", $text);)*
    };
}

names! {
    PIPELINE "pipeline" "Name of the pipeline."
    SOURCE "source" "Name of the source that read the record."
    STAGE "stage" "Name of the source, stage or sink where it failed."
    COMPONENT "component" "Digest of the stage's component."
    KIND "kind" "Kind of the failure."
    MESSAGE "message" "The cause in words, cut at 4 KiB."
    TOPIC "topic" "Topic, or path of the file, that the record was read from."
    PARTITION "partition" "Its partition."
    OFFSET "offset" "Its offset; in a file the number of the record, from 0."
    TIMESTAMP "timestamp" "Its timestamp in milliseconds since 1970."
    COLUMNS "columns" "What the header of its file named its fields, as a JSON list."
    ATTEMPT "attempt" "How often it has failed: 1 at first, one more with each replay."
    NAME "name." "With a number behind it: the bytes of that header's name, where they are not UTF-8."
}
