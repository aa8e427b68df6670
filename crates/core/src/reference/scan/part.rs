//! The parts of a scan: `snapshots/_scan/<reference, escaped>/<version>-<start>-<segment>-<number>.jsonl`.
//!
//! The first line says where the segment goes on after this part, so that whoever goes on needs nothing else; each further
//! line is a row. A part is written once, if absent: of two who scan the same stretch one wins, and the other goes on from
//! the winner's end. So a segment's parts are one chain without a gap or an overlap, whoever wrote them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::progress::{Progress, SCANS};
use crate::encode::escape_component;
use crate::ports::RawRow;

const FORMAT: &str = "scan-part/1";

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartHeader {
    freshjoin: String,
    /// How many lines follow.
    pub(super) rows: u64,
    /// Rows of the segment up to this part's end.
    pub(super) total: u64,
    /// Where the segment goes on; `None` at its end.
    pub(super) next: Option<String>,
}

/// A part that is not what it was written as.
#[derive(Debug, thiserror::Error)]
pub(super) enum PartError {
    #[error("a line is not of a part's form: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it has {found} rows and says {expected}")]
    Truncated { found: u64, expected: u64 },
    #[error("its format is {0:?}")]
    Foreign(String),
}

/// Under which a reference's parts lie.
pub(super) fn folder(reference: &str) -> String {
    format!("{SCANS}{}/", escape_component(reference))
}

/// What the keys of one scan's parts begin with.
pub(super) fn scan_prefix(progress: &Progress) -> String {
    format!("{}{:020}-{}-", folder(&progress.reference), progress.version, progress.scan_started.millis())
}

/// The key of a part.
pub(super) fn part_key(progress: &Progress, segment: u32, number: u64) -> String {
    format!("{}{segment:04}-{number:010}.jsonl", scan_prefix(progress))
}

/// Segment and number of a part's key, its scan's prefix taken off.
pub(super) fn place(suffix: &str) -> Option<(u32, u64)> {
    let (segment, number) = suffix.strip_suffix(".jsonl")?.split_once('-')?;
    Some((segment.parse().ok()?, number.parse().ok()?))
}

impl PartHeader {
    /// Of a part with these rows, after so many rows of its segment.
    pub(super) fn new(rows: &[RawRow], before: u64, next: Option<String>) -> Self {
        let rows = rows.len() as u64;
        Self { freshjoin: FORMAT.into(), rows, total: before.saturating_add(rows), next }
    }
}

/// A part's bytes.
pub(super) fn encode(header: &PartHeader, rows: &[RawRow]) -> Result<Bytes, serde_json::Error> {
    let mut out = serde_json::to_vec(header)?;
    out.reserve(rows.iter().map(|row| row.get().len() + 1).sum());
    for row in rows {
        out.push(b'\n');
        out.extend_from_slice(row.get().as_bytes());
    }
    Ok(out.into())
}

/// A part's header and its rows' lines, checked to be whole.
pub(super) fn decode(bytes: &[u8]) -> Result<(PartHeader, impl Iterator<Item = &[u8]>), PartError> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let header: PartHeader = serde_json::from_slice(lines.next().unwrap_or_default())?;
    if header.freshjoin != FORMAT {
        return Err(PartError::Foreign(header.freshjoin));
    }
    let found = lines.clone().count() as u64;
    if found != header.rows {
        return Err(PartError::Truncated { found, expected: header.rows });
    }
    Ok((header, lines))
}

/// A line's row.
pub(super) fn row(line: &[u8]) -> Result<&RawValue, PartError> {
    Ok(serde_json::from_slice(line)?)
}
