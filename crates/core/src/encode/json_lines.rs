//! JSON lines: one object a line, values as they were written, but for line breaks between them.

use super::Frame;

pub(super) fn frame(columns: &[&str]) -> Frame {
    let before = columns.iter().enumerate().map(|(place, name)| {
        let mut bytes = vec![if place == 0 { b'{' } else { b',' }];
        append_string(name, &mut bytes);
        bytes.push(b':');
        bytes
    });
    Frame { header: Vec::new(), before: before.collect(), after: b"}\n", parquet: None }
}

fn append_string(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}

pub(super) fn append(raw: &str, out: &mut Vec<u8>) {
    // Valid JSON has raw line breaks only between its tokens, where a space means the same.
    let start = out.len();
    out.extend_from_slice(raw.as_bytes());
    if raw.starts_with(['{', '[']) {
        for byte in out.iter_mut().skip(start).filter(|byte| matches!(byte, b'\n' | b'\r')) {
            *byte = b' ';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_line_of_json() {
        let frame = frame(&["a\"b", "c"]);
        let mut out = frame.header.clone();
        for (before, raw) in frame.before.iter().zip(["\"x\\n\"", "{\"n\":\n[1,\r\n2.50]}"]) {
            out.extend_from_slice(before);
            append(raw, &mut out);
        }
        out.extend_from_slice(frame.after);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "{\"a\\\"b\":\"x\\n\",\"c\":{\"n\": [1,  2.50]}}\n");
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }
}
