//! A GET, as probes and scrapers make it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// 200, 503, ...
    pub status: u16,
    /// The lines of its head.
    pub head: String,
    /// The rest.
    pub body: String,
}

/// Asks; the error is that of the connection, or an answer that is none.
pub fn get(address: &str, path: &str) -> Result<Answer, String> {
    let fail = |e: std::io::Error| format!("{address}{path}: {e}");
    let mut stream = TcpStream::connect(address).map_err(fail)?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(fail)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").map_err(fail)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(fail)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| format!("no head in {text:?}"))?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or_else(|| format!("no status in {head:?}"))?;
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    if length != Some(body.len()) {
        return Err(format!("{} bytes came, and the head says:\n{head}", body.len()));
    }
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}
