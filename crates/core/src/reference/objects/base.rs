//! The base of a reference that is made of objects: a manifest, `snapshots/_base/<reference, escaped>.jsonl`.
//!
//! The first line is that of every base; each further line names an object and the digest of its content, whose copy is
//! in the state. A line without a digest is an object that the log names and the scan did not find.

use serde::{Deserialize, Serialize};

use crate::change::Version;
use crate::reference::base::{BaseError, BaseHeader, read_lines};
use crate::time::Timestamp;

/// One object of a reference, in its base or in a snapshot file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectLine {
    /// `s3://bucket/key`.
    pub object: String,
    /// SHA-256 of its content, hex; `None` where it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The content's entity tag, without quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The content's version in a versioned bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// That of the log's newest change to it, where the log names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequencer: Option<String>,
    /// It is gone, and was the last: its rows stay until another object has some.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// Whether its content has any row, where a snapshot file had to know: what was removed stays only while nothing else
    /// has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has_rows: Option<bool>,
}

/// A manifest's bytes, its lines in the order of the objects' URLs.
pub(in crate::reference) fn write_manifest(
    reference: &str,
    version: Version,
    scan_started: Timestamp,
    mut objects: Vec<ObjectLine>,
) -> Result<Vec<u8>, serde_json::Error> {
    objects.sort_by(|a, b| a.object.cmp(&b.object));
    let header = BaseHeader::new(reference, version, scan_started, objects.len() as u64);
    let mut out = serde_json::to_vec(&header)?;
    out.push(b'\n');
    for object in &objects {
        serde_json::to_writer(&mut out, object)?;
        out.push(b'\n');
    }
    Ok(out)
}

/// Reads a manifest.
///
/// # Errors
/// [`BaseError`] for anything but a whole, sound manifest of this reference.
pub(crate) fn read_manifest(reference: &str, bytes: &[u8]) -> Result<(BaseHeader, Vec<ObjectLine>), BaseError> {
    read_lines(
        reference,
        bytes,
        |_| Vec::new(),
        |objects, text, line| {
            objects.push(serde_json::from_slice(text).map_err(|source| BaseError::Json { line, source })?);
            Ok(())
        },
    )
}
