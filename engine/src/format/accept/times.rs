//! Times in other spellings: numbers since 1970 in another unit, texts by patterns, local times in named zones.

use std::fmt;
use std::sync::LazyLock;

use arrow::datatypes::{DataType, Field, TimeUnit};
use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};

use crate::format::time::fixed;

/// What a local time is that clocks show twice or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::format) enum Ambiguous {
    Reject,
    Earlier,
    Later,
}

/// The words of [`Ambiguous`] in the file.
pub(super) const AMBIGUOUS: &[(&str, Ambiguous)] =
    &[("reject", Ambiguous::Reject), ("earlier", Ambiguous::Earlier), ("later", Ambiguous::Later)];

/// The units of numbers since 1970, and the power of ten that a second has of them.
pub(super) const UNITS: &[(&str, i64)] = &[("s", 0), ("ms", 3), ("us", 6), ("ns", 9)];

/// A zone in which texts without an offset are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::format) struct Zone {
    name: String,
    zone: TimeZone,
    ambiguous: Ambiguous,
}

/// The zones that this build holds: those of the machine are not asked, so that all workers agree.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

impl Zone {
    /// `None`: there is no such zone.
    pub(super) fn new(name: &str, ambiguous: Ambiguous) -> Option<Self> {
        let zone = match fixed(name) {
            Some(seconds) => TimeZone::fixed(Offset::from_seconds(i32::try_from(seconds).ok()?).ok()?),
            None => ZONES.get(name).ok()?,
        };
        Some(Self { name: name.to_owned(), zone, ambiguous })
    }

    /// The name that was probably meant.
    pub(super) fn nearest(name: &str) -> Option<String> {
        let all: Vec<String> = ZONES.available().map(|name| name.to_string()).collect();
        crate::config::nearest(name, all.iter().map(String::as_str)).map(str::to_owned)
    }

    /// Seconds since 1970 of a local time; an error says why there is no such moment, or which of two is meant.
    fn seconds(&self, local: DateTime) -> Result<i64, String> {
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        let moment = match (ambiguous.offset(), self.ambiguous) {
            (AmbiguousOffset::Unambiguous { .. }, _) => ambiguous.compatible(),
            (_, Ambiguous::Earlier) => ambiguous.earlier(),
            (_, Ambiguous::Later) => ambiguous.later(),
            (offset, Ambiguous::Reject) => {
                let what = match offset {
                    AmbiguousOffset::Gap { .. } => "clocks that went forward never showed it",
                    _ => "clocks that went back showed it twice",
                };
                return Err(format!("the local time {local} is not one moment in {}: {what}", self.name));
            }
        };
        moment
            .map(|moment| moment.as_second())
            .map_err(|_| format!("{local} is beyond the times of {}", self.name))
    }
}

/// A pattern of `strftime`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::format) struct Pattern {
    pattern: String,
    zone: Option<Zone>,
    /// Whether texts hold an offset.
    offset: bool,
    dated: bool,
    timed: bool,
    /// A text that it reads.
    sample: String,
}

/// What a pattern may hold: the file's words for these stand in `docs/formats.md`.
const DIRECTIVES: &str = "YymdejbBhaAHIklMSfpPzTFDR%";

impl Pattern {
    /// An error says what is wrong with the pattern.
    pub(super) fn new(pattern: &str, zone: Option<Zone>) -> Result<Self, String> {
        let (dated, timed, offset) = fields(pattern)?;
        if offset && zone.is_some() {
            return Err("it reads an offset, so its texts need no `zone`".to_owned());
        }
        // Every field is told apart from the others by its value; digits finer than a second may be left out.
        let moment = jiff::civil::date(2026, 11, 23).at(21, 47, 58, 0);
        let zoned = moment.to_zoned(TimeZone::UTC).map_err(|e| e.to_string())?;
        let sample = jiff::fmt::strtime::format(pattern, &zoned).map_err(|e| e.to_string())?;
        let this = Self { pattern: pattern.to_owned(), zone, offset, dated, timed, sample };
        let read = this.broken(&this.sample).and_then(|broken| this.local(&broken));
        match read {
            Some(read)
                if (!dated || read.date() == moment.date()) && (!timed || read.hour() == moment.hour()) =>
            {
                Ok(this)
            }
            _ => Err(format!("it does not read `{}`, which it writes itself", this.sample)),
        }
    }

