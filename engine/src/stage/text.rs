//! Texts that a stage computed, taken as Arrow's after checks of our own: the one place on the way out that Arrow does
//! not check again. Its own check looks at each offset by itself, which costs more than both copies of a short text.

use arrow::array::{GenericStringArray, OffsetSizeTrait};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

/// Texts of offsets and values. Refused are: no offset at all, a first one that is not 0, one that is below the one
/// before it, a last one that is not the end of the values, values that are no UTF-8, a text that begins within a
/// character, and nulls of another length.
#[expect(unsafe_code, reason = "Arrow's checked constructor takes five times as long for the same checks")]
pub(super) fn texts<O: OffsetSizeTrait>(
    offsets: ScalarBuffer<O>,
    values: Buffer,
    nulls: Option<NullBuffer>,
) -> Result<GenericStringArray<O>, String> {
    rising(&offsets)?;
    let rows = offsets.len() - 1;
    let last = offsets[rows];
    if last.to_usize() != Some(values.len()) {
        return Err(format!("{} bytes of text instead of {last:?}", values.len()));
    }
    if let Some(nulls) = nulls.as_ref().filter(|nulls| nulls.len() != rows) {
        return Err(format!("{} nulls or not of {rows} texts", nulls.len()));
    }
    // A text of ASCII has a character at every offset.
    if !values.is_ascii() {
        let all = std::str::from_utf8(&values).map_err(|e| {
            let row = offsets.partition_point(|offset| offset.as_usize() <= e.valid_up_to()).max(1) - 1;
            format!("the text of row {row} is no UTF-8: {e}")
        })?;
        let split = |offset: &&O| !all.is_char_boundary(offset.as_usize());
        if let Some(offset) = offsets.iter().find(split) {
            return Err(format!("the offset {offset:?} is within a character"));
        }
    }
    // SAFETY: both constructors ask for what was checked above, on buffers that nobody can change any more. The offsets
    // are at least one, begin at 0, never fall, and end where the values end, so each pair is a range within them;
    // the values are UTF-8 as a whole and every range begins and ends at a character's boundary, so each is UTF-8; the
    // nulls are as many as the ranges.
    Ok(unsafe { GenericStringArray::new_unchecked(OffsetBuffer::new_unchecked(offsets), values, nulls) })
}

/// Whether offsets begin at 0 and never fall.
pub(super) fn rising<O: OffsetSizeTrait>(offsets: &[O]) -> Result<(), String> {
    match offsets.first() {
        None => return Err("there are no offsets".to_owned()),
        Some(first) if *first != O::zero() => {
            return Err(format!("the first offset is {first:?} instead of 0"));
        }
        Some(_) => {}
    }
    // Without an early end the loop is vectorised.
    let rising = offsets.windows(2).fold(true, |rising, pair| rising & (pair[0] <= pair[1]));
    match offsets.windows(2).find(|pair| !rising && pair[0] > pair[1]) {
        Some(pair) => Err(format!("the offset {:?} follows {:?}", pair[1], pair[0])),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, StringArray};
    use proptest::prelude::*;

    use super::*;

    /// What Arrow's own constructors say of the same. Its buffer of offsets panics on what it does not like.
    fn arrow(offsets: &[i32], values: &[u8], nulls: Option<NullBuffer>) -> Option<StringArray> {
        let sorted = offsets.windows(2).all(|pair| pair[0] <= pair[1]);
        if offsets.first() != Some(&0)
            || !sorted
            || offsets.last() != i32::try_from(values.len()).ok().as_ref()
        {
            return None;
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets.to_vec()));
        StringArray::try_new(offsets, Buffer::from(values), nulls).ok()
    }

    /// Pieces of characters, whole characters and bytes that are in none.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => "[a-z]{0,3}".prop_map(String::into_bytes),
            2 => Just("é€😀".as_bytes().to_vec()),
            1 => Just("€".as_bytes()[..2].to_vec()),
            1 => Just("😀".as_bytes()[1..].to_vec()),
            1 => Just(vec![0xff]),
        ]
    }

    proptest! {
        #[test]
        fn nothing_is_taken_that_arrow_refuses(
            pieces in proptest::collection::vec(piece(), 0..6),
            moved in proptest::option::weighted(0.5, (any::<proptest::sample::Index>(), -3i32..4)),
            nulls in proptest::option::weighted(0.3, 0usize..8),
        ) {
            let values = pieces.concat();
            let mut offsets = vec![0i32];
            for piece in &pieces {
                offsets.push(offsets[offsets.len() - 1] + piece.len() as i32);
            }
            if let Some((at, by)) = moved {
                let at = at.index(offsets.len());
                offsets[at] += by;
            }
            let nulls = nulls.map(NullBuffer::new_null);
            let wanted = arrow(&offsets, &values, nulls.clone());
            let got = texts(ScalarBuffer::from(offsets), Buffer::from(values), nulls);
            prop_assert_eq!(got.ok(), wanted);
        }
    }

    #[test]
    fn the_row_that_is_no_utf8_is_named() {
        let offsets = || ScalarBuffer::from(vec![0i32, 2, 2, 3, 4]);
        let refused = |values: &[u8]| texts(offsets(), Buffer::from(values), None).unwrap_err();
        assert!(refused(b"\xffabc").starts_with("the text of row 0 is no UTF-8"));
        assert!(refused(b"ab\xffc").starts_with("the text of row 2 is no UTF-8"));
        assert!(refused(b"abc\xff").starts_with("the text of row 3 is no UTF-8"));
    }

    #[test]
    fn no_offsets_are_refused() {
        assert!(texts(ScalarBuffer::<i32>::from(vec![]), Buffer::from(b""), None).is_err());
        assert_eq!(texts(ScalarBuffer::from(vec![0i64]), Buffer::from(b""), None).unwrap().len(), 0);
    }
}
