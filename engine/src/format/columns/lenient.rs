//! A column that reads more than its type's own spellings: it stands in front of the strict one, and hands it what that
//! one takes.
//!
//! What the strict column reads is read by it, as the same value, but for what `accept:` gives another meaning: an empty
//! text that is null. What neither reads is refused in the words of the strict column.

use std::sync::Arc;

use arrow::array::NullBufferBuilder;
use arrow::datatypes::{DataType, Field};

use super::{Column, Columns, Fault, Half, Values};
use crate::datatype;
use crate::format::accept::{Accept, Clock, Node, Rules, Tally, Way};
use crate::format::text;
use crate::format::time::Temporal;

/// The words of a boolean, besides `true` and `false`; case does not count.
const TRUE: &[&str] = &["true", "t", "yes", "y", "on"];
const FALSE: &[&str] = &["false", "f", "no", "n", "off"];

/// What kind of values the strict column holds.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Whole,
    Float,
    Boolean,
    Time(Temporal, Clock),
    Other,
}

/// A strict column and what is read before it.
pub(in crate::format) struct Lenient {
    pub(super) inner: Column,
    kind: Kind,
    rules: Rules,
    tally: Arc<Tally>,
}

impl Columns {
    /// Puts lenient columns in front of those that accept more than their type; the others stay what they are.
    pub(in crate::format) fn soften(&mut self, accept: &Accept, tally: &Arc<Tally>) {
        for column in &mut self.columns {
            column.soften_by(accept.columns.get(&column.name), accept, tally);
        }
    }
}

impl Column {
    fn soften_by(&mut self, node: Option<&Node>, accept: &Accept, tally: &Arc<Tally>) {
        match (node, &mut self.values) {
            (Some(Node::Fields(fields)), Values::Struct(columns)) => {
                for column in &mut columns.columns {
                    column.soften_by(fields.get(&column.name), accept, tally);
                }
            }
            (Some(Node::Rules(rules)), _) => self.soften(rules, accept.text_only, tally),
            _ => self.soften(&accept.all, accept.text_only, tally),
        }
    }

    fn soften(&mut self, rules: &Rules, text_only: bool, tally: &Arc<Tally>) {
        let field = Field::new("", self.data_type.clone(), self.nullable);
        let within = |column: &mut Self| column.soften(rules, text_only, tally);
        match &mut self.values {
            Values::Struct(columns) => return columns.columns.iter_mut().for_each(within),
            Values::List { item, .. } | Values::FixedList { item, .. } => return within(item),
            Values::Map { value, .. } => return within(value),
            // Every value is read as it is written.
            Values::Json { .. } => return,
            _ => {}
        }
        let rules = rules.of(&field, text_only);
        if rules.is_empty() {
            return;
        }
        tally.expect(&rules);
        let values = std::mem::replace(&mut self.values, Values::Null);
        let kind = match (&values, &self.data_type) {
            (Values::Temporal(_, temporal), _) => Kind::Time(*temporal, Clock::new(&self.data_type)),
            (_, DataType::Boolean) => Kind::Boolean,
            (Values::Bytes { hex: false, .. } | Values::Dictionary { .. }, _) => Kind::Text,
            (_, data_type) if data_type.is_integer() => Kind::Whole,
            (_, data_type) if data_type.is_floating() => Kind::Float,
            _ => Kind::Other,
        };
        let inner = Self {
            name: self.name.clone(),
            data_type: self.data_type.clone(),
            nullable: self.nullable,
            nulls: NullBufferBuilder::new(0),
            values,
        };
        let lenient = Lenient { inner, kind, rules, tally: Arc::clone(tally) };
        self.values = Values::Lenient(Box::new(lenient));
    }
}

impl Lenient {
    /// Counts a value that the strict column took, having been read this way.
    fn count(&self, way: Way, pushed: Result<(), Fault>) -> Result<(), Fault> {
        if pushed.is_ok() {
            self.tally.add(way);
        }
        pushed
    }

