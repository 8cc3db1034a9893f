//! The admin server: `/metrics`, `/readyz`, `/livez`, `/healthz`. The one place where the asynchronous world meets the
//! threads: a runtime of its own on one thread, which only reads what they write.
//!
//! Nothing that a client does reaches a worker's threads: connections, their time and the rate of rendering are
//! bounded, and progress is looked at by a tick, not by a request.

mod gate;
mod text;

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use serde_json::json;

use crate::clock::{Clock, SystemClock};
use crate::error::{Code, Error, Result};
use crate::run::observe::health::{Health, Monitor};
use crate::run::observe::samples::process;
use crate::run::observe::stats::Stats;
use crate::secret;
use crate::sync::lock;
use crate::units::{ADMIN_ADDRESS, ADMIN_RENDER_AGE, HEALTH_LOOK};

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Nowhere.
    Off,
    /// At [`ADMIN_ADDRESS`], and nowhere if somebody else does already: several workers may share a laptop.
    Default,
    /// There, or the worker does not start.
    Given(String),
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        // A variable that is set to nothing is not set.
        if text.is_empty() {
            return Ok(Self::Default);
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("", ""));
        if port.parse::<u16>().is_err() || host.contains(char::is_whitespace) {
            return Err("`host:port`, `:port` for all interfaces, or `off`".to_owned());
        }
        let host = if host.is_empty() { "0.0.0.0" } else { host };
        Ok(Self::Given(format!("{host}:{port}")))
    }
}

/// What requests are answered from.
struct Shared {
    clock: SystemClock,
    monitor: OnceLock<Monitor>,
    /// What the last look saw.
    health: Mutex<Arc<Health>>,
    /// The last rendering of the metrics, and when it was made.
    rendered: Mutex<Option<(Duration, Bytes)>>,
}

impl Shared {
    fn look(&self) {
        if let Some(monitor) = self.monitor.get() {
            let health = Arc::new(monitor.look());
            *lock(&self.health) = health;
        }
    }

    fn health(&self) -> Arc<Health> {
        Arc::clone(&lock(&self.health))
    }

    fn metrics(&self) -> Bytes {
        let now = self.clock.now();
        let mut rendered = lock(&self.rendered);
        match &*rendered {
            Some((at, text)) if now.saturating_sub(*at) < ADMIN_RENDER_AGE => text.clone(),
            _ => {
                let mut samples = process();
                if let Some(monitor) = self.monitor.get() {
                    samples.extend(monitor.stats().samples(&self.health()));
                }
                let text = Bytes::from(text::render(samples));
                *rendered = Some((now, text.clone()));
                text
            }
        }
    }
}

/// A server that runs until the process ends.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    /// Starts it; until there is a worker to show it says that it is starting. `None` where there is none.
    pub fn start(address: &Address) -> Result<Option<Self>> {
        let listener = match address {
            Address::Off => return Ok(None),
            Address::Default => match bind(ADMIN_ADDRESS) {
                Ok(listener) => listener,
                Err(why) => {
                    tracing::info!(
                        "no admin server: {ADMIN_ADDRESS} cannot be used ({why}); `--admin` names another address"
                    );
                    return Ok(None);
                }
            },
            Address::Given(given) => bind(given).map_err(|why| {
                Error::external(Code::X007, format!("the admin server cannot listen at {given}: {why}"))
                    .help("name another address with `--admin` or PIPE_ADMIN, or `off`")
            })?,
        };
        Self::serve(listener).map(Some).map_err(|why| {
            Error::external(Code::X007, format!("the admin server cannot start: {why}"))
                .help("`--admin off` does without it")
        })
    }

    fn serve(listener: TcpListener) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            clock: SystemClock::default(),
            monitor: OnceLock::new(),
            health: Mutex::new(Arc::new(Health::starting())),
            rendered: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let seen = Arc::clone(&shared);
        let body = move || {
            runtime.block_on(async {
                let ticking = Arc::clone(&seen);
                tokio::runtime::Handle::current().spawn(async move {
                    let mut tick = tokio::time::interval(HEALTH_LOOK);
                    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                    loop {
                        tick.tick().await;
                        ticking.look();
                    }
                });
                let served = match gate::Gate::new(listener) {
                    Ok(gate) => axum::serve(gate, router(seen)).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = served {
                    tracing::error!(%error, "the admin server has ended");
                }
            });
        };
        std::thread::Builder::new().name("admin".to_owned()).spawn(body)?;
        tracing::info!(%address, "admin server");
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shows a worker. A server shows one; a second is not shown.
    pub fn attach(&self, stats: Arc<Stats>, stuck_after: Duration) {
        if self.shared.monitor.set(Monitor::new(stats, stuck_after)).is_ok() {
            self.shared.look();
        }
    }
}

