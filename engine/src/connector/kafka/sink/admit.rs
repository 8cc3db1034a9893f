//! Which of the topics that values name are written: those that the pipeline allows, that are there, and no more than it
//! bounds. No topic is ever made here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::options::Options;
use crate::clock::{Clock, SystemClock};
use crate::connector::kafka::client::{Probe, Topics, is_topic_name};
use crate::error::{Code, Result};
use crate::problem::Problem;
use crate::units::{KAFKA_TOPIC_AGAIN, KAFKA_TOPICS_REFUSED};

/// Characters of a name in a reason: a hostile value is long.
const SHOWN: usize = 60;

/// The topics that a template may make; mistakes are added to `problems`.
pub(super) fn topics(options: &Options, is_template: bool, problems: &mut Vec<Problem>) -> Topics {
    let mut wrong = |pointer: &str, message: &str, help: &str| {
        problems.push(Problem::new(Code::P009, pointer, message).help(help));
    };
    let given = options.topics.clone().unwrap_or_default();
    match (is_template, &options.topics) {
        (false, None) => {
            if options.topics_max.is_some() {
                wrong("/topics_max", "it is used only where `topic:` is a template", "leave it out");
            }
            return Topics::none();
        }
        (false, Some(_)) => {
            let help = "leave it out, or name a column in the topic: `\"{tenant}-events\"`";
            wrong("/topics", "it is used only where `topic:` is a template", help);
            return Topics::none();
        }
        (true, None) => {
            let help = "add `topics:` with names or a pattern, such as `[\"^[a-z0-9]+-events$\"]`: values are anybody's, and \
                        only what it allows is written";
            wrong("/topic", "a template needs `topics:`, which says the topics that it may make", help);
            return Topics::none();
        }
        (true, Some(_)) => {}
    }
    let topics = Topics::new(given, problems);
    if options.create && topics.has_patterns() {
        let help = "name the topics, or make them by hand: a value never makes one";
        let message = "with `create: true` all of `topics:` are names, not patterns";
        problems.push(Problem::new(Code::P009, "/create", message).help(help));
    }
    topics
}

/// Topics by their names, for all lanes of a sink.
pub(super) struct Admitted {
    allowed: Topics,
    max: usize,
    brokers: String,
    probe: Probe,
    state: Mutex<State>,
    clock: SystemClock,
}

#[derive(Default)]
struct State {
    /// Those that are written.
    taken: HashMap<Arc<str>, ()>,
    /// Those that were not there, with the reason, and until when that is believed.
    refused: HashMap<String, (String, Duration)>,
}

/// A name as a reason has it: one line, cut.
fn shown(topic: &str) -> String {
    let text: String = topic.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if topic.chars().nth(SHOWN).is_some() { text + "…" } else { text }
}

impl Admitted {
    pub(super) fn new(allowed: Topics, max: usize, brokers: &str, probe: Probe) -> Self {
        let (state, clock) = (Mutex::default(), SystemClock::default());
        Self { allowed, max, brokers: brokers.to_owned(), probe, state, clock }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The topic of this name, if it is to be written; else why not. The error is one that may pass: no broker answers.
    pub(super) fn admit(&self, topic: &str) -> Result<Result<Arc<str>, String>> {
        if !is_topic_name(topic) {
            return Ok(Err(format!(
                "no topic: `{}` is not a topic's name (1 to 249 letters, digits, `.`, `_` or `-`)",
                shown(topic)
            )));
        }
        if self.allowed.entry(topic).is_none() {
            return Ok(Err(format!("no topic: `{}` is not among `topics:` of the sink", shown(topic))));
        }
        {
            let mut state = self.lock();
            if let Some((known, ())) = state.taken.get_key_value(topic) {
                return Ok(Ok(Arc::clone(known)));
            }
            if let Some(reason) = self.full(&state, topic) {
                return Ok(Err(reason));
            }
            let now = self.clock.now();
            match state.refused.get(topic) {
                Some((reason, until)) if now < *until => return Ok(Err(reason.clone())),
                Some(_) => drop(state.refused.remove(topic)),
                None => {}
            }
        }
        // Not while the others wait for the lock.
        let found = self.probe.can_use(topic)?;
        let mut state = self.lock();
        if let Err(why) = found {
            let reason = format!("no topic: `{}` on {} {why}", shown(topic), self.brokers);
            if state.refused.len() >= KAFKA_TOPICS_REFUSED {
                state.refused.clear();
            }
            state.refused.insert(topic.to_owned(), (reason.clone(), self.clock.now() + KAFKA_TOPIC_AGAIN));
            return Ok(Err(reason));
        }
        if let Some(reason) = self.full(&state, topic).filter(|_| !state.taken.contains_key(topic)) {
            return Ok(Err(reason));
        }
        let topic: Arc<str> = topic.into();
        state.taken.insert(Arc::clone(&topic), ());
        Ok(Ok(topic))
    }

    /// Why one more topic is too many.
    fn full(&self, state: &State, topic: &str) -> Option<String> {
        (state.taken.len() >= self.max).then(|| {
            format!("no topic: `{}` would be one more than {} (`topics_max`)", shown(topic), self.max)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connector::kafka::client::{Cluster, Properties};

    fn checked(more: serde_json::Value) -> Vec<(String, Code)> {
        let mut all = json!({ "brokers": "b:1", "topic": "{tenant}" });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let options: Options = serde_json::from_value(all).unwrap();
        let mut problems = Vec::new();
        topics(&options, options.topic.contains('{'), &mut problems);
        problems.into_iter().map(|problem| (problem.pointer, problem.code)).collect()
    }

    #[test]
    fn a_template_needs_to_say_which_topics_it_may_make() {
        let none: &[(String, Code)] = &[];
        let at = |pointer: &str, code| vec![(pointer.to_owned(), code)];
        assert_eq!(checked(json!({ "topics": ["a", "^b-[0-9]+$"], "topics_max": 3 })), none);
        assert_eq!(checked(json!({ "topics": ["a"], "create": true })), none);
        assert_eq!(checked(json!({})), at("/topic", Code::P009));
        assert_eq!(checked(json!({ "topics": ["^b"], "create": true })), at("/create", Code::P009));
        assert_eq!(checked(json!({ "topics": ["^("] })), at("/topics/0", Code::C011));
        assert_eq!(checked(json!({ "topics": [] })), at("/topics", Code::C005));
        assert_eq!(checked(json!({ "topic": "a", "topics": ["a"] })), at("/topics", Code::P009));
        assert_eq!(checked(json!({ "topic": "a", "topics_max": 3 })), at("/topics_max", Code::P009));
        assert_eq!(checked(json!({ "topic": "a" })), none);
    }

    #[test]
    fn hostile_names_are_refused_without_asking_anybody() {
        let cluster = Cluster::new("127.0.0.1:1", &Properties::new(), &mut Vec::new());
        let probe = Probe::new(&cluster, "test", Code::K002).unwrap();
        let allowed = Topics::new(vec!["^.*$".into()], &mut Vec::new());
        let admitted = Admitted::new(allowed, 2, "b:1", probe);
        let long = "x".repeat(300);
        for (topic, part) in [
            ("../x", "not a topic's name"),
            ("..", "not a topic's name"),
            ("", "not a topic's name"),
            (&*long, "…` is not a topic's name"),
            ("a\u{1b}[2J\nb", "a\\u{1b}[2J\\nb"),
            ("__consumer_offsets", "not among `topics:`"),
        ] {
            let reason = admitted.admit(topic).unwrap().unwrap_err();
            assert!(reason.contains(part) && reason.len() < 300, "{topic}: {reason}");
        }
    }
}
