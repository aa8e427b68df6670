//! The `column=value` parts of an object key, escaped as Hive does it, so that no value can leave its place.

use crate::value::{Kind, NotText, kind};

/// What stands for a null or empty value.
pub(super) const DEFAULT: &[u8] = b"__HIVE_DEFAULT_PARTITION__";

pub(super) fn append(raw: &str, out: &mut Vec<u8>) -> Result<(), NotText> {
    match kind(raw)? {
        Kind::Null => out.extend_from_slice(DEFAULT),
        Kind::Text(text) if text.is_empty() => out.extend_from_slice(DEFAULT),
        Kind::Text(text) => escape(&text, out),
        Kind::Plain(text) | Kind::Number(text) | Kind::Nested(text) => escape(text, out),
    }
    Ok(())
}

/// Percent-escapes the bytes that Hive's `FileUtils.escapePathName` escapes, and NUL.
pub(super) fn escape(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        let special = matches!(
            byte,
            0..=0x1F
                | 0x7F
                | b'"'
                | b'#'
                | b'%'
                | b'\''
                | b'*'
                | b'/'
                | b':'
                | b'='
                | b'?'
                | b'\\'
                | b'{'
                | b'['
                | b']'
                | b'^'
        );
        if special {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        } else {
            out.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_never_leaves_its_place_in_the_key() {
        for (raw, part) in [
            ("null", "__HIVE_DEFAULT_PARTITION__"),
            ("\"\"", "__HIVE_DEFAULT_PARTITION__"),
            ("\"very high\"", "very high"),
            ("\"../../etc\"", "..%2F..%2Fetc"),
            ("\"a=b%\"", "a%3Db%25"),
            (r#""\u0000\n\\""#, "%00%0A%5C"),
            ("\"é\"", "é"),
            ("1.0", "1.0"),
            ("{\"a\":1}", "%7B%22a%22%3A1}"),
        ] {
            let mut out = Vec::new();
            append(raw, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), part, "{raw}");
        }
    }
}
