//! The binary `pipe`.

use std::process::ExitCode;

fn main() -> ExitCode {
    pipe_engine::cli::main()
}
