//! Helpers of the integration tests.

pub mod cluster;
pub mod command;
pub mod forge;
pub mod golden;
pub mod hostile;
pub mod http;
pub mod kafka;
pub mod proxy;
pub mod soak;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use pipe_engine::cli::load;
use pipe_engine::plan::Plan;
use pipe_engine::stage::HostOptions;

/// The root of the source tree.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The binary `pipe`, built from this tree. Panics when it does not build: nothing can be tested then.
pub fn pipe() -> Command {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let binary = BINARY.get_or_init(|| {
        let exe = std::env::current_exe().unwrap_or_default();
        let folder = exe.parent().unwrap_or(Path::new("")).to_path_buf();
        if !folder.ends_with("deps") {
            // A binary of this crate, built together with `pipe`.
            return folder.join("pipe");
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            // As everything else is built: by itself it would have other features of what it depends on.
            .args(["build", "--quiet", "--workspace", "--bin", "pipe"])
            .current_dir(root())
            .status();
        assert!(built.is_ok_and(|status| status.success()), "`pipe` does not build");
        // This test binary lies in <target>/<profile>/deps.
        folder.parent().map(Path::to_path_buf).unwrap_or_default().join("pipe")
    });
    let mut command = Command::new(binary);
    command.env("PIPE_STAGES", stages()).env("PIPE_CACHE", stage_cache());
    command
}

/// The folder of the built stages (`scripts/guests.sh`). Panics when they are not built.
pub fn stages() -> PathBuf {
    let folder = root().join("stages/target/components");
    assert!(folder.join("filter.wasm").exists(), "the stages are not built: run scripts/guests.sh");
    folder
}

/// Compiled stages, shared by all tests so that each is compiled once.
fn stage_cache() -> PathBuf {
    root().join("target/test-stage-cache")
}

/// The plan of a pipeline file, its components taken from this tree. Panics with everything that is wrong.
pub fn plan(file: &Path, sets: &[String]) -> Plan {
    let host = HostOptions { cache: Some(stage_cache()) };
    let planned = load::plan_file_with(file, sets, host, vec![stages()])
        .unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let text = load::rendered(file, &planned, load::Form::Plain);
    planned.plan.unwrap_or_else(|| panic!("{}:\n{text}", file.display()))
}
