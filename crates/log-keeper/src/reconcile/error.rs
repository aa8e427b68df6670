//! Why a reference was not reconciled.

use freshjoin_core::deadline::OutOfTime;
use freshjoin_core::log::{AppendError, ReadError};
use freshjoin_core::ports::TableError;
use freshjoin_core::reference::{LoadError, RowError};
use freshjoin_core::snapshot::{FoldError, SnapshotError};

use crate::rebroadcast::RebroadcastError;

/// A reference may differ from the log still. What was appended so far stays, and does no harm.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// Nobody asked for this reference in the definition.
    #[error("the definition {definition:?} has no reference {reference:?}; name a table or an object of it")]
    Unknown {
        /// As it was asked for.
        reference: String,
        /// The pipeline's name.
        definition: String,
    },
    /// Too much would be deleted; nothing of it was appended.
    #[error(
        "{deletes} of the {rows} rows of {reference} would be deleted; if they are gone for good, run the task with \
         \"force\": true"
    )]
    Guard {
        /// The reference.
        reference: String,
        /// Rows that the reference no longer has.
        deletes: u64,
        /// Rows that the log has.
        rows: u64,
    },
    /// The table could not be read.
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
    /// The reference's objects could not be read.
    #[error(transparent)]
    Objects(#[from] LoadError),
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The log could not be folded.
    #[error("the log could not be folded")]
    Fold(#[from] FoldError),
    /// What was folded cannot be read, which would be a bug.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The log does not take what was found.
    #[error("what was found could not be appended to the log")]
    Append(#[from] AppendError),
    /// What was appended was not announced: the notice of its change file brings the flag.
    #[error(transparent)]
    Flag(#[from] RebroadcastError),
    /// There was no time to announce it: the notice of its change file brings the flag.
    #[error("what was appended was not announced in time")]
    NotFlagged(#[source] OutOfTime),
    /// It was not compared even once.
    #[error("{reference} could not be compared in time; raise the function's timeout")]
    OutOfTime {
        /// The reference.
        reference: String,
        /// When.
        #[source]
        source: OutOfTime,
    },
}
