//! The grants of a stage: what the file says of them to what the stage host gives, and the warnings about them.

use std::path::Path;

use crate::config::spec::GrantsSpec;
use crate::config::step;
use crate::error::Code;
use crate::problem::Problem;
use crate::secret;
use crate::stage::{Bound, Grants};

/// Resolves grants; pointers of the mistakes are within the stage's entry.
pub(super) fn resolve(spec: &GrantsSpec, base: &Path) -> Result<Grants, Vec<Problem>> {
    let mut grants = Grants::default();
    let mut problems = Vec::new();
    for (key, value) in &spec.env {
        // A literal value; one that came from elsewhere was seen when the file was read.
        if secret::is_named(key) {
            secret::keep(&value.0);
        }
        if let Err(message) = grants.env(key, &value.0) {
            let problem = Problem::new(Code::P012, step("/grants/env", key), message);
            problems
                .push(problem.help("a name is made of letters, digits and `_`; a value has no zero byte"));
        }
    }
    for (guest, host) in &spec.folders {
        if let Err((message, help)) = grants.folder(guest, &base.join(host)) {
            problems.push(Problem::new(Code::P012, step("/grants/folders", guest), message).help(help));
        }
    }
    if spec.network.is_some() {
        let problem = Problem::new(Code::P012, "/grants/network", "network cannot be granted yet");
        problems.push(problem.help("remove the key: a stage sees its columns, `env` and `folders` only"));
    }
    if problems.is_empty() { Ok(grants) } else { Err(problems) }
}

/// What a stage is granted in vain, and what it reaches for in vain; pointers are within its entry.
pub(super) fn warnings(bound: &Bound) -> Vec<Problem> {
    let imports = bound.component().imports();
    let imports = |interface: &str| imports.iter().any(|name| name.starts_with(interface));
    let grants = bound.grants();
    let mut warnings = Vec::new();
    let mut vain = |key: &str, what: &str| {
        let message = format!("the stage is granted {what}, and its component does not ask for any");
        let help = "remove the grant, or build the component with WASI";
        warnings.push(Problem::new(Code::W017, format!("/grants/{key}"), message).help(help));
    };
    if grants.keys().next().is_some() && !imports("wasi:cli/environment@") {
        vain("env", "an environment");
    }
    if !grants.folders().is_empty() && !imports("wasi:filesystem/preopens@") {
        vain("folders", "folders");
    }
    if bound.asked().network {
        let message = "the stage tried to open a socket when it was bound, and was refused";
        let help = "no stage has a network; it may work without";
        warnings.push(Problem::new(Code::W018, "", message).help(help));
    }
    warnings
}
