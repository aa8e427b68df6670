//! Records wrapped as producers wrap them, and as they should not.

use std::io::Write;

use bytes::Bytes;

use super::super::aggregate::{pack, tests as packed};
use super::super::order::FlagFinder;
use super::*;
use crate::compression::tests::gzip;

/// A sub-record: the value of its member `a`, or why it is a dead letter, with its bytes.
#[derive(Debug, PartialEq)]
enum Sub {
    A(String),
    Dead(String, Vec<u8>),
}

fn a(value: u32) -> Sub {
    Sub::A(value.to_string())
}

fn dead(why: impl Into<Unreadable>, data: &[u8]) -> Sub {
    Sub::Dead(why.into().to_string(), data.into())
}

fn within(room: u64, data: &[u8]) -> Vec<Sub> {
    let mut names = FieldNames::default();
    let slot = names.slot("a");
    let mut out = Vec::new();
    let each = |content: Content<'_, '_>, number, bytes: &[u8]| -> ControlFlow<()> {
        assert_eq!(number as usize, out.len(), "numbered flat and without gaps");
        out.push(match content {
            Ok(fields) => Sub::A(fields.get(slot).unwrap_or("-").into()),
            Err(why) => Sub::Dead(why.to_string(), bytes.into()),
        });
        ControlFlow::Continue(())
    };
    let mut unwrapping = Unwrapping { names: &names, room, number: 0, each };
    assert!(unwrapping.part(data, &mut Fields::of(&names), 0).is_continue());
    out
}

fn decoded(data: &[u8]) -> Vec<Sub> {
    within(MAX_UNPACKED, data)
}

