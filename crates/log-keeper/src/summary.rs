//! What an invocation answers, and how it fails.

use std::fmt;

use freshjoin_core::chain::Chain;
use freshjoin_core::deadline::OutOfTime;
use serde::Serialize;

use crate::bootstrap::{BootstrapError, Bootstrapped};
use crate::event::{EventError, Request};
use crate::floor::{Expiry, FloorTaskError};
use crate::rebase::{RebaseError, Rebased};
use crate::rebroadcast::{Rebroadcast, RebroadcastError};
use crate::reconcile::{ReconcileError, Reconciled};
use crate::snapshot::{Snapshot, SnapshotTaskError};

/// What was done; a part that was not due, or not asked for, is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The task.
    pub task: &'static str,
    /// The flag that was broadcast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebroadcast: Option<Rebroadcast>,
    /// The snapshot file that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// The floor, and what was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiry: Option<Expiry>,
    /// What was looked at for the first time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bootstrap: Vec<Bootstrapped>,
    /// What was got past.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebase: Option<Rebased>,
    /// What was compared with the log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reconcile: Vec<Reconciled>,
}

impl Summary {
    pub(crate) fn new(request: &Request) -> Self {
        Self { task: request.task(), ..Self::default() }
    }
}

/// The invocation failed.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// It was not understood; nothing was done.
    #[error(transparent)]
    Event(#[from] EventError),
    /// Some task failed. What is not named here was done.
    #[error("{}", Causes(.0))]
    Tasks(Vec<Failure>),
}

/// A task that failed.
#[derive(Debug)]
pub struct Failure {
    /// Its name.
    pub task: &'static str,
    /// Why.
    pub error: TaskError,
}

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A flag was not broadcast.
    #[error(transparent)]
    Rebroadcast(#[from] RebroadcastError),
    /// A snapshot file was not written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotTaskError),
    /// The floor was not raised, or what lies under it not given up.
    #[error(transparent)]
    Expiry(#[from] FloorTaskError),
    /// A reference has no base still.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// The log was not rebased.
    #[error(transparent)]
    Rebase(#[from] RebaseError),
    /// A reference was not reconciled.
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// The store is too slow, or the function's timeout too short. What was done so far stays.
    #[error("not done in time; if this stays so, raise the function's timeout")]
    OutOfTime(#[from] OutOfTime),
}

/// Every failure with its whole chain of causes, in one line.
struct Causes<'a>(&'a [Failure]);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, failure) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", failure.task, Chain(&failure.error))?;
        }
        Ok(())
    }
}
