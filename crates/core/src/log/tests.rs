//! The log's promises under faults and races, on memory ports.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::value::RawValue;

use super::*;
use crate::change::{Change, Origin, RowChange};
use crate::location::Location;
use crate::memory::{Fault, Gate, MemoryClock, MemoryStore, MemoryStores, Script};

pub(super) struct World {
    pub(super) clock: MemoryClock,
    pub(super) store: MemoryStore,
}

/// A process that knows nothing of the log yet.
struct Process {
    log: ChangeLog,
    script: Arc<Script>,
    gate: Gate,
}

impl World {
    pub(super) fn new() -> Self {
        let clock = MemoryClock::at(Timestamp::from_millis(1_790_000_000_000));
        let store = MemoryStores::new(&clock).store(&Location::new("s3://state/p")).unwrap();
        Self { clock, store }
    }

    fn process(&self) -> Process {
        let script = Arc::new(Script::default());
        let gate = Gate::new(script.clone());
        let log = ChangeLog::new(Arc::new(self.store.through(&gate)), Arc::new(self.clock.clone()));
        Process { log, script, gate }
    }

    /// The change files after a version, after checking that they are contiguous.
    pub(super) fn files(&self, after: Version) -> Vec<ChangeFile> {
        let objects = self.store.objects();
        let found = objects.iter().filter_map(|(key, bytes)| Some((version_of(key)?, bytes)));
        let files: Vec<_> = found
            .filter(|(version, _)| *version > after)
            .map(|(version, bytes)| ChangeFile::decode(version, bytes).unwrap())
            .collect();
        assert!(files.iter().map(|file| file.version).eq(after + 1..=after + files.len() as u64), "a gap");
        files
    }

    /// Whose change files these are, after checking that they have an id each.
    fn writers(&self, after: Version) -> Vec<String> {
        let files = self.files(after);
        let ids: BTreeSet<_> = files.iter().map(|file| &file.id).collect();
        assert_eq!(ids.len(), files.len(), "an id twice");
        files.into_iter().map(|file| file.origin.source).collect()
    }

