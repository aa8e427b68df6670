//! What all formats have in common.

use super::*;
use crate::compression::tests::gzip;

fn read(format: ContentFormat, bytes: impl AsRef<[u8]>, limit: u64) -> Result<Vec<String>, ContentError> {
    rows(format, Bytes::copy_from_slice(bytes.as_ref()), limit)?
        .map(|row| row.map(|row| row.get().to_owned()))
        .collect()
}

#[test]
fn the_format_is_told_by_the_end_of_the_name() {
    for (name, format) in [
        ("a/b.jsonl", Some(ContentFormat::JsonLines)),
        ("b.NDJSON.gz", Some(ContentFormat::JsonLines)),
        ("b.json.zst", Some(ContentFormat::JsonLines)),
        ("b.csv", Some(ContentFormat::Csv)),
        (".CSV.GZ", Some(ContentFormat::Csv)),
        ("b.c.parquet", Some(ContentFormat::Parquet)),
        ("b.parquet.gz", None),
        ("b.csv.gz.gz", None),
        ("b.csv.bz2", None),
        ("csv", None),
        ("b.gz", None),
        ("", None),
    ] {
        assert_eq!(ContentFormat::of_name(name), format, "{name}");
    }
    assert_eq!(
        [ContentFormat::JsonLines, ContentFormat::Csv, ContentFormat::Parquet].map(ContentFormat::untyped),
        [false, true, false]
    );
}

#[test]
fn compressed_content_is_told_by_its_first_bytes_and_bounded() {
    let text = b"a\n1\n2\n";
    for packed in [text.to_vec(), gzip(text), zstd::encode_all(&text[..], 3).unwrap()] {
        assert_eq!(read(ContentFormat::Csv, packed.clone(), 6).unwrap(), [r#"{"a":"1"}"#, r#"{"a":"2"}"#]);
        let refused = read(ContentFormat::Csv, packed, 5).unwrap_err();
        assert!(matches!(refused, ContentError::TooLarge { limit: 5 }) && refused.to_string().contains("5 bytes"));
    }
    let mut cut = gzip(text);
    cut.pop();
    assert!(matches!(read(ContentFormat::Csv, cut, 6), Err(ContentError::Unpack(_))));
}

#[test]
fn what_is_not_utf_8_is_named_with_its_line() {
    for format in [ContentFormat::JsonLines, ContentFormat::Csv] {
        let latin = b"{\"a\":1}\n{\"a\":\"caf\xe9\"}\n".as_slice();
        assert!(matches!(read(format, latin, u64::MAX), Err(ContentError::NotUtf8 { line: 2 })));
    }
}

#[test]
fn after_an_error_nothing_follows() {
    let mut rows = rows(ContentFormat::JsonLines, Bytes::from_static(b"{}\n7\n{}\n"), u64::MAX).unwrap();
    assert!(rows.next().unwrap().is_ok());
    assert!(rows.next().unwrap().is_err());
    assert!(rows.next().is_none());
}

#[test]
fn text_that_is_cut_off_gives_an_error_or_the_rows_up_to_there() {
    let lines = "{\"a\":\"é,\\\"\"}\r\n{\"a\":[1,\n2]}\n";
    let csv = "a,b\r\n1,\"x\"\"\ny\"\n,3é\n";
    for (format, text) in [(ContentFormat::JsonLines, lines), (ContentFormat::Csv, csv)] {
        let whole = read(format, text, u64::MAX).unwrap();
        for end in 0..text.len() {
            let Ok(rows) = read(format, &text.as_bytes()[..end], u64::MAX) else { continue };
            // Without its line's end a CSV field cannot be told from a shorter one.
            let last = usize::from(format == ContentFormat::Csv && text.as_bytes()[end - 1] != b'\n');
            let sure = rows.len().saturating_sub(last);
            assert!(rows.len() <= whole.len() && rows[..sure] == whole[..sure], "{format:?} cut at {end}: {rows:?}");
        }
    }
}

#[test]
fn rows_may_be_read_on_another_thread() {
    fn sendable<T: Send>() {}
    sendable::<Rows>();
}
