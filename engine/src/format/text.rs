//! Values out of text: decimals and hexadecimal digits; the same spellings that the encoders write.

use arrow::compute::kernels::cast_utils::parse_decimal;
use arrow::datatypes::DecimalType;

/// A decimal, exactly: digits that the scale or the precision cannot hold are refused, not rounded. The work is bounded
/// by the text and the precision, whatever the exponent says.
pub(super) fn decimal<T: DecimalType>(text: &str, precision: u8, scale: i8) -> Option<T::Native> {
    let plain = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = plain.split_once(['e', 'E']).unwrap_or((plain, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let power = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    if !all(whole) || !all(fraction) || whole.len() + fraction.len() == 0 || power.is_empty() || !all(power) {
        return None;
    }
    let digits: String = whole.bytes().chain(fraction.bytes()).map(char::from).collect();
    let ended = digits.trim_end_matches('0');
    let kept = ended.trim_start_matches('0');
    if kept.is_empty() {
        return Some(T::Native::default());
    }
    // Zeros to append, so that the digits count units of the scale; fewer than none: they do not fit it.
    let zeros = exponent
        .parse::<i64>()
        .ok()?
        .checked_add(i64::from(scale) + (digits.len() - ended.len()) as i64 - fraction.len() as i64)?;
    let zeros = usize::try_from(zeros).ok()?;
    if kept.len().saturating_add(zeros) > usize::from(precision) {
        return None;
    }
    let sign = if text.starts_with('-') { "-" } else { "" };
    parse_decimal::<T>(&format!("{sign}{kept}{}", "0".repeat(zeros)), precision, 0).ok()
}

/// Whether a text is a number to the letter of JSON.
pub(super) fn is_json_number(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let plain = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = plain.split_once(['e', 'E']).unwrap_or((plain, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && digits(fraction)
        && digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))
}

/// A decimal times a power of ten as a whole number, and whether digits behind it were cut off: towards minus infinity,
/// as time runs. `None`: no decimal, or one beyond 128 bits. The work is bounded by the text, whatever the exponent says.
pub(super) fn scaled(text: &str, power: i64) -> Option<(i128, bool)> {
    let plain = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = plain.split_once(['e', 'E']).unwrap_or((plain, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !all(whole) || !all(fraction) || whole.is_empty() {
        return None;
    }
    let exponent = exponent.parse::<i64>().ok()?;
    // How many digits stand before the point once it has moved.
    let before = exponent.checked_add(power)?.checked_add(i64::try_from(whole.len()).ok()?)?;
    let (mut value, mut cut, mut count) = (0i128, false, 0i64);
    for byte in whole.bytes().chain(fraction.bytes()) {
        if count < before {
            value = value.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
        } else {
            cut |= byte != b'0';
        }
        count += 1;
    }
    if value != 0 && before > count {
        let zeros = u32::try_from(before - count).ok()?;
        value = value.checked_mul(10i128.checked_pow(zeros)?)?;
    }
    let value = if text.starts_with('-') { -value - i128::from(cut) } else { value };
    Some((value, cut))
}

/// Appends the bytes of hexadecimal digits.
pub(super) fn hex(text: &str, out: &mut Vec<u8>) -> Result<(), String> {
    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    if !text.len().is_multiple_of(2) {
        return Err("an odd number of hexadecimal digits".to_owned());
    }
    for pair in text.as_bytes().chunks_exact(2) {
        match (digit(pair[0]), digit(pair[1])) {
            (Some(high), Some(low)) => out.push(high << 4 | low),
            _ => return Err(format!("hexadecimal digits were expected, not `{}`", short(text))),
        }
    }
    Ok(())
}

/// The start of a text, for messages.
pub(super) fn short(text: &str) -> String {
    const CHARS: usize = 60;
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}...", text[..end].escape_debug()),
        None => text.escape_debug().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Decimal128Type;

    use super::*;

    #[test]
    fn numbers_to_the_letter_of_json() {
        for good in ["0", "-0", "12", "1.50", "1e400", "1E+2", "-0.5e-7"] {
            assert!(is_json_number(good), "{good}");
        }
        for bad in [
            "", "-", "+1", "007", ".5", "5.", "1e", "1e+", "0x10", "1_0", " 1", "NaN", "\u{661}", "1.2.3",
            "1e5.5",
        ] {
            assert!(!is_json_number(bad), "{bad}");
        }
    }

    #[test]
    fn decimals_are_scaled_and_cut_as_time_runs() {
        for (text, power, expected) in [
            ("1.0", 0, Some((1, false))),
            ("-1.50", 0, Some((-2, true))),
            ("1700000000.1239", 3, Some((1_700_000_000_123, true))),
            ("1.7e9", 3, Some((1_700_000_000_000, false))),
            ("-0.0001", 3, Some((-1, true))),
            ("1500", -3, Some((1, true))),
            ("1", -30, Some((0, true))),
            ("0e400", 0, Some((0, false))),
            ("1e400", 0, None),
            ("1e-400", 0, Some((0, true))),
            ("1e9223372036854775807", 1, None),
            ("1e99999999999999999999", 0, None),
            ("", 0, None),
            (".5", 0, None),
            ("0x10", 0, None),
            ("1e", 0, None),
        ] {
            assert_eq!(scaled(text, power), expected, "{text} {power}");
        }
        assert_eq!(scaled(&"9".repeat(100_000), 0), None);
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        let d = |text| decimal::<Decimal128Type>(text, 10, 2);
        assert_eq!(d("1.5"), Some(150));
        assert_eq!(d("-0.01"), Some(-1));
        assert_eq!(d("1.500"), Some(150));
        assert_eq!(d("15e-1"), Some(150));
        assert_eq!(d("1.005"), None);
        assert_eq!(d("5e-3"), None);
        assert_eq!(d("99999999.99"), Some(9_999_999_999));
        assert_eq!(d("100000000"), None);
        assert_eq!(d("0e-99999999999999999999"), Some(0));
        assert_eq!(d("0.0000000000"), Some(0));
        assert_eq!(d("1e7"), Some(1_000_000_000));
        assert_eq!(d("1000e-5"), Some(1));
        assert_eq!(d("5."), Some(500));
        for bad in [
            "",
            "-",
            ".",
            "+-1",
            "x",
            "1x",
            "0x10",
            "NaN",
            "1.2.3",
            "e5",
            "1e",
            "1e+",
            "1e99999999999999999999",
            "1e9000000000000000000",
            "1e-1000000000",
            " 1",
            "1_0",
            "\u{661}",
        ] {
            assert_eq!(d(bad), None, "{bad}");
        }
        assert_eq!(decimal::<Decimal128Type>("1200", 10, -2), Some(12));
        assert_eq!(decimal::<Decimal128Type>("1250", 10, -2), None);
    }
}