    /// Whether it reads values of a column.
    pub(super) fn fits(&self, field: &Field) -> bool {
        match field.data_type() {
            DataType::Timestamp(_, zone) => self.dated && (self.zone.is_none() || zone.is_some()),
            DataType::Date32 => self.dated && !self.timed && self.zone.is_none(),
            DataType::Date64 => self.dated && self.zone.is_none(),
            DataType::Time32(_) | DataType::Time64(_) => {
                self.timed && !self.dated && !self.offset && self.zone.is_none()
            }
            _ => false,
        }
    }

    fn broken(&self, text: &str) -> Option<BrokenDownTime> {
        BrokenDownTime::parse(&self.pattern, text).ok()
    }

    /// Date and time of day as they stand; the first day there is for a time of day alone.
    fn local(&self, broken: &BrokenDownTime) -> Option<DateTime> {
        let date = if self.dated { broken.to_date().ok()? } else { jiff::civil::date(1970, 1, 1) };
        let time = if self.timed { broken.to_time().ok()? } else { jiff::civil::Time::midnight() };
        Some(date.to_datetime(time))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pattern)
    }
}

/// Whether a pattern holds a date, a time of day and an offset; an error names what cannot be read.
fn fields(pattern: &str) -> Result<(bool, bool, bool), String> {
    let (mut dated, mut timed, mut offset) = (false, false, false);
    let mut rest = pattern.chars();
    while let Some(sign) = rest.next() {
        if sign != '%' {
            continue;
        }
        // Flags and widths, and the points and colons before `f` and `z`.
        let directive = rest.find(|sign| !"-_0^#.:123456789".contains(*sign));
        match directive {
            Some('F' | 'D' | 'Y' | 'y' | 'm' | 'd' | 'e' | 'j' | 'b' | 'B' | 'h') => dated = true,
            Some('H' | 'I' | 'k' | 'l' | 'T' | 'R') => timed = true,
            Some('z') => offset = true,
            Some(other) if DIRECTIVES.contains(other) => {}
            Some('s') => return Err("`%s` is a number since 1970: `epoch: s` reads it".to_owned()),
            Some(other) => return Err(format!("`%{other}` cannot be read")),
            None => return Err("it ends within a directive".to_owned()),
        }
    }
    match (dated, timed) {
        (false, false) => Err("it holds neither a date (`%Y-%m-%d`) nor a time of day (`%H:%M`)".to_owned()),
        _ => Ok((dated, timed, offset)),
    }
}

/// How the times of a column are read besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::format) struct Times {
    /// Numbers since 1970: the power of ten that a second has of their unit.
    pub(super) epoch: Option<i64>,
    pub(super) patterns: Vec<Pattern>,
    /// Texts of RFC 3339 without an offset.
    pub(super) zone: Option<Zone>,
}

impl Times {
    /// What of it holds for a column.
    pub(super) fn of(&self, field: &Field) -> Self {
        let zoned = matches!(field.data_type(), DataType::Timestamp(_, Some(_)));
        Self {
            epoch: self.epoch.filter(|_| takes_epoch(field.data_type())),
            patterns: self.patterns.iter().filter(|pattern| pattern.fits(field)).cloned().collect(),
            zone: self.zone.clone().filter(|_| zoned),
        }
    }

    /// A number since 1970, cut as time runs.
    pub(in crate::format) fn epoch(&self, clock: Clock, number: &str) -> Option<i64> {
        let (value, _) = crate::format::text::scaled(number, clock.power - self.epoch?)?;
        let value = if clock.days { value.div_euclid(86_400) } else { value };
        i64::try_from(value).ok()
    }

