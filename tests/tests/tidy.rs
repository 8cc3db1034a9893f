//! The tree keeps its own rules: ranks of modules, sizes, banned words, and documents that name what exists.
//!
//! Needs nothing but the sources and git. A failure lists every offence, each with its file and line.
#![expect(clippy::expect_used, reason = "helpers of a test: a panic is its failure")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a source file.
const FILE_LINES_MAX: usize = 600;
/// Lines of ARCHITECTURE.md: a map that does not fit in a head is not read.
const ARCHITECTURE_LINES_MAX: usize = 200;
/// Bytes of a file under version control.
const BLOB_BYTES_MAX: u64 = 1_000_000;
/// Modules of this rank never see each other: connectors, formats and stages meet in `run`.
const SIBLING_RANK: u32 = 3;
/// Files of `engine/src/connector` that every connector may use.
const CONTRACTS: [&str; 4] = ["commit", "position", "sink", "source"];
/// Contracts that still name a connector.
const CONTRACTS_OF_KAFKA: [&str; 3] = ["commit", "sink", "source"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Files under version control or about to be, relative to the root, sorted.
fn files() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git is needed to list the files of the project");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let text = String::from_utf8(listed.stdout).expect("file names are UTF-8");
    let mut files: Vec<String> = text.split_terminator('\0').map(str::to_owned).collect();
    files.retain(|file| root().join(file).is_file());
    files.sort();
    files.dedup();
    assert!(files.iter().any(|f| f == "Cargo.toml"), "the list of files is not this project's");
    files
}

fn files_ending(suffix: &str) -> Vec<String> {
    files().into_iter().filter(|f| f.ends_with(suffix)).collect()
}

