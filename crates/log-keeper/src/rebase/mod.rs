//! Past change files that nobody can read: a snapshot file at the head, made of the references as they are.
//!
//! Readers stop at such a file, as skipping it would lose what it holds. Whatever that is, the tables and objects hold it
//! too: so they are read consistently, after the head of the log was noted, and what they hold *is* the reference at that
//! head, and at every version from the unreadable file on. Keys keep the label and the number that the readable files name,
//! so that an old change which is appended again still does no harm. It is done by hand only, as rows of versions in between
//! come out as they are now: the one exception to "a snapshot file equals the fold of the log".
//!
//! Always: of any number of rebases past one file all make the same range, and the first that is written counts. Where
//! everything can be read, or an upgrade would read it, nothing is done. A missing file is first made an unreadable one,
//! so that no writer can take its number any more.

mod below;
mod error;
mod file;

use std::collections::BTreeSet;

use bytes::Bytes;
use freshjoin_core::chain::Chain;
use freshjoin_core::change::{Version, change_key};
use freshjoin_core::log::ReadError;
use freshjoin_core::ports::{Precondition, PutOutcome};
use freshjoin_core::snapshot::{LATEST_KEY, Latest, OpenError, SnapshotFile, SnapshotName, list};
use serde::{Deserialize, Serialize};

use crate::LogKeeper;

pub use error::RebaseError;

/// How often a write that meets another one is tried.
const ATTEMPTS: u32 = 5;
/// What stands in the place of a change file that is gone.
const LOST: &str = "{\"freshjoin\":\"lost-change-file/1\"}";

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rebased {
    /// The first change file that cannot be read.
    pub from: Version,
    /// The version at which the references were read anew.
    pub version: Version,
    /// Every change file in between that cannot be read.
    pub unreadable: BTreeSet<Version>,
}

/// Which head goes with an unreadable file: decided once, so that every rebase past it makes the same range.
#[derive(Serialize, Deserialize)]
struct Claim {
    freshjoin: String,
    version: Version,
}

const CLAIM: &str = "rebase/1";

fn claim_key(from: Version) -> String {
    format!("snapshots/_rebase/{from:020}.json")
}

/// Gets past every change file that cannot be read.
pub(crate) async fn rebase(keeper: &LogKeeper) -> Result<Rebased, RebaseError> {
    let mut done: Option<Rebased> = None;
    // More than once only where a file beyond an earlier rebase's head cannot be read either.
    while let Some((from, head)) = first_unreadable(keeper).await? {
        let version = claimed(keeper, from, head).await?;
        let unreadable = unreadable(keeper, from, version).await?;
        let name = SnapshotName::rebase(from, version);
        let bytes = file::make(keeper, name, &unreadable).await?;
        write(keeper, name, bytes).await?;
        latest(keeper, name).await?;
        tracing::warn!(from, version, ?unreadable, "rebased: rows of these versions come out as they are now");
        done = Some(Rebased { from, version, unreadable }.after(done));
    }
    while let Some(below) = below::stand_in(keeper, newest_usable(keeper).await?.unwrap_or(0)).await? {
        done = Some(below.after(done));
    }
    done.ok_or(RebaseError::Nothing)
}

impl Rebased {
    /// With what was done before.
    fn after(self, before: Option<Self>) -> Self {
        let Some(before) = before else { return self };
        Self {
            from: self.from.min(before.from),
            version: self.version.max(before.version),
            unreadable: self.unreadable.into_iter().chain(before.unreadable).collect(),
        }
    }
}

/// The first change file that cannot be read and that no snapshot file gets past, with the head.
async fn first_unreadable(keeper: &LogKeeper) -> Result<Option<(Version, Version)>, RebaseError> {
    let floor = keeper.log.floor().await?.version;
    let start = newest_usable(keeper).await?.unwrap_or(0).max(floor);
    // By listing, as probing would end at a file that is missing.
    let head = keeper.log.list_modified(start).await?.last().map_or(start, |(version, _)| *version);
    for version in start.saturating_add(1)..=head {
        if !readable(keeper, version).await? {
            return Ok(Some((version, head)));
        }
    }
    Ok(None)
}

