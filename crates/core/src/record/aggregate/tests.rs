//! Aggregates by a real packer, and what is none.

use super::*;

// Made with PyPI's aws-kinesis-agg 1.2.3:
//
//   from aws_kinesis_agg.aggregator import RecordAggregator
//   def pack(*records):
//       aggregator = RecordAggregator()
//       for record in records:
//           aggregator.add_user_record(*record)
//       print(aggregator.clear_and_get().get_contents()[2].hex())
//
//   pack(("a", b'{"a":1}'), ("b", b'{"a":2}\n{"a":3}'), ("a", b'{"a":4}'))
//   pack(("a", b'{"a":1}', "0"), ("a", b'{"a":2}', "170141183460469231731687303715884105728"))
//   pack(("k", b'{"a":1}'), ("k", b''), ("k", b'{"a":2}'))
pub(in crate::record) const TWO_KEYS: &str = "f3899ac20a01610a01621a0b08001a077b2261223a317d1a1308011a0f7b2261223a327d0a\
    7b2261223a337d1a0b08001a077b2261223a347d7405e43675b62abdc03f5b4e346a902c";
pub(in crate::record) const HASH_KEYS: &str = "f3899ac20a016112013012273137303134313138333436303436393233313733313638\
    373330333731353838343130353732381a0d080010001a077b2261223a317d1a0d080010011a077b2261223a327db5bba61fff6a0aee102097\
    a24c7e76ab";
const ONE_KEY: &str = "f3899ac20a016b1a0b08001a077b2261223a317d1a0408001a001a0b08001a077b2261223a327d";

fn read(bytes: &[u8]) -> Result<Vec<&[u8]>, NotAggregate> {
    Aggregate::read(bytes).map(|aggregate| aggregate.records().collect())
}

/// A message with the magic before it and the right checksum after it.
fn sealed(message: &[u8]) -> Vec<u8> {
    [&MAGIC[..], message, &Md5::digest(message)].concat()
}

#[test]
fn a_real_packer_s_records_come_out_in_order() {
    let expected: [&[u8]; 3] = [br#"{"a":1}"#, b"{\"a\":2}\n{\"a\":3}", br#"{"a":4}"#];
    assert_eq!(read(&hex::decode(TWO_KEYS).unwrap()).unwrap(), expected);
    let expected: [&[u8]; 2] = [br#"{"a":1}"#, br#"{"a":2}"#];
    assert_eq!(read(&hex::decode(HASH_KEYS).unwrap()).unwrap(), expected);
}

#[test]
fn what_is_packed_here_is_what_the_real_packer_packs() {
    let records = [&br#"{"a":1}"#[..], b"", br#"{"a":2}"#].map(Bytes::from_static);
    let packed = pack("k", records.clone());
    assert_eq!(hex::encode(&packed[..packed.len() - CHECKSUM]), ONE_KEY);
    assert_eq!(read(&packed).unwrap(), records);
}

#[test]
fn a_record_s_overhead_is_never_more_than_it_is_said_to_be() {
    for length in [0, 1, 127, 128, 20_000, 3_000_000] {
        let grown = pack("k", [Bytes::from(vec![0; length])]).len() - pack("k", []).len();
        assert!(grown <= length + PACKED_RECORD_OVERHEAD, "{length}: {grown}");
    }
}

#[test]
fn whatever_is_cut_off_or_altered_is_no_aggregate() {
    let whole = hex::decode(TWO_KEYS).unwrap();
    for end in MAGIC.len()..whole.len() {
        assert_eq!(read(&whole[..end]), Err(NotAggregate::Checksum), "cut at {end}");
    }
    for place in MAGIC.len()..whole.len() {
        let mut altered = whole.clone();
        altered[place] ^= 0x20;
        assert_eq!(read(&altered), Err(NotAggregate::Checksum), "altered at {place}");
    }
}

#[test]
fn a_message_of_another_format_is_no_aggregate_though_its_checksum_is_right() {
    for message in [
        &b"\x1a"[..],
        b"\x1a\x05\x08\x00",
        b"\x1a\x03\x1a\x02x",
        b"\x18\x01",
        b"\x1a\x02\x18\x01",
        b"\x1b\x1c",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x02\x00",
        b"{\"a\":1}",
    ] {
        assert_eq!(read(&sealed(message)), Err(NotAggregate::Message), "{message:?}");
        // A good record before it changes nothing: what was packed together is refused together.
        let after = [b"\x1a\x03\x1a\x01x", message].concat();
        assert_eq!(read(&sealed(&after)), Err(NotAggregate::Message), "{after:?}");
    }
}

#[test]
fn fields_of_a_later_format_are_stepped_over() {
    let record = b"\x08\x00\x22\x03\x0a\x01t\x31........\x3d....\x1a\x01x\x1a\x01y";
    let message = [b"\x20\x96\x01\x2a\x01?\x1a", &[u8::try_from(record.len()).unwrap()][..], record].concat();
    assert_eq!(read(&sealed(&message)).unwrap(), [b"y"], "the last of equal fields counts");
    assert_eq!(PackedRecord::decode(&record[..]).unwrap().data, "y", "as prost has it");
    assert_eq!(read(&sealed(b"\x1a\x02\x08\x00")).unwrap(), [b""], "a record without bytes is an empty one");
    assert_eq!(read(&sealed(b"")).unwrap(), [b""; 0]);
}
