//! One connection to a broker, and fetches over it: the next request is on its way while a response is taken apart.
//!
//! Three requests, in versions of before the compact encoding, by hand: that is a hundred lines. To ship it, all versions
//! and some ten requests more are needed, and a crate made from Kafka's own definitions would be the way.

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::{Buf, Bytes};

use super::Result;
use super::batch::next_offset;

/// A request's number and version.
#[derive(Clone, Copy)]
struct Api(i16, i16);

const FETCH: Api = Api(1, 4);
const METADATA: Api = Api(3, 1);
const API_VERSIONS: Api = Api(18, 0);
/// Bytes of a response: more than `MAX_BYTES` and its one batch that may be larger.
const RESPONSE_MAX: usize = 256 << 20;
/// What librdkafka asks for, too.
const MAX_BYTES: i32 = 50 << 20;
const PARTITION_MAX_BYTES: i32 = 1 << 20;

/// A request being written.
struct Request(Vec<u8>);

impl Request {
    fn short(mut self, number: i16) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn int(mut self, number: i32) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn long(mut self, number: i64) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn byte(mut self, number: u8) -> Self {
        self.0.push(number);
        self
    }

    fn text(self, text: &str) -> Self {
        let mut long = self.short(text.len() as i16);
        long.0.extend_from_slice(text.as_bytes());
        long
    }
}

/// A text of a response; a null is empty.
fn text(from: &mut Bytes) -> Result<String> {
    let length = usize::try_from(from.try_get_i16()?).unwrap_or(0);
    if length > from.len() {
        return Err("a text is cut".into());
    }
    Ok(String::from_utf8(from.split_to(length).into())?)
}

/// A connection.
struct Connection {
    stream: TcpStream,
    sent: i32,
    received: i32,
}

impl Connection {
    fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream, sent: 0, received: 0 };
        let request = connection.request(API_VERSIONS);
        connection.send(request)?;
        let mut versions = connection.receive()?;
        let (error, count) = (versions.try_get_i16()?, versions.try_get_i32()?);
        let mut known = Vec::new();
        for _ in 0..count {
            known.push((versions.try_get_i16()?, versions.try_get_i16()?, versions.try_get_i16()?));
        }
        for Api(key, version) in [FETCH, METADATA] {
            if error != 0 || !known.iter().any(|(k, min, max)| *k == key && (*min..=*max).contains(&version))
            {
                return Err(format!("the broker does not know version {version} of request {key}").into());
            }
        }
        Ok(connection)
    }

    /// The beginning of a request: room for its length, its header.
    fn request(&self, Api(key, version): Api) -> Request {
        Request(vec![0; 4]).short(key).short(version).int(self.sent).text("pipe-fetch")
    }

    fn send(&mut self, Request(mut message): Request) -> Result<()> {
        let length = u32::try_from(message.len() - 4)?;
        message[..4].copy_from_slice(&length.to_be_bytes());
        self.sent += 1;
        Ok(self.stream.write_all(&message)?)
    }

    /// The body of the next response.
    fn receive(&mut self) -> Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > RESPONSE_MAX {
            return Err(format!("a response of {length} bytes").into());
        }
        let mut bytes = Vec::with_capacity(length);
        (&mut self.stream).take(length as u64).read_to_end(&mut bytes)?;
        let mut bytes = Bytes::from(bytes);
        if bytes.try_get_i32()? != self.received {
            return Err("an answer to another question".into());
        }
        self.received += 1;
        Ok(bytes)
    }
}

/// Where a partition is.
struct Place {
    partition: i32,
    next: i64,
    /// Where the log ended when it was first looked at.
    end: Option<i64>,
}

/// What a fetch gave of one partition.
pub struct Fetched {
    /// The partition.
    pub partition: i32,
    /// What was asked for.
    pub from: i64,
    /// Record batches, the last one perhaps cut.
    pub records: Bytes,
}

