//! Gaps, restores and races: what a reconcile appends, and what it must never do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use freshjoin_core::change::{Change, RowChange, Version};
use freshjoin_core::memory::{Call, Fault, Script};

use super::look::{at_once, row, rows};
use super::{DEFINITION, World};
use crate::{KeeperError, Reconciled};

const RECONCILE: &str = r#"{"task":"reconcile"}"#;
const FORCED: &str = r#"{"task":"reconcile","force":true}"#;

/// Ten rows, of which the base was made, and then some changes that the log has.
async fn world() -> World {
    let world = World::new();
    (0..10).for_each(|n| world.put(&format!("i{n}"), "base"));
    world.keeper().run(r#"{"task":"bootstrap"}"#).await.unwrap();
    for (number, n, priority) in [("10", 0, Some("p")), ("20", 1, Some("p")), ("30", 2, None)] {
        let item = format!("i{n}");
        world.captured("l", number, &item, priority).await;
        match priority {
            Some(priority) => world.put(&item, priority),
            None => world.delete(&item),
        }
    }
    world
}

async fn reconcile(world: &World, event: &str) -> Result<Reconciled, KeeperError> {
    world.keeper().run(event).await.map(|mut summary| summary.reconcile.remove(0))
}

/// Puts, deletes, rounds, and whether it settled.
fn counts(done: &Reconciled) -> (u64, u64, u32, bool) {
    assert!(done.has_base);
    (done.puts, done.deletes, done.rounds, done.settled)
}

fn changes(world: &World, version: Version) -> Vec<RowChange> {
    let file = world.file(version);
    assert_eq!((file.origin.source.as_str(), file.origin.label.as_str()), ("log-keeper reconcile", ""));
    let row = |change| if let Change::Row(row) = change { row } else { panic!("a row") };
    file.changes.into_iter().map(row).collect()
}

/// A keeper in whose run, at the call of an operation with this number, something happens first.
fn disturbed(
    world: &Arc<World>,
    operation: &'static str,
    at: usize,
    what: impl Fn(&World) + Send + Sync + 'static,
) -> super::Keeper {
    let (inner, count) = (Arc::clone(world), AtomicUsize::new(0));
    world.keeper_with(Arc::new(move |call: &Call<'_>| {
        let matching = call.operation == operation && (operation != "PUT" || call.key.contains("changes/"));
        if matching && count.fetch_add(1, Ordering::Relaxed) == at {
            what(&inner);
        }
        Fault::None
    }))
}

#[tokio::test]
async fn what_agrees_is_left_alone() {
    let world = world().await;
    let head = world.head().await;
    assert_eq!(counts(&reconcile(&world, RECONCILE).await.unwrap()), (0, 0, 1, true));
    assert_eq!(world.head().await, head);
}

