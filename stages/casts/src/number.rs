//! Numbers between their types and their texts, exactly or as the rounding allows.

use crate::{FRACTION, Misfit, RANGE, Rounding};

const NO_INTEGER: Misfit = Misfit("a whole number was expected");
const NO_NUMBER: Misfit = Misfit("a number was expected");

/// An integer in decimal digits with an optional sign, and nothing else.
pub(crate) fn parse_int(text: &str) -> Result<i128, Misfit> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NO_INTEGER);
    }
    // Every type that it is for is narrower, so that too many digits are out of its range.
    let mut value = 0i128;
    for digit in digits.bytes() {
        let next = value.checked_mul(10).and_then(|value| value.checked_add((digit - b'0').into()));
        value = next.ok_or(RANGE)?;
    }
    Ok(if text.starts_with('-') { -value } else { value })
}

/// A float as JSON writes it, with a `+` allowed, and the texts that [`write_float`] has for what is no number.
pub(crate) fn parse_float(text: &str) -> Result<f64, Misfit> {
    match text {
        "NaN" => return Ok(f64::NAN),
        "inf" => return Ok(f64::INFINITY),
        "-inf" => return Ok(f64::NEG_INFINITY),
        _ => {}
    }
    let plausible = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let value: f64 = text.parse().ok().filter(|_| plausible).ok_or(NO_NUMBER)?;
    if value.is_finite() { Ok(value) } else { Err(RANGE) }
}

/// A number with a point and an exponent, exactly: its digits, and how many of them stand behind the point.
pub fn parse_decimal(text: &str) -> Result<(i128, i32), Misfit> {
    let (negative, rest) = match text.as_bytes() {
        [b'-', ..] => (true, text.get(1..)),
        [b'+', ..] => (false, text.get(1..)),
        _ => (false, Some(text)),
    };
    let rest = rest.unwrap_or_default();
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, parse_int(exponent).map_err(|_| NO_NUMBER)?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err(NO_NUMBER);
    }
    // Zeros at the end of a fraction say nothing, and must not make the digits too many.
    let fraction = fraction.trim_end_matches('0');
    let mut digits = 0i128;
    for digit in whole.bytes().chain(fraction.bytes()) {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10).ok_or(NO_NUMBER)?;
        digits = digits.checked_mul(10).and_then(|value| value.checked_add(digit.into())).ok_or(RANGE)?;
    }
    let scale = i128::try_from(fraction.len()).map_err(|_| RANGE)? - exponent;
    let scale = if digits == 0 { 0 } else { scale };
    Ok((if negative { -digits } else { digits }, i32::try_from(scale).map_err(|_| RANGE)?))
}

/// The same number with another count of digits behind the point.
pub fn rescale(digits: i128, from: i32, to: i32, rounding: Rounding) -> Result<i128, Misfit> {
    let change = i64::from(to) - i64::from(from);
    if change >= 0 || digits == 0 {
        let factor = power(change.max(0)).filter(|_| digits != 0);
        return if digits == 0 { Ok(0) } else { factor.and_then(|by| digits.checked_mul(by)).ok_or(RANGE) };
    }
    // What is divided by more than the largest power is all fraction, and less than a half.
    let Some(by) = power(-change) else {
        return if rounding == Rounding::Exact { Err(FRACTION) } else { Ok(0) };
    };
    let (whole, rest) = (digits / by, digits % by);
    match rounding {
        Rounding::Exact if rest != 0 => Err(FRACTION),
        Rounding::Nearest if rest.unsigned_abs() >= by.unsigned_abs().div_ceil(2) => {
            Ok(whole + rest.signum())
        }
        _ => Ok(whole),
    }
}

/// A power of ten, of those that an `i128` holds.
pub(crate) fn power(exponent: i64) -> Option<i128> {
    10i128.checked_pow(u32::try_from(exponent).ok()?)
}

/// A float as an integer.
pub(crate) fn float_to_int(value: f64, rounding: Rounding) -> Result<i128, Misfit> {
    if !value.is_finite() {
        return Err(Misfit("it is not a finite number"));
    }
    let whole = match rounding {
        Rounding::Exact if value.trunc() != value => return Err(FRACTION),
        Rounding::Nearest => value.round(),
        _ => value.trunc(),
    };
    // Beyond every integer type, and within `i128`.
    if whole.abs() < 1e37 { Ok(whole as i128) } else { Err(RANGE) }
}

/// Appends an integer.
pub(crate) fn write_int(value: i128, out: &mut String) {
    // Nearly all fit 64 bits, whose division is many times as fast.
    match i64::try_from(value) {
        Ok(value) => write_digits(value.unsigned_abs().into(), value < 0, 0, out),
        Err(_) => write_digits(value.unsigned_abs(), value < 0, 0, out),
    }
}

/// Appends a decimal with as many digits behind the point as its scale says.
pub(crate) fn write_decimal(digits: i128, scale: i32, out: &mut String) {
    write_digits(digits.unsigned_abs(), digits < 0, scale.max(0) as usize, out);
    if digits != 0 {
        out.extend(std::iter::repeat_n('0', scale.min(0).unsigned_abs() as usize));
    }
}

