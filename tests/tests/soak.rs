//! The crash proof, short: workers are killed at seeded moments, and nothing is lost, doubled or out of order.
//! `make soak` is the long one. `PIPE_SEED` replays a seed.

#![expect(clippy::expect_used, reason = "a helper of a test fails it by panicking")]

use pipe_tests::cluster::Cluster;
use pipe_tests::kafka::{self, Broker};
use pipe_tests::soak::topology::Shape;
use pipe_tests::soak::{Options, Report, Site, run};

/// Fixed, so that a failure is of the change that is tested and not of luck; `make soak` takes new ones.
fn seed() -> u64 {
    std::env::var("PIPE_SEED").map_or(17, |seed| seed.parse().expect("PIPE_SEED is a number"))
}

fn soak<'a>(options: &Options, site: impl Into<Site<'a>>) -> Report {
    let report = run(options, site).unwrap_or_else(|e| panic!("{e} (PIPE_SEED={})", options.seed));
    println!("{report}");
    assert!(report.problems.is_empty(), "{report}: {:#?} (PIPE_SEED={})", report.problems, options.seed);
    report
}

#[test]
fn nothing_is_lost_or_doubled_by_kills_in_a_simple_topology() {
    soak(&Options::new(Shape::Simple, 10, seed()), kafka::shared());
}

#[test]
fn nothing_is_lost_or_doubled_by_kills_and_faults_in_a_complex_topology() {
    // Its own, because it breaks it.
    soak(&Options { faults: true, ..Options::new(Shape::Complex, 12, seed()) }, &Broker::start());
}

#[test]
fn nothing_is_lost_or_doubled_with_the_group_protocol_of_kip_848() {
    let protocol = "consumer".to_owned();
    soak(&Options { protocol, ..Options::new(Shape::Simple, 5, seed()) }, kafka::shared());
}

#[test]
fn nothing_is_lost_or_doubled_with_static_members_that_are_killed_and_frozen() {
    // Its own, because it breaks it.
    let options = Options { fixed: true, faults: true, ..Options::new(Shape::Simple, 6, seed()) };
    soak(&options, &Broker::start());
}

/// The coordinators of group and transactions are killed, leaders are moved, and brokers are cut off from each other and
/// from workers: of all that `make soak SOAK=--brokers=3` does, this seed has those.
const CLUSTER_SEED: u64 = 33;

#[test]
fn nothing_is_lost_or_doubled_and_no_worker_ends_while_a_cluster_of_three_is_broken() {
    let seed = if std::env::var_os("PIPE_SEED").is_some() { seed() } else { CLUSTER_SEED };
    let report = soak(&Options::new(Shape::Simple, 20, seed), &Cluster::start());
    assert_eq!(report.ended, 0, "{report}");
}

/// The test of the test: where repeats are allowed they are seen, so a run without them means something.
#[test]
fn at_least_once_loses_nothing_and_its_repeats_are_noticed() {
    let guarantee = "at_least_once".to_owned();
    let report = soak(&Options { guarantee, ..Options::new(Shape::Simple, 4, seed()) }, kafka::shared());
    assert!(report.counts.duplicated > 0, "{report}");
}
