//! The contract as printed: a change of `wit/stage.wit` shows here, and asks for a new version.

use std::path::Path;

use expect_test::expect_file;

#[test]
fn the_printed_contract_is_the_golden_one() {
    let mut resolve = wit_parser::Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let (package, _) = resolve.push_dir(&wit).unwrap();
    let mut printer = wit_component::WitPrinter::default();
    printer.emit_docs(false).print(&resolve, package, &[]).unwrap();
    expect_file!["contract.golden.wit"].assert_eq(&printer.output.to_string());
}
