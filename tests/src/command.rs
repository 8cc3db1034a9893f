//! The binary `pipe` in a folder of its own: what it said, how it ended, what it left behind.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ended = Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        };
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        ended
    }
}

impl Ended {
    /// Asserts its exit code, and that standard error says each of these.
    #[track_caller]
    pub fn says(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is not in:\n{}", self.stderr);
        }
    }

    /// The sums of a run.
    #[track_caller]
    pub fn summary(&self) -> Value {
        let mut lines = self.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let summary = lines.rfind(|line| line["summary"].is_object());
        summary.unwrap_or_else(|| panic!("no summary in:\n{}", self.stderr))["summary"].clone()
    }
}

/// A folder with a pipeline and its inputs.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// A folder with this pipeline.
    pub fn new(pipeline: &str) -> Self {
        let scratch = Self(tempfile::tempdir().unwrap_or_else(|e| panic!("{e}")));
        scratch.write("pipeline.yaml", pipeline);
        scratch
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// The command with these arguments, in the folder.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = crate::pipe();
        command.args(args).current_dir(self.0.path()).stdin(Stdio::null()).env_remove("RUST_BACKTRACE");
        command
    }

    /// Runs a command to its end.
    pub fn pipe(&self, args: &[&str]) -> Ended {
        self.command(args).output().unwrap_or_else(|e| panic!("{e}")).into()
    }

    /// `pipe run --until-end` with these arguments.
    pub fn run(&self, args: &[&str]) -> Ended {
        self.pipe(&[&["run", "--until-end"], args].concat())
    }

    /// The same with this on standard input.
    pub fn run_with_input(&self, input: &[u8]) -> Ended {
        let mut child = spawn(self.command(&["run", "--until-end"]).stdin(Stdio::piped()));
        let written = child.stdin.take().map(|mut stdin| stdin.write_all(input));
        assert!(written.is_some_and(|w| w.is_ok()), "standard input");
        wait(child)
    }

    /// The lines of all visible files of a folder; empty when it is not there.
    pub fn lines(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(folder)) else { return Vec::new() };
        let visible =
            |path: &PathBuf| !path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        entries.flatten().map(|entry| entry.path()).filter(visible).flat_map(|path| lines_of(&path)).collect()
    }

    /// The dead letters of a pipeline.
    pub fn letters(&self, pipeline: &str) -> Vec<Value> {
        let path = self.path(&format!("{pipeline}.dead-letters.jsonl"));
        let parse = |line: &String| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        if path.exists() { lines_of(&path).iter().map(parse).collect() } else { Vec::new() }
    }
}

fn lines_of(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(str::to_owned).collect()
}

/// Starts a command with its outputs piped.
pub fn spawn(command: &mut Command) -> Child {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap_or_else(|e| panic!("{e}"))
}

/// Waits for its end.
pub fn wait(child: Child) -> Ended {
    child.wait_with_output().unwrap_or_else(|e| panic!("{e}")).into()
}

/// Sends a signal to a child.
pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
}

/// Waits until something is so, for half a minute at most.
#[track_caller]
pub fn until(what: &str, so: impl FnMut() -> bool) {
    let mut so = so;
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < Duration::from_secs(30), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
