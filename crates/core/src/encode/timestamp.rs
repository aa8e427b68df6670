//! Points in time from text, exact to the microsecond or not at all.

use jiff::civil::DateTime;

/// `2018-12-17T22:10:50`.
const SHAPE: &[u8; 19] = b"0000-00-00T00:00:00";
const MICROS_PER_MINUTE: i64 = 60_000_000;

/// Microseconds since the Unix epoch, from RFC 3339 text; a space may stand for the T, and text without an offset is UTC.
/// `None` for anything else, for leap seconds, and for digits beyond the microsecond that are not 0.
pub(super) fn micros(text: &str) -> Option<i64> {
    let (civil, rest) = text.split_at_checked(SHAPE.len())?;
    let shaped = civil.bytes().zip(SHAPE).all(|(byte, shape)| match shape {
        b'0' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't' | b' '),
        _ => byte == *shape,
    });
    // The parser takes a leap second for the second before it.
    if !shaped || civil.ends_with("60") {
        return None;
    }
    let civil: DateTime = civil.parse().ok()?;
    // Not by way of a point in time of `jiff`, which ends a day before the year 9999 does.
    let whole = i64::try_from(civil.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0)).as_micros()).ok()?;
    let (fraction, offset) = match rest.strip_prefix('.') {
        Some(rest) => {
            let end = rest.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
            (fraction(rest.get(..end)?)?, rest.get(end..)?)
        }
        None => (0, rest),
    };
    whole.checked_add(fraction)?.checked_sub(offset_minutes(offset)? * MICROS_PER_MINUTE)
}

/// The digits after the point, in microseconds.
fn fraction(digits: &str) -> Option<i64> {
    let (kept, beyond) = digits.split_at_checked(6).unwrap_or((digits, ""));
    if digits.is_empty() || beyond.bytes().any(|byte| byte != b'0') {
        return None;
    }
    format!("{kept:0<6}").parse().ok()
}

fn offset_minutes(text: &str) -> Option<i64> {
    let (sign, rest) = match text.as_bytes() {
        [] | [b'Z' | b'z'] => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let [h1, h2, b':', m1, m2] = rest else { return None };
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
    let (hours, minutes) = (digit(h1)? * 10 + digit(h2)?, digit(m1)? * 10 + digit(m2)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_rfc_3339_is_a_point_in_time() {
        let at = 1_545_084_650_000_000;
        for (text, expected) in [
            ("2018-12-17T22:10:50Z", at),
            ("2018-12-17 22:10:50", at),
            ("2018-12-17t22:10:50z", at),
            ("2018-12-17T22:10:50.5", at + 500_000),
            ("2018-12-17T22:10:50.123456Z", at + 123_456),
            ("2018-12-17T22:10:50.123456000000000000Z", at + 123_456),
            ("2018-12-18T00:10:50+02:00", at),
            ("2018-12-17T16:40:50.000001-05:30", at + 1),
            ("2018-12-17T22:10:50-00:00", at),
            ("1969-12-31T23:59:59.999999Z", -1),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000_000),
            ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000_000),
        ] {
            assert_eq!(micros(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn nothing_else_is() {
        for text in [
            "",
            "2018-12-17",
            "2018-12-17T22:10",
            "2018-12-17T22:10:50.",
            "2018-12-17T22:10:50.1234567Z",
            "2018-12-17T22:10:50+2",
            "2018-12-17T22:10:50+0200",
            "2018-12-17T22:10:50+24:00",
            "2018-12-17T22:10:50+01:60",
            "2018-12-17T22:10:50Z[UTC]",
            "2018-12-17T22:10:50 Z",
            "2018-12-17_22:10:50Z",
            "20181217T221050Z",
            "2018-13-17T22:10:50Z",
            "2023-02-29T00:00:00Z",
            "2018-12-17T24:00:00Z",
            "2016-12-31T23:59:60Z",
            "+02018-12-17T22:10:5",
            "2018-12-17T22:10:5é",
            "1545084650",
        ] {
            assert_eq!(micros(text), None, "{text}");
        }
    }
}
