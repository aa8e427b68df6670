//! DynamoDB's numbers as JSON's: the same digits, in the one grammar that JSON allows.

use std::cmp::Ordering;

/// The number as JSON text: what is valid JSON already stays as it is; a plus sign, missing digits around the point
/// and leading zeros are put right. `None` if it is no decimal number.
pub(crate) fn json(text: &str) -> Option<String> {
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'-' => ("-", text.get(1..)?),
        b'+' => ("", text.get(1..)?),
        _ => ("", text),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (unsigned.get(..at)?, unsigned.get(at..)?),
        None => (unsigned, ""),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    if !exponent.is_empty() {
        let power = exponent.get(1..)?;
        let power = power.strip_prefix(['+', '-']).unwrap_or(power);
        if power.is_empty() || !digits(power) {
            return None;
        }
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        rest => rest,
    };
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}{exponent}"))
}

/// By value as far as a float tells them apart, then by text: an order for sets, not a test for equality.
pub(crate) fn order(left: &str, right: &str) -> Ordering {
    let value = |text: &str| text.parse::<f64>().unwrap_or(0.0);
    value(left).total_cmp(&value(right)).then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_allows_stays_as_it_is() {
        for text in
            ["0", "-0", "100", "1.50", "-3.14159", "1E+2", "1e-130", "9.9999999999999999999999999999999999999E+125"]
        {
            assert_eq!(json(text).as_deref(), Some(text));
            serde_json::from_str::<serde_json::Value>(text).unwrap();
        }
    }

    #[test]
    fn other_decimal_numbers_are_put_right() {
        for (text, expected) in [
            ("+5", "5"),
            (".5", "0.5"),
            ("-.5", "-0.5"),
            ("007", "7"),
            ("1.", "1"),
            ("00.10", "0.10"),
            ("+.5E3", "0.5E3"),
        ] {
            assert_eq!(json(text).as_deref(), Some(expected));
        }
    }

    #[test]
    fn the_rest_is_no_number() {
        for text in ["", "-", "+", ".", "NaN", "Infinity", "1e", "1e+", "0x1", "1 ", " 1", "1_000", "١", "--1", "1.2.3"]
        {
            assert_eq!(json(text), None, "{text}");
        }
    }
}