async fn unreadable(keeper: &LogKeeper, from: Version, through: Version) -> Result<BTreeSet<Version>, RebaseError> {
    let mut found = BTreeSet::new();
    for version in from..=through {
        if !readable(keeper, version).await? {
            found.insert(version);
        }
    }
    Ok(found)
}

/// Whether a change file can be read. One that is missing, although later ones are there, is made one that cannot.
async fn readable(keeper: &LogKeeper, version: Version) -> Result<bool, RebaseError> {
    let key = change_key(version);
    for _ in 0..ATTEMPTS {
        match keeper.log.read(version).await {
            Ok(Some(_)) => return Ok(true),
            Err(ReadError::Poison { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
            Ok(None) => {}
        }
        let floor = keeper.log.floor().await?.version;
        if version <= floor {
            return Err(ReadError::Expired { version, floor }.into());
        }
        match keeper.deps.state.put(&key, Bytes::from(LOST), Precondition::Absent).await? {
            PutOutcome::Written(_) => return Ok(false),
            // Somebody has written it after all: it is looked at again.
            PutOutcome::PreconditionFailed | PutOutcome::Busy => {}
        }
    }
    Err(RebaseError::Busy { key })
}

/// The version of the newest snapshot file that can be read.
async fn newest_usable(keeper: &LogKeeper) -> Result<Option<Version>, RebaseError> {
    for listed in list(&*keeper.deps.state).await?.into_iter().rev() {
        if let Some(file) = open(keeper, listed.name).await? {
            return Ok(Some(file.version()));
        }
    }
    Ok(None)
}

/// A snapshot file, if it is there and can be read.
async fn open(keeper: &LogKeeper, name: SnapshotName) -> Result<Option<SnapshotFile>, RebaseError> {
    match SnapshotFile::open(&*keeper.deps.state, name).await {
        Ok(file) => Ok(file),
        Err(OpenError::Store(error)) => Err(error.into()),
        Err(error) => {
            tracing::error!(snapshot = %name, error = %Chain(&error), "a snapshot file cannot be read");
            Ok(None)
        }
    }
}

/// The head that every rebase past this file goes to.
async fn claimed(keeper: &LogKeeper, from: Version, head: Version) -> Result<Version, RebaseError> {
    let key = claim_key(from);
    let claim = Bytes::from(serde_json::to_vec(&Claim { freshjoin: CLAIM.into(), version: head })?);
    for _ in 0..ATTEMPTS {
        match keeper.deps.state.put(&key, claim.clone(), Precondition::Absent).await? {
            PutOutcome::Written(_) => return Ok(head),
            PutOutcome::PreconditionFailed | PutOutcome::Busy => {}
        }
        if let Some(object) = keeper.deps.state.get(&key).await? {
            let unreadable = |source| RebaseError::Claim { key: key.clone(), source };
            let there: Claim = serde_json::from_slice(&object.bytes).map_err(unreadable)?;
            return Ok(there.version.max(from));
        }
    }
    Err(RebaseError::Busy { key })
}

async fn write(keeper: &LogKeeper, name: SnapshotName, bytes: Bytes) -> Result<(), RebaseError> {
    for _ in 0..ATTEMPTS {
        match keeper.deps.state.put(&name.key(), bytes.clone(), Precondition::Absent).await? {
            // Another rebase past the same file may have been faster: the first counts.
            PutOutcome::Written(_) | PutOutcome::PreconditionFailed => return Ok(()),
            PutOutcome::Busy => {}
        }
    }
    Err(RebaseError::Busy { key: name.key() })
}

/// The hint for people and tools.
async fn latest(keeper: &LogKeeper, name: SnapshotName) -> Result<(), RebaseError> {
    let latest = Bytes::from(serde_json::to_vec(&Latest::of(name))?);
    let _hint = keeper.deps.state.put(LATEST_KEY, latest, Precondition::None).await?;
    Ok(())
}
