//! From raw JSON values to output: CSV, JSON lines, Parquet, and the partition part of an object key.
//!
//! A value is appended in the form that its place asks for, straight into the buffer that becomes the object; typed
//! cells become a Parquet file when the object is closed. Reference rows are brought into their form once, when they are
//! loaded, so that a join copies bytes.

mod cell;
mod csv;
mod json_lines;
mod parquet;
mod partition;
mod timestamp;

pub use self::parquet::EncodeError;

use crate::pipeline::{ColumnType, Format};
use crate::value::NotText;
use bytes::Bytes;

/// The place that a value is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// A CSV field.
    Csv,
    /// A member's value in a JSON line.
    Json,
    /// The value part of `column=value` in an object key.
    Partition,
    /// A Parquet column's cell.
    Typed(ColumnType),
    /// Part of a join key; nothing for what matches nothing.
    Key,
}

impl Form {
    /// The form of a column of a type inside objects of a format.
    #[must_use]
    pub fn of(format: Format, column: ColumnType) -> Self {
        match format {
            Format::Csv => Self::Csv,
            Format::JsonLines => Self::Json,
            Format::Parquet => Self::Typed(column),
        }
    }

    /// Appends a value (raw JSON text) in this form.
    ///
    /// # Errors
    /// [`NotText`] for a string that cannot be decoded; `out` may have grown then. Never for a typed cell, which is a
    /// [misfit](Self::misfit) then.
    pub fn append(self, raw: &str, out: &mut Vec<u8>) -> Result<(), NotText> {
        match self {
            Self::Csv => csv::append(raw, out),
            Self::Json => {
                json_lines::append(raw, out);
                Ok(())
            }
            Self::Partition => partition::append(raw, out),
            Self::Typed(column) => {
                cell::append(column, raw, out);
                Ok(())
            }
            Self::Key => crate::value::append_key(raw, out).map(|_| ()),
        }
    }

    /// Appends what stands for an absent value.
    pub fn append_null(self, out: &mut Vec<u8>) {
        match self {
            Self::Csv | Self::Key => {}
            Self::Json => out.extend_from_slice(b"null"),
            Self::Partition => out.extend_from_slice(partition::DEFAULT),
            Self::Typed(_) => cell::append_null(out),
        }
    }

    /// What was appended in this form, where it is a value that does not fit its column's type: the value's JSON text,
    /// shortened, and the type. It must not stay in an object's buffer.
    #[must_use]
    pub fn misfit(self, appended: &[u8]) -> Option<(&str, ColumnType)> {
        let Self::Typed(column) = self else { return None };
        cell::misfit(appended).map(|text| (text, column))
    }
}

/// How rows become an output object: the fixed bytes before them, before each column and after each row, and what is
/// made of the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Once, at the object's start.
    pub header: Vec<u8>,
    /// Before each column's value, in order.
    pub before: Vec<Vec<u8>>,
    /// After each row.
    pub after: &'static [u8],
    /// The columns where the rows are typed cells.
    parquet: Option<Vec<(String, ColumnType)>>,
}

impl Frame {
    /// The frame of a format for columns of these names and types.
    #[must_use]
    pub fn new(format: Format, columns: &[(&str, ColumnType)]) -> Self {
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        match format {
            Format::Csv => csv::frame(&names),
            Format::JsonLines => json_lines::frame(&names),
            Format::Parquet => Self {
                header: Vec::new(),
                before: vec![Vec::new(); columns.len()],
                after: b"",
                parquet: Some(columns.iter().map(|(name, column)| ((*name).to_owned(), *column)).collect()),
            },
        }
    }

    /// Makes an object of its header and rows.
    ///
    /// # Errors
    /// [`EncodeError`] where rows of typed cells cannot become a Parquet file.
    pub fn close(&self, rows: Vec<u8>) -> Result<Bytes, EncodeError> {
        match &self.parquet {
            Some(columns) => parquet::file(columns, rows),
            None => Ok(rows.into()),
        }
    }
}

/// Text as one part of an object key, escaped as partition values are.
#[must_use]
pub fn escape_component(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    partition::escape(text, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// `column=` for an object key.
#[must_use]
pub fn partition_prefix(column: &str) -> Vec<u8> {
    let mut out = Vec::new();
    partition::escape(column, &mut out);
    out.push(b'=');
    out
}
