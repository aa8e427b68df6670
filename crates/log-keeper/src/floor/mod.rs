//! Raises the floor, and gives up what lies under it.
//!
//! 1. A first look says what the floor may be raised to.
//! 2. That is announced. Whatever is written from now on, and relies on a version below, does not count and is done again
//!    by whoever wrote it.
//! 3. A second look sees whatever was written before that.
//! 4. If it still allows it, the floor is raised; as far as it allows it.
//! 5. Only then is anything given up: change files up to the floor, and snapshot files that do not stay.
//!
//! Each step may be the last one of this keeper, and another keeper may be at any other step: a floor is replaced only by
//! whoever holds it as it is, and what may be given up under one floor may be so under every later one.

pub(crate) mod facts;
mod plan;
mod sweep;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use freshjoin_core::bug::{Bug, planted};
use freshjoin_core::change::Version;
use freshjoin_core::log::{Floor, FloorError, HeldFloor};
use freshjoin_core::ports::{StoreError, StreamError};
use freshjoin_core::reference::{BASES, BaseError, base_header, base_key};
use freshjoin_core::snapshot::{self, OpenError, SnapshotFile};
use serde::Serialize;

use crate::LogKeeper;
use crate::notes::Notes;
use plan::{Facts, Plan, is_due, plan};

#[cfg(test)]
pub(crate) use plan::{DAY, STEPS, YOUNG};
pub use plan::{Hold, UnreadableCursor};

/// Where the floor is, and what was given up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Expiry {
    /// The floor.
    pub floor: Version,
    /// The cursor that needs the lowest version, where that was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// How many change files were given up.
    pub changes: u64,
    /// How many snapshot files were given up.
    pub snapshots: u64,
}

/// The floor was not raised, or not everything under it given up. The next run goes on.
#[derive(Debug, thiserror::Error)]
pub enum FloorTaskError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream could not be asked.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The floor could not be read or written.
    #[error(transparent)]
    Floor(#[from] FloorError),
    /// A cursor cannot be read.
    #[error(transparent)]
    Cursor(#[from] UnreadableCursor),
    /// A base cannot be read.
    #[error(
        "the floor stays, as the base {key} cannot be read; put it back, or delete it to have its reference scanned anew"
    )]
    Base {
        /// Its key below the state's location.
        key: String,
        /// What is wrong with it.
        #[source]
        source: BaseError,
    },
}

/// Raises the floor as far as may be, and gives up what may be given up.
pub(crate) async fn keep(keeper: &LogKeeper, notes: &mut Notes) -> Result<Expiry, FloorTaskError> {
    let state = &*keeper.deps.state;
    let snapshots = snapshot::list(state).await?;
    let mut held = keeper.log.held_floor().await?;
    let mut done = Expiry { floor: held.floor.version, ..Expiry::default() };
    let retention = keeper.deps.stream.describe().await?.retention;
    let due = is_due(keeper.deps.clock.now(), &held.floor, retention, &snapshots);
    let raised = if due { raise(keeper, &mut held, &mut done).await } else { Ok(()) };
    // What an earlier run left undone does not wait for whatever keeps the floor down.
    sweep::changes(keeper, &mut held, &mut done).await?;
    sweep::snapshots(keeper, &held.floor, &snapshots, notes, &mut done).await?;
    done.floor = held.floor.version;
    raised.map(|()| done)
}

/// Steps 1 to 4. What is held is the floor as this keeper knows it last.
async fn raise(keeper: &LogKeeper, held: &mut HeldFloor, done: &mut Expiry) -> Result<(), FloorTaskError> {
    let facts = facts::look(keeper, &held.floor).await?;
    let first = plan(&facts)?;
    done.hold.clone_from(&first.hold);
    let Some(target) = best(keeper, &facts, &first, Version::MAX).await? else {
        return replace(keeper, held, settled(&held.floor, held.floor.version, &first)).await.map(drop);
    };
    let announced = Floor { rising: target, ..held.floor.clone() };
    if !replace(keeper, held, announced).await? {
        return Ok(());
    }
    let facts = facts::look(keeper, &held.floor).await?;
    let second = plan(&facts)?;
    done.hold.clone_from(&second.hold);
    let allowed = best(keeper, &facts, &second, target).await?.unwrap_or(held.floor.version);
    let version = if planted(Bug::NoSecondLook) { target } else { allowed };
    let from = held.floor.version;
    if replace(keeper, held, settled(&held.floor, version, &second)).await? && version > from {
        tracing::info!(from, version, "the floor is raised");
    }
    Ok(())
}

/// The floor at a version, nothing announced above it, and snapshot files thinned out as planned.
fn settled(floor: &Floor, version: Version, plan: &Plan) -> Floor {
    let kept = plan.kept.iter().copied().filter(|kept| *kept > version).collect();
    Floor { version, rising: version, expired: floor.expired, thinned: plan.thinned, kept }
}

/// Replaces the floor, unless it is that already; `false` where another keeper was faster, who then goes on.
async fn replace(keeper: &LogKeeper, held: &mut HeldFloor, floor: Floor) -> Result<bool, FloorTaskError> {
    let announces = floor.rising > floor.version;
    if floor == held.floor && !announces {
        return Ok(true);
    }
    match keeper.log.replace_floor(held, floor).await? {
        Some(replaced) => *held = replaced,
        None => return Ok(false),
    }
    Ok(true)
}

/// The highest version that the floor may come to stand on: its snapshot file is sound, and holds every reference that began
/// at or below it.
async fn best(
    keeper: &LogKeeper,
    facts: &Facts,
    plan: &Plan,
    most: Version,
) -> Result<Option<Version>, FloorTaskError> {
    for version in plan.floors.iter().copied().filter(|version| *version <= most) {
        for file in facts.snapshots.iter().filter(|file| file.name.version == version) {
            match SnapshotFile::open(&*keeper.deps.state, file.name).await {
                Ok(Some(file)) => {
                    if holds_all(keeper, &file).await? || planted(Bug::FloorIgnoresBases) {
                        return Ok(Some(version));
                    }
                }
                Ok(None) => {}
                Err(OpenError::Store(error)) => return Err(error.into()),
                Err(error) => tracing::error!(%error, "the floor does not come to stand on a damaged snapshot file"),
            }
        }
    }
    Ok(None)
}

/// Whether a snapshot file is complete in every reference that a base defines at or below it.
async fn holds_all(keeper: &LogKeeper, file: &SnapshotFile) -> Result<bool, FloorTaskError> {
    let state = &*keeper.deps.state;
    let held: BTreeSet<String> = file.complete().map(base_key).collect();
    let bases = facts::list_all(state, BASES).await?;
    for base in bases.into_iter().filter(|base| !held.contains(&base.key)) {
        let Some(object) = state.get(&base.key).await? else { continue };
        let header = base_header(&object.bytes).map_err(|source| FloorTaskError::Base { key: base.key, source })?;
        if header.version <= file.version() {
            return Ok(false);
        }
    }
    Ok(true)
}
