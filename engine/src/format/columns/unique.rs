//! Whether the keys of a map are there once each.

use std::collections::HashSet;
use std::hash::Hash;

/// Up to this many names are compared one by one.
pub(super) const FEW: usize = 16;

/// Whether something is there twice.
pub(super) fn repeated<T: Eq + Hash>(items: Vec<T>) -> bool {
    if items.len() <= FEW {
        return items.iter().enumerate().any(|(i, item)| items[..i].contains(item));
    }
    let mut seen = HashSet::with_capacity(items.len());
    !items.into_iter().all(|item| seen.insert(item))
}
