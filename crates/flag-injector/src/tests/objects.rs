//! Notices of reference objects: copied, appended, announced; late, twice, out of order; damaged and too large.

use freshjoin_core::change::{Change, ObjectChange, ObjectOp};
use freshjoin_core::reference::copy_key;

use super::*;

const KEY: &str = "reference/products.jsonl";
const URL: &str = "s3://amzn-s3-demo-bucket/reference/products.jsonl";
const REMOVED: &str = "ObjectRemoved:DeleteMarkerCreated";
const ROW: &str = "{\"item\":\"burger\"}\n";

/// A notice with this sequencer, of the object as it is now.
fn notice(name: &str, key: &str, sequencer: &str) -> String {
    s3(name, key).replace("0055AED6DCD90281E5", sequencer)
}

impl World {
    fn bucket(&self) -> MemoryStore {
        self.stores.store(&Location::new("s3://amzn-s3-demo-bucket")).unwrap()
    }

    /// The changes of every file that the function wrote, each with its version.
    fn captured(&self) -> Vec<(Version, ObjectChange)> {
        let files = self.store.objects().into_iter().filter_map(|(key, bytes)| {
            let version = freshjoin_core::log::version_of(&key).filter(|version| *version > 12)?;
            Some(ChangeFile::decode(version, &bytes).unwrap())
        });
        let object = |change| match change {
            Change::Object(change) => change,
            Change::Row(_) => panic!("no rows here"),
        };
        files.flat_map(|file| file.changes.into_iter().map(move |change| (file.version, object(change)))).collect()
    }
}

#[tokio::test]
async fn every_wrapping_of_a_notice_brings_the_object_into_the_log_and_its_flag_into_every_shard() {
    let direct = notice(CREATED, KEY, "0A");
    let bridge = eventbridge("Object Created", KEY);
    for event in [direct.clone(), bridge.clone(), sns(&direct)] {
        let world = World::new();
        world.bucket().insert(KEY, ROW);
        assert_eq!(world.handle(&event).await.unwrap(), InjectorResponse::Done { flag: Some(13) });
        assert_eq!(world.flags(), vec![vec![13]; 4]);
        let (version, change) = world.captured().remove(0);
        assert_eq!((version, change.object.as_str(), change.op), (13, URL, ObjectOp::Replace));
        assert_eq!(world.store.objects()[&copy_key(&change.sha256)], ROW);
        assert!(change.etag.is_some());
    }
    let world = World::new();
    world.bucket().insert(KEY, ROW);
    world.bucket().insert("reference/b c.csv", "item\nb\n");
    let second = notice(CREATED, "reference/b+c.csv", "0B");
    assert!(world.failed(&[&sns_envelope(&direct), &second, &created(9), TEST_EVENT]).await.is_empty());
    let objects: Vec<_> = world.captured().into_iter().map(|(version, change)| (version, change.object)).collect();
    let first = (13, "s3://amzn-s3-demo-bucket/reference/b c.csv".to_owned());
    assert_eq!(objects, [first, (13, URL.to_owned())], "one change file for all");
    assert_eq!(world.flags(), vec![vec![13]; 4], "and one flag");
}

#[tokio::test]
async fn a_notice_says_when_in_which_order_and_which_object() {
    let world = World::new();
    world.bucket().insert(KEY, ROW);
    let written = world.clock.now();
    world.clock.set(written.plus_millis(60_000));
    world.handle(&notice(CREATED, KEY, "0A")).await.unwrap();
    let (_, change) = world.captured().remove(0);
    assert_eq!((change.sequencer.as_str(), change.at), ("0A", written), "the object's own time");
    assert!(!change.etag.unwrap().contains('"'), "as S3's notices have it");
    world.bucket().remove(KEY);
    let before = world.clock.now();
    world.handle(&notice(REMOVED, KEY, "0B")).await.unwrap();
    let (version, change) = world.captured().remove(1);
    assert!(change.at >= before, "it is gone now");
    assert_eq!(
        (version, change.op, change.sequencer.as_str(), change.sha256.as_str()),
        (14, ObjectOp::Remove, "0B", "")
    );
}

#[tokio::test]
async fn a_notice_that_comes_twice_or_late_makes_no_second_change_file_and_is_announced_again() {
    let world = World::new();
    world.bucket().insert(KEY, ROW);
    let first = notice(CREATED, KEY, "0A");
    for _ in 0..2 {
        assert_eq!(world.handle(&first).await.unwrap(), InjectorResponse::Done { flag: Some(13) });
    }
    assert_eq!(world.flags(), vec![vec![13, 13]; 4]);
    world.bucket().insert(KEY, "{\"item\":\"pizza\"}");
    assert_eq!(world.handle(&notice(CREATED, KEY, "0C")).await.unwrap(), InjectorResponse::Done { flag: Some(14) });
    for late in ["0B", "0a"] {
        assert_eq!(world.handle(&notice(CREATED, KEY, late)).await.unwrap(), InjectorResponse::Done { flag: Some(14) });
    }
    assert_eq!(world.captured().len(), 2);
    // Messages of one event: the newest notice speaks for its object.
    world.bucket().insert(KEY, "{\"item\":\"salad\"}");
    assert!(world.failed(&[&notice(CREATED, KEY, "0F"), &notice(REMOVED, KEY, "0E")]).await.is_empty());
    let (version, change) = world.captured().remove(2);
    assert_eq!((version, change.op, change.sequencer.as_str()), (15, ObjectOp::Replace, "0F"));
    // An equal sequencer with other content: the object was read before it had changed again.
    world.bucket().insert(KEY, "{\"item\":\"donut\"}");
    assert_eq!(world.handle(&notice(CREATED, KEY, "0F")).await.unwrap(), InjectorResponse::Done { flag: Some(16) });
}

