//! Why the log was not rebased.

use freshjoin_core::log::{FloorError, ReadError};
use freshjoin_core::ports::{StoreError, TableError};
use freshjoin_core::reference::{LoadError, RowError};
use freshjoin_core::snapshot::{FoldError, SnapshotError, WriteError};

/// The log is as it was, but for a missing change file that now says so. Trying again is safe.
#[derive(Debug, thiserror::Error)]
pub enum RebaseError {
    /// There is no need.
    #[error("every change file can be read: there is nothing to get past")]
    Nothing,
    /// The store failed: try again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log could not be read; a file of a newer freshjoin is none to get past.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The floor could not be read.
    #[error(transparent)]
    Floor(#[from] FloorError),
    /// What can be read of the log could not be folded.
    #[error("what can be read of the log could not be folded")]
    Fold(#[from] FoldError),
    /// A table could not be read: try again, or give log-keeper the permission.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A row that cannot be held: mend it in the table.
    #[error("a row of {table} cannot be used: {row}")]
    Row {
        /// The table's name.
        table: String,
        /// The row.
        row: String,
        /// Why.
        #[source]
        source: RowError,
    },
    /// Reference objects could not be read.
    #[error(transparent)]
    Objects(#[from] LoadError),
    /// What was folded cannot be read, which would be a bug.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The snapshot file cannot be made.
    #[error("the snapshot file cannot be made")]
    Write(#[from] WriteError),
    /// Another rebase's claim is not what it was written as.
    #[error("{key} cannot be read; delete it and run the task again")]
    Claim {
        /// Its key below the state's location.
        key: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A document cannot be written, which would be a bug.
    #[error("a document cannot be written")]
    Encode(#[from] serde_json::Error),
    /// Another write was under way each time: try again.
    #[error("{key} could not be written: another write was under way")]
    Busy {
        /// Its key below the state's location.
        key: String,
    },
}
