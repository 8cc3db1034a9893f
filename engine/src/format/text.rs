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
