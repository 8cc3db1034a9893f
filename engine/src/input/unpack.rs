//! gzip and zstd, as their bytes come: members and frames one after the other, and errors that say what is wrong.

use std::io::{self, BufReader, Read};

use super::{Bytes, carried};
use crate::error::{Code, Error};
use crate::units::{READ_BUFFER_BYTES, ZSTD_WINDOW_LOG_MAX};

/// The text of gzip data.
pub(super) fn gzip(bytes: Bytes) -> Bytes {
    let bytes = BufReader::with_capacity(READ_BUFFER_BYTES, bytes);
    Box::new(Unpacked { bytes: Box::new(flate2::bufread::MultiGzDecoder::new(bytes)), name: "gzip" })
}

/// The text of zstd data.
pub(super) fn zstd(bytes: Bytes) -> io::Result<Bytes> {
    let mut decoder = zstd::stream::read::Decoder::new(bytes)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(Box::new(Unpacked { bytes: Box::new(decoder), name: "zstd" }))
}

struct Unpacked {
    bytes: Bytes,
    name: &'static str,
}

impl Read for Unpacked {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(out).map_err(|e| {
            let is_ours = e.get_ref().is_some_and(|inner| inner.is::<Error>());
            if is_ours || matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) {
                return e;
            }
            let name = self.name;
            let text = e.to_string();
            carried(if e.kind() == io::ErrorKind::UnexpectedEof {
                Error::user(
                    Code::S002,
                    format!("its {name} data ends too early: it was cut, or is still written"),
                )
                .help("read it once it is whole")
            } else if name == "zstd" && text.contains("memory") {
                let mib = (1u64 << ZSTD_WINDOW_LOG_MAX) >> 20;
                Error::user(Code::S002, format!("its zstd data looks back over more than {mib} MiB"))
                    .help("unpack it first, or pack it without `--long` and `--ultra`")
            } else {
                Error::user(Code::S002, format!("its {name} data is damaged: {text}"))
                    .help(format!("`{name} --test` says more; restore the file, and run again"))
            })
        })
    }
}
