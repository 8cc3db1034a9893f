//! Numbers of payment cards within a text, also where they stand in a row with other digits.
//!
//! What is looked at is a *run*: digits with at most one space or dash between each two. Of a run every stretch of 13 to
//! 19 digits may be a card, because what stands before and after it (a quantity, a date, a check code, another card)
//! may be more digits. The check digit alone is right in one stretch of ten, and a long number has dozens of stretches;
//! so what its writer set apart by spaces, dashes or other signs needs nothing more, and what lies within a group of
//! digits must also begin and be as long as the numbers that issuers give out.

use std::ops::Range;

/// Fewest and most digits of a card.
const DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// Where cards are, in order; those that overlap (which of them it is, nobody knows) are one range.
pub(crate) fn cards(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut run: Vec<(usize, u8)> = Vec::new();
    for (at, byte) in bytes.iter().enumerate() {
        if !byte.is_ascii_digit() {
            continue;
        }
        if run.last().is_some_and(|(last, _)| !joins(bytes.get(last + 1..at).unwrap_or_default())) {
            look(&run, &mut found);
            run.clear();
        }
        run.push((at, byte - b'0'));
    }
    look(&run, &mut found);
    found
}

/// Whether what is between two digits keeps them in one run.
fn joins(between: &[u8]) -> bool {
    // Also those of typesetters: spaces that do not break, thin ones, dashes.
    matches!(between, [] | [b' ' | b'-'] | [0xc2, 0xa0] | [0xe2, 0x80, 0x87 | 0x89 | 0x90..=0x95 | 0xaf])
}

/// Adds the cards of a run: places and values of its digits.
fn look(run: &[(usize, u8)], found: &mut Vec<Range<usize>>) {
    for start in 0..run.len().saturating_sub(*DIGITS.start() - 1) {
        // The longest that is one covers the shorter ones.
        let longest = DIGITS.rev().find(|length| {
            run.get(start..start + length).is_some_and(|stretch| {
                let apart = is_apart(run, start) && is_apart(run, start + length);
                (apart || is_issued(stretch)) && luhn(stretch)
            })
        });
        let stretch = longest.and_then(|length| run.get(start..start + length));
        let Some(([(first, _), ..], [.., (last, _)])) = stretch.map(|s| (s, s)) else { continue };
        match found.last_mut() {
            Some(before) if before.end > *first => before.end = before.end.max(last + 1),
            _ => found.push(*first..last + 1),
        }
    }
}

/// Whether a sign, or nothing, stands before this digit of a run.
fn is_apart(run: &[(usize, u8)], at: usize) -> bool {
    match (at.checked_sub(1).and_then(|before| run.get(before)), run.get(at)) {
        (Some((before, _)), Some((here, _))) => before + 1 < *here,
        _ => true,
    }
}

/// Whether it begins and is as long as numbers that issuers give out: Visa, Mastercard, American Express, Diners Club,
/// Discover, JCB, UnionPay, Mir.
fn is_issued(stretch: &[(usize, u8)]) -> bool {
    let first = |count: usize| stretch.iter().take(count).fold(0, |n, (_, digit)| n * 10 + u32::from(*digit));
    match stretch.len() {
        14 => matches!(first(2), 36 | 38 | 39) || matches!(first(3), 300..=305),
        15 => matches!(first(2), 34 | 37),
        16 => {
            first(1) == 4
                || matches!(first(2), 51..=55 | 62 | 65)
                || matches!(first(3), 644..=649)
                || matches!(first(4), 2200..=2204 | 2221..=2720 | 3528..=3589 | 6011)
        }
        _ => false,
    }
}

/// Whether the last digit checks those before it.
fn luhn(stretch: &[(usize, u8)]) -> bool {
    let mut sum = 0u32;
    for (at, (_, digit)) in stretch.iter().rev().enumerate() {
        let digit = u32::from(*digit);
        let doubled = if at % 2 == 1 { digit * 2 } else { digit };
        sum += if doubled > 9 { doubled - 9 } else { doubled };
    }
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text with `#` for each card.
    fn found(text: &str) -> String {
        let mut shown = text.to_owned();
        for card in cards(text).into_iter().rev() {
            shown.replace_range(card, "#");
        }
        shown
    }

    #[test]
    fn a_card_is_found_alone_and_beside_other_digits() {
        for (text, expected) in [
            ("card 4111 1111 1111 1111.", "card #."),
            ("4111-1111-1111-1111,378282246310005", "#,#"),
            ("4111-1111 1111-1111", "#"),
            ("4111\u{a0}1111\u{202f}1111\u{2013}1111", "#"),
            ("4111 1111 1111 1111 12/27", "# 12/27"),
            ("4111 1111 1111 1111 123", "# 123"),
            ("1227 4111 1111 1111 1111", "1227 #"),
            ("qty 2 4111111111111111", "qty 2 #"),
            ("id=64111111111111111x", "id=6#x"),
            ("4111111111111111123", "#123"),
            // Two in a row, with and without a sign between.
            ("4111 1111 1111 1111 5500 0000 0000 0004", "# #"),
            ("41111111111111115500000000000004", "##"),
            // One of 19 digits, one of an issuer that the list does not have.
            ("6304000000000000000", "#"),
            ("9792 0300 0000 0000", "#"),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_none_stays() {
        for text in [
            "",
            "4111 1111 1111 1112",
            "411111111111",
            "4111  1111  1111  1111",
            "4111\n1111\n1111\n1111",
            "4111.1111.1111.1111",
            "\u{664}111 1111 1111 1111",
        ] {
            assert_eq!(found(text), text);
        }
    }

    #[test]
    fn not_every_long_number_is_a_card() {
        // Times in nanoseconds: 19 digits without a sign.
        let times = (0..1_000).map(|n| format!("{}", 1_795_544_893_453_000_123_u64 + n * 7_919_191_919));
        let taken = times.filter(|time| found(time) != *time).count();
        assert!(taken < 250, "{taken} of 1,000: a check digit is right in 100 by chance");
    }

    #[test]
    fn every_stretch_of_every_place_is_looked_at() {
        for before in 0..25 {
            for after in 0..25 {
                let text = format!("{}4111111111111111{}", "1".repeat(before), "1".repeat(after));
                let all = cards(&text);
                assert!(all.iter().any(|c| c.start <= before && c.end >= before + 16), "{text}: {all:?}");
            }
        }
    }
}
