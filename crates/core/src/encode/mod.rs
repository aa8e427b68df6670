//! From raw JSON values to output text: CSV, JSON lines, and the partition part of an object key.
//!
//! A value is appended in the form that its place asks for, straight into the buffer that becomes the object. Reference
//! rows are brought into that form once, when they are loaded, so that a join copies bytes.

mod csv;
mod json_lines;
mod partition;

use crate::pipeline::Format;
use crate::value::NotText;

/// The place that a value is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// A CSV field.
    Csv,
    /// A member's value in a JSON line.
    Json,
    /// The value part of `column=value` in an object key.
    Partition,
    /// Part of a join key; nothing for what matches nothing.
    Key,
}

impl Form {
    /// The form of a column inside objects of a format.
    #[must_use]
    pub fn of(format: Format) -> Self {
        match format {
            Format::Csv => Self::Csv,
            Format::JsonLines => Self::Json,
        }
    }

    /// Appends a value (raw JSON text) in this form.
    ///
    /// # Errors
    /// [`NotText`] for a string that cannot be decoded; `out` may have grown then.
    pub fn append(self, raw: &str, out: &mut Vec<u8>) -> Result<(), NotText> {
        match self {
            Self::Csv => csv::append(raw, out),
            Self::Json => {
                json_lines::append(raw, out);
                Ok(())
            }
            Self::Partition => partition::append(raw, out),
            Self::Key => crate::value::append_key(raw, out).map(|_| ()),
        }
    }

    /// Appends what stands for an absent value.
    pub fn append_null(self, out: &mut Vec<u8>) {
        match self {
            Self::Csv | Self::Key => {}
            Self::Json => out.extend_from_slice(b"null"),
            Self::Partition => out.extend_from_slice(partition::DEFAULT),
        }
    }
}

/// The fixed bytes of an output object: what stands before its rows, before each column, and after each row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Once, at the object's start.
    pub header: Vec<u8>,
    /// Before each column's value, in order.
    pub before: Vec<Vec<u8>>,
    /// After each row.
    pub after: &'static [u8],
}

impl Frame {
    /// The frame of a format for columns of these names.
    #[must_use]
    pub fn new(format: Format, columns: &[&str]) -> Self {
        match format {
            Format::Csv => csv::frame(columns),
            Format::JsonLines => json_lines::frame(columns),
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
