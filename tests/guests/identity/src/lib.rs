//! A guest that reads every column and recomputes it byte for byte.

wit_bindgen::generate!({ path: "../../../wit", world: "stage" });

use exports::pipe::stage::transform::{
    Binding, Description, Emission, Guest, Outcome, Output, OutputColumn, RecordBatch, Schema, Selection,
};

struct Identity;

/// Groups the pre-order fields of a schema by top-level column.
fn columns(schema: Schema) -> Vec<OutputColumn> {
    let mut columns: Vec<OutputColumn> = Vec::new();
    let mut fields = schema.fields.into_iter();
    while let Some(root) = fields.next() {
        let mut open = root.children;
        let mut column = vec![root];
        while open > 0 {
            let Some(field) = fields.next() else { break };
            open = open - 1 + field.children;
            column.push(field);
        }
        columns.push(OutputColumn::Computed(column));
    }
    columns
}

impl Guest for Identity {
    fn describe() -> Description {
        Description {
            name: "identity".into(),
            version: "0.1.0".into(),
            summary: "Reads every column and computes it anew, byte for byte.".into(),
            config_schema: String::new(),
            sdk: "wit-bindgen".into(),
        }
    }

    fn bind(input: Schema, _config: String) -> Result<Binding, String> {
        let columns = columns(input);
        let reads = (0..columns.len() as u32).collect();
        Ok(Binding { reads, outputs: vec![Output { name: "out".into(), columns }] })
    }

    fn process(input: RecordBatch) -> Result<Outcome, String> {
        let emission = Emission { output: 0, rows: Selection::EveryRow, computed: input.arrays };
        Ok(Outcome { emissions: vec![emission], rejections: Vec::new() })
    }
}

export!(Identity);