#[tokio::test]
async fn a_call_without_a_sequencer_brings_what_is_there_now() {
    let world = World::new();
    world.bucket().insert(KEY, ROW);
    world.handle(&notice(CREATED, KEY, "0A")).await.unwrap();
    world.bucket().insert(KEY, "{\"item\":\"pizza\"}");
    world.handle(&notice(CREATED, KEY, "")).await.unwrap();
    let sequencers: Vec<_> =
        world.captured().into_iter().map(|(version, change)| (version, change.sequencer)).collect();
    assert_eq!(sequencers, [(13, "0A".to_owned()), (14, "0A".to_owned())]);
}

#[tokio::test]
async fn what_is_there_counts_whatever_the_notice_calls_it() {
    let world = World::new();
    world.handle(&notice(CREATED, KEY, "0A")).await.unwrap();
    assert_eq!(world.captured()[0].1.op, ObjectOp::Remove, "it has gone since");
    world.bucket().insert(KEY, ROW);
    world.handle(&notice("ObjectRemoved:Delete", KEY, "0B")).await.unwrap();
    assert_eq!(world.captured()[1].1.op, ObjectOp::Replace, "an older version came to light");
}

#[tokio::test]
async fn damaged_and_too_large_objects_fail_by_name_and_hold_up_nothing_else() {
    let world = World::new();
    world.bucket().insert(KEY, "{\"item\":\"burger\"}\noops\n");
    let error = world.handle(&notice(CREATED, KEY, "0A")).await.unwrap_err();
    let text = Chain(&error).to_string();
    assert!(matches!(error, InjectError::Content { .. }) && text.contains(URL) && text.contains("line 2"), "{text}");
    world.bucket().insert("reference/large.csv", "item\n".repeat(201));
    let large = notice(CREATED, "reference/large.csv", "0A");
    let error = world.handle(&large).await.unwrap_err();
    assert!(matches!(error, InjectError::TooLarge { size: 1005, limit: 1000, .. }), "{error}");
    world.bucket().insert("reference/b.csv", "item\nb\n");
    let sound = notice(CREATED, "reference/b.csv", "0A");
    assert_eq!(world.failed(&[&notice(CREATED, KEY, "0A"), &sound, &large, &created(3)]).await, ["m2", "m0"]);
    assert_eq!((world.captured().len(), world.flags()), (1, vec![vec![13]; 4]));
    assert_eq!(world.store.objects().keys().filter(|key| key.starts_with("objects/")).count(), 1);
    world.bucket().insert(KEY, ROW);
    assert_eq!(world.handle(&notice(CREATED, KEY, "0A")).await.unwrap(), InjectorResponse::Done { flag: Some(14) });
}

#[tokio::test]
async fn what_has_no_known_format_is_no_reference_data() {
    let world = World::new();
    for key in ["reference/", "reference/_SUCCESS", "reference/notes.txt"] {
        world.bucket().insert(key, "x");
        assert_eq!(world.handle(&notice(CREATED, key, "0A")).await.unwrap(), InjectorResponse::Done { flag: None });
    }
    assert_eq!(world.captured().len(), 0);
}

#[tokio::test]
async fn a_fault_brings_the_notice_back_and_is_never_a_removal() {
    let event = notice(CREATED, KEY, "0A");
    for (operation, part) in [
        ("GET", "/reference/"),
        ("GET", "/changes/"),
        ("LIST", ""),
        ("PUT", "/objects/"),
        ("PUT", "/changes/"),
        ("ListShards", ""),
    ] {
        let world = World::new();
        world.bucket().insert(KEY, ROW);
        let failing = world.deps(Arc::new(move |call: &Call<'_>| {
            if call.operation == operation && call.key.contains(part) { Fault::Fail } else { Fault::None }
        }));
        let deadline = world.clock.now().plus_millis(30_000);
        assert!(handle(&event, &failing, deadline).await.is_err(), "{operation} {part}");
        assert_eq!(world.handle(&event).await.unwrap(), InjectorResponse::Done { flag: Some(13) });
        let captured = world.captured();
        assert_eq!(captured.len(), 1, "{operation} {part}");
        assert_eq!(captured[0].1.op, ObjectOp::Replace);
    }
}
