//! What a source reads beyond its types' own spellings: `accept:` of a format and of its columns.
//!
//! * [`Way`]: one leniency; [`Rules`]: those of a column.
//! * [`Accept`]: the rules of a format, found by the names of columns. `options` reads them and says what is wrong.
//! * [`Tally`]: how many values each way has read.
//!
//! Which columns are lenient is decided once, when a decoder is made: `columns/lenient.rs` stands in front of those,
//! and the others are read as if there were no `accept:`.

mod options;
mod tally;
mod times;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, SchemaRef};

pub(super) use self::options::{columns_schema, json_schema, read};
pub(super) use self::tally::Tally;
pub(super) use self::times::{Clock, Times};
use crate::datatype;
use crate::problem::Problem;

/// A leniency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Text,
    Numbers,
    Booleans,
    WholeFloats,
    Words,
    Empty,
    Nan,
    Epoch,
    Pattern,
    Zone,
}

impl Way {
    /// In the order in which they are listed.
    pub(super) const ALL: [Self; 10] = [
        Self::Text,
        Self::Numbers,
        Self::Booleans,
        Self::WholeFloats,
        Self::Words,
        Self::Empty,
        Self::Nan,
        Self::Epoch,
        Self::Pattern,
        Self::Zone,
    ];

    /// Those that the file says by a word alone.
    pub(super) fn words() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|way| !matches!(way, Self::Epoch | Self::Pattern | Self::Zone))
    }

    /// The word in the file, and the label of its count.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Numbers => "numbers",
            Self::Booleans => "booleans",
            Self::WholeFloats => "whole_floats",
            Self::Words => "words",
            Self::Empty => "empty",
            Self::Nan => "nan",
            Self::Epoch => "epoch",
            Self::Pattern => "pattern",
            Self::Zone => "zone",
        }
    }

    /// Whether it changes what a column without parts reads, out of JSON or out of a format that has only text.
    fn fits(self, field: &Field, text_only: bool) -> bool {
        // Every value is read as it is written.
        if datatype::is_json(field) {
            return false;
        }
        let data_type = field.data_type();
        let text = match data_type {
            DataType::Utf8 | DataType::LargeUtf8 => true,
            DataType::Dictionary(_, words) => matches!(**words, DataType::Utf8 | DataType::LargeUtf8),
            _ => false,
        };
        let boolean = *data_type == DataType::Boolean;
        match self {
            Self::Text => {
                let number = data_type.is_integer() || data_type.is_floating() || boolean;
                !text_only && (number || data_type.is_temporal())
            }
            Self::Numbers => boolean || (text && !text_only),
            Self::Booleans => text && !text_only,
            Self::WholeFloats => data_type.is_integer(),
            Self::Words => boolean,
            // Fields of CSV that hold no text are nulls already where they are empty.
            Self::Empty => {
                let nothing = *data_type == DataType::Null;
                let bytes = matches!(
                    data_type,
                    DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_)
                );
                field.is_nullable() && !nothing && (!text_only || text || bytes)
            }
            Self::Nan => data_type.is_floating() && !text_only,
            Self::Epoch => times::takes_epoch(data_type),
            Self::Pattern => data_type.is_temporal() && !matches!(data_type, DataType::Duration(_)),
            Self::Zone => matches!(data_type, DataType::Timestamp(_, Some(_))),
        }
    }
}

/// The ways of a column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rules {
    ways: u16,
    /// Of [`Way::Epoch`], [`Way::Pattern`] and [`Way::Zone`].
    pub(super) times: Arc<Times>,
}

impl Rules {
    pub(super) fn has(&self, way: Way) -> bool {
        self.ways & (1 << way as u16) != 0
    }

    fn add(&mut self, way: Way) {
        self.ways |= 1 << way as u16;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ways == 0
    }

    /// Those that change what this column reads; it has no parts.
    pub(super) fn of(&self, field: &Field, text_only: bool) -> Self {
        let mut kept = Self { ways: 0, times: Arc::new(self.times.of(field)) };
        Way::ALL
            .into_iter()
            .filter(|way| self.has(*way) && way.fits(field, text_only))
            .filter(|way| *way != Way::Pattern || kept.times.sample().is_some())
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|way| kept.add(way));
        // A date has no numbers of its own in text: `20260131` would be one of days.
        let date = matches!(field.data_type(), DataType::Date32 | DataType::Date64);
        if date && !kept.has(Way::Epoch) {
            kept.ways &= !(1 << Way::Text as u16);
        }
        kept
    }
}

/// What columns accept, by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// The whole column, and all that is within.
    Rules(Rules),
    /// Fields of a struct that is written as a mapping; those that are not named go by the format's.
    Fields(BTreeMap<String, Self>),
}

/// What a format accepts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Accept {
    /// Of columns that say nothing themselves.
    pub(super) all: Rules,
    pub(super) columns: BTreeMap<String, Node>,
    /// Whether the format has only text, so that a number cannot be told from one in quotes.
    pub(super) text_only: bool,
}

impl Accept {
    /// Whether all is strict.
    pub(super) fn is_strict(&self) -> bool {
        self.every(&|rules| rules.is_empty())
    }

    fn every(&self, holds: &dyn Fn(&Rules) -> bool) -> bool {
        fn within(node: &Node, holds: &dyn Fn(&Rules) -> bool) -> bool {
            match node {
                Node::Rules(rules) => holds(rules),
                Node::Fields(fields) => fields.values().all(|node| within(node, holds)),
            }
        }
        holds(&self.all) && self.columns.values().all(|node| within(node, holds))
    }
}

/// Columns and what they accept, out of the options of a format.
pub(super) struct Read {
    pub(super) columns: Option<SchemaRef>,
    pub(super) accept: Accept,
    pub(super) problems: Vec<Problem>,
}