/// Appends digits with a point before the last `behind` of them, and a zero before the point at least.
fn write_digits(value: u128, negative: bool, behind: usize, out: &mut String) {
    // 39 digits are the most of a `u128`; a scale is at most 38.
    let mut digits = [b'0'; 80];
    let (mut at, mut high) = (digits.len(), value);
    let mut low = 0u64;
    let mut left = 0;
    loop {
        if left == 0 {
            if high == 0 && at < digits.len() {
                break;
            }
            // 18 digits at once by 64-bit division.
            (high, low) = match u64::try_from(high) {
                Ok(small) => ((small / TEN_18).into(), small % TEN_18),
                Err(_) => (high / u128::from(TEN_18), (high % u128::from(TEN_18)) as u64),
            };
            left = 18;
        }
        at -= 1;
        digits[at] = b'0' + (low % 10) as u8;
        low /= 10;
        left -= 1;
        if low == 0 && high == 0 {
            break;
        }
    }
    let count = (digits.len() - at).max(behind + 1);
    let digits = digits.get(digits.len() - count..).unwrap_or_default();
    if negative {
        out.push('-');
    }
    for (i, digit) in digits.iter().enumerate() {
        if behind > 0 && i == count - behind {
            out.push('.');
        }
        out.push(char::from(*digit));
    }
}

const TEN_18: u64 = 1_000_000_000_000_000_000;

/// Appends a float: the shortest digits that are read back as the same, `NaN`, `inf` or `-inf`.
pub(crate) fn write_float(value: f64, single: bool, out: &mut String) {
    let mut buffer = ryu::Buffer::new();
    out.push_str(if single { buffer.format(value as f32) } else { buffer.format(value) });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_read_exactly() {
        for (text, digits, scale) in [
            ("0", 0, 0),
            ("-0.00", 0, 0),
            ("12.340", 1234, 2),
            ("+.5", 5, 1),
            ("1e3", 1, -3),
            ("1.5E-2", 15, 3),
            ("12345678901234567890123456789012345678", 12_345_678_901_234_567_890_123_456_789_012_345_678, 0),
        ] {
            assert_eq!(parse_decimal(text), Ok((digits, scale)), "{text}");
        }
        for bad in ["", "-", ".", "1.2.3", "1e", "x", "1 ", "0x1", "--1"] {
            assert!(parse_decimal(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_decimal(&"9".repeat(40)), Err(RANGE));
        assert_eq!(parse_decimal("0e999999999999999999"), Ok((0, 0)));
    }

    #[test]
    fn rounding_does_what_it_says() {
        use Rounding::{Exact, Nearest, Truncate};
        for (digits, from, to, exact, truncated, nearest) in [
            (150, 2, 1, Ok(15), 15, 15),
            (155, 2, 1, Err(FRACTION), 15, 16),
            (-155, 2, 1, Err(FRACTION), -15, -16),
            (154, 2, 1, Err(FRACTION), 15, 15),
            (1, 60, 0, Err(FRACTION), 0, 0),
            (0, 60, 0, Ok(0), 0, 0),
        ] {
            assert_eq!(rescale(digits, from, to, Exact), exact);
            assert_eq!(rescale(digits, from, to, Truncate), Ok(truncated));
            assert_eq!(rescale(digits, from, to, Nearest), Ok(nearest));
        }
        assert_eq!(rescale(1, 0, 40, Exact), Err(RANGE));
        assert_eq!(float_to_int(-2.5, Nearest), Ok(-3));
        assert_eq!(float_to_int(-2.5, Truncate), Ok(-2));
        assert!(float_to_int(2.5, Exact).is_err() && float_to_int(f64::NAN, Truncate).is_err());
        assert_eq!(float_to_int(1e300, Truncate), Err(RANGE));
    }

    #[test]
    fn floats_have_short_texts_and_come_back() {
        for (text, value) in
            [("1.5", 1.5), ("+1e3", 1e3), ("-0", -0.0), ("NaN", f64::NAN), ("inf", f64::INFINITY)]
        {
            assert_eq!(parse_float(text).unwrap().to_bits(), value.to_bits(), "{text}");
        }
        for bad in ["", "infinity", "nan", "1e400", "0x1", "1,5", " 1"] {
            assert!(parse_float(bad).is_err(), "{bad}");
        }
        let mut out = String::new();
        write_float(f64::from(0.1f32), true, &mut out);
        assert_eq!(out, "0.1");
    }

    proptest! {
        #[test]
        fn integers_are_written_as_the_library_does(value in any::<i128>(), shift in 0u32..127) {
            let mut out = String::new();
            write_int(value >> shift, &mut out);
            prop_assert_eq!(out, (value >> shift).to_string());
        }

        #[test]
        fn decimals_come_back(digits in -10i128.pow(38) + 1..10i128.pow(38), scale in -20i32..=38) {
            let mut out = String::new();
            write_decimal(digits, scale, &mut out);
            let (found, at) = parse_decimal(&out).unwrap_or((0, 0));
            // What is too long for 128 bits with its zeros is only written.
            if scale >= 0 {
                prop_assert_eq!(rescale(found, at, scale, Rounding::Exact), Ok(digits), "{}", out);
            }
        }
    }
}
