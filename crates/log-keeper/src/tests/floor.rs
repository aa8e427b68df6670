//! The floor over days: it rises, nothing that is needed goes, and no crash, race or pause at any call changes that.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use freshjoin_core::batch::{Cursor, cursor_key};
use freshjoin_core::change::{Version, change_key};
use freshjoin_core::location::Location;
use freshjoin_core::log::Floor;
use freshjoin_core::memory::{Call, Fault};
use freshjoin_core::ports::{Clock, Stream};
use freshjoin_core::snapshot::{self, FoldSources, SnapshotFile, SnapshotName, fold};
use futures_util::future::{join, poll_immediate};
use tokio::sync::OnceCell;

use super::World;
use crate::floor::facts;

const SHARD: &str = "shardId-000000000000";

impl World {
    async fn floor(&self) -> Floor {
        self.log().floor().await.unwrap()
    }

    async fn set_cursor(&self, shard: &str, version: Version) {
        let cursor = Cursor::new(&self.stream.describe().await.unwrap(), version, Location::new("s3://o"));
        self.state.insert(&cursor_key("p", "orders", shard), cursor.encode().unwrap());
    }

    /// So many hours, a change in each, and the keeper after it; the cursor follows at the head.
    async fn hours(&self, hours: u32) {
        for _ in 0..hours {
            let head = self.hour().await;
            self.set_cursor(SHARD, head).await;
            self.keeper().run("{}").await.unwrap();
        }
    }

    /// An hour in which a change is made.
    async fn hour(&self) -> Version {
        self.clock.advance(Duration::from_secs(3601));
        let log = self.log();
        let head = log.head(0).await.unwrap();
        self.append(&format!("{}", head % 5), u32::try_from(head).unwrap() + 1).await
    }

    /// Whether whoever begins at any version from the floor on, or at a cursor's, finds what it needs.
    async fn check(&self, context: &str) {
        let (log, floor) = (self.log(), self.floor().await);
        let head = log.head(floor.version).await.unwrap();
        let objects = self.state.objects();
        for version in floor.version + 1..=head {
            assert!(objects.contains_key(&change_key(version)), "{context}: {version} is gone above {floor:?}");
        }
        assert!(
            floor.version == 0 || objects.contains_key(&SnapshotName::of(floor.version).key()),
            "{context}: the floor stands on nothing: {floor:?}, {:?}",
            snapshot::list(&self.state).await.unwrap()
        );
        let lowest = floor.version.max(1);
        for version in [lowest, lowest + 1, lowest.midpoint(head), head] {
            let sources = FoldSources { state: &self.state, log: &log, limit: 1 << 20 };
            fold(sources, version).await.unwrap_or_else(|error| panic!("{context}: no fold at {version}: {error}"));
        }
        for (key, bytes) in objects.iter().filter(|(key, _)| key.starts_with("cursors/")) {
            let cursor = Cursor::decode(bytes).unwrap();
            assert!(cursor.version >= floor.version, "{context}: {key} at {} is under {floor:?}", cursor.version);
        }
    }
}

/// Days on, with a floor that is about to rise further, as the keeper was away for some hours.
async fn about_to_rise() -> World {
    static BUILT: OnceCell<World> = OnceCell::const_new();
    let build = async || {
        let world = World::new();
        world.hours(62).await;
        for _ in 0..8 {
            let head = world.hour().await;
            world.set_cursor(SHARD, head).await;
        }
        world
    };
    let built = BUILT.get_or_init(build).await;
    let world = World::new();
    let objects = built.state.objects();
    for listed in facts::list_all(&built.state, "").await.unwrap() {
        world.clock.set(listed.modified);
        world.state.insert(&listed.key, objects[&listed.key].clone());
    }
    world.clock.set(built.clock.now());
    world
}

#[tokio::test]
async fn over_days_the_floor_follows_and_few_files_stay() {
    let world = World::new();
    let (mut floors, mut most) = (BTreeSet::new(), 0);
    for day in 0..8 {
        world.hours(24).await;
        floors.insert(world.floor().await.version);
        most = most.max(snapshot::list(&world.state).await.unwrap().len());
        world.check(&format!("day {day}")).await;
    }
    let (floor, head) = (world.floor().await, world.log().head(0).await.unwrap());
    assert!(head - floor.version < 48 + 8, "two days and an eighth of them: {floor:?} of {head}");
    assert_eq!(floor.expired, floor.version);
    assert!(floors.len() > 4 && most < 16, "{floors:?}, {most}");
    let first = world.state.objects().into_keys().find(|key| key.starts_with("changes/")).unwrap();
    assert_eq!(first, change_key(floor.version + 1), "what lies under the floor is gone");
}

