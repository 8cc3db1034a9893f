//! The guest of the crossing benchmark: `a * 2 + b > 1000` over two numeric columns, answered by a mask.

wit_bindgen::generate!({ path: "../../../wit", world: "stage" });

use exports::pipe::stage::transform::{
    Binding, Description, Emission, Guest, Outcome, Output, OutputColumn, Passed, RecordBatch, Schema,
    Selection,
};

struct Crossing;

impl Guest for Crossing {
    fn describe() -> Description {
        Description {
            name: "crossing".into(),
            version: "0.1.0".into(),
            summary: "Reads two numeric columns and keeps the rows where a * 2 + b > 1000.".into(),
            config_schema: String::new(),
            sdk: "wit-bindgen".into(),
        }
    }

    fn bind(input: Schema, _config: String) -> Result<Binding, String> {
        if input.fields.len() < 2 {
            return Err("two numeric columns are needed".into());
        }
        let passed = |index| OutputColumn::Passed(Passed { index, name: None });
        let columns = (0..input.fields.len() as u32).map(passed).collect();
        Ok(Binding { reads: vec![0, 1], outputs: vec![Output { name: "out".into(), columns }] })
    }

    fn process(input: RecordBatch) -> Result<Outcome, String> {
        let [a, b] = &input.arrays[..] else { return Err("two columns are expected".into()) };
        let mut mask = vec![0u8; (input.length as usize).div_ceil(8)];
        let (a, b) = (a.buffers[1].as_chunks::<8>().0, b.buffers[1].as_chunks::<8>().0);
        let value = |word: &[u8; 8]| i64::from_le_bytes(*word);
        for (byte, (a, b)) in mask.iter_mut().zip(a.chunks(8).zip(b.chunks(8))) {
            for (bit, (a, b)) in a.iter().zip(b).enumerate() {
                let keep = value(a).wrapping_mul(2).wrapping_add(value(b)) > 1000;
                *byte |= u8::from(keep) << bit;
            }
        }
        let emission = Emission { output: 0, rows: Selection::Mask(mask), computed: Vec::new() };
        Ok(Outcome { emissions: vec![emission], rejections: Vec::new() })
    }
}

export!(Crossing);
