//! Where a run takes place: one broker, or a cluster of several.

use std::path::Path;

use crate::cluster::Cluster;
use crate::kafka::Broker;

/// The brokers of a run.
#[derive(Clone, Copy)]
pub enum Site<'a> {
    /// One.
    One(&'a Broker),
    /// Several, with a network that can be cut.
    Several(&'a Cluster),
}

impl<'a> From<&'a Broker> for Site<'a> {
    fn from(broker: &'a Broker) -> Self {
        Self::One(broker)
    }
}

impl<'a> From<&'a Cluster> for Site<'a> {
    fn from(cluster: &'a Cluster) -> Self {
        Self::Several(cluster)
    }
}

impl Site<'_> {
    /// How the harness reaches them.
    pub fn address(&self) -> String {
        match self {
            Self::One(broker) => broker.address(),
            Self::Several(cluster) => cluster.address(),
        }
    }

    /// How workers reach them.
    pub fn workers_address(&self) -> String {
        match self {
            Self::One(broker) => broker.address(),
            Self::Several(cluster) => cluster.workers_address(),
        }
    }

    /// Makes a topic.
    pub fn topic(&self, name: &str, partitions: i32) {
        match self {
            Self::One(broker) => broker.topic(name, partitions),
            Self::Several(cluster) => cluster.topic(name, partitions),
        }
    }

    /// Copies the brokers' logs into a folder: they end with their own.
    pub fn keep_logs(&self, folder: &Path) {
        match self {
            Self::One(broker) => {
                let _ = std::fs::copy(broker.log(), folder.join("broker.log"));
            }
            Self::Several(cluster) => cluster.keep_logs(folder),
        }
    }
}
