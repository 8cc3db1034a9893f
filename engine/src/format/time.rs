//! Dates, times, timestamps and durations as text: one reader and one writer for all formats, so that what is written
//! is read as the same value, at the ends of the range too.
//!
//! Arrow's own are not used: its reader drops the time of day of a date and takes second 60 of any minute, its writer
//! gives an error in place of a year beyond 262142, and what it writes for a year beyond 9999 it does not read.

use arrow::datatypes::{DataType, TimeUnit};

use crate::datatype;
use crate::error::{Code, Error, Result};

/// Seconds of a day.
const DAY: i64 = 86_400;
/// Days of 400 years, after which the calendar repeats.
const ERA: i64 = 146_097;
/// Nanoseconds of a second, the finest digits that are read.
const NANOS: i64 = 1_000_000_000;

/// How a column of times is written and what it may hold.
#[derive(Debug, Clone, Copy)]
pub(super) enum Temporal {
    /// `2026-01-31`, in days.
    Date32,
    /// `2026-01-31` or `2026-01-31T12:00:00`, in milliseconds.
    Date64,
    /// `12:30:00.5`, in units since midnight.
    Time { per_second: i64 },
    /// RFC 3339; without an offset in the column's own time zone, which is `offset` seconds east of UTC.
    Timestamp { per_second: i64, offset: i64, zoned: bool },
    /// ISO 8601 as `PT12.5S`.
    Duration { per_second: i64 },
}

impl Temporal {
    /// `None` where the type is not one of time.
    pub(super) fn new(data_type: &DataType) -> Option<Result<Self>> {
        let per_second = |unit: &TimeUnit| match unit {
            TimeUnit::Second => 1,
            TimeUnit::Millisecond => 1_000,
            TimeUnit::Microsecond => 1_000_000,
            TimeUnit::Nanosecond => NANOS,
        };
        Some(Ok(match data_type {
            DataType::Date32 => Self::Date32,
            DataType::Date64 => Self::Date64,
            DataType::Time32(unit) | DataType::Time64(unit) => Self::Time { per_second: per_second(unit) },
            DataType::Duration(unit) => Self::Duration { per_second: per_second(unit) },
            DataType::Timestamp(unit, None) => {
                Self::Timestamp { per_second: per_second(unit), offset: 0, zoned: false }
            }
            DataType::Timestamp(unit, Some(zone)) => match fixed(zone) {
                Some(offset) => Self::Timestamp { per_second: per_second(unit), offset, zoned: true },
                None => {
                    let message =
                        format!("the time zone of {} is not known here", datatype::print(data_type));
                    return Some(Err(
                        Error::user(Code::C009, message).help("use UTC or an offset such as +01:00")
                    ));
                }
            },
            _ => return None,
        }))
    }

