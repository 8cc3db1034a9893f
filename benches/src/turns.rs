//! Contestants that take turns: what each costs on a machine where others work too.

use std::time::{Duration, Instant};

/// A turn is at least this long: below it, reading the clock and the first touch of the caches would count.
const TURN: Duration = Duration::from_micros(200);

/// Something that is measured: each call is one batch.
pub type Contestant<'a> = Box<dyn FnMut() + 'a>;

/// Nanoseconds a call of each contestant: the lower quartile over turns that are taken for `time`, at least five
/// each. On a busy machine most short turns are interrupted by nobody.
pub fn nanoseconds(time: Duration, contestants: &mut [Contestant<'_>]) -> Vec<f64> {
    let repeats: Vec<u32> = contestants.iter_mut().map(|contestant| repeats(contestant)).collect();
    let mut spent: Vec<Vec<f64>> = vec![Vec::new(); contestants.len()];
    let start = Instant::now();
    let mut round = 0;
    while round < 5 || start.elapsed() < time {
        // Who is first changes, so that nobody always finds the caches as one certain other left them.
        for turn in 0..contestants.len() {
            let at = (turn + round) % contestants.len();
            let begin = Instant::now();
            for _ in 0..repeats[at] {
                contestants[at]();
            }
            spent[at].push(begin.elapsed().as_nanos() as f64 / f64::from(repeats[at]));
        }
        round += 1;
    }
    spent.into_iter().map(quartile).collect()
}

/// How many calls fill a turn. The first one of all warms up.
fn repeats(contestant: &mut Contestant<'_>) -> u32 {
    contestant();
    let begin = Instant::now();
    let mut calls = 0;
    while calls == 0 || (begin.elapsed() < TURN && calls < 10_000) {
        contestant();
        calls += 1;
    }
    calls
}

fn quartile(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 4]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_contestant_takes_its_turns() {
        let (mut a, mut b) = (0u32, 0u32);
        let mut contestants: Vec<Contestant<'_>> = vec![
            Box::new(|| a += 1),
            Box::new(|| {
                b += 1;
                std::thread::sleep(Duration::from_micros(300));
            }),
        ];
        let nanoseconds = nanoseconds(Duration::ZERO, &mut contestants);
        drop(contestants);
        assert!(nanoseconds[1] >= 300_000.0 && a > b && b >= 7, "{nanoseconds:?}, {a}, {b}");
    }
}
