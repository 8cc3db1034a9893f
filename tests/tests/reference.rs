//! The reference pages in `docs/reference` are those that `pipe docs` makes now. `PIPE_BLESS=1` writes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use pipe_tests::command::Scratch;
use pipe_tests::root;

fn pages(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).map(|all| all.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    entries.iter().map(|entry| (name(&entry.path()), fs::read_to_string(entry.path()).unwrap())).collect()
}

#[test]
fn the_pages_are_those_of_the_tables() {
    let scratch = Scratch::new("");
    let (stages, out) = (root().join("stages"), scratch.path("reference"));
    let args = ["docs", "--out", &out.to_string_lossy(), "--stages", &stages.to_string_lossy()];
    scratch.pipe(&args).says(0, &[]);
    let made = pages(&out);
    for page in ["pipeline.md", "command-line.md", "source-kafka.md", "sink-file.md", "format-json.md"] {
        assert!(made.contains_key(page), "no `{page}`");
    }
    assert!(made.keys().filter(|name| name.starts_with("stage-")).count() >= 3);
    let kept = root().join("docs/reference");
    if std::env::var_os("PIPE_BLESS").is_some_and(|v| v == "1") {
        if kept.exists() {
            fs::remove_dir_all(&kept).unwrap();
        }
        fs::create_dir_all(&kept).unwrap();
        made.iter().for_each(|(name, text)| fs::write(kept.join(name), text).unwrap());
        return;
    }
    let there = pages(&kept);
    let other: Vec<&String> =
        made.keys().chain(there.keys()).filter(|name| made.get(*name) != there.get(*name)).collect();
    assert!(other.is_empty(), "other than what `pipe docs` makes now (PIPE_BLESS=1 writes them): {other:?}");
}
