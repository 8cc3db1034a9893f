//! Dates and times without a calendar library: what stages need to read them from text.

use crate::schema::TimeUnit;

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant {
    /// Seconds since 1970 in UTC.
    pub seconds: i64,
    /// Nanoseconds after them, below 1,000,000,000.
    pub nanos: u32,
}

impl Instant {
    /// The count in a unit; `None` where it does not fit or would lose digits.
    pub fn exact(self, unit: TimeUnit) -> Option<i64> {
        let (per_second, nanos_each) = match unit {
            TimeUnit::Second => (1, 1_000_000_000),
            TimeUnit::Millisecond => (1_000, 1_000_000),
            TimeUnit::Microsecond => (1_000_000, 1_000),
            TimeUnit::Nanosecond => (1_000_000_000, 1),
        };
        if !self.nanos.is_multiple_of(nanos_each) {
            return None;
        }
        // In `i128`, because the seconds alone of an early nanosecond lie below what an `i64` holds.
        let count = i128::from(self.seconds) * i128::from(per_second) + i128::from(self.nanos / nanos_each);
        i64::try_from(count).ok()
    }
}

/// Days since 1970-01-01 of a day in the Gregorian calendar, extended to all years; `None` for a day that is none.
pub fn days(year: i32, month: u32, day: u32) -> Option<i32> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => return None,
    };
    if day == 0 || day > last || !(-200_000..=200_000).contains(&year) {
        return None;
    }
    // Years begin in March, so that the leap day comes last; 306 days lie before January of such a year.
    let shifted = i64::from(year) - i64::from(month <= 2);
    let month = i64::from((month + 9) % 12);
    let leaps = shifted.div_euclid(4) - shifted.div_euclid(100) + shifted.div_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + i64::from(day) - 1;
    i32::try_from(shifted * 365 + leaps + day_of_year - 719_468).ok()
}

/// Reads `2026-01-31`.
pub fn parse_date(text: &str) -> Option<i32> {
    let mut rest = Rest(text.as_bytes());
    let date = rest.date()?;
    rest.0.is_empty().then_some(date)
}

/// Reads `23:59:59` with up to nine digits of a second: seconds of the day and nanoseconds.
pub fn parse_time(text: &str) -> Option<(u32, u32)> {
    let mut rest = Rest(text.as_bytes());
    let time = rest.time()?;
    rest.0.is_empty().then_some(time)
}

/// Reads RFC 3339: `2026-01-31T23:59:59.25Z`, `2026-01-31 23:59:59+01:00`.
pub fn parse_rfc3339(text: &str) -> Option<Instant> {
    let mut rest = Rest(text.as_bytes());
    let date = rest.date()?;
    rest.any(b"Tt ")?;
    let (seconds, nanos) = rest.time()?;
    let offset = match rest.any(b"Zz") {
        Some(_) => 0,
        None => rest.offset()?,
    };
    let seconds = i64::from(date) * 86_400 + i64::from(seconds) - i64::from(offset);
    rest.0.is_empty().then_some(Instant { seconds, nanos })
}

/// Reads `+01:00` or `-0730`: seconds east of Greenwich.
pub fn parse_offset(text: &str) -> Option<i32> {
    let mut rest = Rest(text.as_bytes());
    let offset = rest.offset()?;
    rest.0.is_empty().then_some(offset)
}

/// What is still to be read. Bytes taken one by one need far less code than strings that are split.
/// Appends a day as `2026-01-31`; `None`, and nothing appended, where the year has not four digits.
pub fn write_date(days: i32, out: &mut String) -> Option<()> {
    // Years begin in March, as above; an era is 400 years.
    let shifted = i64::from(days) + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    if !(0..=9_999).contains(&year) {
        return None;
    }
    digits(year as u32, 4, out);
    out.push('-');
    digits(month as u32, 2, out);
    out.push('-');
    digits(day as u32, 2, out);
    Some(())
}

/// Appends an instant as RFC 3339 in UTC, with the fraction's digits of its unit, and with `Z` where it is `zoned`;
/// `None`, and nothing appended, where the year has not four digits.
pub fn write_timestamp(value: i64, unit: TimeUnit, zoned: bool, out: &mut String) -> Option<()> {
    let (per_second, fraction) = match unit {
        TimeUnit::Second => (1, 0),
        TimeUnit::Millisecond => (1_000, 3),
        TimeUnit::Microsecond => (1_000_000, 6),
        TimeUnit::Nanosecond => (1_000_000_000, 9),
    };
    let (seconds, part) = (value.div_euclid(per_second), value.rem_euclid(per_second));
    write_date(i32::try_from(seconds.div_euclid(86_400)).ok()?, out)?;
    let second = seconds.rem_euclid(86_400) as u32;
    for (sign, value) in [('T', second / 3_600), (':', second / 60 % 60), (':', second % 60)] {
        out.push(sign);
        digits(value, 2, out);
    }
    if fraction > 0 {
        out.push('.');
        digits(part as u32, fraction, out);
    }
    if zoned {
        out.push('Z');
    }
    Some(())
}

/// Appends a number with leading zeros.
fn digits(value: u32, width: u32, out: &mut String) {
    for place in (0..width).rev() {
        out.push(char::from(b'0' + (value / 10u32.pow(place) % 10) as u8));
    }
}

