//! What is written comes back, whole or not at all.

mod fold;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::*;
use crate::change::Version;
use crate::encode::Form;
use crate::reference::{KnownChange, ObjectLine, Projection, VersionedReference, primary_key};
use crate::time::Timestamp;

const NAME: SnapshotName = SnapshotName::of(9);
const BASE: BaseInfo = BaseInfo { version: 4, scan_started: Timestamp::from_millis(1_000) };

/// An entry's parts, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) primary: Box<[u8]>,
    pub(super) key: String,
    pub(super) newest: Option<(String, String)>,
    pub(super) changed: Version,
    pub(super) row: Option<String>,
}

impl Owned {
    fn of(key: &str, row: Option<&str>, newest: Option<(&str, &str)>, changed: Version) -> Self {
        let newest = newest.map(|(label, number)| (label.into(), number.into()));
        let row = row.map(|row| RowFields::parse(row).unwrap().json());
        Self { primary: primary_key(key).unwrap(), key: key.into(), newest, changed, row }
    }

    fn push_to(&self, writer: &mut SnapshotWriter) -> Result<(), WriteError> {
        let newest = self.newest.as_ref().map(|(label, number)| (label.as_str(), number.as_str()));
        let row = self.row.as_ref().map(|row| RowFields::parse(row).unwrap());
        let known = KnownChange { newest, changed: self.changed };
        writer.push(&Entry { primary: &self.primary, key: &self.key, known, row })
    }
}

/// All entries of a section.
pub(super) fn read(table: TableSection<'_>) -> Result<Vec<Owned>, SnapshotError> {
    let (mut entries, mut all) = (table.entries()?, Vec::new());
    while let Some(entry) = entries.next_entry()? {
        all.push(Owned {
            primary: entry.primary.into(),
            key: entry.key.into(),
            newest: entry.known.newest.map(|(label, number)| (label.into(), number.into())),
            changed: entry.known.changed,
            row: entry.row.map(|row| row.json()),
        });
    }
    Ok(all)
}

