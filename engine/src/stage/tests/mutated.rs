//! Arrays that were right and were then damaged at random: lifting refuses them or makes valid Arrow of them, and
//! never panics.

use arrow::array::Array;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::arbitrary::{column, data_type};
use crate::stage::lift::{self, Arrays};
use crate::stage::lower::Lowered;
use crate::stage::types::crossing;
use crate::stage::wit::pipe::stage::arrow::ArrayResult;

/// The arrays of a column of `ty`, as a guest would return them.
fn lowered(rng: &mut SmallRng, ty: &DataType, rows: usize) -> Vec<ArrayResult> {
    let array = cast(&column(rng, ty, rows), &crossing(ty).unwrap()).unwrap();
    let mut lowered = Lowered::default();
    lowered.push(&array).unwrap();
    let owned = lowered.borrow();
    let arrays = owned.arrays();
    let copy = |buffers: &[&[u8]]| buffers.iter().map(|b| b.to_vec()).collect();
    arrays
        .iter()
        .map(|a| ArrayResult { length: a.length, null_count: a.null_count, buffers: copy(a.buffers) })
        .collect()
}

fn damage(rng: &mut SmallRng, arrays: &mut Vec<ArrayResult>) {
    let at = rng.random_range(0..arrays.len());
    let array = &mut arrays[at];
    let buffers = array.buffers.len();
    match rng.random_range(0..8) {
        0 => array.length = [0, 1, array.length.wrapping_add(1), u32::MAX][rng.random_range(0..4)],
        1 => array.null_count = [0, 1, array.length, u32::MAX][rng.random_range(0..4)],
        2 => drop(arrays.remove(at)),
        3 if buffers > 0 => drop(array.buffers.remove(rng.random_range(0..buffers))),
        4 if buffers > 0 => {
            let buffer = &mut array.buffers[rng.random_range(0..buffers)];
            buffer.truncate(rng.random_range(0..=buffer.len()));
        }
        _ if buffers > 0 => {
            // Mostly single bits and bytes: what is nearly right finds more than noise does.
            let buffer = &mut array.buffers[rng.random_range(0..buffers)];
            if !buffer.is_empty() {
                let byte = rng.random_range(0..buffer.len());
                buffer[byte] ^= if rng.random() { 1 << rng.random_range(0..8) } else { 0xff };
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damage_never_panics(seed: u64, rows in 0usize..40, faults in 0usize..4) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let ty = data_type(&mut rng, 3);
        let mut arrays = lowered(&mut rng, &ty, rows);
        for _ in 0..faults {
            if !arrays.is_empty() {
                damage(&mut rng, &mut arrays);
            }
        }
        let field = Field::new("c", crossing(&ty).unwrap(), true);
        let lifted = lift::column(&field, rows, &mut Arrays::new(arrays, 1 << 20));
        if faults == 0 {
            prop_assert!(lifted.is_ok(), "{ty}: {:?}", lifted.err());
        }
        if let Ok(array) = lifted {
            prop_assert_eq!(array.len(), rows);
            array.to_data().validate_full().map_err(|e| TestCaseError::fail(e.to_string()))?;
            // What a sink would do with each value.
            let options = FormatOptions::default().with_display_error(true);
            if let Ok(formatter) = ArrayFormatter::try_new(&array, &options) {
                for row in 0..rows {
                    let _ = formatter.value(row).to_string();
                }
            }
        }
    }
}
