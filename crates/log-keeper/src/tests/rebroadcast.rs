//! Which flags are broadcast again, and when.

use std::sync::Arc;

use freshjoin_core::memory::{Fault, Script};

use super::World;

const BY_HAND: &str = r#"{"task":"rebroadcast"}"#;

#[tokio::test]
async fn an_empty_log_has_nothing_to_announce() {
    let world = World::new();
    for event in ["{}", BY_HAND] {
        assert_eq!(world.keeper().run(event).await.unwrap().rebroadcast, None, "{event}");
    }
}

#[tokio::test]
async fn a_lost_notice_is_healed_once() {
    let world = World::new();
    world.append("a", 1).await;
    world.append("b", 2).await;
    let done = world.keeper().run("{}").await.unwrap().rebroadcast.unwrap();
    assert_eq!((done.version, done.shards), (2, 2));
    assert_eq!(world.keeper().run("{}").await.unwrap().rebroadcast, None);
    world.append("c", 3).await;
    assert!(world.keeper().run("{}").await.unwrap().rebroadcast.is_some());
    for shard in world.open().await {
        assert_eq!(world.flags(&shard), [2, 3]);
    }
    assert!(world.keeper().run(BY_HAND).await.unwrap().rebroadcast.is_some(), "by hand always");
}

#[tokio::test]
async fn new_shards_and_a_new_stream_are_told() {
    let world = World::new();
    world.append("a", 1).await;
    world.keeper().run("{}").await.unwrap();
    let first = world.open().await.remove(0);
    let (left, right) = world.stream.split(&first).unwrap();
    world.keeper().run("{}").await.unwrap();
    assert_eq!((world.flags(&left), world.flags(&right)), (vec![1], vec![1]));
    world.stream.merge(&left, &right).unwrap();
    assert!(world.keeper().run("{}").await.unwrap().rebroadcast.is_some());
    for _ in 0..2 {
        world.clock.advance(std::time::Duration::from_secs(1));
        world.stream.recreate(2);
        assert!(world.keeper().run("{}").await.unwrap().rebroadcast.is_some(), "shards of the same names");
    }
    assert_eq!(world.keeper().run("{}").await.unwrap().rebroadcast, None);
}

#[tokio::test]
async fn what_was_not_broadcast_whole_is_so_the_next_time() {
    for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::Fail] {
        for operation in ["PutRecords", "ListShards", "PUT"] {
            let world = World::new();
            world.append("a", 1).await;
            let script = Arc::new(Script::default());
            script.add(operation, vec![fault.clone(); 100]);
            let broken = world.keeper_with(script).run_or_die("{}").await;
            assert!(broken.is_none_or(|answer| answer.is_err()), "{fault:?} {operation}");
            world.keeper().run("{}").await.unwrap();
            for shard in world.open().await {
                assert!(!world.flags(&shard).is_empty(), "{fault:?} {operation}");
            }
        }
    }
}

#[tokio::test]
async fn an_unreadable_head_is_announced_too() {
    let world = World::new();
    world.append("a", 1).await;
    world.state.insert(&freshjoin_core::change::change_key(2), "poison");
    let error = world.keeper().run("{}").await.unwrap_err().to_string();
    assert!(error.contains("snapshot: ") && error.contains("damaged"), "{error}");
    for shard in world.open().await {
        assert_eq!(world.flags(&shard), [2], "one task that fails keeps none of the others");
    }
}

#[tokio::test]
async fn notes_that_are_damaged_or_of_another_log_mislead_nobody() {
    let world = World::new();
    world.append("a", 1).await;
    world.keeper().run("{}").await.unwrap();
    let notes = String::from_utf8(world.state.objects()["snapshots/_keeper.json"].to_vec()).unwrap();
    for text in
        ["{".to_owned(), notes.replace("keeper/1", "keeper/2"), notes.replace(r#""version":1"#, r#""version":7"#)]
    {
        world.state.insert("snapshots/_keeper.json", text.clone());
        let done = world.keeper().run(BY_HAND).await.unwrap().rebroadcast.unwrap();
        assert_eq!(done.version, 1, "{text}");
        world.state.insert("snapshots/_keeper.json", text);
        world.append("b", 2).await;
        world.state.remove(&freshjoin_core::change::change_key(2));
    }
}