fn entries() -> Vec<Owned> {
    let mut entries = vec![
        Owned::of(r#"{"id":1}"#, Some(r#"{"id":1,"item":"x","price":1.50,"note":"a\u0041\n"}"#), None, 4),
        Owned::of(r#"{"id":2.0}"#, None, Some(("2026-01", "12345678901234567890123456789")), 7),
        Owned::of(r#"{"id":"2"}"#, Some("{}"), Some(("", "")), 0),
        Owned::of(r#"{"id":3}"#, Some(r#"{"item":"käse","nested":{"b":[1.0, 2]},"null":null}"#), Some(("l", "1")), 300),
        Owned::of(r#"{"id":4}"#, Some(&format!(r#"{{"item":"{}"}}"#, "x".repeat(20_000))), None, Version::MAX),
    ];
    for id in 100..150 {
        let sparse = format!(r#"{{"item":"i{id}","id":{id},"only{}":{id}}}"#, id % 9);
        entries.push(Owned::of(&format!(r#"{{"id":{id}}}"#), Some(&sparse), None, id));
    }
    entries.sort_by(|a, b| a.primary.cmp(&b.primary));
    entries
}

fn line(object: &str, removed: bool) -> ObjectLine {
    let sha256 = Some("ab".repeat(32));
    ObjectLine {
        object: object.into(),
        sha256,
        sequencer: Some("0A".into()),
        removed,
        has_rows: Some(true),
        ..ObjectLine::default()
    }
}

fn written() -> Bytes {
    let mut writer = SnapshotWriter::new(NAME).unwrap();
    writer.table("Empty", Some(BASE)).unwrap();
    writer.table("Partial", None).unwrap();
    entries().iter().take(3).for_each(|entry| entry.push_to(&mut writer).unwrap());
    writer.table("T", Some(BASE)).unwrap();
    entries().iter().for_each(|entry| entry.push_to(&mut writer).unwrap());
    writer.named_objects(vec![line("s3://b/z.csv", true), line("s3://b/a.csv", false)]);
    writer.objects("s3://b/", BASE, vec![line("s3://b/a.csv", false)]);
    writer.finish().unwrap().into()
}

fn file() -> SnapshotFile {
    SnapshotFile::decode(NAME, written()).unwrap()
}

fn projection() -> Projection {
    let mut projection = Projection::new(&["item"], false);
    projection.cell("price", Form::Csv);
    projection.cell("only3", Form::Csv);
    projection
}

fn seen(rows: &VersionedReference, item: &str) -> Vec<[Option<Vec<u8>>; 2]> {
    let mut key = Vec::new();
    Form::Key.append(&format!("\"{item}\""), &mut key).unwrap();
    rows.rows(&key, 9).map(|row| [0, 1].map(|cell| row.cell(cell).map(<[u8]>::to_vec))).collect()
}

/// The bytes with their checksum made right again.
fn resealed(mut bytes: Vec<u8>) -> Bytes {
    bytes.truncate(bytes.len() - 32);
    let checksum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&checksum);
    bytes.into()
}

#[test]
fn every_entry_comes_back_with_every_digit() {
    let file = file();
    assert_eq!(read(file.table("T").unwrap()).unwrap(), entries());
    assert_eq!(read(file.table("Partial").unwrap()).unwrap(), entries()[..3]);
    assert_eq!(read(file.table("Empty").unwrap()).unwrap(), []);
    assert_eq!(file.table("T").unwrap().len(), 55);
    assert!(file.table("U").is_none());
    assert_eq!(file.tables().map(|table| table.reference()).collect::<Vec<_>>(), ["Empty", "Partial", "T"]);
    assert_eq!(written(), written(), "the same entries make the same bytes");
}

#[test]
fn what_defines_a_reference_tells_the_complete_from_the_partial() {
    let file = file();
    let bases = ["Empty", "Partial", "T", "U", "s3://b/", ""].map(|reference| file.base_of(reference));
    assert_eq!(bases, [Some(BASE), None, Some(BASE), None, Some(BASE), None]);
    assert!(file.load_table("Partial", &projection()).unwrap().is_none());
    assert_eq!(file.objects("s3://b/").unwrap(), [line("s3://b/a.csv", false)]);
    assert!(file.objects("").is_none() && file.objects("s3://c/").is_none());
    assert_eq!(file.named_objects(), [line("s3://b/a.csv", false), line("s3://b/z.csv", true)]);
    assert_eq!(file.object_references().collect::<Vec<_>>(), ["s3://b/"]);
}

#[test]
fn a_table_is_loaded_as_far_as_it_is_used() {
    let rows = file().load_table("T", &projection()).unwrap().unwrap();
    assert_eq!(rows.len(), 55, "tombstones included");
    assert_eq!(seen(&rows, "x"), [[Some(b"1.50".to_vec()), None]]);
    assert_eq!(seen(&rows, "i102"), [[None, Some(b"102".to_vec())]]);
    assert_eq!(seen(&rows, "käse"), [[None, None]]);
    assert_eq!(seen(&rows, "2").len(), 0);
    assert_eq!(file().load_table("Empty", &projection()).unwrap().unwrap().len(), 0);
}

#[test]
fn columns_that_are_not_used_are_not_unpacked() {
    let mut writer = SnapshotWriter::new(NAME).unwrap();
    writer.table("T", Some(BASE)).unwrap();
    let secret = "0123456789abcdef";
    let row = format!(r#"{{"item":"x","other":"{secret}"}}"#);
    Owned::of(r#"{"id":1}"#, Some(&row), None, 4).push_to(&mut writer).unwrap();
    let mut bytes = writer.finish().unwrap();
    // A column so short is stored as it is: spoil its frame, whose header comes before the text, and seal the file again.
    let place = bytes.windows(secret.len()).position(|window| window == secret.as_bytes()).unwrap();
    bytes[place - 12..place].fill(0xff);
    let file = SnapshotFile::decode(NAME, resealed(bytes)).unwrap();
    assert!(read(file.table("T").unwrap()).is_err());
    assert_eq!(seen(&file.load_table("T", &projection()).unwrap().unwrap(), "x").len(), 1);
}

#[test]
fn whatever_is_cut_off_or_altered_is_refused() {
    let bytes = written().to_vec();
    let refused = |bytes: Vec<u8>| SnapshotFile::decode(NAME, bytes.into()).is_err();
    for end in 0..bytes.len() {
        assert!(refused(bytes[..end].to_vec()), "cut at {end}");
    }
    for place in 0..bytes.len() {
        for bit in [1, 0x20, 0x80] {
            let mut altered = bytes.clone();
            altered[place] ^= bit;
            assert!(refused(altered), "byte {place}");
        }
    }
    assert!(refused([&bytes[..], b"\0"].concat()));
    let error = SnapshotFile::decode(NAME, bytes[..bytes.len() - 1].to_vec().into()).unwrap_err();
    assert!(matches!(error, SnapshotError::Corrupt), "{error}");
}

#[test]
fn another_document_or_a_newer_format_or_another_s_name_says_so() {
    let bytes = written();
    for other in [&b""[..], b"{\"freshjoin\":\"change-file/1\"}", b"freshjoin-snapshot/x\n", b"freshjoin-snapshot/0\n"]
    {
        let error = SnapshotFile::decode(NAME, Bytes::copy_from_slice(other)).unwrap_err();
        assert!(matches!(error, SnapshotError::Foreign), "{error}");
    }
    let newer = [b"freshjoin-snapshot/2\n", &bytes[21..]].concat();
    let error = SnapshotFile::decode(NAME, newer.into()).unwrap_err();
    assert!(matches!(error, SnapshotError::Newer(_)) && error.to_string().contains("upgrade"), "{error}");
    for name in [SnapshotName::of(8), SnapshotName::rebase(9, 9)] {
        let error = SnapshotFile::decode(name, bytes.clone()).unwrap_err();
        assert!(matches!(error, SnapshotError::Misplaced { .. }), "{error}");
    }
}

#[test]
fn what_a_faulty_writer_sealed_is_an_error_and_never_fewer_rows() {
    let bytes = written();
    let (mut tried, mut refused) = (0, 0);
    for place in (21..bytes.len() - 32).step_by(5) {
        tried += 1;
        let mut altered = bytes.to_vec();
        altered[place] ^= 1;
        let outcome = SnapshotFile::decode(NAME, resealed(altered)).and_then(|file| {
            file.load_table("T", &projection())?;
            file.tables().map(|table| Ok((table.len(), read(table)?.len() as u64))).collect::<Result<Vec<_>, _>>()
        });
        // Only the checksum can tell that a cell is another; that one is missing, the directory tells too.
        match outcome {
            Err(_) => refused += 1,
            Ok(lengths) => assert!(lengths.iter().all(|(said, found)| said == found), "byte {place}"),
        }
    }
    assert!(refused > tried / 2, "{refused} of {tried}");
}

#[test]
fn entries_out_of_order_are_refused() {
    let mut writer = SnapshotWriter::new(NAME).unwrap();
    let entries = entries();
    assert!(matches!(entries[0].push_to(&mut writer), Err(WriteError::Unordered { .. })), "no table was begun");
    writer.table("T", None).unwrap();
    entries[1].push_to(&mut writer).unwrap();
    for entry in &entries[..2] {
        assert!(matches!(entry.push_to(&mut writer), Err(WriteError::Unordered { .. })));
    }
    writer.table("U", None).unwrap();
    entries[0].push_to(&mut writer).unwrap();
}