#[tokio::test]
async fn what_was_given_up_and_is_still_there_is_given_up_once() {
    let world = World::new();
    world.stores.keep_given_up();
    world.hours(70).await;
    let given_up = world.state.given_up();
    assert!(given_up.iter().any(|key| key.starts_with("changes/")));
    assert!(given_up.iter().any(|key| key.starts_with("snapshots/")));
    let keeper = world.keeper();
    keeper.run("{}").await.unwrap();
    assert_eq!(keeper.gate.count("EXPIRE"), 0);
    for key in given_up {
        assert!(world.state.vanish(&key));
    }
    world.check("all gone").await;
    world.hours(20).await;
    world.check("a day later").await;
}

#[tokio::test]
async fn a_cursor_left_behind_holds_the_floor_until_its_shard_or_pipeline_is_gone() {
    let world = World::new();
    world.hours(10).await;
    let stays = world.log().head(0).await.unwrap();
    world.set_cursor("shardId-000000000001", stays).await;
    world.hours(80).await;
    let floor = world.floor().await.version;
    assert!((stays - 6..=stays).contains(&floor), "{floor}");
    let summary = world.keeper().run("{}").await.unwrap();
    let hold = summary.expiry.unwrap().hold.unwrap();
    assert_eq!((hold.version, hold.cursor.as_str()), (stays, "cursors/p/orders/shardId-000000000001.json"));
    world.check("held").await;
    world.state.insert("pipelines/p/_retired.json", "{}");
    world.keeper().run("{}").await.unwrap();
    assert!(world.floor().await.version > stays);
}

#[tokio::test]
async fn a_cursor_that_cannot_be_read_is_named_and_nothing_rises() {
    let world = about_to_rise().await;
    let before = world.floor().await.version;
    world.state.insert(&cursor_key("p", "orders", "shardId-000000000001"), "{");
    let error = world.keeper().run("{}").await.unwrap_err().to_string();
    assert!(error.contains("expiry: ") && error.contains("shardId-000000000001"), "{error}");
    assert_eq!(world.floor().await.version, before);
    // Of a shard that the stream no longer knows it does not matter.
    world.state.remove(&cursor_key("p", "orders", "shardId-000000000001"));
    world.state.insert(&cursor_key("p", "orders", "shardId-000000000009"), "{");
    world.keeper().run("{}").await.unwrap();
    assert!(world.floor().await.version > before);
}

#[tokio::test]
async fn the_floor_stands_on_sound_files_that_hold_every_base() {
    let world = about_to_rise().await;
    let before = world.floor().await.version;
    let target = risen_to().await;
    let sound = world.state.objects()[&SnapshotName::of(target).key()].clone();
    world.state.insert(&SnapshotName::of(target).key(), sound.slice(..sound.len() - 1));
    world.keeper().run("{}").await.unwrap();
    assert!((before..target).contains(&world.floor().await.version));

    let world = about_to_rise().await;
    // It came to be at this version, unnoticed by the snapshot file of the same.
    world.state.insert("snapshots/_base/U.jsonl", base(target));
    world.keeper().run("{}").await.unwrap();
    assert!((before..target).contains(&world.floor().await.version));

    let world = about_to_rise().await;
    world.state.insert("snapshots/_base/U.jsonl", base(target + 1));
    world.keeper().run("{}").await.unwrap();
    assert_eq!(world.floor().await.version, target);

    let world = about_to_rise().await;
    world.state.insert("snapshots/_base/U.jsonl", "no base");
    let error = world.keeper().run("{}").await.unwrap_err().to_string();
    assert!(error.contains("expiry: ") && error.contains("snapshots/_base/U.jsonl"), "{error}");
}

/// What an undisturbed keeper raises the floor to.
async fn risen_to() -> Version {
    let world = about_to_rise().await;
    let before = world.floor().await.version;
    world.keeper().run("{}").await.unwrap();
    let after = world.floor().await.version;
    assert!(after > before);
    after
}

#[tokio::test]
async fn no_fault_at_any_call_loses_anything_and_the_next_run_comes_to_the_same_end() {
    let target = risen_to().await;
    for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::LostAnswer, Fault::Fail] {
        for place in 0.. {
            let world = about_to_rise().await;
            let calls = Arc::new(AtomicUsize::new(0));
            let (counter, struck) = (Arc::clone(&calls), fault.clone());
            let faults = move |_: &Call<'_>| match counter.fetch_add(1, Ordering::Relaxed) {
                call if call == place => struck.clone(),
                _ => Fault::None,
            };
            drop(world.keeper_with(Arc::new(faults)).run_or_die("{}").await);
            if calls.load(Ordering::Relaxed) <= place {
                break;
            }
            let context = format!("{fault:?} at call {place}");
            world.check(&context).await;
            world.keeper().run("{}").await.unwrap();
            world.check(&context).await;
            let floor = world.floor().await;
            assert_eq!((floor.version, floor.rising, floor.expired), (target, target, target), "{context}");
            let objects = world.state.objects();
            let first = objects.keys().find(|key| key.starts_with("changes/"));
            assert_eq!(first, Some(&change_key(target + 1)), "{context}");
        }
    }
}

