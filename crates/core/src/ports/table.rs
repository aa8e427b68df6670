//! Reference tables: read whole once (bootstrap) and compared (reconcile), and row by row where a change stream tells of
//! keys only.

use std::fmt::Debug;

use async_trait::async_trait;
use serde_json::value::RawValue;

use super::BoxError;

/// A row as plain JSON object text (numbers with all their digits, binary as base64 text, sets as sorted arrays, keys
/// of objects in sorted order): the same row always has the same text.
pub type RawRow = Box<RawValue>;

/// One of several disjoint parts of a table that together are the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// From 0.
    pub index: u32,
    /// How many there are.
    pub of: u32,
}

/// A page of a scan.
#[derive(Debug)]
pub struct ScanPage {
    /// In no particular order.
    pub rows: Vec<RawRow>,
    /// Where the segment goes on; `None` at its end.
    pub next: Option<String>,
}

/// A fault of the table store. Never "no such row".
#[derive(Debug, thiserror::Error)]
#[error("{operation} of table {table} failed: {source}")]
pub struct TableError {
    /// What was tried.
    pub operation: &'static str,
    /// On which table.
    pub table: String,
    /// As the adapter got it.
    #[source]
    pub source: BoxError,
}

/// Tables by name. Each row is read as of some moment after the call began (strongly consistent reads).
#[async_trait]
pub trait Tables: Send + Sync + Debug {
    /// Names of the primary key's attributes, partition key first.
    ///
    /// # Errors
    /// [`TableError`], also where the table does not exist.
    async fn key_attributes(&self, table: &str) -> Result<Vec<String>, TableError>;

    /// A page of a segment, from its start or from an earlier page's `next`.
    ///
    /// # Errors
    /// [`TableError`] for anything but a clean answer; the same page may be asked for again.
    async fn scan(&self, table: &str, segment: Segment, from: Option<&str>) -> Result<ScanPage, TableError>;

    /// The rows of these primary keys, in the order of the keys; `None` where the table says clearly that there is no such
    /// row. A key is a JSON object of the key's attributes and nothing else, as the table's own rows write them; the same
    /// key may come several times. Answers for the first key at least, and for fewer than all where their rows would be
    /// too much memory at once: ask again for the rest. Without keys there is no call.
    ///
    /// # Errors
    /// [`TableError`] for anything but a clean answer: also where the table does not exist, or has another key.
    async fn rows(&self, table: &str, keys: &[RawRow]) -> Result<Vec<Option<RawRow>>, TableError>;
}
