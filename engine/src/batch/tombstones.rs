//! Records without a value on their way past the stages, each in its place among the rows of its batch.

use arrow::array::{BooleanArray, UInt32Array};
use arrow::buffer::ScalarBuffer;

use super::{Batch, Origins, Selection};

/// Tombstones of a batch: they have an origin each, and no row.
#[derive(Debug, Clone)]
pub struct Tombstones {
    /// For each the number of the batch's rows before it; never falling.
    at: ScalarBuffer<u32>,
    origins: Origins,
}

/// One record of a batch, in the order of its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// The row of this number.
    Row(usize),
    /// The tombstone of this number.
    Tombstone(usize),
}

impl Tombstones {
    /// Each with the number of rows before it. Panics where these fall, or are not one for each: a bug of ours.
    pub fn new(at: Vec<u32>, origins: Origins) -> Self {
        assert_eq!(at.len(), origins.len(), "each tombstone has one origin");
        assert!(at.is_sorted(), "tombstones are in the order of their partition");
        Self { at: at.into(), origins }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.at.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// For each the number of rows before it.
    pub fn places(&self) -> &[u32] {
        &self.at
    }

    /// Where they came from.
    pub fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Their places among the rows that a selection leaves: behind those that came before them. The selection must
    /// keep the order ([`Selection::keeps_order`]).
    #[must_use]
    pub fn among(&self, selection: &Selection) -> Self {
        let at: Vec<u32> = match selection {
            Selection::All => return self.clone(),
            Selection::Filter(mask) => self.behind(mask),
            Selection::Take(indices) => {
                let taken = indices.values();
                self.at.iter().map(|place| taken.partition_point(|row| row < place) as u32).collect()
            }
        };
        Self { at: at.into(), origins: self.origins.clone() }
    }

    fn behind(&self, mask: &BooleanArray) -> Vec<u32> {
        let (mut before, mut from) = (0, 0);
        let count = |place: &u32| {
            let place = *place as usize;
            before += mask.values().slice(from, place - from).count_set_bits() as u32;
            from = place;
            before
        };
        self.at.iter().map(count).collect()
    }

    /// The same before any row.
    #[must_use]
    pub fn alone(&self) -> Self {
        Self { at: vec![0; self.len()].into(), origins: self.origins.clone() }
    }

    /// Those of a part of the batch, whose rows are `total`: a tombstone goes with the row that follows it, and behind
    /// the last row with that.
    fn slice(&self, offset: usize, len: usize, total: usize) -> Option<Self> {
        let end = offset + len;
        let begin = self.at.partition_point(|place| (*place as usize) < offset);
        let behind = self.at.partition_point(|place| (*place as usize) < end || end == total);
        (begin < behind).then(|| Self {
            at: self.at[begin..behind].iter().map(|place| place - offset as u32).collect(),
            origins: self.origins.slice(begin, behind - begin),
        })
    }
}

impl Selection {
    /// Whether rows stay in their order: only then has a tombstone a place among them.
    pub fn keeps_order(&self) -> bool {
        match self {
            Self::All | Self::Filter(_) => true,
            Self::Take(indices) => indices.values().is_sorted(),
        }
    }
}

impl Batch {
    /// The same rows with these tombstones among them; none where there are none. Panics when one stands behind more
    /// rows than there are: that is a bug of ours.
    #[must_use]
    pub fn with_tombstones(mut self, tombstones: Option<Tombstones>) -> Self {
        let tombstones = tombstones.filter(|tombstones| !tombstones.is_empty());
        let last = tombstones.as_ref().and_then(|tombstones| tombstones.at.last());
        assert!(last.is_none_or(|place| *place as usize <= self.len()), "a tombstone behind the end");
        self.tombstones = tombstones;
        self
    }

    /// The tombstones among the rows.
    pub fn tombstones(&self) -> Option<&Tombstones> {
        self.tombstones.as_ref()
    }

    /// Records: rows and tombstones.
    pub fn count(&self) -> usize {
        self.len() + self.tombstones.as_ref().map_or(0, Tombstones::len)
    }

    /// Rows and tombstones in the order of their partition.
    pub fn items(&self) -> Vec<Item> {
        let mut items = Vec::with_capacity(self.count());
        let places = self.tombstones.as_ref().map_or(&[][..], Tombstones::places);
        let mut row = 0;
        for (number, place) in places.iter().enumerate() {
            items.extend((row..*place as usize).map(Item::Row));
            row = *place as usize;
            items.push(Item::Tombstone(number));
        }
        items.extend((row..self.len()).map(Item::Row));
        items
    }

    /// The origins of rows and tombstones, in the order of [`Batch::items`].
    pub fn all_origins(&self) -> Origins {
        let Some(tombstones) = &self.tombstones else { return self.origins.clone() };
        let rows = self.len();
        let number = |item| match item {
            Item::Row(row) => row as u32,
            Item::Tombstone(number) => (rows + number) as u32,
        };
        let order: UInt32Array = self.items().into_iter().map(number).collect::<Vec<u32>>().into();
        Origins::concat(&[self.origins.clone(), tombstones.origins.clone()]).select(&Selection::Take(order))
    }

    /// The batch cut at its tombstones: parts with rows alone and with tombstones alone, in order.
    pub fn parts(&self) -> Vec<Self> {
        let Some(tombstones) = &self.tombstones else { return vec![self.clone()] };
        let rows = |from: usize, to: usize| Self {
            records: self.records.slice(from, to - from),
            origins: self.origins.slice(from, to - from),
            tombstones: None,
        };
        let (mut parts, mut row, mut from) = (Vec::new(), 0, 0);
        while from < tombstones.len() {
            let place = tombstones.at[from];
            let to = tombstones.at.partition_point(|other| *other <= place);
            if place as usize > row {
                parts.push(rows(row, place as usize));
                row = place as usize;
            }
            let origins = tombstones.origins.slice(from, to - from);
            let alone = Tombstones { at: vec![0; to - from].into(), origins };
            parts.push(Self { tombstones: Some(alone), ..rows(row, row) });
            from = to;
        }
        if row < self.len() {
            parts.push(rows(row, self.len()));
        }
        parts
    }