    /// A bare number.
    pub(super) fn push_number(&mut self, number: &str, what: &str) -> Result<(), Fault> {
        match self.kind {
            Kind::Text if self.rules.has(Way::Numbers) => {
                let pushed = self.inner.push_str(number);
                self.count(Way::Numbers, pushed)
            }
            Kind::Boolean if self.rules.has(Way::Numbers) && matches!(number, "0" | "1") => {
                let pushed = self.inner.push_bool(number == "1");
                self.count(Way::Numbers, pushed)
            }
            Kind::Whole => match self.whole(number) {
                Some(whole) => {
                    let pushed = self.inner.push_number(&whole, what);
                    self.count(Way::WholeFloats, pushed)
                }
                None => self.inner.push_number(number, what),
            },
            Kind::Time(temporal, clock) if self.rules.has(Way::Epoch) => {
                let value = self.rules.times.epoch(clock, number).filter(|value| temporal.holds(*value));
                let Some(value) = value else {
                    return Err(format!(
                        "`{}` is out of range for {}",
                        text::short(number),
                        datatype::print(&self.inner.data_type)
                    ));
                };
                self.push_time(value);
                self.count(Way::Epoch, Ok(()))
            }
            _ => self.inner.push_number(number, what),
        }
    }

    /// Whether a fraction may be one of its values, though its type has none.
    pub(super) fn takes_fractions(&self) -> bool {
        matches!(self.kind, Kind::Whole) && self.rules.has(Way::WholeFloats)
    }

    /// The digits of a whole number that is written with a point or an exponent, where such are read.
    fn whole(&self, number: &str) -> Option<String> {
        if !self.rules.has(Way::WholeFloats) || !number.contains(['.', 'e', 'E']) {
            return None;
        }
        match text::scaled(number, 0) {
            Some((whole, false)) => Some(whole.to_string()),
            _ => None,
        }
    }

    /// A bare `true` or `false`.
    pub(super) fn push_bool(&mut self, value: bool) -> Result<(), Fault> {
        if matches!(self.kind, Kind::Text) && self.rules.has(Way::Booleans) {
            let pushed = self.inner.push_str(if value { "true" } else { "false" });
            return self.count(Way::Booleans, pushed);
        }
        self.inner.push_bool(value)
    }

    /// A string of JSON.
    pub(super) fn push_str(&mut self, value: &str) -> Result<(), Fault> {
        let bare = value.trim_ascii();
        if bare.is_empty() && self.rules.has(Way::Empty) {
            let pushed = self.inner.push_null();
            return self.count(Way::Empty, pushed);
        }
        if self.rules.has(Way::Nan) && self.push_nan(bare) {
            return self.count(Way::Nan, Ok(()));
        }
        match self.kind {
            Kind::Whole | Kind::Float if self.rules.has(Way::Text) && text::is_json_number(bare) => {
                let pushed = self.push_number(bare, "the string ");
                self.count(Way::Text, pushed)
            }
            Kind::Boolean => match self.boolean(bare) {
                Some((way, truth)) => {
                    let pushed = self.inner.push_bool(truth);
                    self.count(way, pushed)
                }
                None => self.inner.push_str(value),
            },
            Kind::Time(temporal, clock) => match self.time(temporal, clock, value)? {
                Some(()) => Ok(()),
                None if self.rules.has(Way::Text) && text::is_json_number(bare) => {
                    let pushed = self.push_number(bare, "the string ");
                    self.count(Way::Text, pushed)
                }
                None => self.inner.push_str(value).map_err(|fault| self.with_patterns(fault, value)),
            },
            _ => self.inner.push_str(value),
        }
    }

