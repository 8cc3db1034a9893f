//! `componentise core.wasm component.wasm`: makes a component of a core module that carries its world's description.

use std::process::ExitCode;

fn run() -> Result<(), String> {
    let [_, from, to] = &std::env::args().collect::<Vec<_>>()[..] else {
        return Err("usage: componentise CORE.wasm COMPONENT.wasm".to_owned());
    };
    let core = std::fs::read(from).map_err(|e| format!("{from}: {e}"))?;
    let component = wit_component::ComponentEncoder::default()
        .module(&core)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|e| format!("{from}: {e:#}"))?;
    std::fs::write(to, component).map_err(|e| format!("{to}: {e}"))
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