    /// The tombstones of a contiguous part of the rows.
    pub(super) fn tombstones_of(&self, offset: usize, len: usize) -> Option<Tombstones> {
        self.tombstones.as_ref()?.slice(offset, len, self.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BinaryArray, Int64Array, RecordBatch};
    use proptest::prelude::*;

    use super::*;
    use crate::batch::{Payload, SourceBatch};

    /// A batch of records, those that are `false` without a value. Rows hold their offset.
    fn batch(values: &[bool]) -> Batch {
        let len = values.len() as i64;
        let payload = values.iter().map(|value| value.then_some(b"x".as_slice())).collect::<BinaryArray>();
        let source = SourceBatch {
            source: "in".into(),
            topic: "t".into(),
            partition: 0,
            offsets: (0..len).collect(),
            timestamps: None,
            keys: None,
            headers: None,
            payload: Payload::Values(payload),
            next: len,
            trace: None,
            hold: None,
        };
        let all = Origins::whole(Arc::new(source));
        let of = |wanted: bool| {
            let numbers = (0..values.len()).filter(|n| values[*n] == wanted).map(|n| n as u32);
            UInt32Array::from_iter_values(numbers)
        };
        let (rows, gone) = (of(true), of(false));
        let column: Int64Array = rows.values().iter().map(|n| i64::from(*n)).collect();
        let records = RecordBatch::try_from_iter([("n", Arc::new(column) as _)]).unwrap();
        let place = |n: &u32| rows.values().partition_point(|row| row < n) as u32;
        let at = gone.values().iter().map(place).collect();
        let tombstones = Tombstones::new(at, all.select(&Selection::Take(gone)));
        Batch::new(records, all.select(&Selection::Take(rows))).with_tombstones(Some(tombstones))
    }

    /// Offsets of all records of a batch, in order.
    fn offsets(batch: &Batch) -> Vec<i64> {
        let origins = batch.all_origins();
        assert_eq!(origins.len(), batch.count());
        (0..origins.len()).map(|at| origins.get(at).offset()).collect()
    }

    fn is_row(batch: &Batch) -> Vec<bool> {
        batch.items().iter().map(|item| matches!(item, Item::Row(_))).collect()
    }

    #[test]
    fn a_batch_without_tombstones_has_none() {
        let all = batch(&[true, true]);
        assert!(all.tombstones().is_none());
        assert_eq!((all.count(), offsets(&all), all.parts().len()), (2, vec![0, 1], 1));
        assert!(batch(&[]).is_empty() && !batch(&[false]).is_empty());
        assert_eq!((batch(&[false]).len(), batch(&[false]).count()), (0, 1));
    }

    proptest! {
        #[test]
        fn parts_and_slices_keep_every_record_in_its_place(
            values in prop::collection::vec(any::<bool>(), 0..40), cuts in prop::collection::vec(0usize..40, 0..6),
        ) {
            let all = batch(&values);
            let order: Vec<i64> = (0..values.len() as i64).collect();
            prop_assert_eq!(offsets(&all), &order[..]);
            prop_assert_eq!(is_row(&all), values);
            let parts = all.parts();
            prop_assert!(parts.iter().all(|part| part.tombstones().is_none() || part.origins.is_empty()));
            prop_assert_eq!(parts.iter().flat_map(offsets).collect::<Vec<_>>(), &order[..]);
            // As the search for bad rows cuts: parts with rows, one after the other.
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < all.len() && *cut > 0).collect();
            cuts.extend([0, all.len()]);
            cuts.sort_unstable();
            cuts.dedup();
            let slices: Vec<Batch> =
                cuts.windows(2).map(|cut| all.slice(cut[0], cut[1] - cut[0])).collect();
            if !slices.is_empty() {
                prop_assert_eq!(slices.iter().flat_map(offsets).collect::<Vec<_>>(), order);
            }
        }

        #[test]
        fn a_selection_leaves_tombstones_behind_what_came_before_them(
            values in prop::collection::vec(any::<bool>(), 0..40), kept in prop::collection::vec(0usize..3, 40),
        ) {
            let all = batch(&values);
            let Some(tombstones) = all.tombstones() else { return Ok(()) };
            let twice: Vec<u32> =
                (0..all.len()).flat_map(|row| vec![row as u32; kept[row]]).collect();
            let once: Vec<bool> = (0..all.len()).map(|row| kept[row] > 0).collect();
            for selection in [
                Selection::All, Selection::Filter(BooleanArray::from(once)), Selection::Take(twice.into()),
            ] {
                prop_assert!(selection.keeps_order());
                let origins = all.origins.select(&selection);
                let column = Int64Array::from_iter_values((0..origins.len()).map(|at| origins.get(at).offset()));
                let records = RecordBatch::try_from_iter([("n", Arc::new(column) as _)]).unwrap();
                let left = Batch::new(records, origins).with_tombstones(Some(tombstones.among(&selection)));
                let left = offsets(&left);
                prop_assert!(left.is_sorted(), "{:?}", left);
                let gone = |offset: &&i64| !values[**offset as usize];
                prop_assert_eq!(left.iter().filter(gone).count(), tombstones.len());
            }
        }
    }
}