    fn set_floor(&self, version: Version) {
        self.store.insert("floor.json", format!(r#"{{"freshjoin":"floor/1","version":{version}}}"#));
    }
}

pub(super) fn batch(writer: &str) -> (Origin, Vec<Change>) {
    let origin = Origin { source: writer.into(), label: "l".into(), range: "1-2".into() };
    let key = RawValue::from_string(r#"{"item":"burger"}"#.into()).unwrap();
    let change = RowChange {
        table: "T".into(),
        key: key.clone(),
        row: Some(key),
        label: "l".into(),
        sequence: "7".into(),
        at: Timestamp::default(),
        unless_after: None,
    };
    (origin, vec![Change::Row(change)])
}

impl Process {
    async fn append(&self, writer: &str) -> Result<Appended, AppendError> {
        let (origin, changes) = batch(writer);
        self.log.append(origin, changes).await
    }

    async fn version(&self, writer: &str) -> Version {
        self.append(writer).await.unwrap().version
    }
}

#[tokio::test]
async fn versions_rise_by_one_and_a_known_head_costs_one_write() {
    let world = World::new();
    let process = world.process();
    assert_eq!(process.version("a").await, 1);
    process.gate.reset();
    assert_eq!(process.version("b").await, 2);
    assert_eq!((process.gate.count("PUT"), process.gate.count("LIST"), process.gate.count("GET")), (1, 0, 1));
    process.gate.reset();
    assert_eq!(process.version("c").await, 3);
    assert_eq!(process.gate.count("PUT"), 1, "the head that is known is the newest");
    assert_eq!(world.process().version("d").await, 4);
    assert_eq!(world.writers(0), ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_redelivery_is_not_appended_again_by_this_or_another_process() {
    let world = World::new();
    let process = world.process();
    let first = process.append("a").await.unwrap();
    assert!(!first.already);
    for again in [process.append("a").await.unwrap(), world.process().append("a").await.unwrap()] {
        assert_eq!((again.version, again.already, &again.bytes), (1, true, &first.bytes));
        assert_eq!(again.flag(), first.flag());
    }
    assert_eq!(world.writers(0), ["a"]);
}

#[tokio::test]
async fn lost_and_late_answers_give_one_file() {
    for fault in [Fault::LostAnswer, Fault::LateWrite(0), Fault::LateWrite(3), Fault::CrashAfter, Fault::CrashBefore] {
        let world = World::new();
        world.process().append("x").await.unwrap();
        let process = world.process();
        process.script.add("PUT", [fault.clone()]);
        let first = process.gate.crash().guard(process.append("a")).await;
        if matches!(fault, Fault::LostAnswer | Fault::LateWrite(0)) {
            assert_eq!(first.unwrap().unwrap().version, 2, "{fault:?}");
        }
        let other = world.process();
        assert_eq!(other.version("a").await, 2, "{fault:?}");
        assert_eq!(other.version("y").await, 3, "{fault:?}");
        assert_eq!(world.writers(0), ["x", "a", "y"], "{fault:?}");
    }
}

#[tokio::test]
async fn a_busy_number_is_tried_again_and_never_passed_over() {
    let world = World::new();
    let process = world.process();
    process.script.add("PUT", vec![Fault::Busy; 7]);
    let before = world.clock.now();
    assert_eq!(process.version("a").await, 1);
    let waited = [40, 80, 160, 320, 640, 640, 640].iter().sum::<i64>();
    assert_eq!(world.clock.now().millis() - before.millis(), waited, "it waits longer each time, up to a bound");
    process.script.add("PUT", vec![Fault::Busy; 100]);
    let error = process.append("b").await.unwrap_err();
    assert!(matches!(error, AppendError::Busy { version: 2, attempts: 8 }) && error.is_transient());
    assert_eq!(world.writers(0), ["a"]);
}

#[tokio::test]
async fn racing_writers_get_a_number_each() {
    let world = World::new();
    let names: Vec<String> = (0..24).map(|n| format!("w{n:02}")).collect();
    let processes: Vec<_> = names.iter().map(|_| world.process()).collect();
    let versions = join_all(names.iter().zip(&processes).map(|(name, process)| process.version(name))).await;
    let distinct: BTreeSet<_> = versions.iter().copied().collect();
    assert_eq!(distinct, (1..=24).collect());
    let mut writers = world.writers(0);
    writers.sort();
    assert_eq!(writers, names);
}

#[tokio::test]
async fn a_writer_far_behind_lists_instead_of_probing_all_the_way() {
    let world = World::new();
    let behind = world.process();
    assert_eq!(behind.version("a").await, 1);
    let ahead = world.process();
    for n in 2..=40 {
        assert_eq!(ahead.version(&format!("{n}")).await, n);
    }
    behind.gate.reset();
    assert_eq!(behind.version("b").await, 41);
    // Three numbers that are taken, a listing and the empty one after it, and the number after what was listed.
    assert_eq!((behind.gate.count("PUT"), behind.gate.count("LIST")), (4, 2));
}

#[tokio::test]
async fn an_append_up_to_the_floor_is_made_again_above_it() {
    for floor in [2, 4] {
        let world = World::new();
        let stale = world.process();
        assert_eq!(stale.version("1").await, 1);
        let other = world.process();
        for n in 2..=5 {
            other.version(&format!("{n}")).await;
        }
        world.set_floor(floor);
        for n in 1..=floor {
            world.store.remove(&change_key(n));
        }
        // The stale process takes number 2, which was taken before; nobody may read it there.
        assert_eq!(stale.version("b").await, 6);
        let stay = (floor + 1..=5).map(|n| n.to_string());
        assert_eq!(world.writers(floor), stay.chain(["b".into()]).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_stands_at_the_floor_is_appended_again() {
    let world = World::new();
    assert_eq!(world.process().version("a").await, 1);
    // Its file is there still, but may be expired before anybody reads it.
    world.set_floor(1);
    assert_eq!(world.process().version("a").await, 2);
}

#[tokio::test]
async fn a_floor_that_cannot_be_read_counts_no_append() {
    let world = World::new();
    let process = world.process();
    assert_eq!(process.version("a").await, 1);
    process.script.add("GET", [Fault::Fail]);
    assert!(process.append("b").await.unwrap_err().is_transient());
    assert_eq!(process.version("b").await, 2);
    world.store.insert("floor.json", "{");
    let error = process.append("c").await.unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("floor.json"), "{error}");
    world.store.insert("floor.json", r#"{"freshjoin":"floor/2","version":1}"#);
    assert!(process.log.floor().await.unwrap_err().to_string().contains("upgrade"));
}

#[tokio::test]
async fn what_could_not_be_decoded_is_not_written() {
    let world = World::new();
    let (origin, mut changes) = batch("a");
    let Change::Row(row) = &mut changes[0] else { panic!("a row") };
    row.key = RawValue::from_string("3".into()).unwrap();
    let error = world.process().log.append(origin, changes).await.unwrap_err();
    assert!(matches!(error, AppendError::Undecodable(_)) && !error.is_transient());
    assert!(world.store.objects().is_empty());
}

#[tokio::test]
async fn the_head_is_found_in_few_calls_however_long_the_log() {
    let world = World::new();
    for version in 1..=25_000 {
        world.store.insert(&change_key(version), "x");
    }
    world.store.insert("changes/00000000000000000042.json.bak", "x");
    world.store.insert("changes/zzz", "x");
    let reader = world.process();
    assert_eq!(reader.log.head(0).await.unwrap(), 25_000);
    assert!(reader.gate.count("LIST") <= 14, "{:?}", reader.gate.counts());
    reader.gate.reset();
    assert_eq!(reader.log.head(25_000).await.unwrap(), 25_000);
    assert_eq!((reader.gate.count("GET"), reader.gate.count("LIST")), (1, 0));
    let listed = reader.log.list_modified(23_500).await.unwrap();
    assert_eq!((listed.len(), listed[0].0, listed[1499].0), (1500, 23_501, 25_000));
    assert_eq!(listed[0].1.millis() % 1000, 0);
}

#[tokio::test]
async fn short_listings_hide_nothing() {
    let world = World::new();
    for version in 1..=50 {
        world.store.insert(&change_key(version), "x");
    }
    let reader = world.process();
    reader.script.add("LIST", vec![Fault::Short(1); 1000]);
    assert_eq!(reader.log.head(0).await.unwrap(), 50);
    assert_eq!(reader.log.list_modified(0).await.unwrap().len(), 50);
}

#[tokio::test]
async fn a_range_is_whole_and_in_order_or_an_error() {
    let world = World::new();
    let process = world.process();
    for n in 1..=40 {
        process.version(&format!("{n}")).await;
    }
    let range = process.log.read_range(3, 40).await.unwrap();
    assert!(range.iter().map(|(file, _)| file.version).eq(4..=40));
    assert!(process.log.read_range(40, 40).await.unwrap().is_empty());
    let file = world.store.objects()[&change_key(20)].clone();
    world.store.insert(&change_key(20), "garbage");
    let poison = process.log.read_range(0, 40).await.unwrap_err();
    assert!(matches!(poison, ReadError::Poison { version: 20, .. }) && !poison.is_transient());
    let newer = String::from_utf8(file.to_vec()).unwrap().replace("change-file/1", "change-file/2");
    world.store.insert(&change_key(20), newer);
    assert!(matches!(process.log.read(20).await, Err(ReadError::Newer { version: 20, .. })));
    world.store.remove(&change_key(20));
    assert!(matches!(process.log.read_range(0, 40).await, Err(ReadError::Gap { version: 20, .. })));
    assert!(process.log.read(20).await.unwrap().is_none());
    process.script.add("GET", [Fault::Fail]);
    assert!(process.log.read_range(30, 40).await.unwrap_err().is_transient());
}

#[tokio::test]
async fn a_missing_file_is_believed_only_above_a_recent_floor() {
    let world = World::new();
    let process = world.process();
    assert_eq!(process.version("a").await, 1);
    let reader = world.process();
    assert_eq!(reader.log.head(0).await.unwrap(), 1);
    world.set_floor(9);
    assert_eq!(reader.log.head(0).await.unwrap(), 1);
    world.clock.advance(Duration::from_secs(3600));
    reader.script.add("GET", [Fault::Fail]);
    assert!(reader.log.head(1).await.unwrap_err().is_transient());
    assert!(matches!(reader.log.read_range(0, 3).await, Err(ReadError::Expired { version: 1, floor: 9 })));
    assert_eq!(reader.log.head(0).await.unwrap(), 9);
}

#[test]
fn only_the_exact_keys_are_change_files() {
    assert_eq!(version_of("changes/00000000000000000042.json"), Some(42));
    for key in [
        "changes/00000000000000000000.json",
        "changes/42.json",
        "changes/0000000000000000004x.json",
        "changes/00000000000000000042.json.bak",
        "changes/99999999999999999999.json",
        "snapshots/00000000000000000042.json",
    ] {
        assert_eq!(version_of(key), None, "{key}");
    }
}

#[tokio::test]
async fn the_floor_is_replaced_by_whoever_holds_it_and_never_sinks() {
    let world = World::new();
    let process = world.process();
    let none = process.log.held_floor().await.unwrap();
    assert_eq!(none.floor, Floor::default());
    let to = |version, rising, expired| Floor { version, rising, expired, ..Floor::default() };
    let announced = process.log.replace_floor(&none, to(0, 5, 0)).await.unwrap().unwrap();
    assert!(process.log.replace_floor(&none, to(0, 4, 0)).await.unwrap().is_none(), "somebody else was faster");
    let raised = process.log.replace_floor(&announced, to(5, 5, 0)).await.unwrap().unwrap();
    assert_eq!(world.process().log.floor().await.unwrap(), to(5, 5, 0));
    for sinking in [to(4, 5, 0), to(5, 4, 0), to(5, 5, 6)] {
        let error = process.log.replace_floor(&raised, sinking.clone()).await.unwrap_err();
        assert!(matches!(error, FloorError::Sinking { .. }) && !error.is_transient(), "{sinking:?}");
    }
    world.set_floor(7);
    assert_eq!(process.log.floor().await.unwrap(), to(7, 7, 0), "what is not said");
}

#[tokio::test]
async fn who_was_overtaken_notices_even_if_the_floor_says_the_same_again() {
    let process = World::new().process();
    let none = process.log.held_floor().await.unwrap();
    let rising = |rising| Floor { rising, ..Floor::default() };
    let first = process.log.replace_floor(&none, rising(9)).await.unwrap().unwrap();
    let second = process.log.replace_floor(&first, rising(5)).await.unwrap().unwrap();
    let third = process.log.replace_floor(&second, rising(9)).await.unwrap().unwrap();
    assert_eq!(third.floor, first.floor);
    assert!(process.log.replace_floor(&first, Floor { version: 9, ..rising(9) }).await.unwrap().is_none());
    let again = process.log.held_floor().await.unwrap();
    assert!(process.log.replace_floor(&again, Floor { version: 9, ..rising(9) }).await.unwrap().is_some());
}

#[tokio::test]
async fn the_floor_comes_to_stand_only_on_what_stays() {
    let process = World::new().process();
    let none = process.log.held_floor().await.unwrap();
    let floor =
        |version, thinned, kept: &[Version]| Floor { version, rising: version, expired: 0, thinned, kept: kept.into() };
    let thinned = process.log.replace_floor(&none, floor(2, 9, &[4, 7])).await.unwrap().unwrap();
    assert_eq!(process.log.floor().await.unwrap(), floor(2, 9, &[4, 7]));
    assert!((0..=11).filter(|version| thinned.floor.keeps(*version)).eq([2, 4, 7, 10, 11]));
    for wrong in [floor(2, 8, &[4]), floor(3, 9, &[4]), floor(8, 9, &[]), floor(2, 9, &[4, 5])] {
        let error = process.log.replace_floor(&thinned, wrong.clone()).await.unwrap_err();
        assert!(matches!(error, FloorError::Sinking { .. }), "{wrong:?}");
    }
    assert!(process.log.replace_floor(&thinned, floor(7, 12, &[11])).await.unwrap().is_some());
}

#[tokio::test]
async fn an_append_below_an_announced_floor_is_made_again_above_it() {
    let world = World::new();
    let stale = world.process();
    assert_eq!(stale.version("a").await, 1);
    let other = world.process();
    for n in 2..=5 {
        other.version(&format!("{n}")).await;
    }
    world.store.insert("floor.json", r#"{"freshjoin":"floor/1","version":1,"rising":4}"#);
    (2..=3).for_each(|n| assert!(world.store.remove(&change_key(n))));
    assert_eq!(stale.version("b").await, 6);
}

#[tokio::test]
async fn the_newest_by_a_time_is_found_in_few_calls_however_long_the_log() {
    let world = World::new();
    let start = world.clock.now();
    for version in 1..=12_345 {
        world.store.insert(&change_key(version), "x");
        world.clock.advance(Duration::from_secs(if version % 3 == 0 { 1 } else { 0 }));
    }
    for after in [0, 999, 5_000, 12_344] {
        for second in [-1, 0, 1, 333, 334, 1_000, 2_000, 4_000, 4_114, 4_115, 9_999] {
            let reader = world.process();
            let newest = reader.log.newest_by(after, start.plus_millis(second * 1_000)).await.unwrap();
            // Page by page it were 13 from version 999 to the end; one page needs no look at the head.
            let (lists, gets) = match after {
                999 => (10, 5),
                12_344 => (2, 0),
                _ => (23, 5),
            };
            let counts = reader.gate.counts();
            assert!(reader.gate.count("LIST") <= lists && reader.gate.count("GET") <= gets, "{counts:?}");
            let listed = reader.log.list_modified(after).await.unwrap();
            let time = start.plus_millis(second * 1_000);
            let searched = listed.iter().rev().find(|(_, modified)| *modified <= time).map_or(after, |(v, _)| *v);
            assert_eq!(newest, searched, "{after} {second}");
            reader.script.add("LIST", vec![Fault::Short(2); 40]);
            assert_eq!(reader.log.newest_by(after, time).await.unwrap(), searched, "short pages");
        }
    }
}

#[tokio::test]
async fn a_writer_s_old_memory_is_not_believed() {
    let world = World::new();
    let stale = world.process();
    assert_eq!(stale.version("a").await, 1);
    let other = world.process();
    for n in 2..=5 {
        other.version(&format!("{n}")).await;
    }
    world.set_floor(4);
    (1..=4).for_each(|n| assert!(world.store.remove(&change_key(n))));
    world.clock.advance(FRESH);
    assert_eq!(stale.version("b").await, 6);
    assert!(!world.store.objects().contains_key(&change_key(2)), "nothing is put below the floor");
}

#[tokio::test]
async fn a_missing_file_does_not_pass_for_the_end_of_the_log() {
    let world = World::new();
    let process = world.process();
    for n in 1..=6 {
        process.version(&format!("{n}")).await;
    }
    let reader = world.process();
    assert_eq!(reader.log.whole_head(0).await.unwrap(), 6);
    for missing in [1, 3, 5] {
        let file = world.store.objects()[&change_key(missing)].clone();
        world.store.remove(&change_key(missing));
        let error = world.process().log.whole_head(missing - 1).await.unwrap_err();
        assert!(matches!(error, ReadError::Gap { version, .. } if version == missing), "{missing}: {error}");
        world.store.insert(&change_key(missing), file);
    }
    world.store.insert(&change_key(8), "x");
    assert!(matches!(world.process().log.whole_head(6).await, Err(ReadError::Gap { version: 7, .. })));
}
