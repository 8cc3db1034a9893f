//! Whether the keys of a map are there once each.

use std::collections::HashSet;
use std::hash::Hash;

use super::FEW;

/// Whether something is there twice.
pub(super) fn repeated<T: Eq + Hash>(items: Vec<T>) -> bool {
    if items.len() <= FEW {
        return items.iter().enumerate().any(|(i, item)| items[..i].contains(item));
    }
    let mut seen = HashSet::with_capacity(items.len());
    !items.into_iter().all(|item| seen.insert(item))
}
