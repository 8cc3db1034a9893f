//! Guests that no compiler would make: forged from instructions, or no components at all.

use pipe_tests::forge::{Body, COLUMN, EMISSION, Forge, MemoryType, NAME, OUTCOME, padded, pages};
use pipe_tests::hostile::Expect::{self, Letters, Passes, Refused};
use pipe_tests::hostile::{Case, Guest};

/// How it is made, what must come of it, part of what the operator sees, its name in the table.
type Line = (fn() -> Vec<u8>, Expect, &'static str, &'static str);

const INVALID: Expect = Letters("invalid_output");
const TRAP: Expect = Letters("trap");
const LATE: Expect = Letters("deadline");
const NO_MEMORY: Expect = Letters("out_of_memory");

/// A pointer to nowhere.
const NOWHERE: i32 = -16;

fn memory(bytes: u64) -> MemoryType {
    MemoryType { minimum: pages(bytes), maximum: None, memory64: false, shared: false, page_size_log2: None }
}

fn with(change: impl FnOnce(&mut Forge)) -> Vec<u8> {
    let mut forge = Forge::default();
    change(&mut forge);
    forge.component()
}

fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    with(|f| f.patches = vec![(at, bytes.to_vec())])
}

fn schema(text: &str) -> Vec<u8> {
    with(|f| f.config_schema = text.to_owned())
}

/// A schema whose definitions each name the next one twice.
fn doubling() -> Vec<u8> {
    let definition = |n: u32| {
        let next = format!("{{\"$ref\":\"#/$defs/d{}\"}}", n + 1);
        format!("\"d{n}\":{{\"allOf\":[{next},{next}]}}")
    };
    let all: Vec<String> = (0..20).map(definition).collect();
    schema(&format!("{{\"$ref\":\"#/$defs/d0\",\"$defs\":{{{},\"d20\":{{}}}}}}", all.join(",")))
}

/// A computed column of six numbers that lie at an odd address: no more than the contract allows.
fn unaligned() -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let (field, array, buffers, values) = (400, 480, 512, 601);
    with(|f| {
        f.patches = vec![
            (COLUMN, words(&[1, field, 1])),
            (field as usize, words(&[NAME as u32, 3, 5, 0, 0, 0, 0, 1, 0, 0, 0])),
            (EMISSION + 16, words(&[array, 1])),
            (array as usize, words(&[6, 0, buffers, 2])),
            (buffers as usize, words(&[0, 0, values, 48])),
        ];
    })
}

fn other_version() -> Vec<u8> {
    let mut bytes = Forge::default().component();
    for at in 0..bytes.len() - 6 {
        if bytes[at..].starts_with(b"@0.1.0") {
            bytes[at..at + 6].copy_from_slice(b"@0.9.0");
        }
    }
    bytes
}

/// What its functions do.
const FUNCTIONS: &[Line] = &[
    (|| Forge::default().component(), Passes, "", "nothing hostile, forged"),
    (|| with(|f| f.start = Body::Loop), Refused("W005"), "in time", "a start function that loops"),
    (|| with(|f| f.start = Body::Trap), Refused("W004"), "unreachable", "a start function that traps"),
    (|| with(|f| f.start = Body::GrowMemory), Refused("W006"), "memory", "a start function that hoards"),
    (|| with(|f| f.describe = Body::Trap), Refused("W004"), "unreachable", "describe: a trap"),
    (|| with(|f| f.describe = Body::Loop), Refused("W005"), "in time", "describe: an endless loop"),
    (
        || with(|f| f.describe = Body::Returns(NOWHERE)),
        Refused("W007"),
        "",
        "describe: an answer outside of its memory",
    ),
    (
        || with(|f| f.bind = Body::Returns(NOWHERE)),
        Refused("W007"),
        "",
        "bind: an answer outside of its memory",
    ),
    (|| with(|f| f.process = Body::Returns(NOWHERE)), INVALID, "", "an answer outside of its memory"),
    (|| with(|f| f.process = Body::Returns(OUTCOME as i32 + 1)), INVALID, "", "an answer at an odd address"),
    (|| with(|f| f.process = Body::GrowTable), NO_MEMORY, "memory", "a table without end"),
    (|| with(|f| f.process = Body::GrowMemory), NO_MEMORY, "memory", "memory without end, page by page"),
    (|| with(|f| f.process = Body::CallsHost), Passes, "", "a log line in the middle of a call"),
    (|| with(|f| f.post = Body::Trap), TRAP, "unreachable", "a trap after the answer, in post-return"),
    (|| with(|f| f.post = Body::Loop), LATE, "in time", "an endless loop after the answer, in post-return"),
    (|| with(|f| f.realloc = Body::Trap), Refused("W004"), "", "an allocator that traps"),
    (|| with(|f| f.realloc = Body::Loop), Refused("W005"), "", "an allocator that loops"),
    (
        || with(|f| f.realloc = Body::Returns(NOWHERE)),
        Refused("W007"),
        "",
        "an allocator that returns pointers out of range",
    ),
    (
        || with(|f| f.realloc = Body::Returns(3)),
        Refused("W007"),
        "",
        "an allocator that returns odd addresses",
    ),
    (
        || with(|f| f.realloc = Body::CallsHost),
        Refused("W004"),
        "",
        "an allocator that calls back into the host",
    ),
];

