//! Headers of a message that was consumed, with their names as bytes: rdkafka's own access to them panics where a name
//! is not UTF-8, which Kafka's protocol does not keep anyone from writing.

#![expect(unsafe_code, reason = "librdkafka gives the names of headers only through its C interface")]

use std::ffi::CStr;
use std::ptr;

use rdkafka::bindings as rd;
use rdkafka::message::{BorrowedMessage, Message as _};

use crate::batch::Header;

/// Name and value of each header, in order.
pub fn headers<'a>(message: &'a BorrowedMessage<'_>) -> Vec<Header<'a>> {
    let Some(borrowed) = message.headers() else { return Vec::new() };
    let headers = ptr::from_ref(borrowed).cast::<rd::rd_kafka_headers_t>();
    let mut all = Vec::new();
    loop {
        let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
        // SAFETY: rdkafka's `BorrowedHeaders` is librdkafka's own list behind a cast of its pointer, which lives as
        // long as the message; the results are written only during the call.
        let found = unsafe {
            rd::rd_kafka_header_get_all(headers, all.len(), &raw mut name, &raw mut value, &raw mut len)
        };
        if found != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
            return all;
        }
        // SAFETY: the name is NUL-terminated, and lives with the message.
        let name = unsafe { CStr::from_ptr(name) }.to_bytes();
        // SAFETY: a value that is not null has `len` bytes, which live with the message.
        let value =
            (!value.is_null()).then(|| unsafe { std::slice::from_raw_parts(value.cast::<u8>(), len) });
        all.push((name, value));
    }
}