/// Reads a topic from its start to where it ends now.
pub struct Fetcher {
    connection: Connection,
    topic: String,
    places: Vec<Place>,
    waiting: bool,
}

impl Fetcher {
    /// Connects, and asks which partitions there are. All must be led by this broker.
    pub fn open(address: &str, topic: &str) -> Result<Self> {
        let mut connection = Connection::open(address)?;
        let request = connection.request(METADATA).int(1).text(topic);
        connection.send(request)?;
        let mut places = Vec::new();
        let mut metadata = connection.receive()?;
        for _ in 0..metadata.try_get_i32()? {
            metadata.try_get_i32()?;
            text(&mut metadata)?;
            metadata.try_get_i32()?;
            text(&mut metadata)?;
        }
        metadata.try_get_i32()?;
        for _ in 0..metadata.try_get_i32()? {
            let error = metadata.try_get_i16()?;
            if text(&mut metadata)? != topic || error != 0 {
                return Err(format!("the topic {topic}: error {error}").into());
            }
            metadata.try_get_i8()?;
            for _ in 0..metadata.try_get_i32()? {
                metadata.try_get_i16()?;
                let place = Place { partition: metadata.try_get_i32()?, next: 0, end: None };
                metadata.try_get_i32()?;
                for _ in 0..2 {
                    let replicas = usize::try_from(metadata.try_get_i32()?)?;
                    metadata.advance((4 * replicas).min(metadata.len()));
                }
                places.push(place);
            }
        }
        let mut fetcher = Self { connection, topic: topic.to_owned(), places, waiting: false };
        fetcher.ask()?;
        Ok(fetcher)
    }

    /// Sends the next fetch, if anything is left.
    fn ask(&mut self) -> Result<()> {
        let left = |place: &&Place| place.end.is_none_or(|end| place.next < end);
        let left: Vec<&Place> = self.places.iter().filter(left).collect();
        self.waiting = !left.is_empty();
        if left.is_empty() {
            return Ok(());
        }
        // No replica; wait for 500 ms at most, for one byte at least; what is not committed is read, too.
        let request = self.connection.request(FETCH).int(-1).int(500).int(1).int(MAX_BYTES).byte(0);
        let mut request = request.int(1).text(&self.topic).int(left.len() as i32);
        for place in left {
            request = request.int(place.partition).long(place.next).int(PARTITION_MAX_BYTES);
        }
        self.connection.send(request)
    }

    /// The next response, and the request after it sent; `None` at the end.
    pub fn fetch(&mut self) -> Result<Option<Vec<Fetched>>> {
        if !self.waiting {
            return Ok(None);
        }
        let mut response = self.connection.receive()?;
        let mut fetched = Vec::new();
        response.try_get_i32()?;
        for _ in 0..response.try_get_i32()? {
            text(&mut response)?;
            for _ in 0..response.try_get_i32()? {
                fetched.extend(self.partition(&mut response)?);
            }
        }
        self.ask()?;
        Ok(Some(fetched))
    }

    /// What a response says of one partition, where it holds records.
    fn partition(&mut self, response: &mut Bytes) -> Result<Option<Fetched>> {
        let (partition, error) = (response.try_get_i32()?, response.try_get_i16()?);
        let high_watermark = response.try_get_i64()?;
        response.try_get_i64()?;
        let aborted = usize::try_from(response.try_get_i32()?).unwrap_or(0);
        response.advance((16 * aborted).min(response.len()));
        let length = usize::try_from(response.try_get_i32()?).unwrap_or(0);
        if error != 0 || length > response.len() {
            return Err(format!("partition {partition}: error {error}, {length} bytes").into());
        }
        let records = response.split_to(length);
        let place = self.places.iter_mut().find(|place| place.partition == partition);
        let place = place.ok_or("a partition that was not asked for")?;
        place.end.get_or_insert(high_watermark);
        let Some(next) = next_offset(&records)? else { return Ok(None) };
        let from = std::mem::replace(&mut place.next, next);
        Ok(Some(Fetched { partition, from, records }))
    }
}
