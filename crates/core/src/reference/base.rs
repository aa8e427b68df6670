//! The base: a reference as a first consistent scan found it, `snapshots/_base/<reference, escaped>.jsonl`.
//!
//! The first line says which reference, at which version of the log, from a scan begun when, and how many lines follow;
//! each further line is a row with its primary key, and with the label and sequence number of the log's newest change
//! to that key where the log names it. A line without a row is a tombstone. The base *defines* the reference at its
//! version: it is written once, if absent, and whoever loses that race loads the winner's.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::newest::KnownChange;
use super::row::{RowError, primary_key};
use super::versioned::VersionedReference;
use crate::change::Version;
use crate::encode::escape_component;
use crate::time::Timestamp;

/// What the keys of all bases begin with.
pub const BASES: &str = "snapshots/_base/";

/// The key of a reference's base below the state's location.
#[must_use]
pub fn base_key(reference: &str) -> String {
    format!("{BASES}{}.jsonl", escape_component(reference))
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseHeader {
    freshjoin: String,
    /// The table's name or the object's URL.
    pub reference: String,
    /// The head of the log before the scan: the base is the reference at this version.
    pub version: Version,
    /// When the scan began.
    pub scan_started: Timestamp,
    /// How many lines follow.
    pub rows: u64,
}

const FORMAT: &str = "base/1";

impl BaseHeader {
    pub(super) fn new(reference: &str, version: Version, scan_started: Timestamp, rows: u64) -> Self {
        Self { freshjoin: FORMAT.into(), reference: reference.into(), version, scan_started, rows }
    }
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    key: &'a RawValue,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    row: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seq: Option<Cow<'a, str>>,
}

/// Bytes that are no base. Nothing is loaded from them: a base that cannot be read must not become "no rows".
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// Not JSON of the expected shape.
    #[error("line {line} is not of a base's form: {source}")]
    Json {
        /// From 1.
        line: usize,
        /// As the parser said.
        source: serde_json::Error,
    },
    /// Another document, or another reference's.
    #[error("it is {found}, not the base of {expected}")]
    Foreign {
        /// What it says it is.
        found: String,
        /// What its key says.
        expected: String,
    },
    /// The file is cut short, or longer than it says.
    #[error("it has {found} rows and says {expected}")]
    Truncated {
        /// Lines found.
        found: u64,
        /// Lines promised.
        expected: u64,
    },
    /// A row that cannot be held.
    #[error("line {line}: {source}")]
    Row {
        /// From 1.
        line: usize,
        /// Why.
        source: RowError,
    },
}

/// Builds a base's bytes line by line.
#[derive(Debug)]
pub(super) struct BaseWriter {
    lines: Vec<(Box<[u8]>, Vec<u8>)>,
}

impl BaseWriter {
    pub(super) fn new() -> Self {
        Self { lines: Vec::new() }
    }

    pub(super) fn push(
        &mut self,
        primary: Box<[u8]>,
        key: &RawValue,
        row: Option<&RawValue>,
        newest: Option<(&str, &str)>,
    ) -> Result<(), serde_json::Error> {
        let (label, seq) = newest.unzip();
        let mut line = serde_json::to_vec(&Line { key, row, label: label.map(Into::into), seq: seq.map(Into::into) })?;
        line.push(b'\n');
        self.lines.push((primary, line));
        Ok(())
    }

    /// The whole file, its lines in the order of their primary keys.
    pub(super) fn finish(
        mut self,
        reference: &str,
        version: Version,
        scan_started: Timestamp,
    ) -> Result<Vec<u8>, serde_json::Error> {
        self.lines.sort_unstable();
        let rows = self.lines.len() as u64;
        let header = BaseHeader::new(reference, version, scan_started, rows);
        let mut out = serde_json::to_vec(&header)?;
        out.push(b'\n');
        out.reserve(self.lines.iter().map(|(_, line)| line.len()).sum());
        for (_, line) in self.lines {
            out.extend_from_slice(&line);
        }
        Ok(out)
    }
}

/// Loads a base's bytes; `empty` makes the reference from the time the scan began.
///
/// # Errors
/// [`BaseError`] for anything but a whole, sound base of this reference.
pub fn read_base(
    reference: &str,
    bytes: &[u8],
    empty: impl FnOnce(Timestamp) -> VersionedReference,
) -> Result<(BaseHeader, VersionedReference), BaseError> {
    let start = |header: &BaseHeader| {
        let mut rows = empty(header.scan_started);
        rows.reserve(usize::try_from(header.rows).unwrap_or(0).min(bytes.len() / 16));
        (rows, header.version)
    };
    let each = |(rows, changed): &mut (VersionedReference, Version), text: &[u8], line| {
        let entry: Line<'_> = serde_json::from_slice(text).map_err(|source| BaseError::Json { line, source })?;
        let known = KnownChange { newest: entry.label.as_deref().zip(entry.seq.as_deref()), changed: *changed };
        rows.load(entry.key.get(), entry.row.map(RawValue::get), known)
            .map_err(|source| BaseError::Row { line, source })
    };
    let (header, (rows, _)) = read_lines(reference, bytes, start, each)?;
    Ok((header, rows))
}

