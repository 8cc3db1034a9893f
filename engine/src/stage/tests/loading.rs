//! Files that are no stage: each has its code and says what it is instead.

use super::guests::{HOST, load, path};
use crate::error::Code;
use crate::stage::Limits;

#[test]
fn what_is_no_component_is_named() {
    let core = b"\0asm\x01\0\0\0";
    for (bytes, code, part) in [
        (&b""[..], Code::P004, "empty"),
        (b"hello, this is text", Code::P004, "not a WebAssembly component"),
        (core, Code::P004, "core WebAssembly module"),
        (b"\0asm\x07\0\x09\0", Code::P004, "version"),
        // A component with nothing in it.
        (b"\0asm\x0d\0\x01\0", Code::W002, "does not export `pipe:stage/transform@0.1.0`"),
    ] {
        let error = HOST.load_bytes(bytes).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = HOST.load(&path("nowhere")).unwrap_err();
    assert_eq!(error.code(), Code::P004);
    assert!(error.to_string().contains("nowhere.wasm"), "{error}");
}

#[test]
fn a_component_cut_anywhere_is_refused_without_a_panic() {
    let whole = std::fs::read(path("identity")).unwrap();
    for cut in (9..whole.len()).step_by(whole.len() / 40) {
        let error = HOST.load_bytes(&whole[..cut]).unwrap_err();
        assert!(matches!(error.code(), Code::W001 | Code::W002), "at {cut}: {error}");
    }
}

#[test]
fn another_version_of_the_contract_is_told_both() {
    let whole = std::fs::read(path("identity")).unwrap();
    let mut other = whole.clone();
    for at in 0..whole.len() - 5 {
        if whole[at..].starts_with(b"@0.1.0") {
            other[at..at + 6].copy_from_slice(b"@0.9.0");
        }
    }
    let error = HOST.load_bytes(&other).unwrap_err();
    assert_eq!(error.code(), Code::W002, "{error}");
    assert!(error.message().contains("@0.9.0") && error.message().contains("@0.1.0"), "{error}");
}

#[test]
fn a_component_says_what_it_is() {
    let component = load("identity");
    assert_eq!(component.digest().len(), 64);
    assert_eq!(component.bytes(), std::fs::metadata(path("identity")).unwrap().len() as usize);
    assert!(component.imports().iter().all(|name| name.starts_with("pipe:stage/")));
    let description = component.describe(&Limits::defaults_for(component.bytes())).unwrap();
    assert_eq!((description.name.as_str(), description.version.as_str()), ("identity", "0.1.0"));
}