    /// A text by the first pattern that reads it; an error where it is no moment in that pattern's zone.
    pub(in crate::format) fn by_pattern(&self, clock: Clock, text: &str) -> Option<Result<i64, String>> {
        let (pattern, local, offset) = self.patterns.iter().find_map(|pattern| {
            let broken = pattern.broken(text)?;
            Some((pattern, pattern.local(&broken)?, broken.offset()))
        })?;
        let seconds = match (&pattern.zone, offset) {
            (Some(zone), _) => zone.seconds(local),
            (None, Some(offset)) => Ok(seconds(local) - i64::from(offset.seconds())),
            (None, None) => Ok(seconds(local) - clock.east),
        };
        Some(seconds.and_then(|seconds| {
            clock
                .value(seconds, i64::from(local.subsec_nanosecond()))
                .ok_or_else(|| format!("{local} does not fit the column's unit"))
        }))
    }

    /// The value of a local time that was read as if it were of UTC.
    pub(in crate::format) fn in_zone(&self, clock: Clock, value: i64) -> Result<i64, String> {
        let Some(zone) = &self.zone else { return Ok(value) };
        let per_second = clock.per_second();
        let (whole, part) = (value.div_euclid(per_second), value.rem_euclid(per_second));
        let local = jiff::Timestamp::from_second(whole).map(|moment| Offset::UTC.to_datetime(moment));
        let seconds = match local {
            Ok(local) => zone.seconds(local)?,
            Err(_) => return Err(format!("a local time of {} has a year of four digits", zone.name)),
        };
        let value = i128::from(seconds) * i128::from(per_second) + i128::from(part);
        i64::try_from(value).map_err(|_| "the time does not fit the column's unit".to_owned())
    }

    /// A text that the first pattern reads.
    pub(in crate::format) fn sample(&self) -> Option<&str> {
        self.patterns.first().map(|pattern| pattern.sample.as_str())
    }
}

/// Whether values of a type are counted since 1970.
pub(super) fn takes_epoch(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
}

/// How the values of a column are counted.
#[derive(Debug, Clone, Copy)]
pub(in crate::format) struct Clock {
    /// The power of ten that a second has of its unit.
    power: i64,
    /// In days.
    days: bool,
    /// Seconds east of UTC of a text without an offset and without a zone.
    east: i64,
}

impl Clock {
    pub(in crate::format) fn new(data_type: &DataType) -> Self {
        let power = |unit: &TimeUnit| match unit {
            TimeUnit::Second => 0,
            TimeUnit::Millisecond => 3,
            TimeUnit::Microsecond => 6,
            TimeUnit::Nanosecond => 9,
        };
        let (power, east) = match data_type {
            DataType::Timestamp(unit, zone) => (power(unit), zone.as_deref().and_then(fixed).unwrap_or(0)),
            DataType::Time32(unit) | DataType::Time64(unit) => (power(unit), 0),
            DataType::Date64 => (3, 0),
            _ => (0, 0),
        };
        Self { power, days: *data_type == DataType::Date32, east }
    }

    fn per_second(self) -> i64 {
        10i64.pow(u32::try_from(self.power).unwrap_or(0))
    }

    /// A value out of seconds and nanoseconds; `None`: it does not fit 64 bits.
    fn value(self, seconds: i64, nanos: i64) -> Option<i64> {
        if self.days {
            return Some(seconds.div_euclid(86_400));
        }
        let per_second = self.per_second();
        let part = nanos / (1_000_000_000 / per_second);
        i64::try_from(i128::from(seconds) * i128::from(per_second) + i128::from(part)).ok()
    }
}

/// Seconds since 1970 of a local time in UTC.
fn seconds(local: DateTime) -> i64 {
    let days = local.date().since(jiff::civil::date(1970, 1, 1)).map_or(0, |span| i64::from(span.get_days()));
    days * 86_400
        + i64::from(local.hour()) * 3_600
        + i64::from(local.minute()) * 60
        + i64::from(local.second())
}
