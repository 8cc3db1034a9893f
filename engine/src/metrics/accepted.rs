//! How many values each leniency of a source has read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Counter, Labels, Meter, Name, Number, Sample};

/// Values by source and leniency: a lock, taken once a batch that has any.
pub struct Accepted {
    pipeline: String,
    counts: Mutex<BTreeMap<(Arc<str>, &'static str), Counter>>,
}

impl Accepted {
    /// Counts some. Leniencies are few and fixed, and sources are those of the pipeline.
    pub fn add(&self, source: &Arc<str>, way: &'static str, n: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = counts
            .entry((Arc::clone(source), way))
            .or_insert_with(|| Counter::new(Name::SourceAccepted, &self.labels(source, way)));
        counter.add(n);
    }

    fn labels(&self, source: &str, way: &str) -> Labels {
        vec![("pipeline", self.pipeline.clone()), ("source", source.to_owned()), ("accept", way.to_owned())]
    }

    /// Adds what it holds to what is read.
    pub fn collect(&self, samples: &mut Vec<Sample>) {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        samples.extend(counts.iter().map(|((source, way), n)| n.sample(&self.labels(source, way))));
    }
}

impl Meter {
    /// Values by the leniency that read them.
    pub fn accepted(&self) -> Arc<Accepted> {
        Arc::new(Accepted { pipeline: self.pipeline.clone(), counts: Mutex::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Value;

    #[test]
    fn values_are_counted_by_source_and_leniency() {
        let accepted = Meter::new("p").accepted();
        for (source, way, n) in [("a", "text", 2), ("a", "nan", 1), ("b", "text", 5), ("a", "text", 1)] {
            accepted.add(&source.into(), way, n);
        }
        let mut samples = Vec::new();
        accepted.collect(&mut samples);
        let shown: Vec<_> =
            samples.iter().map(|s| (s.labels[1].1.as_str(), s.labels[2].1.as_str(), &s.value)).collect();
        let expected = [
            ("a", "nan", &Value::Whole(1)),
            ("a", "text", &Value::Whole(3)),
            ("b", "text", &Value::Whole(5)),
        ];
        assert_eq!(shown, expected);
    }
}