/// Does something right before one of a keeper's writes of the floor: the first is its announcement.
async fn before_write(nth: u32, world: &Arc<World>, act: impl FnOnce(&World) + Send + 'static) {
    let (act, shared) = (Mutex::new((Some(act), nth)), Arc::clone(world));
    let faults = move |call: &Call<'_>| {
        if call.operation == "PUT" && call.key.ends_with("floor.json") {
            let (act, left) = &mut *act.lock().unwrap();
            *left = left.saturating_sub(1);
            if let Some(act) = act.take_if(|_| *left == 0) {
                act(&shared);
            }
        }
        Fault::None
    };
    world.keeper_with(Arc::new(faults)).run("{}").await.unwrap();
}

/// An empty base of another table.
fn base(version: Version) -> String {
    format!(
        r#"{{"freshjoin":"base/1","reference":"U","version":{version},"scan_started":"2026-09-01T00:00:00Z","rows":0}}"#
    )
}

#[tokio::test]
async fn what_lands_between_the_first_look_and_the_announcement_is_seen_by_the_second() {
    let target = risen_to().await;
    let world = Arc::new(about_to_rise().await);
    let before = world.floor().await.version;
    let description = world.stream.describe().await.unwrap();
    let pin = Cursor::new(&description, target - 1, Location::new("s3://o")).encode().unwrap();
    let key = cursor_key("p", "orders", "shardId-000000000001");
    before_write(1, &world, move |world| world.state.insert(&key, pin)).await;
    let floor = world.floor().await;
    assert!((before..target).contains(&floor.version), "{floor:?}");
    assert_eq!(floor.rising, floor.version, "nothing stays announced");
    world.check("a pin").await;

    let world = Arc::new(about_to_rise().await);
    before_write(1, &world, move |world| world.state.insert("snapshots/_base/U.jsonl", base(target))).await;
    assert!((before..target).contains(&world.floor().await.version), "a base");
}

#[tokio::test]
async fn a_base_that_lands_at_the_very_floor_after_the_second_look_is_a_beginning() {
    let target = risen_to().await;
    let world = Arc::new(about_to_rise().await);
    before_write(2, &world, move |world| world.state.insert("snapshots/_base/U.jsonl", base(target))).await;
    assert_eq!(world.floor().await.version, target);
    let holds = |name: SnapshotName| {
        let bytes = world.state.objects()[&name.key()].clone();
        SnapshotFile::decode(name, bytes).unwrap().base_of("U").map(|base| base.version)
    };
    assert_eq!(holds(SnapshotName::of(target)), None);
    // Every fold from there on holds it; and the floor rises to such a one only.
    let head = world.log().head(target).await.unwrap();
    let folded = {
        let log = world.log();
        fold(FoldSources { state: &world.state, log: &log, limit: 1 << 20 }, head).await.unwrap()
    };
    assert_eq!(folded.base_of("U").map(|base| base.version), Some(target));
    world.hours(70).await;
    let floor = world.floor().await.version;
    assert!(floor > target);
    assert_eq!(holds(SnapshotName::of(floor)), Some(target));
    world.check("days on").await;
}

#[tokio::test]
async fn racing_keepers_lose_nothing() {
    let target = risen_to().await;
    for ahead in 0..60 {
        let world = about_to_rise().await;
        let (one, other) = (world.keeper(), world.keeper());
        {
            let mut first = pin!(one.run("{}"));
            for _ in 0..ahead {
                if poll_immediate(&mut first).await.is_some() {
                    break;
                }
            }
        }
        // The first one was dropped where it stood; a third races with the second from the start.
        let third = world.keeper();
        drop(join(other.run("{}"), third.run("{}")).await);
        world.check(&format!("{ahead} polls ahead")).await;
        world.keeper().run("{}").await.unwrap();
        assert_eq!(world.floor().await.version, target, "{ahead} polls ahead");
    }
}

/// Polls a future so often; whether it has ended.
async fn polled<F: Future + Unpin>(future: &mut F, times: usize) -> bool {
    for _ in 0..times {
        if poll_immediate(&mut *future).await.is_some() {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn a_keeper_that_slept_for_days_at_any_point_takes_nothing_that_is_needed() {
    for polls in (0..).step_by(3) {
        let world = about_to_rise().await;
        let slow = world.keeper();
        let mut sleeper = pin!(crate::handle("{}", &slow.keeper, world.clock.now().plus_millis(i64::MAX / 4)));
        if polled(&mut sleeper, polls).await {
            break;
        }
        world.hours(60).await;
        world.check(&format!("asleep after {polls} polls")).await;
        drop(sleeper.await);
        world.check(&format!("awake after {polls} polls")).await;
        world.hours(9).await;
        world.check(&format!("long after {polls} polls")).await;
    }
}
