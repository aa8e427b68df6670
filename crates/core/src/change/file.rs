//! The change file: one version of the log, `changes/<20-digit version>.json`.
//!
//! Written once, never altered. Decoding is strict in what it needs and lenient in what it does not know, so that a
//! later minor addition can be read; a newer format number says "upgrade" instead of "corrupt".

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::ports::RawRow;
use crate::sequence::SequenceNumber;
use crate::time::Timestamp;

/// A change file's number; the reference *at version v* is the fold of all change files up to v. 0 is before the first.
pub type Version = u64;

/// The key of a version's change file below the state's location.
#[must_use]
pub fn change_key(version: Version) -> String {
    format!("changes/{version:020}.json")
}

/// Where the changes of a file came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The ARN of the table's stream, the URL of the object, or the name of the tool.
    pub source: String,
    /// The label of the source stream: a recreated table or re-enabled stream has a later one. Empty where there is none.
    #[serde(default)]
    pub label: String,
    /// What of the source the file covers, such as the first and last sequence number of the batch.
    #[serde(default)]
    pub range: String,
}

/// A put (`row` present) or a delete of one row.
#[derive(Clone, Debug)]
pub struct RowChange {
    /// The table's name.
    pub table: String,
    /// The primary key as a JSON object.
    pub key: RawRow,
    /// The whole new row as a JSON object; `None` for a delete.
    pub row: Option<RawRow>,
    /// The label of the source stream, which ranks before `sequence`.
    pub label: String,
    /// The source stream's sequence number.
    pub sequence: SequenceNumber,
    /// When the source says that it happened.
    pub at: Timestamp,
    /// It was found by comparing the table with the log, and counts only if no change to its key took effect after this
    /// version, the head when that comparison began.
    pub unless_after: Option<Version>,
}

/// What became of a reference object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectOp {
    /// New content.
    Replace,
    /// Gone, and its rows with it.
    Remove,
}

/// A replace or removal of one whole reference object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectChange {
    /// `s3://bucket/key`.
    pub object: String,
    /// What happened.
    pub op: ObjectOp,
    /// SHA-256 of the content, hex: readers use only the copy at `objects/<sha256>`. Empty for a removal.
    pub sha256: String,
    /// Its entity tag.
    pub etag: Option<String>,
    /// Its version in a versioned bucket.
    pub version_id: Option<String>,
    /// Orders the notices of one object: hex, the shorter padded with zeros on the right.
    pub sequencer: String,
    /// When the notice says that it happened.
    pub at: Timestamp,
}

/// One entry of a change file.
#[derive(Clone, Debug)]
pub enum Change {
    /// Of a row.
    Row(RowChange),
    /// Of an object.
    Object(ObjectChange),
}

/// One version of the log.
#[derive(Clone, Debug)]
pub struct ChangeFile {
    /// Its number.
    pub version: Version,
    /// A hash of content and origin: tells whether a file found under a number is one's own.
    pub id: String,
    /// Where the changes came from.
    pub origin: Origin,
    /// At most one for each key.
    pub changes: Vec<Change>,
}

/// Bytes that are no change file. Readers stop at it: skipping would lose a change.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON of the expected shape.
    #[error("not a change file: {0}")]
    Json(#[from] serde_json::Error),
    /// Written by a newer freshjoin.
    #[error("format {0:?} is newer than this freshjoin reads; upgrade it")]
    Newer(String),
    /// Another document.
    #[error("format {0:?} is no change file")]
    Foreign(String),
    /// The number inside is not the number of its key.
    #[error("it says version {found}, its key says {expected}")]
    Misplaced {
        /// What the document says.
        found: Version,
        /// What the key says.
        expected: Version,
    },
    /// An entry lacks a member or has one of the wrong kind.
    #[error("change {index}: {reason}")]
    Entry {
        /// From 0.
        index: usize,
        /// What is wrong.
        reason: String,
    },
}

const FORMAT: &str = "change-file/1";

#[derive(Serialize, Deserialize)]
struct Wire {
    freshjoin: String,
    version: Version,
    id: String,
    origin: Origin,
    changes: Vec<WireChange>,
}

#[derive(Serialize, Deserialize, Default)]
struct WireChange {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    table: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    object: Option<String>,
    op: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    key: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    row: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    etag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    version_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    sequencer: Option<String>,
    /// Only where it differs from the origin's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    seq: Option<SequenceNumber>,
    #[serde(default)]
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    unless_after: Option<Version>,
}

impl ChangeFile {
    /// The file's bytes.
    ///
    /// # Errors
    /// Only if serialization fails, which would be a bug.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let changes = self.changes.iter().map(|change| to_wire(change, &self.origin)).collect();
        serde_json::to_vec(&Wire {
            freshjoin: FORMAT.into(),
            version: self.version,
            id: self.id.clone(),
            origin: self.origin.clone(),
            changes,
        })
    }

    /// Reads the bytes found under the key of `expected`.
    ///
    /// # Errors
    /// [`DecodeError`]; `Newer` where an upgrade of freshjoin would read it.
    pub fn decode(expected: Version, bytes: &[u8]) -> Result<Self, DecodeError> {
        #[derive(Deserialize)]
        struct Format {
            freshjoin: String,
        }
        let Format { freshjoin } = serde_json::from_slice(bytes)?;
        if freshjoin != FORMAT {
            let newer =
                freshjoin.strip_prefix("change-file/").and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n > 1);
            return Err(if newer { DecodeError::Newer(freshjoin) } else { DecodeError::Foreign(freshjoin) });
        }
        let wire: Wire = serde_json::from_slice(bytes)?;
        if wire.version != expected {
            return Err(DecodeError::Misplaced { found: wire.version, expected });
        }
        let changes = wire
            .changes
            .into_iter()
            .enumerate()
            .map(|(index, change)| {
                from_wire(change, &wire.origin).map_err(|reason| DecodeError::Entry { index, reason: reason.into() })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { version: wire.version, id: wire.id, origin: wire.origin, changes })
    }
}

