//! How far the floor may rise, and which snapshot files stay: decided from facts alone.
//!
//! The floor comes to stand only on a snapshot file that stays, so that whoever begins at any version from there on finds a
//! beginning. It never passes a version that some cursor needs. And what is to lie under it must be so old that every record
//! which could have been joined with it has left the stream: a replay under a new name joins history as history.

use std::collections::BTreeMap;
use std::time::Duration;

use freshjoin_core::batch::Cursor;
use freshjoin_core::bug::{Bug, planted};
use freshjoin_core::change::Version;
use freshjoin_core::log::Floor;
use freshjoin_core::ports::StreamDescription;
use freshjoin_core::snapshot::ListedSnapshot;
use freshjoin_core::time::Timestamp;
use serde::Serialize;

/// The table's stream keeps its records for so long, and so may the orders' at the least.
pub(crate) const DAY: Duration = Duration::from_hours(24);
/// A younger snapshot file stays: somebody may just be loading it.
pub(crate) const YOUNG: Duration = Duration::from_hours(1);
/// Snapshot files are thinned out to about so many over the time that change files are kept.
pub(crate) const STEPS: u32 = 8;

/// What there is.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) now: Timestamp,
    pub(crate) floor: Floor,
    pub(crate) stream: StreamDescription,
    pub(crate) cursors: Vec<FoundCursor>,
    /// In the order of their versions.
    pub(crate) snapshots: Vec<ListedSnapshot>,
    /// By the version of a snapshot file: when the change file after it was written, where it is there.
    pub(crate) successors: BTreeMap<Version, Timestamp>,
}

/// A cursor and what is known of its shard.
#[derive(Debug)]
pub(crate) struct FoundCursor {
    pub(crate) key: String,
    /// Its pipeline has been retired by hand.
    pub(crate) retired: bool,
    /// It is of this stream, and of a shard that the stream no longer knows.
    pub(crate) shard_gone: bool,
    /// Or why it cannot be read.
    pub(crate) cursor: Result<Cursor, String>,
}

/// A cursor that keeps the floor where it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Hold {
    /// The lowest version that it needs.
    pub version: Version,
    /// Its key below the state's location.
    pub cursor: String,
}

/// What may be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What the floor may be raised to as far as cursors and ages say, highest first.
    pub(crate) floors: Vec<Version>,
    /// The cursor that needs the lowest version.
    pub(crate) hold: Option<Hold>,
    /// Up to here snapshot files are thinned out.
    pub(crate) thinned: Version,
    /// Those up to there that stay, above the floor.
    pub(crate) kept: Vec<Version>,
}