fn read(file: &str) -> String {
    let bytes = fs::read(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    String::from_utf8(bytes).unwrap_or_else(|e| panic!("{file}: {e}"))
}

#[track_caller]
fn assert_none(offences: &[String]) {
    assert!(offences.is_empty(), "{} offence(s):\n{}", offences.len(), offences.join("\n"));
}

/// The first path component of a file in `engine/src`, without extension: its module.
fn module_of(file: &str) -> Option<&str> {
    let inner = file.strip_prefix("engine/src/")?.strip_suffix(".rs")?;
    inner.split('/').next()
}

/// The modules that exist; `lib`, which lists them, left out.
fn modules() -> BTreeSet<String> {
    files().iter().filter_map(|f| module_of(f)).filter(|m| *m != "lib").map(str::to_owned).collect()
}

/// Words between backticks.
fn quoted(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

/// Rank of each module: the table rows of ARCHITECTURE.md that start with a number.
fn ranks() -> BTreeMap<String, u32> {
    let mut ranks = BTreeMap::new();
    for line in read("ARCHITECTURE.md").lines() {
        let mut cells = line.split('|').skip(1).map(str::trim);
        let Some(rank) = cells.next().and_then(|c| c.parse::<u32>().ok()) else { continue };
        for module in quoted(cells.next().unwrap_or_default()) {
            let before = ranks.insert(module.trim_end_matches('/').to_owned(), rank);
            assert!(before.is_none(), "ARCHITECTURE.md ranks `{module}` twice");
        }
    }
    ranks
}

/// A source without comments and without its tests: those may use anything.
fn code(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut all = text.lines().peekable();
    while let Some(line) = all.next() {
        if line == "#[cfg(test)]" && all.peek().is_some_and(|next| next.starts_with("mod ")) {
            break;
        }
        lines.push(line.split("//").next().unwrap_or_default());
    }
    lines
}

/// Modules of `parent` (`crate::` or `crate::a::`) that a piece of code names (`crate::a`, `use crate::{a, b::c}`), with
/// their lines from 1. `at_top`: the code is `a.rs` or `a/mod.rs` in it, where `super` is the parent.
fn uses(lines: &[&str], parent: &str, at_top: bool) -> Vec<(usize, String)> {
    let mut text = String::new();
    for line in lines {
        match line.strip_prefix("use super::").or(line.strip_prefix("pub use super::")).filter(|_| at_top) {
            Some(rest) => text.push_str(&format!("use {parent}{rest}")),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    let mut found = Vec::new();
    for (at, _) in text.match_indices(parent) {
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let line = text[..at].matches('\n').count() + 1;
        let rest = &text[at + parent.len()..];
        let names = if rest.starts_with('{') { group(rest) } else { vec![identifier(rest)] };
        found.extend(names.into_iter().filter(|n| !n.is_empty()).map(|name| (line, name)));
    }
    found
}

fn identifier(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// First identifiers of the items of `{a, b::{c, d}, e}`.
fn group(text: &str) -> Vec<String> {
    let mut depth = 0;
    let mut start = 0;
    let mut names = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '{' if depth == 0 => (depth, start) = (1, at + 1),
            '{' => depth += 1,
            ',' | '}' if depth == 1 => {
                names.push(identifier(&text[start..at]));
                start = at + 1;
                if c == '}' {
                    return names;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names
}

#[test]
fn paths_of_the_crate_are_found() {
    let source = "use crate::a;\nuse crate::{b::{X, Y}, c,\n  d::Z};\nlet x = crate::e::f(); mycrate::g\n// crate::h\n\
                  use super::i;\n#[cfg(test)]\nmod tests { use crate::j; }";
    let names =
        |top| uses(&code(source), "crate::", top).into_iter().map(|(_, name)| name).collect::<Vec<_>>();
    assert_eq!(names(false), ["a", "b", "c", "d", "e"]);
    assert_eq!(names(true), ["a", "b", "c", "d", "e", "i"]);
}

#[test]
fn a_module_never_uses_one_of_higher_rank() {
    let ranks = ranks();
    let modules = modules();
    let mut offences: Vec<String> = modules
        .iter()
        .filter(|m| !ranks.contains_key(*m))
        .map(|m| format!("engine/src: `{m}` has no rank in ARCHITECTURE.md"))
        .collect();
    for file in files_ending(".rs") {
        let Some(own) = module_of(&file) else { continue };
        let Some(rank) = ranks.get(own) else { continue };
        // Modules that only tests compile may use anything, as tests at the bottom of a file may.
        let test_only = ["/tests.rs", "_tests.rs", "/testing.rs"].iter().any(|tail| file.ends_with(tail));
        if test_only || file.contains("/tests/") {
            continue;
        }
        let at_top = ["", "/mod"].iter().any(|tail| file == format!("engine/src/{own}{tail}.rs"));
        for (line, other) in uses(&code(&read(&file)), "crate::", at_top) {
            // Anything that is no module is an item of the crate's root.
            let Some(other_rank) = ranks.get(&other).filter(|_| modules.contains(&other)) else { continue };
            let siblings = rank == other_rank && *rank == SIBLING_RANK && own != other;
            if other_rank > rank || siblings {
                offences
                    .push(format!("{file}:{line}: `{own}` (rank {rank}) uses `{other}` (rank {other_rank})"));
            }
        }
    }
    assert_none(&offences);
}

#[test]
fn a_connector_uses_itself_and_the_contracts() {
    let parent = "crate::connector::";
    let own_of = |file: &str| {
        let inner = file.strip_prefix("engine/src/connector/")?.strip_suffix(".rs")?;
        Some(inner.split('/').next().unwrap_or(inner).to_owned())
    };
    let connectors: BTreeSet<String> = files().iter().filter_map(|file| own_of(file)).collect();
    let mut offences = Vec::new();
    let mut known = BTreeSet::new();
    for file in files_ending(".rs") {
        let Some(own) = own_of(&file).filter(|own| own != "mod") else { continue };
        let at_top = ["", "/mod"].iter().any(|tail| file == format!("engine/src/connector/{own}{tail}.rs"));
        for (line, other) in uses(&code(&read(&file)), parent, at_top) {
            let is_module = connectors.contains(&other) && other != own;
            if !is_module || CONTRACTS.contains(&other.as_str()) {
                continue;
            }
            if CONTRACTS_OF_KAFKA.contains(&own.as_str()) && other == "kafka" {
                known.insert(own.clone());
            } else {
                offences.push(format!("{file}:{line}: connector `{own}` uses `{other}`"));
            }
        }
    }
    let stale = CONTRACTS_OF_KAFKA.iter().filter(|contract| !known.contains(**contract));
    offences.extend(stale.map(|contract| format!("`{contract}` names no connector any more: say so here")));
    assert_none(&offences);
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut offences = Vec::new();
    for file in files_ending(".rs") {
        let text = read(&file);
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            offences.push(format!("{file}: {lines} lines, at most {FILE_LINES_MAX}"));
        }
        if !text.starts_with("//!") {
            offences.push(format!("{file}:1: a module starts with a `//!` sentence"));
        }
    }
    assert_none(&offences);
}

#[test]
fn nothing_is_left_undone() {
    // Put together here, so that this file does not hold them.
    let words: Vec<String> = [
        ("todo", "!("),
        ("unimplemented", "!("),
        ("dbg", "!("),
        ("#[ig", "nore"),
        ("#[al", "low"),
        ("#![al", "low"),
    ]
    .iter()
    .map(|(a, b)| format!("{a}{b}"))
    .collect();
    let mut offences = Vec::new();
    for file in files_ending(".rs") {
        for (number, line) in read(&file).lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(word.as_str())) {
                offences.push(format!("{file}:{}: `{word}`", number + 1));
            }
        }
    }
    assert_none(&offences);
}

#[test]
fn nothing_names_a_machine_or_is_too_large() {
    let places: Vec<String> =
        [("/wo", "rk/"), ("/ro", "ot/"), ("/ho", "me/")].iter().map(|(a, b)| format!("{a}{b}")).collect();
    let mut offences = Vec::new();
    for file in files() {
        let bytes = fs::read(root().join(&file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        if bytes.len() as u64 > BLOB_BYTES_MAX {
            offences.push(format!("{file}: {} bytes, at most {BLOB_BYTES_MAX}", bytes.len()));
        }
        // Binary files (components, columnar fixtures) have no lines to look at.
        let Ok(text) = String::from_utf8(bytes) else { continue };
        for (number, line) in text.lines().enumerate() {
            if places.iter().any(|place| names_folder(line, place)) {
                offences.push(format!("{file}:{}: a path of one machine: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none(&offences);
}

/// Whether a line has this absolute path, not as the middle of a longer path or of an address.
fn names_folder(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        !line[..at]
            .ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | ')' | '/' | '*'))
    })
}

/// Lines of a Markdown text outside code fences, with their numbers from 1.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.push((number + 1, line));
        }
    }
    lines
}

#[test]
fn markdown_has_one_title_and_links_that_resolve() {
    let mut offences = Vec::new();
    for file in files_ending(".md") {
        let text = read(&file);
        let lines = prose(&text);
        let titles = lines.iter().filter(|(_, line)| line.starts_with("# ")).count();
        if titles != 1 {
            offences.push(format!("{file}: {titles} titles, one was expected"));
        }
        let folder = root().join(&file).parent().expect("a folder").to_owned();
        for (number, line) in lines {
            for (at, _) in line.match_indices("](") {
                let target = line[at + 2..].split([')', ' ']).next().unwrap_or_default();
                let path = target.split('#').next().unwrap_or_default();
                if !path.is_empty() && !target.contains(':') && !folder.join(path).exists() {
                    offences.push(format!("{file}:{number}: `{target}` does not exist"));
                }
            }
        }
    }
    assert_none(&offences);
}

/// What README.md shows is in the tree, word for word: pipelines in `pipelines/`, Rust in `stages/`.
#[test]
fn code_in_the_readme_is_code_in_the_tree() {
    let readme = read("README.md");
    for (language, folder, extension) in [("yaml", "pipelines/", ".yaml"), ("rust", "stages/", ".rs")] {
        let files = files_ending(extension).into_iter().filter(|f| f.starts_with(folder));
        let sources: Vec<String> = files.map(|f| read(&f)).collect();
        let opening = format!("```{language}\n");
        let shown: Vec<&str> =
            readme.split(&opening).skip(1).filter_map(|rest| rest.split("\n```").next()).collect();
        assert!(!shown.is_empty(), "README.md shows no {language}");
        for block in shown {
            assert!(
                sources.iter().any(|source| source.contains(block)),
                "README.md shows {language} that no file below {folder} has:\n{block}"
            );
        }
    }
}

/// Pages for people who come from another program show whole files of `pipelines/coming-from`, and all of them. The other
/// program's files are blocks of `yml`.
#[test]
fn pipelines_of_the_pages_are_files() {
    let mut left: BTreeMap<String, String> = files_ending(".yaml")
        .into_iter()
        .filter(|f| f.starts_with("pipelines/coming-from/"))
        .map(|f| (read(&f), f))
        .collect();
    assert!(!left.is_empty(), "pipelines/coming-from is empty");
    for page in files_ending(".md").into_iter().filter(|f| f.starts_with("docs/coming-from/")) {
        for rest in read(&page).split("```yaml\n").skip(1) {
            let block = format!("{}\n", rest.split("\n```").next().unwrap_or_default());
            assert!(left.remove(&block).is_some(), "{page} shows a pipeline that is no file:\n{block}");
        }
    }
    assert!(left.is_empty(), "no page shows {:?}", left.values());
}

#[test]
fn the_map_shows_the_tree() {
    let text = read("ARCHITECTURE.md");
    let modules = modules();
    let ranks = ranks();
    let mut offences = Vec::new();
    let lines = text.lines().count();
    if lines > ARCHITECTURE_LINES_MAX {
        offences.push(format!("ARCHITECTURE.md: {lines} lines, at most {ARCHITECTURE_LINES_MAX}"));
    }

    // A third-level heading with the module's name opens its paragraph, which holds its invariant.
    let mut sections: BTreeMap<String, bool> = BTreeMap::new();
    let mut current: Vec<String> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("### ") {
            current = quoted(title).iter().map(|m| m.trim_end_matches('/').to_owned()).collect();
            sections.extend(current.iter().map(|m| (m.clone(), false)));
        } else if line.starts_with('#') {
            current.clear();
        } else if line.contains("**Invariant**") {
            sections.extend(current.iter().map(|m| (m.clone(), true)));
        }
    }
    for module in &modules {
        match sections.get(module) {
            None => offences.push(format!("ARCHITECTURE.md: no section `### `{module}``")),
            Some(false) => offences.push(format!("ARCHITECTURE.md: `{module}` has no **Invariant** line")),
            Some(true) => {}
        }
    }
    let named: BTreeSet<&String> = sections.keys().chain(ranks.keys()).collect();
    for module in named.into_iter().filter(|m| !modules.contains(*m)) {
        offences.push(format!("ARCHITECTURE.md: `{module}` is no module of engine/src"));
    }

    for (number, line) in prose(&text) {
        for word in quoted(line).into_iter().filter(|word| is_path(word)) {
            if !root().join(word).exists() && !root().join("engine/src").join(word).exists() {
                offences.push(format!("ARCHITECTURE.md:{number}: `{word}` does not exist"));
            }
        }
    }
    assert_none(&offences);
}

/// Whether a quoted word of ARCHITECTURE.md means a file: it has a slash or a known extension, and no placeholder.
fn is_path(word: &str) -> bool {
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-'));
    let extension = [".rs", ".md", ".toml", ".sh", ".wit", ".yaml"].iter().any(|e| word.ends_with(e));
    plain && word.len() > 1 && (word.contains('/') || extension)
}

#[test]
fn decisions_are_numbered_and_complete() {
    let mut offences = Vec::new();
    let records: Vec<String> = files().into_iter().filter(|f| f.starts_with("docs/adr/")).collect();
    assert!(!records.is_empty(), "docs/adr is empty");
    for (index, file) in records.iter().enumerate() {
        if !file.starts_with(&format!("docs/adr/{:04}-", index + 1)) {
            offences.push(format!("{file}: number {:04} was expected", index + 1));
        }
        let text = read(file);
        for part in ["Context", "Decision", "Alternatives refused", "How we would notice we were wrong"] {
            if !text.lines().any(|line| line == format!("## {part}")) {
                offences.push(format!("{file}: no part `## {part}`"));
            }
        }
    }
    assert_none(&offences);
}

/// Names that ADR 0008 gives a line, and those that the workspace depends on, are the same.
#[test]
fn each_dependency_has_its_reason() {
    let manifest = read("Cargo.toml");
    let inside = manifest.split("[workspace.dependencies]").nth(1).unwrap_or_default();
    let inside = inside.split("\n[").next().unwrap_or_default();
    let wanted: BTreeSet<&str> = inside
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.trim())
        .filter(|name| !name.starts_with("pipe-"))
        .collect();
    assert!(wanted.contains("wasmtime"), "the list of dependencies was not found: {wanted:?}");

    let records =
        files().into_iter().filter(|f| f.starts_with("docs/adr/")).map(|f| read(&f)).collect::<String>();
    let told: BTreeSet<&str> = records
        .lines()
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| quoted(line.split('|').nth(1).unwrap_or_default()))
        .collect();
    let offences: Vec<String> = wanted
        .difference(&told)
        .map(|name| format!("Cargo.toml: `{name}` has no line in a table of docs/adr"))
        .chain(
            told.difference(&wanted).map(|name| format!("docs/adr: `{name}` is no dependency of Cargo.toml")),
        )
        .collect();
    assert_none(&offences);
}

/// Every build is `--locked`.
#[test]
fn lock_files_are_committed() {
    let files = files();
    for lock in ["Cargo.lock", "stages/Cargo.lock"] {
        let manifest = lock.replace(".lock", ".toml");
        assert!(
            !files.contains(&manifest) || files.iter().any(|f| f == lock),
            "{lock} is not under version control"
        );
    }
}
