//! Reads, writes and their preconditions, one after the other.

use bytes::Bytes;
use freshjoin_core::ports::{ETag, Precondition, PutOutcome};

use super::super::cases;
use super::{World, read, write};

cases!(World:
    a_missing_object_is_none,
    what_is_written_is_read,
    a_write_is_seen_at_once,
    absent_lets_only_the_first_write_through,
    matches_lets_only_the_holder_of_the_tag_through,
    matches_fails_where_there_is_no_object,
    a_tag_of_other_content_never_matches,
    modification_times_and_sizes_agree,
);

async fn a_missing_object_is_none(world: World) {
    let store = world.store();
    assert_eq!(read(&*store, "nope").await, None, "in a store where nothing ever was");
    write(&*store, "folder/object", "x").await;
    for key in ["folder", "folder/other", "folder/object.json", "folder/obj", "object"] {
        assert_eq!(read(&*store, key).await, None, "{key}");
    }
}

async fn what_is_written_is_read(world: World) {
    let store = world.store();
    let binary: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (key, body) in
        [("empty", Bytes::new()), ("text", "a\r\nb\n".into()), ("changes/00000000000000000001.json", binary.into())]
    {
        let etag = write(&*store, key, body.clone()).await;
        let object = store.get(key).await.unwrap().unwrap();
        assert_eq!(object.bytes.len(), body.len(), "{key}");
        assert!(object.bytes == body, "{key}: other bytes");
        assert_eq!(object.etag, etag, "{key}: the tag of the write is the tag of the read");
    }
}

async fn a_write_is_seen_at_once(world: World) {
    let (writer, reader) = (world.store(), world.store());
    for round in 0..20 {
        let body = format!("round {round}");
        write(&*writer, "object", body.clone()).await;
        assert_eq!(read(&*reader, "object").await, Some(body.into()));
        let key = format!("list/{round:02}");
        write(&*writer, &key, "x").await;
        assert_eq!(reader.list("list/", None).await.unwrap().len(), round + 1);
    }
}

async fn absent_lets_only_the_first_write_through(world: World) {
    let store = world.store();
    let first = store.put("once", "first".into(), Precondition::Absent).await.unwrap();
    assert!(matches!(first, PutOutcome::Written(_)), "{first:?}");
    for again in ["first", "second"] {
        let outcome = store.put("once", again.into(), Precondition::Absent).await.unwrap();
        assert_eq!(outcome, PutOutcome::PreconditionFailed);
    }
    assert_eq!(read(&*store, "once").await, Some("first".into()));
}

async fn matches_lets_only_the_holder_of_the_tag_through(world: World) {
    let store = world.store();
    let first = write(&*store, "cursor", "1").await;
    let PutOutcome::Written(second) = store.put("cursor", "2".into(), Precondition::Matches(&first)).await.unwrap()
    else {
        panic!("the tag of the last write does not match")
    };
    let stale = store.put("cursor", "3".into(), Precondition::Matches(&first)).await.unwrap();
    assert_eq!(stale, PutOutcome::PreconditionFailed, "a tag that was overtaken");
    assert_eq!(read(&*store, "cursor").await, Some("2".into()));
    let read_back = store.get("cursor").await.unwrap().unwrap().etag;
    assert_eq!(read_back, second);
    let outcome = store.put("cursor", "3".into(), Precondition::Matches(&read_back)).await.unwrap();
    assert!(matches!(outcome, PutOutcome::Written(_)), "the tag as a read gave it: {outcome:?}");
    write(&*store, "cursor", "4").await;
    let overtaken = store.put("cursor", "5".into(), Precondition::Matches(&second)).await.unwrap();
    assert_eq!(overtaken, PutOutcome::PreconditionFailed, "overtaken by an unconditional write");
}

async fn matches_fails_where_there_is_no_object(world: World) {
    let store = world.store();
    let etag = write(&*store, "there", "x").await;
    let outcome = store.put("gone", "x".into(), Precondition::Matches(&etag)).await.unwrap();
    assert_eq!(outcome, PutOutcome::PreconditionFailed);
    assert_eq!(read(&*store, "gone").await, None);
}

async fn a_tag_of_other_content_never_matches(world: World) {
    let store = world.store();
    let own = write(&*store, "a", "a").await;
    let other = write(&*store, "b", "b").await;
    assert_ne!(own, other);
    for wrong in [other, ETag("\"0123456789abcdef0123456789abcdef\"".into())] {
        let outcome = store.put("a", "c".into(), Precondition::Matches(&wrong)).await.unwrap();
        assert_eq!(outcome, PutOutcome::PreconditionFailed, "{wrong:?}");
    }
    assert_eq!(read(&*store, "a").await, Some("a".into()));
}

async fn modification_times_and_sizes_agree(world: World) {
    let store = world.store();
    write(&*store, "dated", "12345").await;
    let read = store.get("dated").await.unwrap().unwrap().modified;
    let listed = store.list("", None).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].size, 5);
    // S3 gives whole seconds.
    assert!((listed[0].modified.millis() - read.millis()).abs() < 1000, "{} and {read}", listed[0].modified);
}
