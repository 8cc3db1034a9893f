//! Sources that leave out what nobody declared, before sinks that could write it.

use super::graph::pointer;
use super::originals::{at_input, edges};
use super::{Plan, Ports};
use crate::config::step;
use crate::error::Code;
use crate::problem::Problem;

/// A warning for each source that drops fields, of which the file says nothing, and that reaches a sink of JSON.
pub(super) fn look<B: Ports>(plan: &Plan<B>) -> Vec<Problem> {
    let drops =
        |source: usize| plan.sources[source].format.as_ref().is_some_and(|format| format.leaves_out());
    if !(0..plan.sources.len()).any(drops) {
        return Vec::new();
    }
    let edges = edges(plan);
    let mut warnings = Vec::new();
    for source in (0..plan.sources.len()).filter(|source| drops(*source)) {
        let reached = plan.sinks.iter().find(|sink| {
            let is_json = sink.format.as_ref().is_some_and(|format| format.is_json());
            is_json && at_input(&edges, &sink.inputs).is_some_and(|rows| rows.sources.contains(&source))
        });
        let Some(sink) = reached else { continue };
        let name = &plan.sources[source].name;
        let message = format!(
            "fields that `columns` of `{name}` does not name are left out, and the sink `{}` writes JSON without them",
            sink.name
        );
        let help = "say `unknown: keep` to write them as well, or `unknown: drop` where they are to be left out; \
                    `format: original` at the sink writes records as they came";
        let at = step(&step(&pointer("sources", name), "format"), "json");
        warnings.push(Problem::new(Code::P010, at, message).help(help));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use crate::plan::testing;

    fn check(format: &str, sinks: &str) -> String {
        testing::check(
            &format!(
                "name: p\nsources:\n  in: {{ test: {{ columns: [a] }}, format: {format} }}\nstages:\n  s: {{ from: in, wasm: \
                 add }}\nsinks:\n{sinks}"
            ),
            &[],
        )
    }

    const JSON: &str = "  out: { from: s, test: , format: json }\n";

    #[test]
    fn a_source_that_drops_fields_before_a_sink_of_json_is_told() {
        let told = check("{ json: { columns: { a: int64 } } }", JSON);
        assert!(told.contains("P010") && told.contains("`unknown: keep`"), "{told}");
        for format in [
            "json",
            "raw",
            "{ json: { columns: { a: int64 }, unknown: drop } }",
            "{ json: { columns: { a: int64 }, unknown: keep } }",
            "{ json: { columns: { a: int64 }, unknown: dead_letter } }",
        ] {
            assert!(!check(format, JSON).contains("P010"), "{format}");
        }
        let others =
            "  out: { from: s, test: , format: csv }\n  other: { from: in, test: , format: original }\n";
        assert!(!check("{ json: { columns: { a: int64 } } }", others).contains("P010"));
    }
}
