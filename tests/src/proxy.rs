//! A link of the network that a test can cut: it listens on a loopback address and passes on what comes, until it is told
//! otherwise.
//!
//! A link knows which client a connection is of: it reads the client's id out of the first request of Kafka's protocol, so
//! that one worker can be cut off while the others are not.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a link does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It passes everything on.
    Open,
    /// It closes its connections, and new ones at once.
    Cut,
    /// It keeps its connections and takes new ones, and passes nothing on until it is open again.
    Hole,
    /// It holds everything back for this long.
    Slow(Duration),
}

/// A link.
pub struct Link {
    shared: Arc<Shared>,
    address: SocketAddr,
}

struct Shared {
    to: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    flow: Flow,
    /// What holds for single clients instead.
    clients: BTreeMap<String, Flow>,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    closed: bool,
}

struct Connection {
    client: String,
    ends: [TcpStream; 2],
}

impl State {
    fn flow(&self, client: &str) -> Flow {
        if self.closed {
            return Flow::Cut;
        }
        // Of two that hold the harder one counts.
        match (self.flow, self.clients.get(client)) {
            (Flow::Open, Some(own)) => *own,
            (flow, _) => flow,
        }
    }

    fn close_what_is_cut(&self) {
        for Connection { client, ends } in self.connections.values() {
            if self.flow(client) == Flow::Cut {
                ends.iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
            }
        }
    }
}

impl Link {
    /// A link from an address (its port may be 0) to another one.
    pub fn new(from: SocketAddr, to: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(from)?;
        let address = listener.local_addr()?;
        let (clients, connections) = (BTreeMap::new(), BTreeMap::new());
        let state = State { flow: Flow::Open, clients, connections, next: 0, closed: false };
        let shared = Arc::new(Shared { to, state: Mutex::new(state), changed: Condvar::new() });
        let ours = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ours.lock().closed {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let ours = Arc::clone(&ours);
                std::thread::spawn(move || ours.serve(stream));
            }
        });
        Ok(Self { shared, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it does from now on, with all connections.
    pub fn set(&self, flow: Flow) {
        let mut state = self.shared.lock();
        state.flow = flow;
        state.close_what_is_cut();
        self.shared.changed.notify_all();
    }

    /// The same with those of one client.
    pub fn set_client(&self, client: &str, flow: Flow) {
        let mut state = self.shared.lock();
        state.clients.insert(client.to_owned(), flow);
        state.close_what_is_cut();
        self.shared.changed.notify_all();
    }

    /// Clients with a connection now.
    pub fn clients(&self) -> Vec<String> {
        self.shared.lock().connections.values().map(|connection| connection.client.clone()).collect()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.close_what_is_cut();
        self.shared.changed.notify_all();
        drop(state);
        // So that the listener sees it.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut from: TcpStream) {
        let _ = from.set_nodelay(true);
        let Some((first, client)) = first(&mut from) else { return };
        if !self.pass(&client) {
            return;
        }
        let Ok(mut to) = TcpStream::connect_timeout(&self.to, Duration::from_secs(5)) else { return };
        let _ = to.set_nodelay(true);
        let (Ok(from_back), Ok(to_back)) = (from.try_clone(), to.try_clone()) else { return };
        let (Ok(one), Ok(other)) = (from.try_clone(), to.try_clone()) else { return };
        let number = {
            let mut state = self.lock();
            let number = state.next;
            state.next += 1;
            state.connections.insert(number, Connection { client: client.clone(), ends: [one, other] });
            // It may have been cut since.
            state.close_what_is_cut();
            number
        };
        std::thread::scope(|scope| {
            scope.spawn(|| self.copy(to_back, from_back, &client));
            if to.write_all(&first).is_ok() {
                self.copy(from, to, &client);
            } else {
                let _ = from.shutdown(Shutdown::Both);
            }
        });
        self.lock().connections.remove(&number);
    }

    /// Waits until something may be passed on; `false`: the connection is cut.
    fn pass(&self, client: &str) -> bool {
        let mut state = self.lock();
        loop {
            match state.flow(client) {
                Flow::Open => return true,
                Flow::Cut => return false,
                Flow::Hole => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Flow::Slow(time) => {
                    drop(state);
                    std::thread::sleep(time);
                    return true;
                }
            }
        }
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream, client: &str) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if !self.pass(client) || to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}

/// The beginning of a connection's first request, and the client's id in it: the request's length, its kind, version and
/// number, and a text with its length before it.
fn first(from: &mut TcpStream) -> Option<(Vec<u8>, String)> {
    const HEAD: usize = 4 + 2 + 2 + 4 + 2;
    let mut bytes = vec![0; HEAD];
    from.read_exact(&mut bytes).ok()?;
    let length = i16::from_be_bytes([bytes[HEAD - 2], bytes[HEAD - 1]]);
    let length = usize::try_from(length).unwrap_or(0);
    bytes.resize(HEAD + length, 0);
    from.read_exact(&mut bytes[HEAD..]).ok()?;
    let client = String::from_utf8_lossy(&bytes[HEAD..]).into_owned();
    Some((bytes, client))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends back what comes.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let (mut from, mut to) = (stream.try_clone().unwrap(), stream);
                    let _ = std::io::copy(&mut from, &mut to);
                });
            }
        });
        address
    }

    fn request(client: &str) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 99, 0, 18, 0, 3, 0, 0, 0, 1];
        bytes.extend((client.len() as i16).to_be_bytes());
        bytes.extend(client.as_bytes());
        bytes
    }

    struct Talk(TcpStream);

    impl Talk {
        fn new(link: &Link, client: &str) -> Self {
            let mut stream = TcpStream::connect(link.address()).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            stream.write_all(&request(client)).unwrap();
            Self(stream)
        }

        fn hears(&mut self, what: &[u8]) -> bool {
            let mut bytes = vec![0; what.len()];
            self.0.read_exact(&mut bytes).is_ok() && bytes == what
        }

        fn says(&mut self, what: &[u8]) {
            let _ = self.0.write_all(what);
        }
    }

    #[test]
    fn a_link_passes_on_is_cut_and_holds_back_for_all_or_for_one_client() {
        let link = Link::new("127.0.0.1:0".parse().unwrap(), echo()).unwrap();
        let [mut a, mut b] = ["a", "b"].map(|client| Talk::new(&link, client));
        assert!(a.hears(&request("a")) && b.hears(&request("b")));
        link.set(Flow::Hole);
        a.says(b"held");
        assert!(!a.hears(b"held"), "nothing comes through");
        link.set(Flow::Open);
        assert!(a.hears(b"held"), "and nothing is lost");
        link.set_client("a", Flow::Cut);
        a.says(b"more");
        b.says(b"more");
        assert!(!a.hears(b"more") && b.hears(b"more"), "one client alone");
        assert!(!Talk::new(&link, "a").hears(&request("a")), "nor is it let in again");
        link.set_client("a", Flow::Open);
        assert!(Talk::new(&link, "a").hears(&request("a")));
        link.set(Flow::Cut);
        b.says(b"more");
        assert!(!b.hears(b"more"));
        link.set(Flow::Slow(Duration::from_millis(20)));
        let mut slow = Talk::new(&link, "c");
        assert!(slow.hears(&request("c")) && link.clients().contains(&"c".to_owned()));
    }
}
