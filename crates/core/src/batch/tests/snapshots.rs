//! Going on from snapshot files: cold starts, expired change files, damaged files, and past a change file nobody can read.

use super::world::{SHARD, World, order, row};
use crate::batch::ProcessError;
use crate::change::{Version, change_key};
use crate::memory::Fault;
use crate::ports::Clock as _;
use crate::reference::{KnownChange, LoadError, base_key, primary_key};
use crate::snapshot::{BaseInfo, Entry, RowFields, SnapshotName, SnapshotWriter};

impl World {
    /// A snapshot file in which `a` has a priority, under its name.
    fn put_snapshot(&self, name: SnapshotName, priority: &str) {
        let mut writer = SnapshotWriter::new(name).unwrap();
        writer.table("T", Some(BaseInfo { version: 0, scan_started: self.clock.now() })).unwrap();
        let row = format!(r#"{{"item":"a","priority":"{priority}"}}"#);
        let key = r#"{"item":"a"}"#;
        let known = KnownChange { newest: Some(("l", "1")), changed: name.version };
        let primary = primary_key(key).unwrap();
        let entry = Entry { primary: &primary, key, known, row: Some(RowFields::parse(&row).unwrap()) };
        writer.push(&entry).unwrap();
        self.state.insert(&name.key(), writer.finish().unwrap());
    }

    /// Change files up to a version are gone, and a snapshot file stands there.
    fn expire(&self, floor: Version) {
        self.put_snapshot(SnapshotName::of(floor), &format!("v{floor}"));
        self.set_floor(floor);
        for version in 1..=floor {
            self.state.remove(&change_key(version));
        }
    }

    /// An order at each of so many versions, each after its flag, from the third record on.
    async fn flagged(&self, versions: Version) {
        self.send([order(0, "a"), bytes::Bytes::from_static(b"{\"freshjoin\":\"change-flag/\"}")]).await;
        self.wait(2);
        for version in 1..=versions {
            let bumped = self.bump();
            assert_eq!(bumped, version);
            self.send([self.flag(version), order(version, "a")]).await;
        }
    }
}

fn expected(versions: std::ops::RangeInclusive<Version>) -> Vec<super::world::Row> {
    let flagged = versions.map(|version| row(version, &format!("v{version}"), version));
    [row(0, "base", 0)].into_iter().chain(flagged).collect()
}

#[tokio::test]
async fn a_cold_start_reads_a_snapshot_file_and_what_follows_it_and_nothing_else() {
    let world = World::new();
    world.flagged(4).await;
    world.env().done(&world.cut(..8)).await;
    world.put_snapshot(SnapshotName::of(2), "v2");
    world.state.remove(&base_key("T"));
    let env = world.env();
    env.done(&world.cut(8..)).await;
    assert_eq!(world.rows(), expected(1..=4));
    // Definition, claim, cursor, snapshot file (and the listing of them, to its empty end); the floor, for reading the log; change files 3 and 4.
    assert_eq!((env.gate.count("GET"), env.gate.count("LIST"), env.gate.count("Scan")), (7, 2, 0));
}

#[tokio::test]
async fn a_shard_behind_the_newest_snapshot_file_uses_an_older_one() {
    let world = World::new();
    world.flagged(6).await;
    world.env().done(&world.cut(..6)).await;
    world.put_snapshot(SnapshotName::of(2), "v2");
    world.put_snapshot(SnapshotName::of(6), "v6");
    world.state.remove(&base_key("T"));
    world.env().done(&world.cut(6..)).await;
    assert_eq!(world.rows(), expected(1..=6));
}

#[tokio::test]
async fn below_the_floor_nothing_is_read() {
    let world = World::new();
    world.flagged(5).await;
    world.env().done(&world.cut(..8)).await;
    world.expire(3);
    // Another writer's file, under a number that had been expired.
    world.state.insert(&change_key(2), "{}");
    world.env().done(&world.cut(8..)).await;
    assert_eq!(world.rows(), expected(1..=5));
}

#[tokio::test]
async fn an_environment_that_the_floor_has_passed_goes_on_from_a_snapshot_file() {
    let world = World::new();
    world.flagged(6).await;
    let env = world.warm(&world.cut(..4)).await;
    world.env().done(&world.cut(4..12)).await;
    world.expire(4);
    world.wait(3_601);
    env.done(&world.cut(12..)).await;
    assert_eq!(world.rows(), expected(1..=6));
    assert_eq!((env.gate.count("LIST") > 0, env.gate.count("Scan")), (true, 0));
}

#[tokio::test]
async fn a_store_that_fails_is_no_reason_to_start_over_from_a_snapshot_file() {
    let world = World::new();
    world.flagged(3).await;
    let env = world.warm(&world.cut(..4)).await;
    world.put_snapshot(SnapshotName::of(2), "v2");
    // The cursor, and the change file that the flag names; then the one before it.
    env.script("GET", 2, Fault::Fail);
    assert!(matches!(env.fails(&world.cut(6..)).await, ProcessError::Load(LoadError::Log(_))));
    assert_eq!((env.gate.count("GET"), env.gate.count("LIST")), (3, 0));
    env.done(&world.cut(6..)).await;
    assert_eq!(world.rows(), [row(0, "base", 0), row(1, "v1", 1), row(3, "v3", 3)]);
}

#[tokio::test]
async fn a_damaged_snapshot_file_is_passed_over_where_an_older_one_will_do() {
    let world = World::new();
    world.flagged(4).await;
    world.env().done(&world.cut(..8)).await;
    world.put_snapshot(SnapshotName::of(1), "v1");
    world.state.insert(&SnapshotName::of(3).key(), "freshjoin-snapshot/1\nnonsense");
    world.env().done(&world.cut(8..)).await;
    assert_eq!(world.rows(), expected(1..=4));
}

#[tokio::test]
async fn a_damaged_snapshot_file_without_which_nothing_can_be_loaded_stops_the_shard_and_is_named() {
    let world = World::new();
    world.flagged(4).await;
    world.env().done(&world.cut(..8)).await;
    world.put_snapshot(SnapshotName::of(1), "v1");
    world.expire(3);
    let key = SnapshotName::of(3).key();
    let sound = world.state.objects()[&key].clone();
    world.state.insert(&key, sound.slice(..sound.len() - 1));
    let error = world.env().fails(&world.cut(8..)).await;
    assert!(matches!(&error, ProcessError::Load(LoadError::Snapshot { key: named, .. }) if *named == key), "{error}");
    world.state.insert(&key, sound);
    world.env().done(&world.cut(8..)).await;
    assert_eq!(world.rows(), expected(1..=4));
}

#[tokio::test]
async fn a_snapshot_file_out_of_reach_is_an_error_and_no_missing_one() {
    let world = World::new();
    world.flagged(2).await;
    world.put_snapshot(SnapshotName::of(1), "v1");
    let env = world.env();
    env.script("LIST", 1, Fault::Fail);
    assert!(matches!(env.fails(&world.cut(..)).await, ProcessError::Load(LoadError::Store(_))));
    env.done(&world.cut(..)).await;
    assert_eq!(world.rows(), expected(1..=2));
}

/// Version 3 cannot be read; the shard is at version 2.
async fn poisoned() -> World {
    let world = World::new();
    world.flagged(5).await;
    world.env().done(&world.cut(..6)).await;
    world.state.insert(&change_key(3), "poison");
    world
}

#[tokio::test]
async fn a_change_file_that_cannot_be_read_stops_the_shard_until_a_rebase_file_gets_past_it() {
    for warm in [true, false] {
        let world = poisoned().await;
        let env = world.env();
        let error = env.fails(&world.cut(6..)).await;
        assert!(matches!(&error, ProcessError::Load(LoadError::Log(_))), "{error}");
        assert!(error.to_string().contains("rebase"), "{error}");
        assert_eq!(world.cursor().unwrap().version, 2);
        world.put_snapshot(SnapshotName::rebase(3, 4), "scanned");
        let next = if warm { env } else { world.env() };
        next.done(&world.cut(6..)).await;
        let rows = [expected(1..=2), vec![row(3, "scanned", 3), row(4, "scanned", 4), row(5, "v5", 5)]].concat();
        assert_eq!(world.rows(), rows, "warm: {warm}");
    }
}

#[tokio::test]
async fn the_flag_of_a_file_that_cannot_be_read_counts_once_a_rebase_file_covers_it() {
    for damaged_before in [true, false] {
        let world = poisoned().await;
        if damaged_before {
            world.send([world.flag(3), order(6, "a")]).await;
        }
        let (from, rows) =
            if damaged_before { (12, vec![row(6, "scanned", 3)]) } else { (6, vec![row(3, "scanned", 3)]) };
        let cut = world.cut(from..from + 2);
        let error = world.env().fails(&cut).await;
        assert!(error.to_string().contains("change file 3"), "{error}");
        world.put_snapshot(SnapshotName::rebase(3, 4), "scanned");
        let env = world.env();
        env.done(&cut).await;
        assert_eq!(world.rows(), [expected(1..=2), rows].concat());
        assert_eq!((env.heard.counts().flags, env.heard.ignored().len()), (1, 0));
        assert_eq!(world.cursor_of(SHARD).unwrap().version, 3);
    }
}

#[tokio::test]
async fn a_base_that_landed_below_the_floor_is_made_anew() {
    let world = World::unscanned();
    world.orders([0]).await;
    for _ in 0..4 {
        world.bump();
    }
    world.put_base(1);
    let mut writer = SnapshotWriter::new(SnapshotName::of(3)).unwrap();
    writer.table("T", None).unwrap();
    let key = r#"{"item":"gone"}"#;
    let known = KnownChange { newest: Some(("l", "9")), changed: 2 };
    writer.push(&Entry { primary: &primary_key(key).unwrap(), key, known, row: None }).unwrap();
    world.state.insert(&SnapshotName::of(3).key(), writer.finish().unwrap());
    world.set_floor(3);
    for version in 1..=3 {
        world.state.remove(&change_key(version));
    }
    world.env().done(&world.cut(..)).await;
    assert_eq!(world.rows(), [row(0, "base", 4)], "as the table is now");
    let base = String::from_utf8(world.state.objects()[&base_key("T")].to_vec()).unwrap();
    assert!(base.contains("\"version\":4") && base.contains("\"gone\"") && base.contains("\"seq\":\"9\""), "{base}");
}

#[tokio::test]
async fn a_base_below_an_announced_floor_is_waited_for_and_never_replaced() {
    let world = World::new();
    world.orders([0]).await;
    for _ in 0..4 {
        world.bump();
    }
    let base = world.state.objects()[&base_key("T")].clone();
    world.state.insert("floor.json", r#"{"freshjoin":"floor/1","version":0,"rising":3}"#);
    let error = world.env().fails(&world.cut(..)).await;
    assert!(matches!(error, ProcessError::Load(LoadError::Rising { version: 0, rising: 3, .. })), "{error}");
    assert_eq!(world.state.objects()[&base_key("T")], base);
    world.set_floor(0);
    world.env().done(&world.cut(..)).await;
    assert_eq!(world.rows().len(), 1);
}

#[tokio::test]
async fn a_base_below_the_floor_stays_while_it_cannot_be_shown_that_nobody_uses_it() {
    for damaged in [true, false] {
        let world = World::new();
        world.flagged(4).await;
        world.env().done(&world.cut(..8)).await;
        world.expire(2);
        let (key, base) = (SnapshotName::of(2).key(), world.state.objects()[&base_key("T")].clone());
        let sound = world.state.objects()[&key].clone();
        if damaged {
            world.state.insert(&key, "x")
        } else {
            assert!(world.state.remove(&key))
        }
        let error = world.env().fails(&world.cut(8..)).await;
        let said = if damaged { key.as_str() } else { "rebase" };
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(world.state.objects()[&base_key("T")], base);
        world.state.insert(&key, sound);
        world.env().done(&world.cut(8..)).await;
        assert_eq!(world.rows(), expected(1..=4));
    }
}

#[tokio::test]
async fn the_true_flag_of_a_missing_change_file_stops_the_shard_however_the_batch_is_cut() {
    for cut in [4..8, 4..6, 6..8] {
        let world = World::new();
        world.flagged(3).await;
        world.env().done(&world.cut(..4)).await;
        let file = world.state.objects()[&change_key(2)].clone();
        world.state.remove(&change_key(2));
        let error = world.env().fails(&world.cut(cut.clone())).await;
        assert!(error.to_string().contains("change file 2"), "{error}");
        assert_eq!(world.rows(), expected(1..=1), "{cut:?}");
        world.state.insert(&change_key(2), file);
        world.env().done(&world.cut(4..)).await;
        assert_eq!(world.rows(), expected(1..=3), "{cut:?}");
    }
}

#[tokio::test]
async fn a_range_keeps_every_library_that_it_needs_beside_a_newer_one() {
    let world = World::new();
    world.flagged(9).await;
    world.env().done(&world.cut(..6)).await;
    world.put_snapshot(SnapshotName::of(8), "v8");
    world.state.insert(&change_key(4), "poison");
    world.put_snapshot(SnapshotName::rebase(4, 5), "scanned");
    let env = world.env();
    let consumer = &env.consumer;
    consumer.engine.ensure(consumer.sources(), 9).await.unwrap();
    // Versions 2 and 3 come from the base, 4 and 5 from the rebase file; the environment stands at 9.
    env.done(&world.cut(6..12)).await;
    let rows = [row(4, "scanned", 4), row(5, "scanned", 5)];
    assert_eq!(world.rows(), [expected(1..=3), rows.to_vec()].concat());
    assert_eq!(env.heard.reports().len(), 1, "in one range");
}
