//! Files that are read whole: Parquet, Arrow IPC, dead letters.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use arrow::array::Array;
use pipe_engine::codec::{Format, Limits};
use pipe_engine::dead_letter::{Found, Line, open_file};
use pipe_engine::format::{self, FormatKind};

thread_local! {
    /// A file in memory without a name, rewritten for each input.
    static FILE: RefCell<File> = RefCell::new(tempfile::tempfile_in("/dev/shm").unwrap_or_else(|e| panic!("{e}")));
}

/// Rows and batches that are looked at: a few bytes may stand for billions of equal rows.
const BATCHES_MAX: usize = 16;
const BATCH_ROWS: usize = 64;
/// What a reader may hold: far below the limit under which the fuzzer runs.
const HELD_BYTES: usize = 256 << 20;

/// The input as a file.
fn as_file(bytes: &[u8], read: impl FnOnce(&Path)) {
    FILE.with_borrow_mut(|file| {
        let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(bytes));
        written.unwrap_or_else(|e| panic!("{e}"));
        read(&PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())));
    });
}

fn read(kind: &'static FormatKind, bytes: &[u8]) {
    let format = (kind.prepare)(&serde_json::json!({})).unwrap_or_else(|e| panic!("{e:?}"));
    as_file(bytes, |path| {
        // The first byte says where reading begins.
        let from = u64::from(bytes.last().copied().unwrap_or(0) % 4);
        rows(&*format, path, from);
    });
}

/// Every batch that is read is valid and of the columns that the file names.
fn rows(format: &dyn Format, path: &Path, from: u64) {
    let Ok(schema) = format.infer(path) else { return };
    let limits = Limits { rows: BATCH_ROWS, bytes: 1 << 20, held: HELD_BYTES };
    let Ok(mut reader) = format.reader(path, from, &schema, limits) else { return };
    for _ in 0..BATCHES_MAX {
        let Ok(Some(batch)) = reader.next() else { return };
        assert!(batch.num_rows() <= BATCH_ROWS);
        assert_eq!(batch.schema().fields(), schema.fields());
        for column in batch.columns() {
            column.to_data().validate_full().unwrap_or_else(|e| panic!("read, and {e}"));
        }
    }
}

/// Arrow's file format.
pub fn arrow_ipc(bytes: &[u8]) {
    read(&format::arrow_ipc::KIND, bytes);
}

/// Parquet.
pub fn parquet(bytes: &[u8]) {
    read(&format::parquet::KIND, bytes);
}

/// A file of dead letters: each line is a letter or is named, and a letter that is written again is the same.
pub fn letters(bytes: &[u8]) {
    as_file(bytes, |path| {
        let reader = open_file(path, None).unwrap_or_else(|e| panic!("{e}"));
        let Some(mut reader) = reader else { panic!("the file is there") };
        let mut lines = 0;
        while let Ok(Some(found)) = reader.next() {
            lines += 1;
            let Found::Letter(letter) = found else { continue };
            let again = serde_json::to_vec(&letter.line).unwrap_or_else(|e| panic!("{e}"));
            let again: Line<'static> = serde_json::from_slice(&again).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(again, letter.line);
            assert_eq!(again.identity(true), letter.line.identity(true));
        }
        assert_eq!(lines, bytes.iter().filter(|byte| **byte == b'\n').count());
    });
}
