//! What `wit-bindgen` makes of the contract. Authors meet it only through [`export!`](crate::export).
#![expect(missing_docs, reason = "generated code")]

wit_bindgen::generate!({
    path: "../../../wit/stage.wit",
    world: "stage",
    pub_export_macro: true,
    default_bindings_module: "pipe_stage::bindings",
    additional_derives: [PartialEq],
});
