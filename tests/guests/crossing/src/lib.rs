//! The guest of the crossing benchmarks. `config` is `{"mode": "..", "rounds": n}`:
//!
//! - `compare` (the default): `a * 2 + b > 1000` over two `int64` columns, answered by a mask
//! - `filter`: `status >= 500` or `latency > 100` over an `int64` and a `float64` column, answered by a mask
//! - `nothing`: no column is read, every row goes on
//! - `in`: every column is read, every row goes on
//! - `out`: every column is read and computed anew, byte for byte
//! - `spin`: for each row of the column `bytes` a chain of `rounds` multiplications, answered by a mask

wit_bindgen::generate!({ path: "../../../wit", world: "stage" });

use std::cell::Cell;

use exports::pipe::stage::transform::{
    Binding, Description, Emission, Guest, Outcome, Output, OutputColumn, Passed, RecordBatch, Schema,
    Selection,
};

#[derive(Clone, Copy)]
enum Mode {
    Compare,
    Filter,
    Whole,
    Out,
    Spin(u32),
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Compare) };
}

struct Crossing;

/// What follows a key of the configuration, up to the end of its value.
fn value<'a>(config: &'a str, key: &str) -> &'a str {
    let rest = config.split(key).nth(1).unwrap_or_default();
    rest.trim_start_matches(['"', ':', ' ']).split(['"', ',', '}']).next().unwrap_or_default()
}

/// One bit a row. 64 answers become eight bytes: the rows without a branch, and each eight by one multiplication.
fn pack(answers: &[u8; 64], mask: &mut Vec<u8>) {
    let mut word = 0;
    for (at, eight) in answers.as_chunks::<8>().0.iter().enumerate() {
        word |= (u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (at * 8);
    }
    mask.extend_from_slice(&u64::to_le_bytes(word));
}

/// A mask of the rows of one column.
fn mask(column: &[[u8; 8]], keep: impl Fn([u8; 8]) -> bool) -> Selection {
    mask_of_two(column, column, |word, _| keep(word))
}

/// A mask of the rows of two columns of one length. Whole groups have a fixed length, so that they become vectors.
fn mask_of_two(a: &[[u8; 8]], b: &[[u8; 8]], keep: impl Fn([u8; 8], [u8; 8]) -> bool) -> Selection {
    let mut mask = Vec::with_capacity(a.len().div_ceil(64) * 8);
    let ((whole_a, rest_a), (whole_b, rest_b)) = (a.as_chunks::<64>(), b.as_chunks::<64>());
    for (a, b) in whole_a.iter().zip(whole_b) {
        pack(&core::array::from_fn(|row| u8::from(keep(a[row], b[row]))), &mut mask);
    }
    if !rest_a.is_empty() {
        let mut answers = [0u8; 64];
        for (answer, (a, b)) in answers.iter_mut().zip(rest_a.iter().zip(rest_b)) {
            *answer = u8::from(keep(*a, *b));
        }
        pack(&answers, &mut mask);
    }
    mask.truncate(a.len().div_ceil(8));
    Selection::Mask(mask)
}

/// The two columns of the comparing modes, as words of one length.
fn pair(input: &RecordBatch) -> Result<(&[[u8; 8]], &[[u8; 8]]), String> {
    let [a, b] = &input.arrays[..] else { return Err("two columns are expected".into()) };
    let rows = input.length as usize;
    let (a, b) = (a.buffers[1].as_chunks::<8>().0, b.buffers[1].as_chunks::<8>().0);
    a.get(..rows).zip(b.get(..rows)).ok_or_else(|| "a column is too short".into())
}

impl Guest for Crossing {
    fn describe() -> Description {
        Description {
            name: "crossing".into(),
            version: "0.1.0".into(),
            summary: "Reads what its mode says, and answers with a mask, with every row or with the columns.".into(),
            config_schema: r#"{"type":"object","properties":{"mode":{"enum":["compare","filter","nothing","in","out","spin"]},"rounds":{"type":"integer"}},"additionalProperties":false}"#.into(),
            sdk: "wit-bindgen".into(),
        }
    }

    fn bind(input: Schema, config: String) -> Result<Binding, String> {
        let count = input.fields.len() as u32;
        let every = (0..count).collect();
        let (mode, reads) = match value(&config, "\"mode\"") {
            "" | "compare" => (Mode::Compare, vec![0, 1]),
            "filter" => (Mode::Filter, vec![0, 1]),
            "nothing" => (Mode::Whole, vec![]),
            "in" => (Mode::Whole, every),
            "out" => (Mode::Out, every),
            "spin" => {
                let rounds = value(&config, "\"rounds\"").parse().map_err(|_| "`rounds` is no number")?;
                let bytes = input.fields.iter().position(|field| field.name == "bytes");
                (Mode::Spin(rounds), vec![bytes.ok_or("there is no column `bytes`")? as u32])
            }
            other => return Err(format!("there is no mode `{other}`")),
        };
        if reads.iter().any(|&read| read >= count) {
            return Err("two numeric columns are needed".into());
        }
        MODE.set(mode);
        let columns = match mode {
            Mode::Out => input.fields.into_iter().map(|field| OutputColumn::Computed(vec![field])).collect(),
            _ => (0..count).map(|index| OutputColumn::Passed(Passed { index, name: None })).collect(),
        };
        Ok(Binding { reads, outputs: vec![Output { name: "out".into(), columns }] })
    }

    fn process(input: RecordBatch) -> Result<Outcome, String> {
        let mut computed = Vec::new();
        let rows = match MODE.get() {
            Mode::Compare => {
                let (a, b) = pair(&input)?;
                let number = |word: [u8; 8]| i64::from_le_bytes(word);
                mask_of_two(a, b, |a, b| number(a).wrapping_mul(2).wrapping_add(number(b)) > 1000)
            }
            Mode::Filter => {
                let (status, latency) = pair(&input)?;
                mask_of_two(status, latency, |status, latency| {
                    (i64::from_le_bytes(status) >= 500) | (f64::from_le_bytes(latency) > 100.0)
                })
            }
            Mode::Whole => Selection::EveryRow,
            Mode::Out => {
                computed = input.arrays;
                Selection::EveryRow
            }
            Mode::Spin(rounds) => {
                let values = input.arrays[0].buffers[1].as_chunks::<8>().0;
                mask(values, |word| {
                    let mut number = u64::from_le_bytes(word);
                    for _ in 0..rounds {
                        number = number.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
                        number ^= number >> 29;
                    }
                    number & 1 == 1
                })
            }
        };
        let emission = Emission { output: 0, rows, computed };
        Ok(Outcome { emissions: vec![emission], rejections: Vec::new() })
    }
}

export!(Crossing);
