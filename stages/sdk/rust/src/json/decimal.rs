//! From a decimal number to the nearest `f64`, in little code: the standard library's way needs 10 kB of tables
//! and is made for speed, which a configuration does not need.

use std::cmp::Ordering;

/// The nearest `f64` (of two as near the even one) of a number as JSON writes it; `None` where it lies beyond the
/// largest.
pub(super) fn to_f64(text: &str) -> Option<f64> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (text.get(..at)?, parse_exponent(text.get(at + 1..)?)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = Big(Vec::new());
    let mut count = 0i64;
    for digit in whole.bytes().chain(fraction.bytes()) {
        digits.multiply_add(10, u32::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?));
        // Zeros in front are no digits.
        count += i64::from(!digits.0.is_empty());
    }
    let exponent = exponent.saturating_sub(i64::try_from(fraction.len()).ok()?);
    // The number is below 10^(count + exponent) and not below a tenth of that.
    let magnitude = count.saturating_add(exponent);
    let value = if digits.0.is_empty() || magnitude < -330 {
        0.0
    } else if magnitude > 310 {
        return None;
    } else {
        nearest(&digits, exponent)
    };
    value.is_finite().then_some(if negative { -value } else { value })
}

/// The digits of an exponent, held where it decides by itself already.
fn parse_exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    let mut value = 0i64;
    for digit in digits {
        value = (value * 10 + i64::from(digit.checked_sub(b'0')?)).min(1 << 40);
    }
    Some(if negative { -value } else { value })
}

/// Of the positive floats, which lie in the order of their bits, the one on whose side of both midpoints the number
/// lies: found by halving.
fn nearest(digits: &Big, exponent: i64) -> f64 {
    let (mut low, mut high) = (0u64, f64::INFINITY.to_bits());
    while low < high {
        // The number is at least the float at `low`, after rounding, and at most the one at `high`.
        let middle = low + (high - low) / 2;
        let above = match against_midpoint(digits, exponent, middle) {
            Ordering::Less => false,
            Ordering::Equal => middle & 1 == 1,
            Ordering::Greater => true,
        };
        if above {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    f64::from_bits(low)
}

/// Compares `digits * 10^exponent` with the middle between the float of these bits and the next.
fn against_midpoint(digits: &Big, exponent: i64, bits: u64) -> Ordering {
    let (fraction, scale) = (bits & ((1 << 52) - 1), (bits >> 52) as i64);
    // The float is `mantissa * 2^power`; the middle is half a unit of its last place above it.
    let (mantissa, power) = if scale == 0 { (fraction, -1074) } else { (fraction | 1 << 52, scale - 1075) };
    let mut number = digits.clone();
    let mut middle = Big(Vec::new());
    middle.multiply_add(0, (mantissa >> 31) as u32);
    middle.multiply_add(1 << 31, (mantissa & 0x7fff_ffff) as u32);
    middle.multiply_add(2, 1);
    let power = power - 1;
    // Negative powers go to the other side, so that both are integers.
    let (tens, twos) = if exponent < 0 { (&mut middle, -exponent) } else { (&mut number, exponent) };
    for _ in 0..twos {
        tens.multiply_add(10, 0);
    }
    let side = if power < 0 { &mut number } else { &mut middle };
    let shift = power.unsigned_abs();
    for _ in 0..shift / 31 {
        side.multiply_add(1 << 31, 0);
    }
    side.multiply_add(1 << (shift % 31), 0);
    number.compare(&middle)
}

/// A natural number, least significant word first, without zero words at its end.
#[derive(Clone)]
struct Big(Vec<u32>);

impl Big {
    fn multiply_add(&mut self, factor: u32, summand: u32) {
        let mut carry = u64::from(summand);
        for word in &mut self.0 {
            carry += u64::from(*word) * u64::from(factor);
            *word = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        let words = self.0.len().cmp(&other.0.len());
        words.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str) {
        let expected = text.parse::<f64>().unwrap();
        let found = to_f64(text);
        if expected.is_finite() {
            assert_eq!(found.map(f64::to_bits), Some(expected.to_bits()), "{text}");
        } else {
            assert_eq!(found, None, "{text}");
        }
    }

    #[test]
    fn hard_numbers_are_read_as_the_standard_library_does() {
        for text in [
            "0",
            "-0",
            "0.0e5",
            "1",
            "-1.5",
            "0.1",
            "9007199254740993",
            "9007199254740992.999999999999999999999999",
            "9007199254740993.000000000000000000000001",
            "1.7976931348623157e308",
            "1.7976931348623158e308",
            "1.797693134862315807e308",
            "1.7976931348623159e308",
            "1e309",
            "1e400",
            "1e99999999999999999999",
            "1e-99999999999999999999",
            "0e99999999999999999999",
            "4.9e-324",
            "2.4703282292062327e-324",
            "2.4703282292062328e-324",
            "2.2250738585072011e-308",
            "2.2250738585072014e-308",
            "123456789012345678901234567890E-10",
        ] {
            check(text);
        }
        check(&format!("0.{}1e400", "0".repeat(400)));
        check(&format!("1{}e-400", "0".repeat(400)));
    }

    proptest! {
        #[test]
        fn every_float_is_read_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            if value.is_finite() {
                check(&format!("{value:?}"));
                check(&format!("{value:.30e}"));
            }
        }

        #[test]
        fn every_number_is_rounded_right(text in "-?[0-9]{1,30}(\\.[0-9]{1,30})?(e[+-]?[0-9]{1,3})?") {
            check(&text);
        }
    }
}