/// What a base says of itself.
pub(super) fn read_header(reference: &str, bytes: &[u8]) -> Result<BaseHeader, BaseError> {
    let header = base_header(bytes)?;
    if header.freshjoin != FORMAT || header.reference != reference {
        let found = format!("{} of {}", header.freshjoin, header.reference);
        return Err(BaseError::Foreign { found, expected: reference.into() });
    }
    Ok(header)
}

/// The same, of whatever reference and format.
///
/// # Errors
/// [`BaseError::Json`] where the first line is no header.
pub fn base_header(bytes: &[u8]) -> Result<BaseHeader, BaseError> {
    let first = bytes.split(|byte| *byte == b'\n').find(|line| !line.is_empty()).unwrap_or_default();
    serde_json::from_slice(first).map_err(|source| BaseError::Json { line: 1, source })
}

/// A line of a table's base.
#[derive(Debug)]
pub(crate) struct BaseLine<'a> {
    /// What its key is compared by.
    pub(crate) primary: Box<[u8]>,
    pub(crate) key: &'a RawValue,
    /// `None` for a tombstone.
    pub(crate) row: Option<&'a RawValue>,
    /// Of the log's newest change to the key, where the log names it, as its number.
    pub(crate) label: Option<Cow<'a, str>>,
    pub(crate) number: Option<Cow<'a, str>>,
}

/// All lines of a table's base, in the order of their primary keys.
///
/// # Errors
/// As [`read_base`].
pub(crate) fn base_lines<'a>(reference: &str, bytes: &'a [u8]) -> Result<Vec<BaseLine<'a>>, BaseError> {
    let (_, mut lines) = read_lines(
        reference,
        bytes,
        |_| Vec::new(),
        |lines, text: &'a [u8], line| {
            let Line { key, row, label, seq } =
                serde_json::from_slice(text).map_err(|source| BaseError::Json { line, source })?;
            let primary = primary_key(key.get()).map_err(|source| BaseError::Row { line, source })?;
            lines.push(BaseLine { primary, key, row, label, number: seq });
            Ok(())
        },
    )?;
    // They are written in this order, so nearly always there is nothing to do.
    lines.sort_by(|a, b| a.primary.cmp(&b.primary));
    Ok(lines)
}

/// Reads the header of a base, and hands over each further line with its number.
pub(super) fn read_lines<'a, T>(
    reference: &str,
    bytes: &'a [u8],
    start: impl FnOnce(&BaseHeader) -> T,
    mut each: impl FnMut(&mut T, &'a [u8], usize) -> Result<(), BaseError>,
) -> Result<(BaseHeader, T), BaseError> {
    let header = read_header(reference, bytes)?;
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).zip(1..).skip(1);
    let mut out = start(&header);
    let mut found = 0;
    for (text, line) in lines {
        each(&mut out, text, line)?;
        found += 1;
    }
    if found != header.rows {
        return Err(BaseError::Truncated { found, expected: header.rows });
    }
    Ok((header, out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Form;
    use crate::reference::Projection;

    fn raw(text: &str) -> Box<RawValue> {
        serde_json::from_str(text).unwrap()
    }

    fn written() -> Vec<u8> {
        let mut writer = BaseWriter::new();
        let (b, a) = (raw(r#"{"id":2}"#), raw(r#"{"id":1}"#));
        writer.push(Box::from(&b"2"[..]), &b, None, Some(("l", "9"))).unwrap();
        writer.push(Box::from(&b"1"[..]), &a, Some(&raw(r#"{"id":1,"item":"x","p":1.50}"#)), None).unwrap();
        writer.finish("T", 4, Timestamp::from_millis(0)).unwrap()
    }

    fn read(bytes: &[u8]) -> Result<(BaseHeader, VersionedReference), BaseError> {
        let mut projection = Projection::new(&["item"], false);
        projection.cell("p", Form::Csv);
        read_base("T", bytes, |started| VersionedReference::new(projection, started))
    }

    #[test]
    fn a_base_comes_back_with_rows_and_tombstones() {
        let (header, rows) = read(&written()).unwrap();
        assert_eq!((header.version, header.rows, rows.len()), (4, 2, 2));
        let mut key = Vec::new();
        Form::Key.append("\"x\"", &mut key).unwrap();
        assert_eq!(rows.rows(&key, 4).next().unwrap().cell(0), Some(&b"1.50"[..]));
        assert_eq!(base_key("s3://b/../x"), "snapshots/_base/s3%3A%2F%2Fb%2F..%2Fx.jsonl");
    }

    #[test]
    fn a_base_that_is_cut_short_or_another_s_is_refused() {
        let bytes = written();
        let text = String::from_utf8(bytes.clone()).unwrap();
        let cut = text.trim_end().rfind('\n').unwrap();
        assert!(matches!(read(&bytes[..=cut]), Err(BaseError::Truncated { found: 1, expected: 2 })));
        assert!(matches!(read(&bytes[..bytes.len() - 5]), Err(BaseError::Json { line: 3, .. })));
        assert!(matches!(read(b""), Err(BaseError::Json { line: 1, .. })));
        assert!(matches!(read(text.replace("\"T\"", "\"U\"").as_bytes()), Err(BaseError::Foreign { .. })));
    }
}