    /// A field of a format that has only text; the blanks around it count where it is text itself.
    pub(super) fn push_field(&mut self, value: &str) -> Result<(), Fault> {
        let bare = value.trim_ascii();
        match self.kind {
            _ if bare.is_empty() && self.rules.has(Way::Empty) => {
                let pushed = self.inner.push_null();
                self.count(Way::Empty, pushed)
            }
            Kind::Boolean => match self.boolean(bare) {
                // The strict column reads some spellings itself: those count as nothing.
                Some((way, truth)) if self.inner.push_field(value).is_err() => {
                    let pushed = self.inner.push_bool(truth);
                    self.count(way, pushed)
                }
                Some(_) => Ok(()),
                None => self.inner.push_field(value),
            },
            Kind::Whole => match self.whole(bare) {
                Some(whole) => {
                    let pushed = self.inner.push_number(&whole, "");
                    self.count(Way::WholeFloats, pushed)
                }
                None => self.inner.push_field(value),
            },
            Kind::Time(temporal, clock) => match self.time(temporal, clock, bare)? {
                Some(()) => Ok(()),
                None if self.rules.has(Way::Epoch) && text::is_json_number(bare) => {
                    self.push_number(bare, "")
                }
                None => self.inner.push_field(value).map_err(|fault| self.with_patterns(fault, bare)),
            },
            _ => self.inner.push_field(value),
        }
    }

    /// A text that a pattern reads, or that is a local time of a zone; `None`: it is neither.
    fn time(&mut self, temporal: Temporal, clock: Clock, text: &str) -> Result<Option<()>, Fault> {
        let (way, value) = match self.rules.times.by_pattern(clock, text) {
            Some(value) => (Way::Pattern, value?),
            None if self.rules.has(Way::Zone) => match temporal.local(text) {
                Some(local) => (Way::Zone, self.rules.times.in_zone(clock, local)?),
                None => return Ok(None),
            },
            None => return Ok(None),
        };
        if !temporal.holds(value) {
            let (text, data_type) = (text::short(text), datatype::print(&self.inner.data_type));
            return Err(format!("`{text}` is out of range for {data_type}"));
        }
        self.push_time(value);
        self.count(way, Ok(())).map(Some)
    }

    fn push_time(&mut self, value: i64) {
        if let Values::Temporal(values, _) = &mut self.inner.values {
            values.push(value);
            self.inner.nulls.append_non_null();
        }
    }

    /// The fault of a text that is no time, where there are patterns.
    fn with_patterns(&self, fault: Fault, text: &str) -> Fault {
        match (self.kind, self.rules.times.sample()) {
            (Kind::Time(temporal, _), Some(sample)) => {
                format!(
                    "a time such as `{sample}` or {} was expected, not `{}`",
                    temporal.form(),
                    text::short(text)
                )
            }
            _ => fault,
        }
    }

    /// The truth of a text, and what it is read by.
    fn boolean(&self, bare: &str) -> Option<(Way, bool)> {
        let among = |words: &[&str]| words.iter().any(|word| bare.eq_ignore_ascii_case(word));
        match bare {
            "true" | "false" if self.rules.has(Way::Text) => Some((Way::Text, bare == "true")),
            "0" | "1" if self.rules.has(Way::Numbers) => Some((Way::Numbers, bare == "1")),
            _ if !self.rules.has(Way::Words) => None,
            _ if among(TRUE) => Some((Way::Words, true)),
            _ if among(FALSE) => Some((Way::Words, false)),
            _ => None,
        }
    }

    /// Whether a text is a float that is no number; it is appended then.
    fn push_nan(&mut self, bare: &str) -> bool {
        let value = match bare {
            "NaN" | "nan" | "NAN" => f64::NAN,
            "Infinity" | "+Infinity" | "inf" | "+inf" | "Inf" | "+Inf" => f64::INFINITY,
            "-Infinity" | "-inf" | "-Inf" => f64::NEG_INFINITY,
            _ => return false,
        };
        match &mut self.inner.values {
            Values::Float16(v) => v.push(Half::from_f64(value)),
            Values::Float32(v) => v.push(value as f32),
            Values::Float64(v) => v.push(value),
            _ => return false,
        }
        self.inner.nulls.append_non_null();
        true
    }
}
