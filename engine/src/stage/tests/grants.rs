//! Grants: what is granted arrives, and nothing else does.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::guests::{limits, load, numbers};
use crate::clock::{Clock, SystemClock};
use crate::stage::{Bound, Grants};

fn bound(script: &str, grants: Grants) -> Bound {
    let config = json!({ "script": script });
    let input = numbers(0).schema();
    load("grants").bind_granted("grants", &input, &config, &limits(), grants).unwrap()
}

/// What each step of a script came to.
fn take(steps: &[&str], grants: Grants) -> Vec<String> {
    let outcome = bound(&steps.join(";"), grants).instantiate().unwrap().process(&numbers(64)).unwrap();
    outcome.rejections.into_iter().map(|r| r.reason).collect()
}

/// A folder `data` with files, links and a pipe in it, beside a file that must stay secret.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir_all(data.join("inner")).unwrap();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    fs::write(data.join("a.txt"), "hello").unwrap();
    fs::write(data.join("inner/b.txt"), "below").unwrap();
    symlink("a.txt", data.join("inside")).unwrap();
    symlink("../secret", data.join("out")).unwrap();
    symlink(dir.path().join("secret"), data.join("absolute")).unwrap();
    symlink("..", data.join("up")).unwrap();
    assert!(Command::new("mkfifo").arg(data.join("pipe")).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(data.join("socket")).unwrap();
    dir
}

fn granted(dir: &Path) -> Grants {
    let mut grants = Grants::default();
    grants.env("REGION", "eu").unwrap();
    grants.folder("/data", &dir.join("data")).unwrap();
    grants
}

#[test]
fn what_is_granted_arrives() {
    let dir = folder();
    let steps = ["env", "folders", "read /data a.txt", "read /data inner/b.txt", "read /data inside"];
    let steps =
        [&steps[..], &["stream /data a.txt", "list /data inner", "read /data inner/../a.txt"]].concat();
    assert_eq!(
        take(&steps, granted(dir.path())),
        ["[(\"REGION\", \"eu\")]", "[\"/data\"]", "hello", "below", "hello", "hello", "b.txt", "hello",]
    );
}

#[test]
fn nothing_is_granted_by_default() {
    let steps = ["env", "folders", "read /data a.txt", "tcp"];
    let came = take(&steps, Grants::default());
    assert_eq!(came[..3], ["[]", "[]", "no such folder"]);
    assert!(came[3].contains("access-denied"), "{}", came[3]);
}

#[test]
fn a_granted_folder_cannot_be_changed_in_any_way() {
    let dir = folder();
    let data = dir.path().join("data");
    let before = listing(&data);
    let steps = [
        "create /data new",
        "create /data a.txt",
        "create-to-read /data new",
        "create-to-read /data a.txt",
        "truncate /data a.txt",
        "open-to-write /data a.txt",
        "write /data a.txt",
        "write-stream /data a.txt",
        "append-stream /data a.txt",
        "set-size /data a.txt",
        "set-times /data a.txt",
        "set-times-at /data a.txt",
        "make-folder /data new",
        "remove-folder /data inner",
        "remove /data a.txt",
        "rename /data a.txt",
        "link /data a.txt",
        "link /data ../secret",
        "symlink /data a.txt",
        "mutate /data new",
        "below /data inner",
    ];
    for (step, came) in steps.iter().zip(take(&steps, granted(dir.path()))) {
        assert!(came.starts_with("error "), "{step}: {came}");
    }
    assert_eq!(listing(&data), before);
}

/// Names, lengths and times of everything in a folder.
fn listing(folder: &Path) -> Vec<String> {
    let mut all: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            format!("{} {} {:?}", path.display(), meta.len(), meta.modified().unwrap())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn nothing_outside_a_granted_folder_can_be_reached() {
    let dir = folder();
    let steps = [
        "read /data ../secret",
        "read /data inner/../../secret",
        "read /data out",
        "read /data absolute",
        "read /data up/secret",
        "list /data ..",
        "list /data up",
        "read /data /etc/passwd",
        "list /data /",
    ];
    for (step, came) in steps.iter().zip(take(&steps, granted(dir.path()))) {
        assert!(came.starts_with("error "), "{step}: {came}");
    }
}

#[test]
fn what_is_no_plain_file_is_not_opened_and_holds_nobody() {
    let dir = folder();
    let clock = SystemClock::default();
    let steps = ["read /data pipe", "stream /data pipe", "open-to-write /data pipe", "read /data socket"];
    for (step, came) in steps.iter().zip(take(&steps, granted(dir.path()))) {
        assert_eq!(came, "error not-permitted", "{step}");
    }
    assert!(clock.now() < Duration::from_secs(30), "a pipe without a writer would be waited for without end");
}

#[test]
fn listings_are_not_hoarded() {
    let dir = folder();
    let steps = ["hoard /data inner", "list /data inner"];
    assert_eq!(take(&steps, granted(dir.path())), ["error insufficient-memory", "b.txt"]);
}

#[test]
fn two_stages_of_one_component_share_no_grants() {
    let (one, two) = (folder(), folder());
    fs::write(two.path().join("data/a.txt"), "other").unwrap();
    let mut grants = Grants::default();
    grants.env("REGION", "us").unwrap();
    grants.folder("/data", &two.path().join("data")).unwrap();
    let script = "env;read /data a.txt";
    let stages =
        [bound(script, granted(one.path())), bound(script, grants), bound(script, Grants::default())];
    let mut instances: Vec<_> = stages.iter().map(|bound| bound.instantiate().unwrap()).collect();
    // Taken in turn, so that what one leaves behind would be seen by the next.
    for _ in 0..2 {
        let said: Vec<String> = instances
            .iter_mut()
            .flat_map(|instance| instance.process(&numbers(2)).unwrap().rejections)
            .map(|rejection| rejection.reason)
            .collect();
        let (eu, us) = ("[(\"REGION\", \"eu\")]", "[(\"REGION\", \"us\")]");
        assert_eq!(said, [eu, "hello", us, "other", "[]", "no such folder"]);
    }
}

#[test]
fn the_folder_stays_the_one_that_was_granted() {
    let dir = folder();
    let bound = bound("read /data a.txt", granted(dir.path()));
    fs::rename(dir.path().join("data"), dir.path().join("moved")).unwrap();
    fs::create_dir(dir.path().join("data")).unwrap();
    fs::write(dir.path().join("data/a.txt"), "another").unwrap();
    let outcome = bound.instantiate().unwrap().process(&numbers(1)).unwrap();
    assert_eq!(outcome.rejections[0].reason, "hello");
}

#[test]
fn what_a_stage_asks_for_in_bind_is_noted() {
    let asked = |script: &str| bound(script, Grants::default()).asked();
    let quiet = asked("env;folders;tcp");
    assert!(!quiet.env && !quiet.folders && !quiet.network, "only what `bind` asks for is noted");
    let all = asked("bind!env;bind!folders;bind!tcp");
    assert!(all.env && all.folders && all.network);
}
