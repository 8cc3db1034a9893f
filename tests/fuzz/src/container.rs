//! Files that are read whole: Parquet and Arrow IPC.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use arrow::array::Array;
use pipe_engine::codec::Format;
use pipe_engine::format::{self, FormatKind};

thread_local! {
    /// A file in memory without a name, rewritten for each input.
    static FILE: RefCell<File> = RefCell::new(tempfile::tempfile_in("/dev/shm").unwrap_or_else(|e| panic!("{e}")));
}

/// Rows and batches that are looked at: a few bytes may stand for billions of equal rows.
const BATCHES_MAX: usize = 16;
const BATCH_ROWS: usize = 64;

fn read(kind: &'static FormatKind, bytes: &[u8]) {
    let format = (kind.prepare)(&serde_json::json!({})).unwrap_or_else(|e| panic!("{e:?}"));
    FILE.with_borrow_mut(|file| {
        let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(bytes));
        written.unwrap_or_else(|e| panic!("{e}"));
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        // The first byte says where reading begins.
        let from = u64::from(bytes.last().copied().unwrap_or(0) % 4);
        rows(&*format, &path, from);
    });
}

/// Every batch that is read is valid and of the columns that the file names.
fn rows(format: &dyn Format, path: &std::path::Path, from: u64) {
    let Ok(schema) = format.infer(path) else { return };
    let Ok(mut reader) = format.reader(path, from, BATCH_ROWS) else { return };
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