/// Reads RFC 3339 with or without its zone; answers whether it had one. Without, it is taken as UTC.
pub fn parse_timestamp(text: &str) -> Option<(Instant, bool)> {
    if let Some(instant) = parse_rfc3339(text) {
        return Some((instant, true));
    }
    let mut rest = Rest(text.as_bytes());
    let date = rest.date()?;
    rest.any(b"Tt ")?;
    let (seconds, nanos) = rest.time()?;
    let seconds = i64::from(date) * 86_400 + i64::from(seconds);
    rest.0.is_empty().then_some((Instant { seconds, nanos }, false))
}

struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// Takes a byte that is one of these.
    fn any(&mut self, bytes: &[u8]) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        bytes.contains(&first).then(|| {
            self.0 = rest;
            first
        })
    }

    fn digit(&mut self) -> Option<u32> {
        self.any(b"0123456789").map(|digit| u32::from(digit - b'0'))
    }

    /// A number of exactly so many digits.
    fn number(&mut self, digits: usize) -> Option<u32> {
        let mut number = 0;
        for _ in 0..digits {
            number = number * 10 + self.digit()?;
        }
        Some(number)
    }

    fn date(&mut self) -> Option<i32> {
        let year = self.number(4)?;
        self.any(b"-")?;
        let month = self.number(2)?;
        self.any(b"-")?;
        days(year as i32, month, self.number(2)?)
    }

    fn time(&mut self) -> Option<(u32, u32)> {
        let hour = self.number(2)?;
        self.any(b":")?;
        let minute = self.number(2)?;
        self.any(b":")?;
        let second = self.number(2)?;
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let mut nanos = 0;
        if self.any(b".").is_some() {
            let mut unit = 100_000_000;
            nanos = self.digit()? * unit;
            while let Some(digit) = self.digit() {
                unit /= 10;
                if unit == 0 {
                    return None;
                }
                nanos += digit * unit;
            }
        }
        Some((hour * 3_600 + minute * 60 + second, nanos))
    }

    fn offset(&mut self) -> Option<i32> {
        let sign = self.any(b"+-")?;
        let hours = self.number(2)?;
        // The colon may be left out.
        let _ = self.any(b":");
        let minutes = self.number(2)?;
        let east = (hours * 3_600 + minutes * 60) as i32;
        (hours <= 23 && minutes <= 59).then_some(if sign == b'+' { east } else { -east })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_count_from_1970_and_follow_the_calendar() {
        assert_eq!(days(1970, 1, 1), Some(0));
        assert_eq!(days(2000, 2, 29), Some(11_016));
        assert_eq!(days(1900, 2, 29), None);
        assert_eq!(days(2026, 4, 31), None);
        assert_eq!(days(1, 1, 1), Some(-719_162));
        // Each day is one after the day before it, for 500 years.
        let mut expected = days(1800, 1, 1).unwrap();
        for year in 1800..2300 {
            for month in 1..=12 {
                for day in 1..=31 {
                    if let Some(found) = days(year, month, day) {
                        assert_eq!(found, expected, "{year}-{month}-{day}");
                        expected += 1;
                    }
                }
            }
        }
    }

    #[test]
    fn rfc_3339_is_read_with_fractions_and_zones() {
        let read = |text| parse_rfc3339(text).map(|at| (at.seconds, at.nanos));
        assert_eq!(read("1970-01-01T00:00:00Z"), Some((0, 0)));
        assert_eq!(read("2026-11-24T02:30:00.25+01:00"), Some((1_795_483_800, 250_000_000)));
        assert_eq!(read("1969-12-31 23:59:59-00:00"), Some((-1, 0)));
        for bad in [
            "",
            "2026-11-24",
            "2026-13-01T00:00:00Z",
            "2026-11-24T24:00:00Z",
            "2026-11-24T00:00:00",
            "2026-11-24T00:00:00.Z",
            "2026-11-24T00:00:00ZZ",
            "2026-11-24T00:00:00+1:00",
            "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}T",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for days in (-719_528..2_932_897).step_by(97).chain([-719_528, 0, -1, 11_016, 2_932_896]) {
            let mut text = String::new();
            write_date(days, &mut text).unwrap();
            assert_eq!(parse_date(&text), Some(days), "{text}");
        }
        let mut text = String::new();
        assert!(write_date(2_932_897, &mut text).is_none() && write_date(-719_529, &mut text).is_none());
        assert!(write_timestamp(i64::MAX, TimeUnit::Second, true, &mut text).is_none() && text.is_empty());
        for (value, unit, zoned, expected) in [
            (-1, TimeUnit::Second, true, "1969-12-31T23:59:59Z"),
            (1_795_483_800_250, TimeUnit::Millisecond, true, "2026-11-24T01:30:00.250Z"),
            (-1, TimeUnit::Microsecond, false, "1969-12-31T23:59:59.999999"),
            (1, TimeUnit::Nanosecond, true, "1970-01-01T00:00:00.000000001Z"),
        ] {
            text.clear();
            write_timestamp(value, unit, zoned, &mut text).unwrap();
            assert_eq!(text, expected);
            let (instant, had_zone) = parse_timestamp(&text).unwrap();
            assert_eq!((instant.exact(unit), had_zone), (Some(value), zoned));
        }
        assert_eq!(parse_timestamp("2026-11-24"), None);
    }

    #[test]
    fn exact_counts_lose_nothing() {
        let at = Instant { seconds: -1, nanos: 500_000_000 };
        assert_eq!(at.exact(TimeUnit::Millisecond), Some(-500));
        assert_eq!(at.exact(TimeUnit::Second), None);
        assert_eq!(Instant { seconds: i64::MAX, nanos: 0 }.exact(TimeUnit::Nanosecond), None);
    }
}
