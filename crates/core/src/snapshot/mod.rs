//! Snapshot files: the reference data at one version of the log, from which a cold start loads without reading a table,
//! and from which readers go on once the change files below the floor are gone.
//!
//! A file at version v equals the fold of the log to v, tombstones included. It holds every table and object that the log
//! or a base names, with every column; *complete* where a base defines the reference, else *partial*: only what the log
//! names, so that a later bootstrap knows it.
//!
//! Always: a file that is cut short or altered anywhere is an error before anything of it is used, and never fewer rows.

mod block;
mod changes;
mod column;
mod entry;
mod error;
mod file;
mod fold;
mod merge;
mod name;
mod objects;
mod table;
mod write;

pub use entry::{Entry, RowFields};
pub use error::{OpenError, SnapshotError, WriteError};
pub use file::{BaseInfo, SnapshotFile};
pub use fold::{FoldError, FoldSources, fold, fold_without};
pub use name::{LATEST_KEY, Latest, ListedSnapshot, SnapshotName, list};
pub use table::{Entries, TableSection};
pub use write::SnapshotWriter;

#[cfg(test)]
mod tests;