    /// The form in which a value is read, in words.
    pub(super) fn form(self) -> &'static str {
        match self {
            Self::Date32 => "a date such as 2026-01-31",
            Self::Date64 => "a date such as 2026-01-31 or 2026-01-31T12:00:00",
            Self::Time { .. } => "a time of day such as 23:59:59",
            Self::Timestamp { .. } => "an RFC 3339 timestamp such as 2026-01-31T12:00:00Z",
            Self::Duration { .. } => "an ISO 8601 duration such as PT12.5S",
        }
    }

    /// Whether a bare number is one of its values.
    pub(super) fn holds(self, value: i64) -> bool {
        match self {
            Self::Date32 => i32::try_from(value).is_ok(),
            Self::Time { per_second } => (0..DAY * per_second).contains(&value),
            Self::Date64 | Self::Timestamp { .. } | Self::Duration { .. } => true,
        }
    }

    /// Whether a bare number in a format of text alone is a value: `20260131` would be a date to everybody else.
    pub(super) fn has_numbers(self) -> bool {
        !matches!(self, Self::Date32 | Self::Date64)
    }

    /// Reads a value; digits finer than the unit are cut off.
    pub(super) fn parse(self, text: &str) -> Option<i64> {
        let mut rest = Rest(text.as_bytes());
        let value = match self {
            Self::Date32 => i32::try_from(rest.date()?).ok().map(i64::from),
            Self::Date64 => rest.moment(0)?.in_units(1_000),
            Self::Time { per_second } => {
                let (seconds, nanos, leap) = rest.clock()?;
                (!leap).then_some(seconds * per_second + nanos / (NANOS / per_second))
            }
            Self::Timestamp { per_second, offset, .. } => rest.moment(offset)?.in_units(per_second),
            Self::Duration { per_second } => rest.span(per_second),
        };
        value.filter(|_| rest.0.is_empty())
    }

    /// A text without an offset as if it were of UTC; `None`: it has one, or is no timestamp.
    pub(super) fn local(self, text: &str) -> Option<i64> {
        let Self::Timestamp { per_second, zoned, .. } = self else { return None };
        let at = |offset| Self::Timestamp { per_second, offset, zoned }.parse(text);
        let local = at(0)?;
        // An offset of its own makes both the same.
        (at(60) != Some(local)).then_some(local)
    }

    /// Appends a value as [`Temporal::parse`] reads it; `false`, and nothing is appended, where it has no text: a
    /// time of day beyond the day.
    pub(super) fn write(self, value: i64, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Date32 => date(value, out),
            Self::Date64 => stamp(value, 1_000, 0, out),
            Self::Time { per_second } => {
                if !self.holds(value) {
                    return false;
                }
                clock(value, per_second, out);
            }
            Self::Timestamp { per_second, offset, zoned } => {
                stamp(value, per_second, offset, out);
                match offset {
                    _ if !zoned => {}
                    0 => out.push(b'Z'),
                    _ => {
                        out.push(if offset < 0 { b'-' } else { b'+' });
                        digits(offset.unsigned_abs() / 3_600, 2, out);
                        out.push(b':');
                        digits(offset.unsigned_abs() / 60 % 60, 2, out);
                    }
                }
            }
            Self::Duration { per_second } => {
                if value < 0 {
                    out.push(b'-');
                }
                out.extend_from_slice(b"PT");
                let (value, per_second) = (value.unsigned_abs(), per_second.unsigned_abs());
                digits(value / per_second, 1, out);
                fraction(value % per_second, per_second, out);
                while out.last() == Some(&b'0') && value % per_second != 0 {
                    out.pop();
                }
                out.push(b'S');
            }
        }
        true
    }
}

/// Seconds east of UTC; names of zones are for reading alone (`accept`).
pub(super) fn fixed(zone: &str) -> Option<i64> {
    if matches!(zone, "UTC" | "Etc/UTC" | "Z") {
        return Some(0);
    }
    let mut rest = Rest(zone.as_bytes());
    rest.offset().filter(|_| rest.0.is_empty() && zone.starts_with(['+', '-']))
}

/// Appends a number in decimal digits, at least `width` of them.
fn digits(number: u64, width: usize, out: &mut Vec<u8>) {
    let mut buffer = [b'0'; 20];
    let (mut at, mut left) = (buffer.len(), number);
    while left > 0 || buffer.len() - at < width {
        at -= 1;
        buffer[at] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    out.extend_from_slice(&buffer[at..]);
}

/// Appends a fraction of a second in the 3, 6 or 9 digits that it needs, or nothing.
fn fraction(part: u64, per_second: u64, out: &mut Vec<u8>) {
    let nanos = part * (NANOS.unsigned_abs() / per_second);
    if nanos == 0 {
        return;
    }
    out.push(b'.');
    match (nanos % 1_000_000, nanos % 1_000) {
        (0, _) => digits(nanos / 1_000_000, 3, out),
        (_, 0) => digits(nanos / 1_000, 6, out),
        _ => digits(nanos, 9, out),
    }
}

/// Appends the date of a day since 1970; a year beyond four digits has a sign.
fn date(days: i64, out: &mut Vec<u8>) {
    // Days from the 1st of March of the year 0, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(ERA), shifted.rem_euclid(ERA));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    if !(0..=9_999).contains(&year) {
        out.push(if year < 0 { b'-' } else { b'+' });
    }
    digits(year.unsigned_abs(), 4, out);
    out.push(b'-');
    digits(month.unsigned_abs(), 2, out);
    out.push(b'-');
    digits(day.unsigned_abs(), 2, out);
}

/// Appends a time of day.
fn clock(value: i64, per_second: i64, out: &mut Vec<u8>) {
    let seconds = (value / per_second).unsigned_abs();
    digits(seconds / 3_600, 2, out);
    out.push(b':');
    digits(seconds / 60 % 60, 2, out);
    out.push(b':');
    digits(seconds % 60, 2, out);
    fraction((value % per_second).unsigned_abs(), per_second.unsigned_abs(), out);
}

