//! Records as producers really write them, and as they should not.

use std::ops::ControlFlow;

use super::*;

/// What became of a record: `Ok(value of "a")` or `Err(bytes)` by sub-record, and the sub-record's bytes.
fn decoded(data: &[u8]) -> Vec<(u32, Result<String, Malformed>, String)> {
    let mut names = FieldNames::default();
    let slot = names.slot("a");
    let (mut fields, mut number, mut out) = (Fields::of(&names), 0, Vec::new());
    let flow: ControlFlow<()> = decode(&names, data, &mut fields, &mut number, |content, number, bytes| {
        let value = content.map(|fields| fields.get(slot).unwrap_or("-").to_owned());
        out.push((number, value, String::from_utf8_lossy(bytes).into_owned()));
        ControlFlow::Continue(())
    });
    assert!(flow.is_continue());
    assert_eq!(usize::try_from(number).unwrap(), out.len());
    out
}

fn values(data: &[u8]) -> Vec<Result<String, Malformed>> {
    decoded(data)
        .into_iter()
        .enumerate()
        .map(|(place, (number, value, _))| {
            assert_eq!(usize::try_from(number).unwrap(), place, "sub-records are numbered without gaps");
            value
        })
        .collect()
}

fn ok(text: &str) -> Result<String, Malformed> {
    Ok(text.into())
}

#[test]
fn one_object_over_as_many_lines_as_it_likes() {
    assert_eq!(values(b"{ \"b\": 2\n,\"a\": 1.50\n}\n"), [ok("1.50")]);
    assert_eq!(values(br#"{"a":{"x": [1, "}"]}}"#), [ok(r#"{"x": [1, "}"]}"#)]);
    assert_eq!(values(br#"{"\u0061":1}"#), [ok("1")], "an escaped name is the same name");
    assert_eq!(values(br#"{"a":1,"a":2}"#), [ok("2")], "the last of equal names counts");
    assert_eq!(values(br#"{"b":1}"#), [ok("-")]);
}

#[test]
fn several_objects_in_one_record_know_their_own_bytes() {
    let parts: Vec<_> = decoded(b"{\"a\":1}{\"a\":2}\n {\"a\":\n3}\n").into_iter().map(|(_, v, b)| (v, b)).collect();
    assert_eq!(parts, [(ok("1"), "{\"a\":1}".into()), (ok("2"), "{\"a\":2}".into()), (ok("3"), "{\"a\":\n3}".into())]);
}

#[test]
fn a_bad_line_costs_only_itself() {
    let parts = decoded(b"{\"a\":1}\n{oops\n\n{\"a\":2} {\"a\":3}\n42\n\xff\n");
    let expected = [
        (0, ok("1"), "{\"a\":1}"),
        (1, Err(Malformed::NotObjects), "{oops"),
        (2, ok("2"), "{\"a\":2}"),
        (3, ok("3"), "{\"a\":3}"),
        (4, Err(Malformed::NotObjects), "42"),
        (5, Err(Malformed::NotUtf8), "\u{fffd}"),
    ];
    assert_eq!(parts, expected.map(|(number, value, bytes)| (number, value, bytes.to_owned())));
}

#[test]
fn a_record_without_any_object_is_one_dead_letter_whole() {
    let deep = "[".repeat(100_000);
    for (data, why) in [
        (&b"not json"[..], Malformed::NotObjects),
        (b"\xff\xfe\x00", Malformed::NotUtf8),
        (b"{\"dish\":", Malformed::NotObjects),
        (b"42\n43", Malformed::NotObjects),
        (b"\"x\"", Malformed::NotObjects),
        (b"null", Malformed::NotObjects),
        (b"[{\"a\":1}]", Malformed::NotObjects),
        (b"", Malformed::Empty),
        (b" \n\t", Malformed::Empty),
        (deep.as_bytes(), Malformed::NotObjects),
    ] {
        let parts = decoded(data);
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].1, Err(why));
        assert_eq!(parts[0].2, String::from_utf8_lossy(data));
    }
}

#[test]
fn only_a_whole_record_that_is_one_object_can_be_a_flag() {
    for yes in [
        r#"{"freshjoin":"change-flag/1","version":1,"digest":"sha256:00"}"#,
        r#" {"version":"?","freshjoin":"change-flag/99"} "#,
        r#"{"fresh\u006aoin":"change\u002dflag\/1"}"#,
    ] {
        assert!(FlagFinder::default().is_flag(yes.as_bytes()), "{yes}");
    }
    for no in [
        r#"{"freshjoin":"change-file/1"}"#,
        r#"{"freshjoin":"change-flag/1"}{"a":1}"#,
        r#"["change-flag/1"]"#,
        r#"{"a":{"freshjoin":"change-flag/1"}}"#,
        r#"{"freshjoin":"change-flag/1""#,
        r#"{"freshjoin":1,"a":"change-flag/"}"#,
        "",
    ] {
        assert!(!FlagFinder::default().is_flag(no.as_bytes()), "{no}");
    }
}
