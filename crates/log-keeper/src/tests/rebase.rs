//! Past what nobody can read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use freshjoin_core::change::{ChangeFile, Version, change_key};
use freshjoin_core::memory::{Call, Fault, Script};
use freshjoin_core::snapshot::{LATEST_KEY, SnapshotFile, SnapshotName, list};

use super::look::{at_once, row, rows};
use super::{DEFINITION, World};
use crate::{Rebased, Summary};

const REBASE: &str = r#"{"task":"rebase"}"#;
const POISON: &str = r#"{"freshjoin":"change-file/1","ver"#;

/// Four rows with a base, two changes, then a file that cannot be read, of which the table knows more.
async fn world() -> World {
    let world = World::new();
    (0..4).for_each(|n| world.put(&format!("i{n}"), "base"));
    world.keeper().run(r#"{"task":"bootstrap"}"#).await.unwrap();
    world.put("i0", "p");
    world.captured("l", "10", "i0", Some("p")).await;
    world.delete("i1");
    world.captured("l", "20", "i1", None).await;
    world.put("i0", "lost");
    world.put("i9", "lost");
    world.delete("i3");
    world.poison(3);
    world
}

impl World {
    fn poison(&self, version: Version) {
        self.state.insert(&change_key(version), POISON);
    }

    async fn rebase_file(&self, from: Version, version: Version) -> SnapshotFile {
        let name = SnapshotName::rebase(from, version);
        SnapshotFile::open(&self.state, name).await.unwrap().unwrap_or_else(|| panic!("{name} is there"))
    }
}

async fn rebase(world: &World) -> Result<Rebased, String> {
    let done = world.keeper().run(REBASE).await.map_err(|error| error.to_string())?;
    Ok(done.rebase.unwrap())
}

fn range(done: &Rebased) -> (Version, Version, Vec<Version>) {
    (done.from, done.version, done.unreadable.iter().copied().collect())
}

/// The newest change that a snapshot file knows of a key: whether there is a row, and the number.
fn known(file: &SnapshotFile, item: &str) -> Option<(bool, Option<String>)> {
    let key = format!(r#"{{"item":"{item}"}}"#);
    let mut entries = file.table("T").unwrap().entries().unwrap();
    while let Some(entry) = entries.next_entry().unwrap() {
        if entry.key == key {
            return Some((entry.row.is_some(), entry.known.newest.map(|(_, number)| number.to_owned())));
        }
    }
    None
}

#[tokio::test]
async fn the_range_from_the_unreadable_file_to_the_head_becomes_what_the_table_is() {
    let world = world().await;
    world.put("i2", "after");
    world.captured("l", "40", "i2", Some("after")).await;
    assert_eq!(range(&rebase(&world).await.unwrap()), (3, 4, vec![3]));
    let file = world.rebase_file(3, 4).await;
    assert_eq!(rows(&file), world.by_the_table().await);
    let number = |number: &str| Some(number.to_owned());
    assert_eq!(known(&file, "i0"), Some((true, number("10"))), "the last that can be read");
    assert_eq!(known(&file, "i1"), Some((false, number("20"))));
    assert_eq!(known(&file, "i2"), Some((true, number("40"))), "behind the unreadable one, too");
    assert_eq!(known(&file, "i3"), Some((false, None)), "gone, and only a scan ever knew it");
    assert_eq!(known(&file, "i9"), Some((true, None)));
    let base = file.base_of("T").unwrap();
    assert_eq!(base.version, 0, "shards behind the file stay where they are");
    for shard in world.open().await {
        assert_eq!(world.flags(&shard).last(), Some(&4), "the head's flag is in every shard");
    }
    let latest = String::from_utf8(world.state.objects()[LATEST_KEY].to_vec()).unwrap();
    assert!(latest.contains(&SnapshotName::rebase(3, 4).key()), "{latest}");
    // The log is followed on, and old changes that come again do no harm.
    world.captured("l", "20", "i1", Some("old")).await;
    world.captured("l", "5", "i0", Some("old")).await;
    world.assert_settled("old news").await;
    world.put("i1", "back");
    world.captured("l", "50", "i1", Some("back")).await;
    world.assert_settled("news").await;
    assert_eq!(counts(&world.keeper().run(r#"{"task":"reconcile"}"#).await.unwrap()), (0, 0));
}

fn counts(summary: &Summary) -> (u64, u64) {
    (summary.reconcile[0].puts, summary.reconcile[0].deletes)
}

#[tokio::test]
async fn an_unreadable_head_and_several_unreadable_files_are_one_range() {
    let head = world().await;
    assert_eq!(range(&rebase(&head).await.unwrap()), (3, 3, vec![3]));
    head.assert_settled("the head").await;
    let several = world().await;
    several.captured("l", "40", "i2", Some("base")).await;
    several.poison(5);
    several.captured("l", "41", "i2", Some("base")).await;
    assert_eq!(range(&rebase(&several).await.unwrap()), (3, 6, vec![3, 5]));
    several.assert_settled("several").await;
    several.poison(7);
    assert_eq!(range(&rebase(&several).await.unwrap()), (7, 7, vec![7]), "and one more later");
}

#[tokio::test]
async fn a_missing_file_is_made_unreadable_first_so_that_nobody_takes_its_number() {
    let world = world().await;
    world.captured("l", "40", "i2", Some("base")).await;
    assert!(world.state.remove(&change_key(3)));
    assert_eq!(range(&rebase(&world).await.unwrap()), (3, 4, vec![3]));
    let text = String::from_utf8(world.state.objects()[&change_key(3)].to_vec()).unwrap();
    assert!(ChangeFile::decode(3, text.as_bytes()).is_err() && text.contains("lost-change-file"), "{text}");
    world.assert_settled("missing").await;
}

#[tokio::test]
async fn where_there_is_nothing_to_get_past_nothing_is_done() {
    let world = World::new();
    world.keeper().run(r#"{"task":"bootstrap"}"#).await.unwrap();
    assert!(rebase(&world).await.unwrap_err().contains("can be read"));
    world.captured("l", "10", "i0", Some("p")).await;
    let before = world.state.objects();
    assert!(rebase(&world).await.unwrap_err().contains("can be read"));
    world.state.insert(&change_key(2), r#"{"freshjoin":"change-file/2"}"#);
    let newer = rebase(&world).await.unwrap_err();
    assert!(newer.contains("upgrade"), "{newer}");
    world.state.insert(&change_key(2), POISON);
    world.state.insert(&change_key(3), r#"{"freshjoin":"change-file/2"}"#);
    assert!(rebase(&world).await.unwrap_err().contains("upgrade"), "one of the range is newer");
    assert!(world.state.remove(&change_key(2)) && world.state.remove(&change_key(3)));
    let mut after = world.state.objects();
    after.retain(|key, _| !key.starts_with("snapshots/_rebase/"));
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_table_out_of_reach_or_a_damaged_snapshot_file_is_never_taken_for_empty() {
    let world = world().await;
    let script = Arc::new(Script::default());
    script.add("Scan", [Fault::Fail]);
    assert!(world.keeper_with(script).run(REBASE).await.is_err());
    assert!(list(&world.state).await.unwrap().is_empty());
    rebase(&world).await.unwrap();
    world.put("i2", "later");
    world.captured("l", "60", "i2", Some("later")).await;
    world.poison(5);
    // A later snapshot file than the rebase's is damaged: the rebase's is what counts.
    world.state.insert(&SnapshotName::of(4).key(), "damaged");
    assert_eq!(range(&rebase(&world).await.unwrap()), (5, 5, vec![5]));
    world.assert_settled("again").await;
}

#[tokio::test]
async fn what_nobody_has_looked_at_stays_so_and_can_be_looked_at_afterwards() {
    let world = World::new();
    world.put("a", "now");
    world.captured("l", "10", "a", Some("p")).await;
    world.captured("l", "20", "b", None).await;
    world.poison(3);
    assert!(world.keeper().run(r#"{"task":"bootstrap"}"#).await.is_err());
    rebase(&world).await.unwrap();
    assert_eq!(world.rebase_file(3, 3).await.base_of("T"), None);
    world.keeper().run(r#"{"task":"bootstrap"}"#).await.unwrap();
    world.assert_settled("looked at").await;
    world.captured("l", "10", "a", Some("old")).await;
    world.captured("l", "20", "b", Some("old")).await;
    world.assert_settled("old news").await;
}

#[tokio::test]
async fn objects_are_looked_at_anew_too() {
    let world = World::new();
    let bucket = world.stores.store(&freshjoin_core::location::Location::new("s3://menu")).unwrap();
    let definition = DEFINITION.replace("dynamodb = \"T\"", "s3 = \"s3://menu/m/\"");
    let run = async |event: &str| world.keeper_of(&definition, Arc::new(Script::default())).run(event).await.unwrap();
    for name in ["a", "b"] {
        bucket.insert(&format!("m/{name}.jsonl"), row(name, "1"));
    }
    run(r#"{"task":"bootstrap"}"#).await;
    bucket.insert("m/a.jsonl", row("a", "2"));
    run(r#"{"task":"reconcile"}"#).await;
    bucket.insert("m/a.jsonl", row("a", "3"));
    assert!(bucket.remove("m/b.jsonl"));
    world.poison(2);
    run(REBASE).await;
    let file = world.rebase_file(2, 2).await;
    let lines = file.objects("s3://menu/m/").unwrap();
    let held: Vec<_> = lines.iter().filter(|line| line.sha256.is_some()).map(|line| line.object.as_str()).collect();
    assert_eq!(held, ["s3://menu/m/a.jsonl"]);
    assert_eq!(file.base_of("s3://menu/m/").unwrap().version, 0);
    let summary = run(r#"{"task":"reconcile"}"#).await;
    assert_eq!(counts(&summary), (0, 0));
    // Where none is left, the reference stays as the log has it.
    assert!(bucket.remove("m/a.jsonl"));
    world.poison(3);
    run(REBASE).await;
    let stays = world.rebase_file(3, 3).await;
    assert_eq!(stays.objects("s3://menu/m/").unwrap().iter().filter(|line| line.sha256.is_some()).count(), 1);
}

#[tokio::test]
async fn a_crash_or_fault_at_any_call_is_made_up_for_and_two_rebases_make_one_range() {
    let undisturbed = world().await;
    let keeper = undisturbed.keeper();
    keeper.run(REBASE).await.unwrap();
    let calls: u64 = keeper.gate.counts().values().sum();
    for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::Fail, Fault::LostAnswer, Fault::LateWrite(2)] {
        for at in 0..usize::try_from(calls).unwrap() {
            let case = format!("{fault:?} at call {at}");
            let world = world().await;
            let (count, hit) = (AtomicUsize::new(0), fault.clone());
            let keeper = world.keeper_with(Arc::new(move |_: &Call<'_>| {
                if count.fetch_add(1, Ordering::Relaxed) == at { hit.clone() } else { Fault::None }
            }));
            let first = keeper.run_or_die(REBASE).await;
            // Meanwhile the log goes on: the range stays what was decided first.
            world.put("i2", "later");
            world.captured("l", "60", "i2", Some("later")).await;
            let again = world.keeper().run(REBASE).await;
            let names: Vec<_> = list(&world.state).await.unwrap().into_iter().map(|listed| listed.name).collect();
            assert_eq!(names.len(), 1, "{case}: {names:?} after {first:?} and {again:?}");
            assert_eq!(names[0].first(), 3, "{case}");
            world.keeper().run(r#"{"task":"rebroadcast"}"#).await.unwrap();
            world.assert_settled(&case).await;
        }
    }
}

#[tokio::test]
async fn two_rebases_at_once_make_one_range_and_the_first_file_counts() {
    let world = Arc::new(world().await);
    let (inner, count) = (Arc::clone(&world), AtomicUsize::new(0));
    let keeper = world.keeper_with(Arc::new(move |call: &Call<'_>| {
        if call.operation == "PUT" && call.key.ends_with(".fjs") && count.fetch_add(1, Ordering::Relaxed) == 0 {
            // The log goes on, and the table; then another rebase is faster.
            inner.put("i2", "later");
            at_once(inner.captured("l", "60", "i2", Some("later")));
            inner.put("i9", "newest");
            at_once(inner.keeper().run(REBASE)).unwrap();
        }
        Fault::None
    }));
    keeper.run(REBASE).await.unwrap();
    let names: Vec<_> = list(&world.state).await.unwrap().into_iter().map(|listed| listed.name).collect();
    assert_eq!(names, [SnapshotName::rebase(3, 3)]);
    let file = world.rebase_file(3, 3).await;
    assert_eq!(rows(&file)[r#"{"item":"i9"}"#], row("i9", "newest"), "somebody may have read it");
}

#[tokio::test]
async fn below_the_newest_snapshot_file_the_next_one_stands_in_without_a_look_at_the_table() {
    let world = world().await;
    // The third can be read for now, and is folded; later it cannot.
    assert!(world.state.remove(&change_key(3)));
    for (number, priority) in [("11", "third"), ("12", "fourth"), ("13", "fifth")] {
        world.captured("l", number, "i0", Some(priority)).await;
    }
    for version in [2, 4, 5] {
        let file = world.fold_to(version).await;
        world.state.insert(&SnapshotName::of(version).key(), file.bytes().clone());
    }
    world.poison(3);
    let keeper = world.keeper();
    let done = keeper.run(REBASE).await.unwrap().rebase.unwrap();
    assert_eq!((range(&done), keeper.gate.count("Scan")), ((3, 4, vec![3]), 0));
    let stands_in = world.rebase_file(3, 4).await;
    assert_eq!(rows(&stands_in), rows(&world.fold_to(4).await));
    assert_eq!(rows(&stands_in)[r#"{"item":"i0"}"#], row("i0", "fourth"));
    assert_eq!(stands_in.base_of("T").unwrap().version, 0);
    assert!(rebase(&world).await.unwrap_err().contains("can be read"), "it is got past");
    // What the floor has passed is of no interest.
    world.poison(2);
    world.state.insert("floor.json", r#"{"freshjoin":"floor/1","version":2}"#);
    assert!(rebase(&world).await.is_err());
}