/// A cursor that cannot be read: which version it needs is unknown.
#[derive(Debug, thiserror::Error)]
#[error(
    "the floor stays, as cursor {key} cannot be read: {reason}; restore it, or retire its pipeline if that is no more"
)]
pub struct UnreadableCursor {
    /// Its key below the state's location.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Change files younger than this stay: the stream's retention and a day.
pub(crate) fn age(retention: Duration) -> Duration {
    retention.max(DAY) + DAY
}

/// Whether a plan could come to anything, as far as snapshot files tell.
pub(crate) fn is_due(now: Timestamp, floor: &Floor, retention: Duration, snapshots: &[ListedSnapshot]) -> bool {
    let raisable = |file: &&ListedSnapshot| file.name.version > floor.version && floor.keeps(file.name.version);
    // One that died after its announcement keeps others waiting.
    floor.rising > floor.version
        || snapshots.iter().filter(raisable).any(|file| is_older(now, file.modified, age(retention)))
        || old_enough_to_thin(now, snapshots).any(|file| file.name.version > floor.thinned)
}

/// Decides.
///
/// # Errors
/// [`UnreadableCursor`]: nothing is raised.
pub(crate) fn plan(facts: &Facts) -> Result<Plan, UnreadableCursor> {
    let mut needs = Vec::new();
    for found in &facts.cursors {
        needs.extend(needed(facts, found)?.into_iter().map(|version| Hold { version, cursor: found.key.clone() }));
    }
    let hold = needs.iter().min().cloned();
    let most = hold.as_ref().map_or(Version::MAX, |hold| hold.version);
    let (now, age) = (facts.now, age(facts.stream.retention));
    let may_carry = |file: &&ListedSnapshot| {
        let version = file.name.version;
        let successor = facts.successors.get(&version);
        version > facts.floor.version
            && facts.floor.keeps(version)
            && version <= most
            && is_older(now, file.modified, age)
            && successor.is_some_and(|written| is_older(now, *written, age))
    };
    let mut floors: Vec<_> = facts.snapshots.iter().filter(may_carry).map(|file| file.name.version).collect();
    floors.sort_unstable_by(|a, b| b.cmp(a));
    floors.dedup();
    let (thinned, kept) = thin(facts, age, &needs);
    Ok(Plan { floors, hold, thinned, kept })
}

/// The versions that a cursor needs; none if it holds nothing.
fn needed(facts: &Facts, found: &FoundCursor) -> Result<Vec<Version>, UnreadableCursor> {
    if found.retired || found.shard_gone || planted(Bug::FloorIgnoresCursors) {
        return Ok(Vec::new());
    }
    let unreadable = |reason: &String| UnreadableCursor { key: found.key.clone(), reason: reason.clone() };
    let cursor = found.cursor.as_ref().map_err(unreadable)?;
    if cursor.stream == facts.stream.name && cursor.stream_created != facts.stream.created {
        return Ok(Vec::new());
    }
    let pending = cursor.pending.iter().flat_map(|intent| intent.steps.iter().map(|step| step.version));
    Ok(std::iter::once(cursor.version).chain(pending).collect())
}

/// Which snapshot files above the floor stay: those that cursors begin at, those that get past a damaged change file, and
/// of the others one every so often, the seldomer the older they are, for the floor to come to stand on.
fn thin(facts: &Facts, age: Duration, needs: &[Hold]) -> (Version, Vec<Version>) {
    let (now, floor) = (facts.now, &facts.floor);
    let above = |file: &&ListedSnapshot| file.name.version > floor.version && floor.keeps(file.name.version);
    let newest_for = |version: Version| {
        let at_or_below = facts.snapshots.iter().filter(above).map(|file| file.name.version);
        at_or_below.filter(|candidate| *candidate <= version).max()
    };
    let begun_at: Vec<_> = needs.iter().filter_map(|hold| newest_for(hold.version)).collect();
    let floor_file = facts.snapshots.iter().find(|file| file.name.version == floor.version);
    let mut last = floor_file.map(|file| file.modified);
    let (mut thinned, mut kept) = (floor.thinned, Vec::new());
    for file in old_enough_to_thin(now, &facts.snapshots).filter(above) {
        let version = file.name.version;
        thinned = thinned.max(version);
        let spacing = age.max(elapsed(now, file.modified)) / STEPS;
        let next = last.is_none_or(|last| elapsed(file.modified, last) >= spacing);
        if next {
            last = Some(file.modified);
        }
        if next || file.name.from.is_some() || begun_at.contains(&version) {
            kept.push(version);
        }
    }
    kept.dedup();
    (thinned, kept)
}

/// All but the newest and the young ones.
fn old_enough_to_thin(now: Timestamp, snapshots: &[ListedSnapshot]) -> impl Iterator<Item = &ListedSnapshot> {
    let newest = snapshots.last().map(|file| file.name.version);
    let older = snapshots.iter().filter(move |file| Some(file.name.version) != newest);
    older.filter(move |file| is_older(now, file.modified, YOUNG))
}

fn is_older(now: Timestamp, written: Timestamp, age: Duration) -> bool {
    elapsed(now, written) > age || planted(Bug::FloorIgnoresAge)
}

/// From one time to a later one; nothing if it is not later.
fn elapsed(now: Timestamp, then: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(now.millis().saturating_sub(then.millis())).unwrap_or_default())
}
