//! The fast and the slow way of decoding side by side, for tests and for fuzzing: the same rows, rejections and words.

#![expect(clippy::unwrap_used, reason = "where the ways differ, the test or the fuzz target panics")]

use arrow::array::BinaryArray;
use arrow::datatypes::SchemaRef;
use serde_json::json;

use super::declared;
use super::decode::JsonDecoder;
use super::unknown::Told;
use crate::batch::Payload;
use crate::codec::{Decoded, Decoder};
use crate::datatype;

/// A column of each kind that the fast way tells apart.
pub fn schema() -> SchemaRef {
    let columns = json!({
        "i": "int64", "n": "int8", "u": "uint64", "f": "float64", "h": "float32", "s": "utf8", "b": "boolean",
        "t": "timestamp(ms, UTC)", "g": "struct(x: float64, y: list(struct(z: utf8)))", "l": "list(int64)",
        "o": "fixed_size_list(int64, 2)", "m": "map(utf8, int64)", "d": "decimal128(20, 2)", "w": "dictionary(int8, utf8)",
    });
    datatype::columns(&columns).unwrap()
}

fn decoded(decoder: &mut JsonDecoder, records: &[Vec<u8>]) -> Decoded {
    decoder.decode(&Payload::Values(BinaryArray::from_iter_values(records))).unwrap()
}

/// Decodes batches one after another in both ways, whatever becomes of undeclared fields; panics where they differ.
pub fn compare(schema: &SchemaRef, batches: &[Vec<Vec<u8>>]) {
    let with_rest = declared::of_guess(schema);
    let decoders: [&dyn Fn() -> JsonDecoder; 3] =
        [&|| JsonDecoder::new(schema).unwrap(), &|| JsonDecoder::new(schema).unwrap().strictly(), &|| {
            JsonDecoder::keeping(&with_rest).unwrap()
        }];
    for decoder in decoders {
        compare_two(|| decoder().watching(&Told::default()), batches);
    }
}

fn compare_two(decoder: impl Fn() -> JsonDecoder, batches: &[Vec<Vec<u8>>]) {
    let (mut quick, mut slow) = (decoder(), decoder());
    slow.fast = false;
    for records in batches {
        let (one, other) = (decoded(&mut quick, records), decoded(&mut slow, records));
        assert_eq!(quick.unknown(), slow.unknown());
        let (quick, slow) = (one, other);
        let shown = || records.iter().map(|r| String::from_utf8_lossy(r)).collect::<Vec<_>>().join("\n");
        assert_eq!(quick.records, slow.records, "{}", shown());
        assert_eq!(quick.good, slow.good, "{}", shown());
        let bad = |of: &Decoded| of.bad.iter().map(|bad| (bad.row, bad.message.clone())).collect::<Vec<_>>();
        assert_eq!(bad(&quick), bad(&slow), "{}", shown());
    }
}
