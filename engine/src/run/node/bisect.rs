//! The search for the rows of a batch that fail: halves of halves, in order, until each bad row is alone.
//!
//! Pure: it says what is to be called next and is told what came of it. One bad row of `n` costs about `2 log2 n`
//! calls. Where the batch failed by its deadline, parts of several rows are given a fraction of the time: a part that
//! does not answer within it is cut smaller, never given up, so that a loop costs a few deadlines and not one a
//! level. Should such a part turn out to hold no bad row, the fraction was too small for this stage, and the rest of
//! the batch is searched with the whole time.

use crate::batch::FailureKind;
use crate::stage::CallFailure;

/// A part of a batch that is to be looked at.
#[derive(Debug)]
pub(in crate::run) struct Part {
    pub offset: usize,
    pub len: usize,
    /// Its failure, where it has been called already.
    pub known: Option<CallFailure>,
    /// Whether it has a fraction of the time.
    pub hasty: bool,
}

#[derive(Debug)]
enum Step {
    Look(Part),
    /// A hasty part that failed has been looked through; so many rows had failed before it.
    Through {
        failed: usize,
    },
}

/// What is left to look at, the first on top.
#[derive(Debug)]
pub(in crate::run) struct Search {
    steps: Vec<Step>,
    hasty: bool,
}

impl Search {
    /// Of a batch that failed whole.
    pub fn new(len: usize, failure: CallFailure) -> Self {
        let hasty = failure.kind == FailureKind::Deadline;
        let whole = Part { offset: 0, len, known: Some(failure), hasty: false };
        Self { steps: vec![Step::Look(whole)], hasty }
    }

    /// The next part; `failed` rows have been found so far.
    pub fn next(&mut self, failed: usize) -> Option<Part> {
        loop {
            match self.steps.pop()? {
                Step::Look(part) => return Some(Part { hasty: self.hasty && part.len > 1, ..part }),
                Step::Through { failed: before } => self.hasty &= failed > before,
            }
        }
    }

    /// A part of several rows failed: its halves come next.
    pub fn halve(&mut self, part: &Part, failed: usize) {
        if part.hasty {
            self.steps.push(Step::Through { failed });
        }
        let half = part.len / 2;
        let look = |offset, len| Step::Look(Part { offset, len, known: None, hasty: false });
        self.steps.push(look(part.offset + half, part.len - half));
        self.steps.push(look(part.offset, half));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn failure(kind: FailureKind) -> CallFailure {
        CallFailure { kind, message: String::new() }
    }

    /// Looks for bad rows; answers them, the good rows in the order in which they came out, and the calls: hasty ones
    /// and those with the whole time. A hasty call fails on more than `quick` rows.
    fn search(
        len: usize,
        kind: FailureKind,
        quick: usize,
        bad: &[usize],
    ) -> (Vec<usize>, Vec<usize>, [usize; 2]) {
        let mut search = Search::new(len, failure(kind));
        let (mut failed, mut good, mut calls) = (Vec::new(), Vec::new(), [0, 0]);
        while let Some(part) = search.next(failed.len()) {
            let rows = part.offset..part.offset + part.len;
            if part.known.is_none() {
                calls[usize::from(!part.hasty)] += 1;
                let fails = rows.clone().any(|row| bad.contains(&row)) || part.hasty && part.len > quick;
                if !fails {
                    good.extend(rows);
                    continue;
                }
            }
            if part.len > 1 { search.halve(&part, failed.len()) } else { failed.extend(rows) }
        }
        (failed, good, calls)
    }

    #[test]
    fn one_bad_row_of_a_batch_costs_two_calls_a_level_wherever_it_is() {
        for at in [0, 1, 4_095, 4_096, 8_191] {
            let (failed, good, [hasty, whole]) = search(8_192, FailureKind::Trap, 0, &[at]);
            assert_eq!((failed, good.len(), hasty, whole), (vec![at], 8_191, 0, 26));
        }
    }

    #[test]
    fn a_loop_costs_the_whole_time_only_where_a_row_is_alone() {
        let (failed, _, [hasty, whole]) = search(8_192, FailureKind::Deadline, 8_192, &[77]);
        assert_eq!((failed, hasty, whole), (vec![77], 24, 2));
    }

    #[test]
    fn a_stage_too_slow_for_the_fraction_is_given_the_whole_time() {
        // Nothing but single rows answers hastily: the first part that was cut in vain ends the haste.
        let (failed, good, [hasty, whole]) = search(1_024, FailureKind::Deadline, 0, &[1_000]);
        assert_eq!((failed, good.len()), (vec![1_000], 1_023));
        assert!(hasty <= 10 && whole <= 40, "{hasty} hasty calls, {whole} with the whole time");
    }

    proptest! {
        #[test]
        fn every_row_comes_out_once_and_in_order(
            len in 1usize..600, seed in prop::collection::btree_set(0usize..600, 1..20), quick in 0usize..600,
            kind in prop::sample::select(vec![FailureKind::Trap, FailureKind::Deadline]),
        ) {
            let bad: Vec<usize> = seed.into_iter().filter(|row| *row < len).collect();
            let (failed, good, [hasty, whole]) = search(len, kind, quick, &bad);
            if bad.is_empty() && len == 1 {
                // A single row that failed is the bad row: nothing is left to cut.
                prop_assert_eq!(failed, vec![0]);
                return Ok(());
            }
            prop_assert_eq!(&failed, &bad);
            prop_assert!(good.is_sorted());
            prop_assert_eq!(good.len() + failed.len(), len);
            let levels = len.next_power_of_two().ilog2() as usize;
            let cut_in_vain = if kind == FailureKind::Deadline { 2 * len } else { 0 };
            prop_assert!(hasty + whole <= (2 * levels + 2) * (bad.len() + 1) + cut_in_vain);
        }
    }
}
