//! Whether the topic is still there: a topic that was deleted confirms nothing, and librdkafka waits for it to come back.

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::Producer as _;

use super::KafkaSink;
use super::doubt::Answer;
use crate::clock::Clock;
use crate::connector::kafka::client::{Meaning, meaning};
use crate::error::{Code, Error};
use crate::units::KAFKA_ASK;

pub(super) const HELP: &str = "was it deleted? Make it again, or say `create: true`, and start again: what was not confirmed comes again";

impl KafkaSink {
    /// The error that says: not yet; or never, where the topic is gone.
    pub(super) fn waits(&mut self, what: &str) -> Error {
        let (delivered, now) = (self.ledger.delivered(), self.clock.now());
        if !self.doubt.waits(delivered, now) {
            return self.not_yet(what);
        }
        let answer = self.ask();
        if self.doubt.hears(answer, self.clock.now()) {
            let message = format!("topic `{}` on {} does not exist any more", self.topic, self.brokers);
            return Error::external(Code::K002, message).help(HELP);
        }
        self.not_yet(what)
    }

    fn ask(&self) -> Answer {
        let Ok(client) = self.client() else { return Answer::None };
        let Ok(metadata) = client.producer.client.client().fetch_metadata(Some(&self.topic), KAFKA_ASK)
        else {
            return Answer::None;
        };
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == &*self.topic) else {
            return Answer::Denied;
        };
        match topic.error().map(RDKafkaErrorCode::from) {
            None if topic.partitions().is_empty() => Answer::Denied,
            None => Answer::There,
            Some(code) if meaning(code) == Meaning::Missing => Answer::Denied,
            Some(_) => Answer::None,
        }
    }
}
