//! What a client says: its log lines and global errors go to `tracing`, a connection's trouble once and not by each
//! client that has it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::meaning;
use crate::clock::{Clock, SystemClock};
use crate::repeats::Repeats;

/// Speaks for a client: log lines and global errors go to `tracing`, the last error is kept for messages.
#[derive(Debug)]
pub struct Voice {
    /// Name of the node the client works for.
    pub node: String,
    last: Mutex<Option<String>>,
    clock: SystemClock,
    /// Milliseconds on the clock when something was reported last; 0: never.
    reported: AtomicU64,
    /// The same of the first report that no answer of a broker has followed; 0: there is none.
    unanswered: AtomicU64,
}

impl Voice {
    /// A voice for a node.
    pub fn new(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            last: Mutex::new(None),
            clock: SystemClock::default(),
            reported: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.now().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Time since something was reported; `None` when nothing ever was.
    pub fn quiet(&self) -> Option<Duration> {
        let reported = self.reported.load(Ordering::Relaxed);
        (reported > 0).then(|| Duration::from_millis(self.now().saturating_sub(reported)))
    }

    /// A broker has answered.
    pub fn answered(&self) {
        self.unanswered.store(0, Ordering::Relaxed);
    }

    /// Time since trouble with the brokers was first reported that no answer has followed, and the last trouble.
    pub fn unanswered(&self) -> Option<(Duration, String)> {
        let since = self.unanswered.load(Ordering::Relaxed);
        let why = || self.last.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
        (since > 0).then(|| (Duration::from_millis(self.now().saturating_sub(since)), why()))
    }

    /// The last error that librdkafka reported, taken.
    pub fn last_error(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Passes a log line on.
    pub fn say(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        let node = self.node.as_str();
        let Some(more) = Repeats::shared().say(&key(line)) else { return };
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => tracing::error!(node, facility, "kafka: {line}{more}"),
            RDKafkaLogLevel::Warning => tracing::warn!(node, facility, "kafka: {line}{more}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(node, facility, "kafka: {line}{more}");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(node, facility, "kafka: {line}{more}"),
        }
    }

    /// Notes a global error. librdkafka goes on by itself after all but fatal ones.
    pub fn report(&self, error: &KafkaError, reason: &str) {
        let (now, code) = (self.now(), error.rdkafka_error_code());
        self.reported.store(now, Ordering::Relaxed);
        if code.is_some_and(|code| meaning(code).passes()) {
            // The first one counts: another is no news.
            let _ = self.unanswered.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        }
        let all_down = code == Some(RDKafkaErrorCode::AllBrokersDown);
        let node = self.node.as_str();
        // The only one: why its connection failed was just said.
        if all_down && reason.starts_with("1/1 ") {
            tracing::debug!(node, "kafka: {error}: {reason}");
        } else if let Some(more) = Repeats::shared().say(&key(reason)) {
            tracing::warn!(node, "kafka: {error}: {reason}{more}");
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // "All brokers are down" follows the error that says why, and would hide it.
        if last.is_none() || !all_down {
            *last = Some(reason.to_owned());
        }
    }
}

/// What lines about the same trouble of the same broker share, whichever client and connection says them: the address and
/// the reason. `[thrd:GroupCoordinator]: GroupCoordinator: b:9092: Connect to ipv4#10.0.0.7:9092 failed: Connection refused
/// (after 3ms in state CONNECT)` is the same as `b:9092/2: Connect to ipv4#10.0.0.7:9092 failed: Connection refused (after
/// 0ms in state CONNECT, 1 identical error(s) suppressed)`.
fn key(line: &str) -> String {
    let mut rest = line;
    if let Some(inside) = rest.strip_prefix("[thrd:")
        && let Some((_, after)) = inside.split_once("]: ")
    {
        rest = after;
    }
    if let Some(at) = rest.rfind(" (after ").filter(|_| rest.ends_with(')')) {
        rest = &rest[..at];
    }
    let mut broker = "";
    // Names before the reason: that of a coordinator, then an address, with the broker's number behind it.
    while let Some((name, after)) = rest.split_once(": ").filter(|(name, _)| !name.contains(' ')) {
        let plain = name.split_once("://").map_or(name, |(_, plain)| plain);
        let address = plain.split_once('/').map_or(plain, |(address, _)| address);
        let port = address.rsplit_once(':').map_or("", |(_, port)| port);
        if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) {
            broker = address;
        }
        rest = after;
    }
    let mut key = format!("{broker}: ");
    // Times and counts differ where the reason is the same.
    for c in rest.chars() {
        if !c.is_ascii_digit() {
            key.push(c);
        } else if !key.ends_with('0') {
            key.push('0');
        }
    }
    key
}

impl ClientContext for Voice {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.say(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.report(&error, reason);
    }
}

impl rdkafka::consumer::ConsumerContext for Voice {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_lasts_until_a_broker_answers() {
        let voice = Voice::new("n");
        let report = |code, reason: &str| voice.report(&KafkaError::Global(code), reason);
        report(RDKafkaErrorCode::TopicAuthorizationFailed, "no trouble with a connection");
        assert!(voice.unanswered().is_none());
        report(RDKafkaErrorCode::BrokerTransportFailure, "refused");
        for _ in 0..30 {
            report(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        }
        assert_eq!(voice.unanswered().unwrap().1, "refused");
        voice.answered();
        assert!(voice.unanswered().is_none());
    }

    #[test]
    fn one_trouble_of_one_broker_has_one_key_whoever_says_it() {
        let refused = "Connect to ipv4#10.0.0.7:9092 failed: Connection refused";
        let one = key(&format!("b-1:9092/bootstrap: {refused} (after 0ms in state CONNECT)"));
        for same in [
            format!("[thrd:b-1:9092/bootstrap]: b-1:9092/bootstrap: {refused} (after 3ms in state CONNECT)"),
            format!(
                "[thrd:GroupCoordinator]: GroupCoordinator: b-1:9092: {refused} (after 12ms in state CONNECT)"
            ),
            format!(
                "TxnCoordinator: b-1:9092: {refused} (after 1ms in state CONNECT, 30 identical error(s) suppressed)"
            ),
            format!("sasl_ssl://b-1:9092/2: {refused} (after 1ms in state CONNECT)"),
            format!("b-1:9092/2: {refused}"),
        ] {
            assert_eq!(key(&same), one, "{same}");
        }
        for other in [
            format!("b-2:9092/2: {refused}"),
            "b-1:9092/2: Disconnected (after 1ms in state UP)".to_owned(),
            "2/3 brokers are down".to_owned(),
            refused.to_owned(),
            String::new(),
        ] {
            assert_ne!(key(&other), one, "{other}");
        }
        assert_eq!(
            key("Timed out 1 in-flight, 20 retry-queued"),
            key("Timed out 12 in-flight, 3 retry-queued")
        );
    }
}
