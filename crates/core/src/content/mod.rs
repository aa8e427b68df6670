//! Reference data as it lies in an object or a file: JSON lines, CSV or Parquet, compressed or not, read as rows.
//!
//! Always: every row of the content comes out once, in its order, as the text of one JSON object on one line; numbers
//! keep their digits, and a null is an absent field. What is not of the format is an error, never fewer rows.
//!
//! On failure the error names the place, and no row follows. The same content fails again: it must be written anew.

mod csv;
mod error;
mod json_lines;
mod parquet;
mod text;

use std::fmt;

use bytes::Bytes;

use crate::compression::{Compression, UnpackError};
use crate::ports::RawRow;

pub use error::ContentError;

/// What a content is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentFormat {
    /// JSON objects, one a line; or anyhow one after the other; or in one array.
    JsonLines,
    /// RFC 4180 with a header, lines ending in LF or CRLF.
    Csv,
    /// Apache Parquet.
    Parquet,
}

impl ContentFormat {
    /// By the ending of a key or file name, whatever its case: `.jsonl`, `.ndjson`, `.json` and `.csv`, also followed by
    /// `.gz` or `.zst`; and `.parquet`. `None` for another.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        if name.ends_with(".parquet") {
            return Some(Self::Parquet);
        }
        let plain = [".gz", ".zst"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
        match plain.rsplit_once('.')?.1 {
            "jsonl" | "ndjson" | "json" => Some(Self::JsonLines),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }

    /// Whether its values have no types: all are text.
    #[must_use]
    pub fn untyped(self) -> bool {
        self == Self::Csv
    }
}

/// The rows of a content; see [`rows`].
pub struct Rows(Option<Reader>);

enum Reader {
    JsonLines(json_lines::Reader),
    Csv(csv::Reader),
    Parquet(Box<parquet::Reader>),
}

/// The rows of a content in its order. `limit` is how many bytes it may have after unpacking: the text of JSON lines and
/// CSV; for Parquet, the text that its rows have here.
///
/// Compressed content is told by its first bytes.
///
/// # Errors
/// [`ContentError`], as soon as anything is seen to be wrong: here or among the rows.
pub fn rows(format: ContentFormat, bytes: Bytes, limit: u64) -> Result<Rows, ContentError> {
    let too_large = || ContentError::TooLarge { limit };
    let content = match Compression::of(&bytes) {
        Some(compression) => compression.unpack(&bytes, limit).map(Bytes::from).map_err(|error| match error {
            UnpackError::TooLarge { .. } => too_large(),
            error @ UnpackError::Corrupt { .. } => error.into(),
        })?,
        None => bytes,
    };
    if content.len() as u64 > limit {
        return Err(too_large());
    }
    Ok(Rows(Some(match format {
        ContentFormat::JsonLines => Reader::JsonLines(json_lines::Reader::new(text::decoded(content)?)),
        ContentFormat::Csv => Reader::Csv(csv::Reader::new(text::decoded(content)?)?),
        ContentFormat::Parquet => Reader::Parquet(Box::new(parquet::Reader::new(content, limit)?)),
    })))
}

impl Iterator for Rows {
    type Item = Result<RawRow, ContentError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = match self.0.as_mut()? {
            Reader::JsonLines(reader) => reader.next(),
            Reader::Csv(reader) => reader.next(),
            Reader::Parquet(reader) => reader.next(),
        };
        if !matches!(row, Ok(Some(_))) {
            self.0 = None;
        }
        row.transpose()
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Some(Reader::JsonLines(_)) => "Rows(JsonLines)",
            Some(Reader::Csv(_)) => "Rows(Csv)",
            Some(Reader::Parquet(_)) => "Rows(Parquet)",
            None => "Rows(ended)",
        })
    }
}

#[cfg(test)]
mod tests;
