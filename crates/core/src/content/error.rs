//! Why a content cannot be read, where, and what to do about it.

use ::parquet::errors::ParquetError;

use crate::compression::UnpackError;

/// A content that is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// Compressed, and cut short or altered.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// More than the bound.
    #[error("more than {limit} bytes after unpacking; split the data, or give it more memory")]
    TooLarge {
        /// The bound, in bytes.
        limit: u64,
    },
    /// Text in another encoding.
    #[error("line {line}: bytes that are not UTF-8; save it as UTF-8")]
    NotUtf8 {
        /// From 1.
        line: u64,
    },
    /// Not JSON; the reason names line and column.
    #[error("not JSON objects: {0}")]
    Json(#[source] serde_json::Error),
    /// JSON, but no object.
    #[error("line {line}: not a JSON object; a row is written {{\"field\":value,…}}")]
    NotAnObject {
        /// From 1.
        line: u64,
    },
    /// CSV without any line.
    #[error("no header; the first line of a CSV names its columns")]
    NoHeader,
    /// A column of a CSV's header has no name.
    #[error("line 1: column {column} has no name; give it one")]
    Unnamed {
        /// From 1.
        column: usize,
    },
    /// Two columns, or two fields of a group, have one name.
    #[error("two columns are named {name:?}; rename one of them")]
    NamedTwice {
        /// Their name, with those of the groups around it.
        name: String,
    },
    /// A CSV row with more or fewer fields than the header.
    #[error("line {line}: {found} fields, and the header has {wanted}; a field that holds a comma is put in quotes")]
    Width {
        /// Where the row begins, from 1.
        line: u64,
        /// How many it has.
        found: usize,
        /// How many the header has.
        wanted: usize,
    },
    /// A CSV field that breaks the rules of quoting.
    #[error("line {line}, column {column}: {reason}")]
    Field {
        /// Where the row begins, from 1.
        line: u64,
        /// From 1.
        column: usize,
        /// What is wrong, and the mend.
        reason: &'static str,
    },
    /// Parquet that is cut short, corrupt, or uses what is not supported.
    #[error("not a sound Parquet file: {0}; write it anew, if packed then with Snappy, gzip, Zstandard or LZ4")]
    Parquet(#[from] ParquetError),
    /// Parquet columns that do not fit together.
    #[error("not a sound Parquet file: row {row}, column {column}: {reason}; write it anew")]
    Torn {
        /// From 1.
        row: u64,
        /// The column's path.
        column: String,
        /// What does not fit.
        reason: &'static str,
    },
    /// A Parquet column of a kind that has no JSON form.
    #[error("column {column}: {reason}")]
    Column {
        /// The column's path.
        column: String,
        /// What is wrong, and the mend.
        reason: &'static str,
    },
    /// A Parquet value that has no JSON form.
    #[error("row {row}, column {column}: {reason}")]
    Value {
        /// From 1.
        row: u64,
        /// The column's path.
        column: String,
        /// What is wrong, and the mend.
        reason: &'static str,
    },
}
