//! The cache through the host: what it saves, and what damage costs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::guests::{limits, numbers, path};
use crate::stage::{Host, HostOptions};

/// Loads and runs a guest with a cache in `folder`.
fn works(folder: &Path) {
    let host = Host::new(HostOptions { cache: Some(folder.to_owned()) }).unwrap();
    let component = host.load(&path("crossing")).unwrap();
    let identity = host.load(&path("identity")).unwrap();
    assert_ne!(component.digest(), identity.digest());
    assert!(component.pooled(), "a small guest fits the pool");
    let bound = identity.bind("n", &numbers(0).schema(), &json!({}), &limits()).unwrap();
    let outcome = bound.instantiate().unwrap().process(&numbers(3)).unwrap();
    assert_eq!(outcome.emissions[0].records, numbers(3));
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    entries
}

#[test]
fn entries_are_made_used_and_remade_when_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("cache");
    works(&folder);
    let made = entries(&folder);
    assert_eq!(made.len(), 2);
    let whole = fs::read(&made[0]).unwrap();
    let touched = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let before = touched(&made[0]);
    works(&folder);
    assert_eq!(touched(&made[0]), before, "what is whole is not written again");
    for damage in [whole[..whole.len() / 2].to_vec(), Vec::new(), flipped(&whole)] {
        fs::write(&made[0], damage).unwrap();
        works(&folder);
        assert_eq!(fs::read(&made[0]).unwrap().len(), whole.len());
        assert_eq!(entries(&folder), made);
    }
}

fn flipped(whole: &[u8]) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    bytes[whole.len() / 2] ^= 0x10;
    bytes
}

#[test]
fn a_folder_that_cannot_be_trusted_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("cache");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    works(&folder);
    assert!(entries(&folder).is_empty());
}