fn zstd(data: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn kpl(records: &[&[u8]]) -> Vec<u8> {
    pack("key", records.iter().map(|record| Bytes::copy_from_slice(record))).to_vec()
}

/// What makes up a dead letter of bytes that only begin like something.
fn only(data: &[u8]) -> (String, Vec<u8>) {
    let mut subs = decoded(data);
    match (subs.pop(), subs.is_empty()) {
        (Some(Sub::Dead(why, bytes)), true) => (why, bytes),
        (last, _) => panic!("{last:?} after {subs:?}"),
    }
}

#[test]
fn aggregates_of_a_real_packer_are_numbered_flat_over_records_and_lines() {
    assert_eq!(decoded(&hex::decode(packed::TWO_KEYS).unwrap()), [1, 2, 3, 4].map(a));
    assert_eq!(decoded(&hex::decode(packed::HASH_KEYS).unwrap()), [1, 2].map(a));
}

#[test]
fn wrappings_come_off_in_any_order() {
    let lines = b"{\"a\":1}\n{\"a\":2}\n";
    for pack in [gzip, zstd] {
        assert_eq!(decoded(&pack(lines)), [1, 2].map(a));
        assert_eq!(decoded(&pack(&kpl(&[&pack(lines), br#"{"a":3}"#]))), [1, 2, 3].map(a));
        assert_eq!(decoded(&kpl(&[br#"{"a":0}"#, &pack(lines), b"{\"a\":3}{\"a\":4}"])), [0, 1, 2, 3, 4].map(a));
    }
    assert_eq!(decoded(&zstd(&gzip(lines))), [1, 2].map(a));
    assert_eq!(decoded(&gzip(&zstd(lines))), [1, 2].map(a));
    let inner = kpl(&[br#"{"a":2}"#, br#"{"a":3}"#]);
    assert_eq!(decoded(&kpl(&[br#"{"a":1}"#, &inner, &zstd(&inner), br#"{"a":4}"#])), [1, 2, 3, 2, 3, 4].map(a));
    assert_eq!(decoded(&[gzip(b"{\"a\":1}"), gzip(b"{\"a\":2}")].concat()), [1, 2].map(a), "two members, one text");
}

#[test]
fn what_comes_out_is_taken_as_any_record_is() {
    let object = br#"{"a":9}"#;
    let oops = || dead(Malformed::NotObjects, b"oops");
    for pack in [gzip, zstd] {
        assert_eq!(decoded(&pack(b"oops\n{\"a\":1}")), [oops(), a(1)]);
        assert_eq!(decoded(&pack(b"oops")), [oops()]);
        assert_eq!(decoded(&pack(b"")), [dead(Malformed::Empty, b"")]);
        assert_eq!(decoded(&kpl(&[&pack(b"\xff\n\xfe"), object])), [dead(Malformed::NotUtf8, b"\xff\n\xfe"), a(9)]);
    }
    let found = decoded(&kpl(&[object, b"", b"oops", b"oops\n{\"a\":1}", b" "]));
    assert_eq!(found, [a(9), dead(Malformed::Empty, b""), oops(), oops(), a(1), dead(Malformed::Empty, b" ")]);
}

#[test]
fn an_aggregate_of_nothing_is_a_dead_letter() {
    let nothing = kpl(&[]);
    assert_eq!(decoded(&nothing), [dead(Unreadable::EmptyAggregate, &nothing)]);
    let among = kpl(&[br#"{"a":1}"#, &nothing, br#"{"a":2}"#]);
    assert_eq!(decoded(&among), [a(1), dead(Unreadable::EmptyAggregate, &nothing), a(2)]);
    assert_eq!(decoded(&gzip(&nothing)), [dead(Unreadable::EmptyAggregate, &nothing)]);
}

#[test]
fn whatever_is_cut_short_is_one_dead_letter_whole() {
    let text = b"{\"a\":1}\n{\"a\":2}\n".repeat(3);
    for whole in [kpl(&[&text, &text]), gzip(&text), zstd(&text), gzip(&kpl(&[&zstd(&text)])), zstd(&gzip(&text))] {
        assert!(decoded(&whole).iter().all(|sub| matches!(sub, Sub::A(_))));
        for end in 0..whole.len() {
            let cut = &whole[..end];
            assert_eq!(only(cut).1, cut, "cut at {end}");
            // Inside another wrapping it is no more than itself.
            let beside = decoded(&kpl(&[br#"{"a":1}"#, cut, br#"{"a":2}"#]));
            assert_eq!((beside.len(), &beside[0], &beside[2]), (3, &a(1), &a(2)), "cut at {end}");
            assert!(matches!(&beside[1], Sub::Dead(_, bytes) if bytes == cut), "cut at {end}");
        }
    }
}

#[test]
fn whatever_is_altered_is_one_dead_letter_whole() {
    let text = b"{\"a\":1}\n{\"a\":2}\n".repeat(3);
    // A member's head holds nothing that a checksum covers: the time, the system, and how hard the packer tried.
    for (whole, covered) in [(kpl(&[&text]), 4), (gzip(&text), 10), (zstd(&text), 6)] {
        for place in covered..whole.len() {
            let mut altered = whole.clone();
            altered[place] ^= 0x11;
            assert_eq!(only(&altered).1, altered, "altered at {place}");
        }
    }
    let broken = [b"\xf3\x89\x9a\xc2\n{\"a\":1}\n{\"a\":2}\n", &[0; 16][..]].concat();
    assert_eq!(decoded(&broken), [dead(NotAggregate::Checksum, &broken)], "its lines are not what was sent");
}

#[test]
fn reasons_say_what_was_wrong() {
    let text = b"{\"a\":1}".repeat(50);
    for (bytes, part) in [
        (&gzip(&text)[..20], "Gzip data is cut short or corrupt"),
        (&zstd(&text)[..20], "Zstd data is cut short or corrupt"),
        (&kpl(&[&text])[..90], "like a KPL aggregate, but their checksum"),
        (&kpl(&[]), "holds no record"),
    ] {
        let (why, _) = only(bytes);
        assert!(why.contains(part), "{why}");
    }
}

#[test]
fn layers_are_bounded() {
    let object = br#"{"a":1}"#;
    for wrap in [gzip, zstd, |data: &[u8]| kpl(&[data])] {
        let mut wrapped = object.to_vec();
        for _ in 0..MAX_LAYERS {
            wrapped = wrap(&wrapped);
        }
        assert_eq!(decoded(&wrapped), [a(1)]);
        let inner = wrap(object);
        assert_eq!(decoded(&wrap(&wrapped)), [dead(Unreadable::TooDeep, &inner)]);
    }
}

#[test]
fn what_unpacks_to_more_than_the_bound_is_a_dead_letter_and_costs_no_more() {
    let object = br#"{"a":1}"#;
    // 1 GiB in 1 MiB, or much less.
    let bombs = [gzip(&vec![0; 1 << 20]).repeat(1 << 10), zstd(&vec![0; 1 << 20]).repeat(1 << 10)];
    assert_eq!(decoded(&bombs[1]), [dead(Unreadable::TooLarge, &bombs[1])]);
    for bomb in &bombs {
        assert_eq!(within(1 << 20, bomb), [dead(Unreadable::TooLarge, bomb)]);
        let beside = kpl(&[object, bomb, object, &gzip(object)]);
        let expected = [a(1), dead(Unreadable::TooLarge, bomb), a(1), dead(Unreadable::TooLarge, &gzip(object))];
        assert_eq!(within(1 << 20, &beside), expected, "what is not compressed goes on");
    }
}

#[test]
fn the_bound_is_for_all_layers_and_parts_together() {
    let object = br#"{"a":1}"#;
    for pack in [gzip, zstd] {
        let part = pack(object);
        let parts = kpl(&[&part, &part, &part]);
        assert_eq!(within(21, &parts), [a(1), a(1), a(1)]);
        assert_eq!(within(20, &parts), [a(1), a(1), dead(Unreadable::TooLarge, &part)]);
        let (layers, inner) = (pack(&part), part.len() as u64);
        assert_eq!(within(inner + 7, &layers), [a(1)]);
        assert_eq!(within(inner + 6, &layers), [dead(Unreadable::TooLarge, &part)]);
    }
    // A part that fails at its end has cost as much as one that does not.
    let mut corrupt = gzip(&[b' '; 100]);
    corrupt.pop();
    let cut = within(110, &kpl(&[&corrupt, &gzip(object), &gzip(object)]));
    assert_eq!(cut[1..], [a(1), dead(Unreadable::TooLarge, &gzip(object))]);
}

#[test]
fn only_what_is_not_wrapped_can_be_a_flag() {
    let flag = br#"{"freshjoin":"change-flag/1","version":1,"digest":"sha256:00"}"#;
    assert!(FlagFinder::default().is_flag(flag));
    for wrapped in [kpl(&[flag]), gzip(flag), zstd(flag), gzip(&kpl(&[flag]))] {
        assert!(!FlagFinder::default().is_flag(&wrapped));
        assert_eq!(decoded(&wrapped), [Sub::A("-".into())], "a record like any other");
    }
}

#[test]
fn the_reading_ends_where_it_is_told_to() {
    let names = FieldNames::default();
    let data = kpl(&[b"{}{}", &gzip(b"{}\n{}"), b"{}"]);
    for last in 0..5 {
        let mut seen = 0;
        let flow = decode(&names, &data, &mut Fields::of(&names), |_, number, _| {
            seen += 1;
            if number == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!((flow, seen), (ControlFlow::Break(()), last + 1));
    }
}
