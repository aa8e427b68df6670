//! Giving objects up.

use freshjoin_core::ports::Precondition;

use super::super::cases;
use super::{World, keys_of, read, write};

cases!(World:
    what_is_given_up_is_gone_or_whole_and_tagged,
    giving_up_what_is_missing_is_no_error,
    what_is_written_again_is_not_given_up,
);

async fn what_is_given_up_is_gone_or_whole_and_tagged(world: World) {
    let store = world.store();
    for key in ["changes/1", "changes/2"] {
        write(&*store, key, "x").await;
    }
    for _ in 0..2 {
        store.expire("changes/1").await.unwrap();
    }
    match &world.tags {
        Some(tags) => {
            assert_eq!(tags.of("store/changes/1").await, [("freshjoin".to_owned(), "expired".to_owned())]);
            assert_eq!(tags.of("store/changes/2").await, []);
            assert_eq!(read(&*store, "changes/1").await, Some("x".into()), "until a lifecycle rule takes it");
        }
        None => assert_eq!(keys_of(&*store, "").await, ["changes/2"]),
    }
    assert_eq!(read(&*store, "changes/2").await, Some("x".into()));
}

async fn giving_up_what_is_missing_is_no_error(world: World) {
    let store = world.store();
    store.expire("changes/1").await.expect("in a store where nothing ever was");
    write(&*store, "changes/1", "x").await;
    store.expire("changes/2").await.expect("a missing object");
    assert_eq!(keys_of(&*store, "").await, ["changes/1"]);
}

async fn what_is_written_again_is_not_given_up(world: World) {
    let store = world.store();
    let etag = write(&*store, "snapshots/1", "x").await;
    store.expire("snapshots/1").await.unwrap();
    if world.tags.is_some() {
        store.put("snapshots/1", "y".into(), Precondition::Matches(&etag)).await.map(drop).unwrap();
    } else {
        store.put("snapshots/1", "y".into(), Precondition::Absent).await.map(drop).unwrap();
    }
    assert_eq!(read(&*store, "snapshots/1").await, Some("y".into()));
    if let Some(tags) = &world.tags {
        assert_eq!(tags.of("store/snapshots/1").await, []);
    }
}
