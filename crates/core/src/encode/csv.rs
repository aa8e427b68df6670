//! CSV by RFC 4180 with LF: a header row, null empty, an empty string `""`, nested values as their JSON text, everything
//! else unaltered. A value can only ever fill its own field.

use super::Frame;
use crate::value::{Kind, NotText, kind};

pub(super) fn frame(columns: &[&str]) -> Frame {
    let mut header = Vec::new();
    let mut before = Vec::with_capacity(columns.len());
    for (place, name) in columns.iter().enumerate() {
        let separator: &[u8] = if place == 0 { b"" } else { b"," };
        header.extend_from_slice(separator);
        append_text(name, &mut header);
        before.push(separator.to_vec());
    }
    header.push(b'\n');
    Frame { header, before, after: b"\n", parquet: None }
}

pub(super) fn append(raw: &str, out: &mut Vec<u8>) -> Result<(), NotText> {
    match kind(raw)? {
        Kind::Null => {}
        Kind::Text(text) => append_text(&text, out),
        Kind::Plain(text) | Kind::Number(text) => out.extend_from_slice(text.as_bytes()),
        Kind::Nested(text) => append_text(text, out),
    }
    Ok(())
}

fn append_text(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        out.extend_from_slice(b"\"\"");
    } else if bytes.iter().any(|byte| matches!(byte, b'"' | b',' | b'\n' | b'\r')) {
        out.push(b'"');
        let mut parts = bytes.split(|byte| *byte == b'"');
        out.extend_from_slice(parts.next().unwrap_or_default());
        for part in parts {
            out.extend_from_slice(b"\"\"");
            out.extend_from_slice(part);
        }
        out.push(b'"');
    } else {
        out.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_has_its_field() {
        for (raw, field) in [
            ("null", ""),
            ("\"\"", "\"\""),
            ("\"pizza\"", "pizza"),
            (r#""a,b""#, "\"a,b\""),
            (r#""say \"hi\"""#, "\"say \"\"hi\"\"\""),
            (r#""two\nlines""#, "\"two\nlines\""),
            (r#""\r""#, "\"\r\""),
            (r#"" spaced ""#, " spaced "),
            ("1.50", "1.50"),
            ("12345678901234567890123456789012345678", "12345678901234567890123456789012345678"),
            ("true", "true"),
            (r#"{"a": [1,2]}"#, "\"{\"\"a\"\": [1,2]}\""),
            ("[1]", "[1]"),
            (r#""\u00e9""#, "é"),
        ] {
            let mut out = Vec::new();
            append(raw, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), field, "{raw}");
        }
        assert_eq!(append(r#""\udc00""#, &mut Vec::new()), Err(NotText));
    }

    #[test]
    fn what_is_written_is_what_a_csv_reader_reads() {
        let nasty = ["a\"b,c\r\nd", "", "'", "\u{0}", "=1+1", "\"", ",", "\n", "é\u{2028}"];
        let mut out = frame(&["x", "y,z"]).header;
        for text in nasty {
            append(&serde_json::to_string(text).unwrap(), &mut out).unwrap();
            out.extend_from_slice(b",1\n");
        }
        let mut reader = ::csv::Reader::from_reader(out.as_slice());
        assert_eq!(reader.headers().unwrap(), vec!["x", "y,z"]);
        let read: Vec<String> = reader.records().map(|row| row.unwrap()[0].to_owned()).collect();
        assert_eq!(read, nasty);
    }
}