/// Appends date and time of day in a zone. Wide, because a zone may lead out of the range.
fn stamp(value: i64, per_second: i64, offset: i64, out: &mut Vec<u8>) {
    let local = i128::from(value) + i128::from(offset) * i128::from(per_second);
    let of_day = i128::from(DAY) * i128::from(per_second);
    date(local.div_euclid(of_day) as i64, out);
    out.push(b'T');
    clock(local.rem_euclid(of_day) as i64, per_second, out);
}

/// A moment: seconds since 1970 in UTC and nanoseconds that count upwards.
struct Moment {
    /// Wide, because the first day of the range begins outside it.
    seconds: i128,
    nanos: i64,
}

impl Moment {
    fn in_units(&self, per_second: i64) -> Option<i64> {
        let part = self.nanos / (NANOS / per_second);
        i64::try_from(self.seconds * i128::from(per_second) + i128::from(part)).ok()
    }
}

/// What is left to read.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn eat(&mut self, signs: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        signs.contains(first).then(|| {
            self.0 = rest;
            *first
        })
    }

    /// Digits as they stand, `min` to `max` of them, 19 at most.
    fn run(&mut self, min: usize, max: usize) -> Option<i128> {
        let count = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        if count < min || count > max {
            return None;
        }
        let (run, rest) = self.0.split_at(count);
        self.0 = rest;
        Some(run.iter().fold(0, |n, b| n * 10 + i128::from(b - b'0')))
    }

    /// Exactly two digits below a limit.
    fn two(&mut self, limit: i64) -> Option<i64> {
        let (two, rest) = self.0.split_at_checked(2)?;
        let value = Rest(two).run(2, 2)? as i64;
        self.0 = rest;
        (value < limit).then_some(value)
    }

    /// Digits after a point, if there is one, as nanoseconds; digits beyond the ninth are cut off.
    fn nanos(&mut self) -> Option<i64> {
        if self.eat(b".").is_none() {
            return Some(0);
        }
        let count = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        let (run, rest) = self.0.split_at(count);
        self.0 = rest;
        let digit = |i: usize| run.get(i).map_or(0, |b| i64::from(b - b'0'));
        (count > 0).then(|| (0..9).fold(0, |n, i| n * 10 + digit(i)))
    }

    /// `2026-01-31`, or a year of more digits with a sign, as days since 1970.
    fn date(&mut self) -> Option<i64> {
        let year = match self.eat(b"+-") {
            None => self.run(4, 4)? as i64,
            // As many digits as the range of seconds has.
            Some(sign) => self.run(4, 12)? as i64 * if sign == b'-' { -1 } else { 1 },
        };
        self.eat(b"-")?;
        let month = self.two(13)?;
        self.eat(b"-")?;
        let day = self.two(32)?;
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let length = match month {
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => 31,
        };
        if month == 0 || day == 0 || day > length {
            return None;
        }
        let shifted = if month <= 2 { year - 1 } else { year };
        let (era, of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
        let shifted_month = if month > 2 { month - 3 } else { month + 9 };
        let of_year = (153 * shifted_month + 2) / 5 + day - 1;
        Some(era * ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
    }

    /// `12:30` or `12:30:00.5`: seconds, nanoseconds, and whether it is second 60.
    fn clock(&mut self) -> Option<(i64, i64, bool)> {
        let hour = self.two(24)?;
        self.eat(b":")?;
        let minute = self.two(60)?;
        let (second, nanos) = match self.eat(b":") {
            Some(_) => (self.two(61)?, self.nanos()?),
            None => (0, 0),
        };
        Some((hour * 3_600 + minute * 60 + second, nanos, second == 60))
    }

    /// `Z`, `+01:00`, `+0100` or `+01`, in seconds.
    fn offset(&mut self) -> Option<i64> {
        let sign = match self.eat(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Some(0),
        };
        let hours = self.two(24)?;
        let minutes = match self.eat(b":") {
            Some(_) => self.two(60)?,
            None if self.0.is_empty() => 0,
            None => self.two(60)?,
        };
        Some(sign * (hours * 3_600 + minutes * 60))
    }

    /// A date, or date and time, with or without an offset; without one in a zone `offset` seconds east of UTC.
    fn moment(&mut self, offset: i64) -> Option<Moment> {
        let days = self.date()?;
        let (mut of_day, mut nanos, mut leap, mut east) = (0, 0, false, offset);
        if self.eat(b"Tt ").is_some() {
            (of_day, nanos, leap) = self.clock()?;
            if !self.0.is_empty() {
                let _ = self.eat(b" ");
                east = self.offset()?;
            }
        }
        let seconds = i128::from(days) * i128::from(DAY) + i128::from(of_day - east);
        // A leap second ends a day of UTC; Arrow counts as POSIX does, to which it is the first of the next day.
        (!leap || seconds % i128::from(DAY) == 0).then_some(Moment { seconds, nanos })
    }

    /// `PT1.5S`, `-P1DT2H`: weeks, days, hours, minutes and seconds; months and years have no fixed length.
    fn span(&mut self, per_second: i64) -> Option<i64> {
        let sign = if self.eat(b"-").is_some() { -1 } else { 1 };
        self.eat(b"P")?;
        let (mut units, mut part, mut any, mut time) = (0i128, 0, false, false);
        let mut last = 0;
        while !self.0.is_empty() {
            if !time && self.eat(b"T").is_some() {
                (time, any) = (true, false);
                continue;
            }
            let whole = self.run(1, 19)?;
            let nanos = self.nanos()?;
            let (rank, seconds) = match (self.eat(b"WDHMS")?, time) {
                (b'W', false) => (1, 7 * DAY),
                (b'D', false) => (2, DAY),
                (b'H', true) => (3, 3_600),
                (b'M', true) => (4, 60),
                (b'S', true) => (5, 1),
                _ => return None,
            };
            if rank <= last || (nanos != 0 && rank != 5) {
                return None;
            }
            (last, any) = (rank, true);
            units += whole * i128::from(seconds) * i128::from(per_second);
            part = nanos / (NANOS / per_second);
        }
        i64::try_from(sign * (units + i128::from(part))).ok().filter(|_| any)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNITS: [TimeUnit; 4] =
        [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];

    fn temporal(data_type: &DataType) -> Temporal {
        Temporal::new(data_type).unwrap().unwrap()
    }

    fn stamps(unit: TimeUnit, zone: Option<&str>) -> Temporal {
        temporal(&DataType::Timestamp(unit, zone.map(Into::into)))
    }

    fn written(temporal: Temporal, value: i64) -> String {
        let mut out = Vec::new();
        assert!(temporal.write(value, &mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn timestamps_in_the_usual_notations() {
        let ms = stamps(TimeUnit::Millisecond, Some("UTC"));
        for (text, value) in [
            ("1970-01-01T00:00:01.5Z", 1_500),
            ("1970-01-01t00:00:01.5z", 1_500),
            ("1970-01-01 00:00:01.5", 1_500),
            ("1970-01-01 00:00:01.500000000999 +00:00", 1_500),
            ("1970-01-01T01:00:00+01:00", 0),
            ("1970-01-01T01:30+0130", 0),
            ("1969-12-31T19:00:00-05", 0),
            ("1970-01-02", 86_400_000),
            ("1969-12-31T23:59:59.9999Z", -1),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000),
            ("2017-01-01T05:29:60+05:30", 1_483_228_800_000),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000),
            ("+10000-01-01T00:00:00Z", 253_402_300_800_000),
        ] {
            assert_eq!(ms.parse(text), Some(value), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "1970-1-1",
            "19700101",
            "1970-01-01T",
            "1970-01-01T00",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:60:00Z",
            "1970-01-01T00:00:61Z",
            "1970-01-01T12:30:60Z",
            "1970-13-01",
            "1970-00-01",
            "1970-01-32",
            "1970-02-30",
            "1900-02-29",
            "10000-01-01",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00+24:00",
            "1970-01-01T00:00:00+1",
            "1970-01-01T00:00:00 PST",
            " 1970-01-01T00:00:00Z",
            "1970-01-01T00:00:00ZZ",
            "1970-01-01T00:00:00\u{e9}",
            "+999999999999-01-01T00:00:00Z",
            "1500",
        ] {
            assert_eq!(ms.parse(text), None, "{text}");
        }
        assert_eq!(stamps(TimeUnit::Second, Some("+02:00")).parse("1970-01-01T02:00:00"), Some(0));
        assert_eq!(stamps(TimeUnit::Nanosecond, None).parse("2262-04-12T00:00:00"), None, "beyond 64 bits");
        assert_eq!(
            stamps(TimeUnit::Nanosecond, None).parse("1970-01-01T00:00:00.123456789"),
            Some(123_456_789)
        );
        assert!(Temporal::new(&DataType::Timestamp(TimeUnit::Second, Some("Mars".into()))).unwrap().is_err());
    }

    #[test]
    fn dates_times_and_durations() {
        let date = temporal(&DataType::Date32);
        assert_eq!(date.parse("2026-01-31"), Some(20_484));
        assert_eq!(date.parse("2026-01-31T12:00:00Z"), None, "a date has no time of day");
        assert_eq!(date.parse("-0001-12-31"), Some(-719_529));
        assert_eq!(temporal(&DataType::Date64).parse("1970-01-02T00:00:00.5"), Some(86_400_500));
        let time = temporal(&DataType::Time32(TimeUnit::Second));
        assert_eq!(time.parse("01:00:00.9"), Some(3_600));
        assert_eq!(time.parse("01:00"), Some(3_600));
        for text in ["3600", "24:00:00", "23:59:60", "1:00", "01:00 PM", "01:00:00Z"] {
            assert_eq!(time.parse(text), None, "{text}");
        }
        assert!(!time.holds(86_400));
        assert!(!time.write(86_400, &mut Vec::new()));
        let span = temporal(&DataType::Duration(TimeUnit::Millisecond));
        assert_eq!(span.parse("-PT1.5S"), Some(-1_500));
        assert_eq!(span.parse("P1DT2H3M4.5S"), Some(93_784_500));
        assert_eq!(span.parse("P2W"), Some(1_209_600_000));
        for text in ["", "P", "PT", "P1DT", "P1M", "P1Y", "PT1", "PT1S2H", "PT1.5H", "P1H", "PT1D", "1S"] {
            assert_eq!(span.parse(text), None, "{text}");
        }
        assert_eq!(written(span, -1_500), "-PT1.5S");
        assert_eq!(written(span, 0), "PT0S");
    }

    #[test]
    fn what_is_written() {
        let at = 1_767_225_600_000;
        assert_eq!(written(stamps(TimeUnit::Millisecond, None), at), "2026-01-01T00:00:00");
        assert_eq!(written(stamps(TimeUnit::Millisecond, Some("UTC")), at + 20), "2026-01-01T00:00:00.020Z");
        let zone = stamps(TimeUnit::Microsecond, Some("-05:30"));
        assert_eq!(written(zone, at * 1_000 + 1), "2025-12-31T18:30:00.000001-05:30");
        assert_eq!(written(temporal(&DataType::Date64), at), "2026-01-01T00:00:00");
        assert_eq!(written(temporal(&DataType::Date32), 20_454), "2026-01-01");
        assert_eq!(written(temporal(&DataType::Date32), 2_932_897), "+10000-01-01");
        assert_eq!(written(temporal(&DataType::Time64(TimeUnit::Nanosecond)), 1), "00:00:00.000000001");
    }

    /// Values of 64 bits, the ends of the range among them.
    fn values() -> impl Strategy<Value = i64> {
        prop_oneof![any::<i64>(), -1_000_000_000i64..1_000_000_000, Just(i64::MIN), Just(i64::MAX)]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same_value(value in values(), unit in 0..4usize, zone in 0..4usize) {
            let (unit, zone) = (UNITS[unit], [None, Some("UTC"), Some("+05:30"), Some("-23:59")][zone]);
            let mut all = vec![
                (stamps(unit, zone), value),
                (temporal(&DataType::Duration(unit)), value),
                (temporal(&DataType::Date64), value),
                (temporal(&DataType::Date32), i64::from(value as i32)),
            ];
            if let Temporal::Duration { per_second } = all[1].0 {
                all.push((Temporal::Time { per_second }, value.rem_euclid(DAY * per_second)));
            }
            for (temporal, value) in all {
                let text = written(temporal, value);
                prop_assert_eq!(temporal.parse(&text), Some(value), "{:?} {}", temporal, text);
            }
        }

        #[test]
        fn no_text_panics(text in "[-+PTZW0-9:. \\PC]{0,30}") {
            for data_type in [DataType::Date32, DataType::Date64, DataType::Time64(TimeUnit::Nanosecond),
                DataType::Timestamp(TimeUnit::Nanosecond, None), DataType::Duration(TimeUnit::Nanosecond)] {
                let _ = temporal(&data_type).parse(&text);
            }
        }
    }
}