/// The first of the addresses that can be had.
fn bind(address: &str) -> Result<TcpListener, String> {
    let all = address.to_socket_addrs().map_err(|e| e.to_string())?;
    TcpListener::bind(all.collect::<Vec<_>>().as_slice()).map_err(|e| e.to_string())
}

const INDEX: &str = "/metrics  numbers, for Prometheus\n\
                     /readyz   whether everything that has work moves; else what does not\n\
                     /livez    whether a restart would not help\n\
                     /healthz  whether the process answers\n";

fn router(shared: Arc<Shared>) -> Router {
    const TEXT: &str = "text/plain; charset=utf-8";
    let missing = || async { answer(StatusCode::NOT_FOUND, TEXT, INDEX) };
    let refused = || async { answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n") };
    Router::new()
        .route("/", get(|| async { answer(StatusCode::OK, TEXT, INDEX) }))
        .route("/metrics", get(metrics))
        .route("/readyz", get(|State(shared): Shown| async move { probe(&shared, |health| health.ready) }))
        .route("/livez", get(|State(shared): Shown| async move { probe(&shared, |health| health.live) }))
        .route("/healthz", get(healthz))
        .fallback(missing)
        .method_not_allowed_fallback(refused)
        .with_state(shared)
}

type Shown = State<Arc<Shared>>;

async fn metrics(State(shared): Shown) -> Response {
    answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", shared.metrics())
}

async fn healthz() -> Response {
    let body = json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") });
    answer(StatusCode::OK, JSON, body.to_string())
}

const JSON: &str = "application/json";

fn probe(shared: &Shared, good: impl Fn(&Health) -> bool) -> Response {
    let health = shared.health();
    let status = if good(&health) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::to_string(&*health).unwrap_or_default();
    answer(status, JSON, secret::hide(&body).into_owned())
}

/// One request a connection: see [`gate`].
fn answer(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    headers.insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;
    use crate::units::ADMIN_CONNECTIONS_MAX;

    fn server() -> Server {
        Server::start(&"127.0.0.1:0".parse().unwrap()).unwrap().unwrap()
    }

    fn ask(server: &Server, request: &str) -> String {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        // A server that hangs up on a bad request may reset the connection.
        let _ = stream.read_to_string(&mut text);
        text
    }

    fn get(server: &Server, path: &str) -> String {
        ask(server, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
    }

    #[test]
    fn addresses() {
        let given = |text: &str| Address::Given(text.to_owned());
        assert_eq!("off".parse(), Ok(Address::Off));
        assert_eq!("localhost:1".parse(), Ok(given("localhost:1")));
        assert_eq!("[::1]:0".parse(), Ok(given("[::1]:0")));
        assert_eq!(":9464".parse(), Ok(given("0.0.0.0:9464")));
        assert_eq!("".parse(), Ok(Address::Default));
        for bad in [" ", "9464", "on", "host:", "host:99999", "a b:1"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn before_there_is_a_worker_it_is_alive_and_not_ready() {
        let server = server();
        assert!(get(&server, "/healthz").starts_with("HTTP/1.1 200 "));
        assert!(get(&server, "/livez").starts_with("HTTP/1.1 200 "));
        let ready = get(&server, "/readyz");
        assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains(r#""state":"starting""#), "{ready}");
        let metrics = get(&server, "/metrics");
        assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
        assert!(metrics.contains("\npipe_build_info{version=\""), "{metrics}");
        assert!(get(&server, "/").contains("/readyz"));
    }

    #[test]
    fn what_is_no_request_for_a_page_is_refused() {
        let server = server();
        assert!(get(&server, "/nothing").starts_with("HTTP/1.1 404 "));
        let post = ask(&server, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
        assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
        let large = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(1 << 20));
        assert!(!ask(&server, &large).starts_with("HTTP/1.1 200 "));
        assert!(!ask(&server, "\0\x01nonsense\r\n\r\n").starts_with("HTTP/1.1 200 "));
        assert!(get(&server, "/healthz").starts_with("HTTP/1.1 200 "), "it is still there");
    }

    #[test]
    fn a_taken_port_is_an_error_where_it_was_asked_for() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let error = Server::start(&address.parse().unwrap()).err().unwrap();
        assert_eq!(error.code(), Code::X007);
        assert!(error.to_string().contains(&address) && error.to_string().contains("--admin"), "{error}");
        assert!(Server::start(&Address::Off).unwrap().is_none());
    }

    #[test]
    fn clients_that_say_nothing_are_let_go_and_others_served() {
        let server = server();
        let silent: Vec<TcpStream> =
            (0..ADMIN_CONNECTIONS_MAX + 8).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
        // It waits for a place until the first of them is out of time, and then is served.
        assert!(get(&server, "/healthz").starts_with("HTTP/1.1 200 "));
        drop(silent);
    }
}
