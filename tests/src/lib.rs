//! Helpers of the integration tests.

pub mod kafka;

/// The plan of a pipeline file, its components taken from this tree. Panics with everything that is wrong.
pub fn plan(file: &Path, sets: &[String]) -> Plan {
    let host = HostOptions { cache: Some(root().join("target/test-stage-cache")) };
    let planned = load::plan_file(file, sets, host).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let text = load::rendered(file, &planned, load::Form::Plain);
    planned.plan.unwrap_or_else(|| panic!("{}:\n{text}", file.display()))
}
