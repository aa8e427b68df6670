//! When snapshot files are written.

use std::sync::Arc;
use std::time::Duration;

use freshjoin_core::memory::{Fault, Script};
use freshjoin_core::snapshot::{SnapshotFile, SnapshotName};

use super::World;

const BY_HAND: &str = r#"{"task":"snapshot"}"#;

#[tokio::test]
async fn by_hand_at_the_head_unless_there_is_one() {
    let world = World::new();
    assert_eq!(world.keeper().run(BY_HAND).await.unwrap().snapshot, None, "an empty log");
    world.append("a", 1).await;
    world.append("b", 2).await;
    let done = world.keeper().run(BY_HAND).await.unwrap().snapshot.unwrap();
    assert_eq!((done.version, done.key.clone()), (2, SnapshotName::of(2).key()));
    let file = SnapshotFile::open(&world.state, SnapshotName::of(2)).await.unwrap().unwrap();
    assert_eq!(file.bytes().len() as u64, done.bytes);
    assert_eq!(file.table("T").unwrap().len(), 2);
    let latest: serde_json::Value = serde_json::from_slice(&world.state.objects()["snapshots/_latest.json"]).unwrap();
    assert_eq!((latest["version"].as_u64(), latest["key"].as_str()), (Some(2), Some(done.key.as_str())));
    assert_eq!(world.keeper().run(BY_HAND).await.unwrap().snapshot, None);
    world.append("c", 3).await;
    assert_eq!(world.keeper().run(BY_HAND).await.unwrap().snapshot.unwrap().version, 3);
}

#[tokio::test]
async fn on_schedule_after_many_changes_or_an_hour_with_any() {
    let world = World::new();
    let due = async || world.keeper().run("{}").await.unwrap().snapshot.map(|done| done.version);
    assert_eq!(due().await, None);
    world.append("a", 1).await;
    assert_eq!(due().await, Some(1), "the first");
    for sequence in 2..=256 {
        world.append("a", sequence).await;
    }
    assert_eq!(due().await, None, "255 change files and no hour");
    world.append("a", 257).await;
    assert_eq!(due().await, Some(257));
    world.clock.advance(Duration::from_secs(7200));
    assert_eq!(due().await, None, "nothing happened");
    world.append("a", 258).await;
    assert_eq!(due().await, Some(258));
    world.append("a", 259).await;
    world.clock.advance(Duration::from_secs(3599));
    assert_eq!(due().await, None);
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(due().await, Some(259));
}

#[tokio::test]
async fn a_write_that_meets_another_or_is_cut_short_is_done_again() {
    let undisturbed = {
        let world = World::new();
        world.append("a", 1).await;
        world.keeper().run(BY_HAND).await.unwrap();
        world.state.objects()[&SnapshotName::of(1).key()].clone()
    };
    for fault in [Fault::Busy, Fault::LostAnswer, Fault::Fail, Fault::CrashBefore, Fault::CrashAfter] {
        let world = World::new();
        world.append("a", 1).await;
        let script = Arc::new(Script::default());
        script.add("PUT", [fault.clone()]);
        let first = world.keeper_with(script).run_or_die(BY_HAND).await;
        assert_eq!(first.is_some_and(|answer| answer.is_ok()), fault == Fault::Busy, "{fault:?}");
        world.keeper().run(BY_HAND).await.unwrap();
        assert_eq!(world.state.objects()[&SnapshotName::of(1).key()], undisturbed, "{fault:?}");
    }
}