#[tokio::test]
async fn a_gap_is_filled_with_what_the_table_has_and_announced() {
    let world = world().await;
    world.put("i0", "unheard");
    world.put("i3", "unheard");
    world.put("i2", "back");
    world.put("new", "unheard");
    world.delete("i1");
    world.delete("i4");
    let done = reconcile(&world, RECONCILE).await.unwrap();
    assert_eq!((counts(&done), done.version), ((4, 2, 2, true), Some(4)));
    world.assert_settled("filled").await;
    let found: Vec<_> = changes(&world, 4)
        .into_iter()
        .map(|change| (change.key.get().to_owned(), change.label, change.sequence.to_string(), change.unless_after))
        .collect();
    let of = |key: &str, label: &str, number: &str| (key.to_owned(), label.to_owned(), number.to_owned(), Some(3));
    for expected in [
        of(r#"{"item":"i0"}"#, "l", "10"),
        of(r#"{"item":"i1"}"#, "l", "20"),
        of(r#"{"item":"i2"}"#, "l", "30"),
        of(r#"{"item":"i3"}"#, "", "0"),
        of(r#"{"item":"new"}"#, "", "0"),
    ] {
        assert!(found.contains(&expected), "{expected:?} in {found:?}");
    }
    for shard in world.open().await {
        assert_eq!(world.flags(&shard).last(), Some(&4));
    }
}

#[tokio::test]
async fn what_really_happened_meanwhile_is_never_undone() {
    // i0 is changed, captured and changed back in the table's stream while the table is read, or before the append.
    for (operation, calls) in [("Scan", 4), ("PUT", 1)] {
        for at in 0..calls {
            for twice in [false, true] {
                let case = format!("{operation} {at} {twice}");
                let world = Arc::new(world().await);
                world.put("i0", "unheard");
                let keeper = disturbed(&world, operation, at, move |world| {
                    at_once(world.captured("l", "11", "i0", Some("unheard")));
                    if twice {
                        world.put("i0", "newest");
                        at_once(world.captured("l", "12", "i0", Some("newest")));
                    }
                });
                let done = keeper.run(RECONCILE).await.unwrap().reconcile.remove(0);
                assert!(done.settled, "{case}");
                world.assert_settled(&case).await;
                let newest = if twice { "newest" } else { "unheard" };
                // At no version in between either.
                for version in if twice { 5 } else { 4 }..=world.head().await {
                    let rows = rows(&world.fold_to(version).await);
                    assert_eq!(rows[r#"{"item":"i0"}"#], row("i0", newest), "{case} at {version}");
                }
                // What comes later still wins.
                world.put("i0", "later");
                world.captured("l", "13", "i0", Some("later")).await;
                world.assert_settled(&case).await;
            }
        }
    }
}

#[tokio::test]
async fn an_old_change_that_is_appended_again_neither_stops_nor_undoes_it() {
    for before in [true, false] {
        let world = Arc::new(world().await);
        world.put("i0", "unheard");
        let keeper = disturbed(&world, "PUT", 0, move |world| {
            if before {
                // The same change, in a batch that was cut otherwise.
                at_once(world.captured("l", "10", "i0", Some("p")));
                at_once(world.captured("l", "09", "i0", Some("older")));
            }
        });
        keeper.run(RECONCILE).await.unwrap();
        world.captured("l", "10", "i0", Some("p")).await;
        world.captured("l", "8", "i0", None).await;
        world.assert_settled("stale").await;
    }
}

#[tokio::test]
async fn a_change_on_its_way_is_appended_twice_and_does_no_harm() {
    let world = world().await;
    world.put("i5", "on its way");
    assert_eq!(counts(&reconcile(&world, RECONCILE).await.unwrap()), (1, 0, 2, true));
    world.captured("l", "40", "i5", Some("on its way")).await;
    assert_eq!(counts(&reconcile(&world, RECONCILE).await.unwrap()), (0, 0, 1, true));
    world.delete("i5");
    world.captured("l", "41", "i5", None).await;
    world.assert_settled("deleted").await;
}

#[tokio::test]
async fn a_recreated_table_s_stream_has_a_later_label_and_wins() {
    let world = world().await;
    world.tables.create("T", &["item"]);
    (0..9).for_each(|n| world.put(&format!("i{n}"), "recreated"));
    assert_eq!(counts(&reconcile(&world, RECONCILE).await.unwrap()), (9, 1, 2, true));
    world.assert_settled("recreated").await;
    world.put("i0", "first");
    world.captured("m", "1", "i0", Some("first")).await;
    world.assert_settled("a smaller number under a later label").await;
}

#[tokio::test]
async fn a_table_restored_to_an_earlier_time_is_followed_back() {
    let world = world().await;
    world.tables.create("T", &["item"]);
    (0..10).for_each(|n| world.put(&format!("i{n}"), "base"));
    assert_eq!(counts(&reconcile(&world, RECONCILE).await.unwrap()), (3, 0, 2, true));
    world.assert_settled("restored").await;
    // What the old table's stream still has is no news.
    world.captured("l", "20", "i1", Some("p")).await;
    world.captured("l", "30", "i2", None).await;
    world.assert_settled("old news").await;
}

#[tokio::test]
async fn a_mass_deletion_is_refused_unless_it_is_forced() {
    let world = world().await;
    (0..5).filter(|n| *n != 2).for_each(|n| world.delete(&format!("i{n}")));
    world.put("i9", "changed");
    let gone_in_part = reconcile(&world, RECONCILE).await.unwrap();
    assert_eq!(counts(&gone_in_part), (1, 4, 2, true), "4 of 9 rows");
    (5..8).for_each(|n| world.delete(&format!("i{n}")));
    world.put("i9", "changed again");
    let head = world.head().await;
    let error = reconcile(&world, RECONCILE).await.unwrap_err().to_string();
    assert!(error.contains("3 of the 5 rows of T") && error.contains("\"force\": true"), "{error}");
    assert_eq!(world.head().await, head, "nothing at all was appended");
    assert_eq!(counts(&reconcile(&world, FORCED).await.unwrap()), (1, 3, 2, true));
    world.assert_settled("forced").await;
}

#[tokio::test]
async fn the_guard_counts_what_all_rounds_delete() {
    let world = Arc::new(world().await);
    (0..5).filter(|n| *n != 2).for_each(|n| world.delete(&format!("i{n}")));
    // While the second comparison reads, another one goes.
    let keeper = disturbed(&world, "Scan", 4, |world| world.delete("i5"));
    let error = keeper.run(RECONCILE).await.unwrap_err().to_string();
    assert!(error.contains("5 of the 9 rows"), "{error}");
}

#[tokio::test]
async fn a_crash_or_fault_at_any_call_is_made_up_for_by_the_next() {
    let prepared = async || {
        let world = world().await;
        world.put("i0", "unheard");
        world.put("new", "unheard");
        world.delete("i4");
        world
    };
    let undisturbed = prepared().await;
    let keeper = undisturbed.keeper();
    keeper.run(RECONCILE).await.unwrap();
    let calls: u64 = keeper.gate.counts().values().sum();
    for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::Fail, Fault::LostAnswer, Fault::LateWrite(2)] {
        for at in 0..usize::try_from(calls).unwrap() {
            let world = prepared().await;
            let (count, hit) = (AtomicUsize::new(0), fault.clone());
            let keeper = world.keeper_with(Arc::new(move |_: &Call<'_>| {
                if count.fetch_add(1, Ordering::Relaxed) == at { hit.clone() } else { Fault::None }
            }));
            drop(keeper.run_or_die(RECONCILE).await);
            let case = format!("{fault:?} at call {at}");
            assert!(reconcile(&world, RECONCILE).await.unwrap().settled, "{case}");
            world.assert_settled(&case).await;
            for shard in world.open().await {
                let flags = world.flags(&shard);
                assert!(flags.contains(&world.head().await) || world.head().await == 3, "{case}: {flags:?}");
            }
        }
    }
}

#[tokio::test]
async fn two_at_once_agree() {
    let world = world().await;
    world.put("i0", "unheard");
    world.delete("i4");
    let (one, two) = (world.keeper(), world.keeper());
    let (one, two) = futures_util::future::join(one.run(RECONCILE), two.run(RECONCILE)).await;
    assert!(one.unwrap().reconcile[0].settled && two.unwrap().reconcile[0].settled);
    world.assert_settled("two").await;
}

#[tokio::test]
async fn a_large_difference_is_cut_into_files() {
    let world = world().await;
    (0..2_500).for_each(|n| world.put(&format!("n{n}"), "x"));
    let done = reconcile(&world, RECONCILE).await.unwrap();
    assert_eq!((done.puts, done.version), (2_500, Some(6)));
    assert_eq!((4..=6).map(|version| changes(&world, version).len()).collect::<Vec<_>>(), [1_000, 1_000, 500]);
    world.assert_settled("large").await;
    let wide = "w".repeat(1 << 20);
    (0..9).for_each(|n| world.put(&format!("w{n}"), &wide));
    assert_eq!(reconcile(&world, RECONCILE).await.unwrap().version, Some(9), "three rows of a megabyte a file");
}

#[tokio::test]
async fn a_table_that_changes_all_the_time_ends_unsettled_and_says_so() {
    let world = Arc::new(world().await);
    let count = AtomicUsize::new(0);
    let inner = Arc::clone(&world);
    let keeper = world.keeper_with(Arc::new(move |call: &Call<'_>| {
        if call.operation == "DescribeTable" {
            inner.put("i0", &format!("{}", count.fetch_add(1, Ordering::Relaxed)));
        }
        Fault::None
    }));
    let done = keeper.run(RECONCILE).await.unwrap().reconcile.remove(0);
    assert_eq!(counts(&done), (5, 0, 5, false));
}

#[tokio::test]
async fn time_that_is_up_ends_it_with_the_flag_and_before_the_first_comparison_with_an_error() {
    let world = world().await;
    world.put("i0", "unheard");
    let slow = |after: usize| {
        let count = AtomicUsize::new(0);
        world.keeper_with(Arc::new(move |call: &Call<'_>| {
            let late = call.operation == "Scan" && count.fetch_add(1, Ordering::Relaxed) >= after;
            if late { Fault::Hang } else { Fault::None }
        }))
    };
    let error = slow(0).run(RECONCILE).await.unwrap_err().to_string();
    assert!(error.contains("T could not be compared in time"), "{error}");
    let done = slow(4).run(RECONCILE).await.unwrap();
    assert_eq!(counts(&done.reconcile[0]), (1, 0, 1, false));
    for shard in world.open().await {
        assert_eq!(world.flags(&shard).last(), Some(&4));
    }
}

#[tokio::test]
async fn only_what_is_named_and_what_has_a_base_is_compared() {
    let world = World::new();
    world.put("a", "1");
    let none = reconcile(&world, RECONCILE).await.unwrap();
    assert_eq!((none.has_base, none.settled, none.rounds, world.head().await), (false, true, 0, 0));
    let error = world.keeper().run(r#"{"task":"reconcile","reference":"U"}"#).await.unwrap_err().to_string();
    assert!(error.contains("\"orders\" has no reference \"U\""), "{error}");
    let named = reconcile(&world, r#"{"task":"reconcile","reference":"T"}"#).await.unwrap();
    assert_eq!(named.reference, "T");
}

#[tokio::test]
async fn notices_of_objects_that_never_came_are_made_up_for() {
    let world = World::new();
    let bucket = world.stores.store(&freshjoin_core::location::Location::new("s3://menu")).unwrap();
    let definition = DEFINITION.replace("dynamodb = \"T\"", "s3 = \"s3://menu/m/\"");
    let run = async |event: &str| world.keeper_of(&definition, Arc::new(Script::default())).run(event).await;
    for name in ["a", "b", "c", "d"] {
        bucket.insert(&format!("m/{name}.jsonl"), row(name, "1"));
    }
    run(r#"{"task":"bootstrap"}"#).await.unwrap();
    bucket.insert("m/a.jsonl", row("a", "2"));
    bucket.insert("m/e.jsonl", row("e", "1"));
    assert!(bucket.remove("m/b.jsonl"));
    let done = run(RECONCILE).await.unwrap().reconcile.remove(0);
    assert_eq!(counts(&done), (2, 1, 2, true));
    let lines = |file: &freshjoin_core::snapshot::SnapshotFile| -> Vec<(String, bool)> {
        let lines = file.objects("s3://menu/m/").unwrap().iter();
        lines.map(|line| (line.object.clone(), line.sha256.is_some())).collect()
    };
    let held = lines(&world.fold().await);
    let expected = [("a", true), ("b", false), ("c", true), ("d", true), ("e", true)];
    assert_eq!(held, expected.map(|(name, there)| (format!("s3://menu/m/{name}.jsonl"), there)));
    assert_eq!(counts(&run(RECONCILE).await.unwrap().reconcile[0]), (0, 0, 1, true));
    let copies = world.state.objects().into_keys().filter(|key| key.starts_with("objects/")).count();
    assert_eq!(copies, 6, "copied before a change names it");
    for name in ["a", "c", "d"] {
        assert!(bucket.remove(&format!("m/{name}.jsonl")));
    }
    let error = run(RECONCILE).await.unwrap_err().to_string();
    assert!(error.contains("3 of the 4"), "{error}");
    assert_eq!(counts(&run(FORCED).await.unwrap().reconcile[0]), (0, 3, 2, true));
}

#[tokio::test]
async fn an_object_s_change_keeps_its_sequencer_and_a_last_one_that_is_gone_stays_until_it_is_back() {
    let world = World::new();
    let bucket = world.stores.store(&freshjoin_core::location::Location::new("s3://menu")).unwrap();
    let definition = DEFINITION.replace("dynamodb = \"T\"", "s3 = \"s3://menu/m.jsonl\"");
    let run = async |event: &str| world.keeper_of(&definition, Arc::new(Script::default())).run(event).await;
    let change = |version: Version| match world.file(version).changes.remove(0) {
        Change::Object(change) => change,
        Change::Row(_) => panic!("an object"),
    };
    bucket.insert("m.jsonl", row("a", "1"));
    run(r#"{"task":"bootstrap"}"#).await.unwrap();
    bucket.insert("m.jsonl", row("a", "2"));
    run(RECONCILE).await.unwrap();
    assert_eq!(change(1).sequencer, "");
    // A notice, as flag-injector captures it.
    let noticed = freshjoin_core::change::ObjectChange { sequencer: "0A".into(), ..change(1) };
    let origin = freshjoin_core::change::Origin { source: "s3".into(), label: String::new(), range: "0A".into() };
    world.log().append(origin, vec![Change::Object(noticed)]).await.unwrap();
    bucket.insert("m.jsonl", row("a", "3"));
    run(RECONCILE).await.unwrap();
    assert_eq!(change(3).sequencer, "0A");
    assert!(bucket.remove("m.jsonl"));
    assert_eq!(counts(&run(FORCED).await.unwrap().reconcile[0]), (0, 1, 2, true));
    assert_eq!((change(4).sequencer.as_str(), change(4).op), ("0A", freshjoin_core::change::ObjectOp::Remove));
    assert_eq!(counts(&run(RECONCILE).await.unwrap().reconcile[0]), (0, 0, 1, true), "gone still");
    bucket.insert("m.jsonl", row("a", "3"));
    assert_eq!(counts(&run(RECONCILE).await.unwrap().reconcile[0]), (1, 0, 2, true), "back as it was");
}
