//! Gives up what nobody needs any more. All of it may be done again, and by a keeper who is late.

use std::collections::BTreeMap;

use freshjoin_core::bug::{Bug, planted};
use freshjoin_core::change::change_key;
use freshjoin_core::log::{Floor, HeldFloor};
use freshjoin_core::snapshot::{ListedSnapshot, SnapshotName};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::facts::CONCURRENCY;
use super::{Expiry, FloorTaskError, replace};
use crate::LogKeeper;
use crate::notes::Notes;

/// So many change files are given up before that is noted down.
const CHUNK: u64 = if cfg!(test) { 4 } else { 1_000 };

/// Gives up the change files under the floor that have not been yet.
pub(super) async fn changes(keeper: &LogKeeper, held: &mut HeldFloor, done: &mut Expiry) -> Result<(), FloorTaskError> {
    while held.floor.expired < held.floor.version {
        let from = held.floor.expired;
        let through = from.saturating_add(CHUNK).min(held.floor.version);
        let given_up = stream::iter(from.saturating_add(1)..=through)
            .map(|version| async move { keeper.deps.state.expire(&change_key(version)).await });
        given_up.buffer_unordered(CONCURRENCY).try_collect::<()>().await?;
        done.changes += through - from;
        let floor = Floor { expired: through, ..held.floor.clone() };
        if !replace(keeper, held, floor).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Gives up the listed snapshot files that do not stay. Those that were given up before stay listed for a while; the notes
/// say which.
pub(super) async fn snapshots(
    keeper: &LogKeeper,
    floor: &Floor,
    listed: &[ListedSnapshot],
    notes: &mut Notes,
    done: &mut Expiry,
) -> Result<(), FloorTaskError> {
    let newest = listed.iter().map(|file| file.name).max();
    let bug = |file: &&ListedSnapshot| planted(Bug::OnlyNewestSnapshot) && Some(file.name) != newest;
    let useless = listed.iter().filter(|file| !stays(floor, file.name) || bug(file));
    let useless: BTreeMap<_, _> = useless.map(|file| (file.name.key(), file.modified)).collect();
    let fresh: Vec<_> = useless.iter().filter(|(key, at)| notes.known.given_up.get(*key) != Some(at)).collect();
    let given_up = stream::iter(&fresh).map(|(key, _)| async move { keeper.deps.state.expire(key).await });
    given_up.buffer_unordered(CONCURRENCY).try_collect::<()>().await?;
    done.snapshots += fresh.len() as u64;
    notes.known.given_up = useless;
    notes.save(&*keeper.deps.state).await?;
    Ok(())
}

/// A rebase file stands for all versions from its first one on, so that nothing but the floor makes it useless.
fn stays(floor: &Floor, name: SnapshotName) -> bool {
    if name.from.is_some() { name.version >= floor.version } else { floor.keeps(name.version) }
}