/// What it says in bytes that no bindings would write.
const BYTES: &[Line] = &[
    (unaligned, Passes, "", "buffers at odd addresses"),
    (|| patched(OUTCOME, &[7]), INVALID, "", "a result that is neither"),
    (|| patched(EMISSION + 4, &[9]), INVALID, "", "a selection of no known kind"),
    (|| patched(OUTCOME + 8, &[0xff; 4]), INVALID, "", "a list of 4,294,967,295 emissions"),
    (|| patched(OUTCOME + 4, &[0xfd, 0, 0, 0]), INVALID, "", "a list at an odd address"),
    (|| schema("{"), Refused("W007"), "JSON Schema", "a config-schema that is no JSON"),
    (
        || schema("{\"type\":\"wish\"}"),
        Refused("W007"),
        "JSON Schema",
        "a config-schema that is no JSON Schema",
    ),
    (|| schema("{\"$ref\":\"#\"}"), Refused("W007"), "comes back", "a config-schema that refers to itself"),
    (
        || schema("{\"$ref\":\"file:///etc/passwd\"}"),
        Refused("W007"),
        "no part of it",
        "a config-schema that refers to a file",
    ),
    (
        || schema("{\"$ref\":\"http://localhost:1/\"}"),
        Refused("W007"),
        "no part of it",
        "a config-schema that refers to the network",
    ),
    (doubling, Refused("W007"), "more than", "a config-schema that doubles twenty times"),
    (|| schema(&"[".repeat(100_000)), Refused("W007"), "", "a config-schema nested 100,000 deep"),
];

/// What it is made of.
const PARTS: &[Line] = &[
    (|| with(|f| f.memories = vec![memory(1 << 30)]), Refused("W006"), "memory", "a second memory of 1 GiB"),
    (|| with(|f| f.memories = vec![memory(1 << 20); 99]), Refused("W006"), "memory", "a hundred memories"),
    (|| with(|f| f.table = 1 << 28), Refused("W006"), "memory", "a table of 2^28 elements"),
    (
        || with(|f| f.memories = vec![MemoryType { memory64: true, ..memory(1 << 20) }]),
        Passes,
        "",
        "a memory of 64 bits",
    ),
    (
        || with(|f| f.memories = vec![MemoryType { shared: true, maximum: Some(64), ..memory(1 << 20) }]),
        Refused("W001"),
        "",
        "a memory shared between threads",
    ),
    (
        || with(|f| f.import = Some(["acme:secret", "vault", "open"])),
        Refused("W009"),
        "acme:secret/vault",
        "an import that no stage is given",
    ),
    (
        || with(|f| f.import = Some(["wasi:io@0.2.6", "poll", "frobnicate"])),
        Refused("W009"),
        "",
        "an import that does not exist",
    ),
    (
        || with(|f| f.import = Some(["wasi:http@0.2.6", "outgoing-handler", "handle"])),
        Refused("W009"),
        "wasi:http",
        "an import of the network",
    ),
    (other_version, Refused("W002"), "@0.9.0", "another version of the contract"),
    (|| b"\0asm\x01\0\0\0".to_vec(), Refused("P004"), "core WebAssembly module", "a core module"),
    (Vec::new, Refused("P004"), "empty", "an empty file"),
    (|| b"#!/bin/sh\nrm -rf /\n".to_vec(), Refused("P004"), "not a WebAssembly component", "a shell script"),
    (|| Forge::default().component()[..1000].to_vec(), Refused("W001"), "compiled", "a component cut short"),
    (|| padded(Forge::default().component(), 100 << 20), Refused("W013"), "at most", "a component of 100 MB"),
];

/// The cases, in the order of the table.
pub fn cases() -> Vec<Case> {
    let case = |&(make, expect, saw, name): &Line| Case {
        name,
        guest: Guest::Made(make),
        mode: "",
        rows: 12,
        expect,
        saw,
    };
    let mut cases: Vec<Case> = [FUNCTIONS, BYTES, PARTS].into_iter().flatten().map(case).collect();
    cases.push(Case {
        guest: Guest::Anew(|| with(|f| (f.ballast, f.length) = (100, 20))),
        ..case(&(Vec::new, Passes, "is being compiled", "a component that takes long to compile"))
    });
    cases
}
