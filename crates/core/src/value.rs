//! One JSON value as raw text, and what is made of it: a join key, a partition value, plain text.
//!
//! Numbers stay text, with all their digits. A string is decoded only where it has escapes. What cannot be decoded (a
//! lone surrogate) is an error of the record that carries it, never a replacement character.

use std::borrow::Cow;

use crate::decimal::Decimal;

/// A string that is no Unicode text: an escape names half a surrogate pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a string with an escape that is no Unicode character")]
pub struct NotText;

/// What a raw value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// `null`.
    Null,
    /// A string's characters.
    Text(Cow<'a, str>),
    /// `true`, `false`, or a number as written.
    Plain(&'a str),
    /// A number as written.
    Number(&'a str),
    /// An array or object as written.
    Nested(&'a str),
}

/// Looks at the raw text of a valid JSON value.
///
/// # Errors
/// [`NotText`] for a string that cannot be decoded.
pub fn kind(raw: &str) -> Result<Kind<'_>, NotText> {
    match raw.as_bytes().first() {
        Some(b'"') => {
            let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
            if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
                return Ok(Kind::Text(Cow::Borrowed(inner)));
            }
            serde_json::from_str::<String>(raw).map(|text| Kind::Text(Cow::Owned(text))).map_err(|_| NotText)
        }
        Some(b'{' | b'[') => Ok(Kind::Nested(raw)),
        Some(b't' | b'f') => Ok(Kind::Plain(raw)),
        Some(b'n') | None => Ok(Kind::Null),
        Some(_) => Ok(Kind::Number(raw)),
    }
}

/// Appends what a value is compared by in a join, with its length before it so that composite keys cannot run into each
/// other. Numbers are equal by value (1 = 1.0 = 10e-1) and never equal a string. `false`, and nothing appended, where
/// the value matches nothing: null, an array, an object.
///
/// # Errors
/// [`NotText`] for a string that cannot be decoded.
pub fn append_key(raw: &str, out: &mut Vec<u8>) -> Result<bool, NotText> {
    match kind(raw)? {
        Kind::Null | Kind::Nested(_) => return Ok(false),
        Kind::Text(text) => append_tagged(b's', text.as_bytes(), out),
        Kind::Plain(text) => append_tagged(b'b', text.as_bytes(), out),
        Kind::Number(text) => {
            let start = out.len();
            out.extend_from_slice(&[0; 5]);
            append_canonical_number(text, out);
            let length = u32::try_from(out.len() - start - 5).unwrap_or(u32::MAX);
            for (to, from) in out.iter_mut().skip(start).zip(std::iter::once(b'n').chain(length.to_le_bytes())) {
                *to = from;
            }
        }
    }
    Ok(true)
}

/// Whether text is a decimal number, as CSV writes it.
#[must_use]
pub fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(w, f)| (w, Some(f)));
    digits(whole)
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e)))
}

/// Whether text is a number as JSON writes it: without zeros in front.
#[must_use]
pub fn is_json_number(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text).as_bytes();
    is_number(text) && !matches!(unsigned, [b'0', b'0'..=b'9', ..])
}

fn append_tagged(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Appends the one form that all spellings of a number share: sign, digits without zeros at either end, exponent.
fn append_canonical_number(text: &str, out: &mut Vec<u8>) {
    // Most keys are plain whole numbers without zeros at their end: they are written without being taken apart.
    let bytes = text.as_bytes();
    let plain = matches!(bytes.first(), Some(b'1'..=b'9')) && matches!(bytes.last(), Some(b'1'..=b'9'));
    if plain && bytes.iter().all(u8::is_ascii_digit) {
        out.extend_from_slice(bytes);
        out.push(b'e');
        out.extend_from_slice(bytes.len().to_string().as_bytes());
        return;
    }
    match Decimal::parse(text) {
        Some(decimal) => {
            if decimal.negative {
                out.push(b'-');
            }
            out.extend_from_slice(&decimal.digits);
            out.push(b'e');
            out.extend_from_slice(decimal.exponent.to_string().as_bytes());
        }
        None => out.extend_from_slice(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(raw: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        append_key(raw, &mut out).unwrap().then_some(out)
    }

    #[test]
    fn numbers_are_equal_by_value_and_never_to_strings() {
        for group in [
            vec!["1", "1.0", "1e0", "10e-1", "0.1E1", "1.000"],
            vec!["100", "1e2", "1E+2", "100.0"],
            vec!["0", "-0", "0.0", "0e9", "0e99999999999999999999"],
            vec!["-12.5", "-1.25e1"],
            vec!["12345678901234567890123456789012345678", "12345678901234567890123456789012345678.0"],
        ] {
            for other in &group {
                assert_eq!(key(group[0]), key(other), "{other}");
            }
        }
        assert_ne!(key("1"), key("\"1\""));
        assert_ne!(key("1"), key("-1"));
        assert_ne!(key("1"), key("10"));
        assert_ne!(key("12345678901234567890123456789012345678"), key("12345678901234567890123456789012345679"));
        assert_ne!(key("true"), key("\"true\""));
    }

    #[test]
    fn strings_are_equal_by_their_characters() {
        assert_eq!(key(r#""caf\u00e9""#), key("\"café\""));
        assert_eq!(append_key(r#""\ud800""#, &mut Vec::new()), Err(NotText));
        for nothing in ["null", "[1]", "{}"] {
            assert_eq!(key(nothing), None);
        }
    }

    #[test]
    fn text_that_is_a_number_is_told_from_text_that_looks_like_one() {
        for yes in ["0", "007", "-1.50", "1e5", "1.5E-3"] {
            assert!(is_number(yes), "{yes}");
        }
        for no in ["", "-", ".5", "1.", "1e", "+1", " 1", "1,5", "0x1", "NaN"] {
            assert!(!is_number(no), "{no}");
        }
        for (text, json) in [("0", true), ("-0.5", true), ("10", true), ("007", false), ("-01.5", false), ("+1", false)]
        {
            assert_eq!(is_json_number(text), json, "{text}");
        }
    }
}