fn to_wire(change: &Change, origin: &Origin) -> WireChange {
    match change {
        Change::Row(row) => WireChange {
            table: Some(row.table.clone()),
            op: if row.row.is_some() { "put" } else { "delete" }.into(),
            key: Some(row.key.clone()),
            row: row.row.clone(),
            label: (row.label != origin.label).then(|| row.label.clone()),
            seq: Some(row.sequence.clone()),
            at: row.at,
            unless_after: row.unless_after,
            ..WireChange::default()
        },
        Change::Object(object) => WireChange {
            object: Some(object.object.clone()),
            op: match object.op {
                ObjectOp::Replace => "replace",
                ObjectOp::Remove => "remove",
            }
            .into(),
            sha256: (object.op == ObjectOp::Replace).then(|| object.sha256.clone()),
            etag: object.etag.clone(),
            version_id: object.version_id.clone(),
            sequencer: Some(object.sequencer.clone()),
            at: object.at,
            ..WireChange::default()
        },
    }
}

fn from_wire(wire: WireChange, origin: &Origin) -> Result<Change, &'static str> {
    let object_text = |raw: Box<RawValue>| raw.get().starts_with('{').then_some(raw);
    match wire.op.as_str() {
        op @ ("put" | "delete") => Ok(Change::Row(RowChange {
            table: wire.table.ok_or("no \"table\"")?,
            key: wire.key.and_then(object_text).ok_or("no \"key\" object")?,
            row: if op == "put" { Some(wire.row.and_then(object_text).ok_or("no \"row\" object")?) } else { None },
            label: wire.label.unwrap_or_else(|| origin.label.clone()),
            sequence: wire.seq.ok_or("no \"seq\"")?,
            at: wire.at,
            unless_after: wire.unless_after,
        })),
        op @ ("replace" | "remove") => {
            let replace = op == "replace";
            let sha256 = wire.sha256.unwrap_or_default();
            let digest = sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit());
            if replace && !digest {
                return Err("\"sha256\" is not 64 hexadecimal digits");
            }
            Ok(Change::Object(ObjectChange {
                object: wire.object.ok_or("no \"object\"")?,
                op: if replace { ObjectOp::Replace } else { ObjectOp::Remove },
                sha256,
                etag: wire.etag,
                version_id: wire.version_id,
                sequencer: wire.sequencer.unwrap_or_default(),
                at: wire.at,
            }))
        }
        _ => Err("\"op\" is none of put, delete, replace, remove"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"{"freshjoin":"change-file/1","version":42,"id":"x","origin":{"source":"s","label":"l"},"changes":[
        {"table":"T","op":"put","key":{"item":"burger","price":100},"row":{"item":"burger","price":100,"n":1.50},"seq":"7","at":"2026-01-01T00:00:00Z"},
        {"table":"T","op":"delete","key":{"item":"pizza","price":100},"seq":"8","at":"2026-01-01T00:00:00Z","unless_after":41},
        {"object":"s3://b/k","op":"replace","sha256":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","etag":"e","version_id":"v","sequencer":"0A","at":"2026-01-01T00:00:00Z"},
        {"object":"s3://b/k","op":"remove","sequencer":"0B","at":"2026-01-01T00:00:00Z"}]}"#;

    #[test]
    fn a_file_survives_the_round_trip_with_every_digit() {
        let file = ChangeFile::decode(42, EXAMPLE.as_bytes()).unwrap();
        let bytes = file.encode().unwrap();
        assert_eq!(bytes, ChangeFile::decode(42, &bytes).unwrap().encode().unwrap());
        assert!(String::from_utf8(bytes).unwrap().contains("\"n\":1.50"));
        let Change::Row(row) = &file.changes[0] else { panic!("a row") };
        assert_eq!((row.label.as_str(), row.sequence.as_str(), row.unless_after), ("l", "7", None));
        let Change::Row(row) = &file.changes[1] else { panic!("a row") };
        assert_eq!(row.unless_after, Some(41));
    }

    #[test]
    fn what_is_no_change_file_says_why() {
        let newer = EXAMPLE.replace("change-file/1", "change-file/2");
        assert!(matches!(ChangeFile::decode(42, newer.as_bytes()), Err(DecodeError::Newer(_))));
        assert!(matches!(ChangeFile::decode(41, EXAMPLE.as_bytes()), Err(DecodeError::Misplaced { .. })));
        assert!(matches!(ChangeFile::decode(42, b"{"), Err(DecodeError::Json(_))));
        for (from, to, reason) in [
            ("\"op\":\"put\"", "\"op\":\"upsert\"", "op"),
            ("\"seq\":\"7\",", "", "seq"),
            ("\"key\":{\"item\":\"burger\",\"price\":100}", "\"key\":3", "key"),
            ("aaaaaaaa", "zz", "sha256"),
        ] {
            let error = ChangeFile::decode(42, EXAMPLE.replacen(from, to, 1).as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
