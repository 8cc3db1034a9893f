//! Functions of a stage by name: which of them its author wrote. Names come from the component's name section, which
//! `pipe stage build` keeps for these functions only.

/// Crates that are not the author's: the standard library with what it is made of, and the SDK.
const LIBRARIES: &[&str] = &[
    "__rustc",
    "alloc",
    "cfg_if",
    "compiler_builtins",
    "core",
    "dlmalloc",
    "hashbrown",
    "libc",
    "memchr",
    "panic_abort",
    "panic_unwind",
    "pipe_stage",
    "proc_macro",
    "std",
    "std_detect",
    "unwind",
    "wasip2",
    "wit_bindgen",
    "wit_bindgen_rt",
];

/// Types of the language itself: what is implemented for them is the library's.
const PRIMITIVES: &[&str] = &[
    "bool", "char", "f16", "f32", "f64", "i128", "i16", "i32", "i64", "i8", "isize", "str", "u128", "u16",
    "u32", "u64", "u8", "usize",
];

/// Functions that compilers and their libraries bring along, and what they begin with.
const RUNTIMES: &[&str] =
    &["abort", "exit", "free", "malloc", "memcmp", "memcpy", "memmove", "memset", "raise", "realloc"];
const RUNTIME_PREFIXES: &[&str] = &["_", "cabi_", "rust_", "runtime.", "dlmalloc", "wasm-", "asyncify_"];

/// A function's name as its author would write it; `None` where it is not of the author.
pub fn of_author(symbol: &str) -> Option<String> {
    let name = format!("{:#}", rustc_demangle::demangle(symbol));
    // What the contract's bindings export: `pipe:stage/transform@0.1.0#process`.
    let exported = name.contains('#') && !name.contains("{closure#");
    let generated = ["::_export_", "::pipe_stage_component::", "::__link_custom_section", "::wit_import"];
    if exported || generated.iter().any(|part| name.contains(part)) {
        return None;
    }
    let root = root(&name);
    let is_rust = name.contains("::");
    let of_a_list = ["<[", "<(", "<*", "<&["].iter().any(|start| name.starts_with(start));
    let library = match is_rust {
        true => of_a_list || LIBRARIES.contains(&root) || PRIMITIVES.contains(&root),
        false => is_runtime(&name),
    };
    (!library && !root.is_empty()).then_some(name)
}

fn is_runtime(name: &str) -> bool {
    RUNTIMES.contains(&name) || RUNTIME_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The crate that a path begins with: `slow` of `<slow::Slow as pipe_stage::stage::Stage>::process`.
fn root(name: &str) -> &str {
    let start = name.trim_start_matches(['<', '&', '*', '(', '[', ' ']);
    let start = ["mut ", "const ", "dyn "].iter().fold(start, |rest, word| rest.trim_start_matches(word));
    let end = start.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.' || c == '$'));
    &start[..end.unwrap_or(start.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_the_author_are_told_from_those_of_libraries() {
        for (symbol, name) in [
            ("_RNvCs5Zsup2H1xsd_14guest_crossing4pair", Some("guest_crossing::pair")),
            ("_ZN4slow4work17h0123456789abcdefE", Some("slow::work")),
            ("slow::slow::{closure#0}", Some("slow::slow::{closure#0}")),
            (
                "<slow::Slow as pipe_stage::stage::Stage>::process",
                Some("<slow::Slow as pipe_stage::stage::Stage>::process"),
            ),
            ("_RNvNtCskPpEVWPBPV9_4core9panicking5panic", None),
            (
                "_RNvMs4_NtCsfIMPWKQCQmv_5alloc7raw_vecNtB5_11RawVecInner8grow_oneCs5Zsup2H1xsd_14guest_crossing",
                None,
            ),
            ("<pipe_stage::row::Rowwise<slow::Slow> as pipe_stage::stage::Stage>::process", None),
            ("<&mut alloc::vec::Vec<slow::A> as core::iter::Iterator>::next", None),
            ("slow::exports::pipe::stage::transform::_export_process_cabi::<slow::Slow>", None),
            ("_RNvCsfgHYwM92fyn_7___rustc17rust_begin_unwind", None),
            ("<i64 as core::fmt::Display>::fmt", None),
            ("<&str as core::fmt::Display>::fmt", None),
            ("<[slow::Row]>::sort_by::<slow::work::{closure#0}>", None),
            ("slow::pipe::stage::host::log::wit_import1", None),
            ("pipe:stage/transform@0.1.0#process", None),
            ("cabi_realloc", None),
            ("memcmp", None),
            ("__wasm_call_ctors", None),
            ("process_rows", Some("process_rows")),
            ("", None),
        ] {
            assert_eq!(of_author(symbol).as_deref(), name, "{symbol}");
        }
    }
}
