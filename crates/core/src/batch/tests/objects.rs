//! References that are objects on S3, as a consumer meets them: the first look, replacing, removing, order, versions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::world::{World, row};
use crate::batch::ProcessError;
use crate::chain::Chain;
use crate::change::{Change, ChangeFile, ObjectChange, ObjectOp, Origin, Version, change_key};
use crate::location::Location;
use crate::memory::{Call, Fault};
use crate::ports::Clock;
use crate::reference::{LoadError, base_key, copy_key};

pub(super) const SINGLE: &str = "s3://ref/data/products.jsonl";
const PREFIX: &str = "s3://ref/data/";

pub(super) fn world(url: &str) -> World {
    let mut world = World::unscanned();
    world.definition = world.definition.replace("dynamodb = \"T\"", &format!("s3 = \"{url}\""));
    world
}

pub(super) fn rows(priorities: &[(&str, &str)]) -> String {
    priorities.iter().map(|(item, priority)| format!("{{\"item\":\"{item}\",\"priority\":\"{priority}\"}}\n")).collect()
}

impl World {
    pub(super) fn put_object(&self, key: &str, content: impl Into<Bytes>) {
        self.stores.store(&Location::new("s3://ref")).unwrap().insert(key, content);
    }

    /// Appends the change of an object: its new content, or its removal.
    pub(super) fn object_change(&self, object: &str, sequencer: &str, content: Option<&str>) -> Version {
        let version = {
            let mut head = self.head.lock().unwrap();
            *head += 1;
            *head
        };
        let sha256 = content.map(|content| hex::encode(Sha256::digest(content))).unwrap_or_default();
        if let Some(content) = content {
            self.state.insert(&copy_key(&sha256), content.to_owned());
        }
        let change = ObjectChange {
            object: object.into(),
            op: if content.is_some() { ObjectOp::Replace } else { ObjectOp::Remove },
            sha256,
            etag: None,
            version_id: None,
            sequencer: sequencer.into(),
            at: self.clock.now(),
        };
        let origin = Origin { source: object.into(), label: String::new(), range: sequencer.into() };
        let changes = vec![Change::Object(change)];
        let file = ChangeFile { version, id: version.to_string(), origin, changes };
        self.state.insert(&change_key(version), file.encode().unwrap());
        version
    }

    /// Makes one change file of two, with the changes in their order or the other way round.
    fn join_files(&self, first: Version, second: Version, reversed: bool) {
        let read = |version| ChangeFile::decode(version, &self.state.objects()[&change_key(version)]).unwrap();
        let mut file = read(first);
        file.changes.extend(read(second).changes);
        if reversed {
            file.changes.reverse();
        }
        self.state.insert(&change_key(first), file.encode().unwrap());
        self.state.remove(&change_key(second));
        *self.head.lock().unwrap() -= 1;
    }

    /// What an order of `a` is joined with at each version up to the head, in an environment that follows the log and,
    /// the same, in one that starts cold there.
    async fn seen(&self) -> Vec<String> {
        let head = *self.head.lock().unwrap();
        let warm = self.env();
        let mut seen = Vec::new();
        for version in 0..=head {
            if version > 0 {
                self.send([self.flag(version)]).await;
            }
            let mut priorities = Vec::new();
            for (env, n) in [(&warm, 1_000 + version), (&self.env(), 2_000 + version)] {
                self.orders([n]).await;
                env.done(&self.cut(..)).await;
                let of = |n| self.rows().into_iter().filter(move |row| row.0 == n).map(|row| row.1);
                priorities.push(of(n).collect::<Vec<_>>().join("+"));
            }
            assert_eq!(priorities[0], priorities[1], "at version {version}");
            seen.push(priorities.remove(0));
        }
        seen
    }
}

#[tokio::test]
async fn a_single_object_is_looked_at_once_and_then_followed_by_its_copies() {
    let world = world(SINGLE);
    world.put_object("data/products.jsonl", rows(&[("a", "base"), ("b", "other")]));
    world.put_object("data/more.jsonl", rows(&[("a", "another object")]));
    world.orders([0]).await;
    let first = world.env();
    first.done(&world.cut(..)).await;
    assert_eq!(world.rows(), [row(0, "base", 0)]);
    assert_eq!((first.gate.count("Scan"), first.gate.count("DescribeTable")), (0, 0));
    // The object itself is never read again: not by another environment, and not where it has changed without a change file.
    world.put_object("data/products.jsonl", rows(&[("a", "unannounced")]));
    let replaced = rows(&[("a", "one")]);
    let version = world.object_change(SINGLE, "01", Some(&replaced));
    world.orders([1]).await;
    world.send([world.flag(version)]).await;
    world.orders([2]).await;
    let touched = Arc::new(AtomicBool::new(false));
    let inner = Arc::clone(&touched);
    let second = world.env_with(Arc::new(move |call: &Call<'_>| {
        inner.fetch_or(call.key.starts_with("ref/"), Ordering::Relaxed);
        Fault::None
    }));
    second.done(&world.cut(..)).await;
    assert_eq!(world.rows(), [row(0, "base", 0), row(1, "base", 0), row(2, "one", 1)]);
    assert!(!touched.load(Ordering::Relaxed));
}

#[tokio::test]
async fn the_greater_sequencer_wins_and_of_equal_ones_the_later_version() {
    let world = world(SINGLE);
    world.put_object("data/products.jsonl", rows(&[("a", "base")]));
    world.orders([0]).await;
    world.env().done(&world.cut(..)).await;
    for (sequencer, priority) in [("0A", "ten"), ("09FF", "late"), ("0a00", "ten again"), ("0A0001", "more")] {
        world.object_change(SINGLE, sequencer, Some(&rows(&[("a", priority)])));
    }
    assert_eq!(world.seen().await, ["base", "ten", "ten", "ten again", "more"]);
}

#[tokio::test]
async fn a_prefix_is_the_rows_of_all_its_objects() {
    let world = world(PREFIX);
    world.put_object("data/one.jsonl", rows(&[("a", "one")]));
    world.put_object("data/two.csv", "item,priority\na,two\nb,\n");
    world.put_object("data/_SUCCESS", "");
    world.put_object("data/notes.txt", "not reference data");
    world.put_object("database/three.jsonl", rows(&[("a", "elsewhere")]));
    world.orders([0]).await;
    world.env().done(&world.cut(..)).await;
    let object = |name: &str| format!("{PREFIX}{name}");
    world.object_change(&object("three.jsonl"), "01", Some(&rows(&[("a", "three")])));
    world.object_change(&object("one.jsonl"), "02", None);
    world.object_change(&object("_hidden.jsonl"), "03", Some(&rows(&[("a", "hidden")])));
    world.object_change("s3://ref/database/three.jsonl", "04", Some(&rows(&[("a", "elsewhere")])));
    world.object_change(&object("two.csv"), "05", None);
    // What is left is the last: it stays until there is another.
    world.object_change(&object("three.jsonl"), "06", None);
    world.object_change(&object("four.jsonl"), "07", Some(&rows(&[("a", "four"), ("a", "four")])));
    world.object_change(&object("three.jsonl"), "08", None);
    let seen = world.seen().await;
    let expected =
        ["one+two", "one+three+two", "three+two", "three+two", "three+two", "three", "three", "four+four", "four+four"];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_removal_that_would_empty_the_reference_is_not_followed() {
    let world = world(SINGLE);
    world.put_object("data/products.jsonl", rows(&[("a", "base")]));
    world.orders([0]).await;
    world.env().done(&world.cut(..)).await;
    world.object_change(SINGLE, "05", None);
    world.object_change(SINGLE, "04", Some(&rows(&[("a", "older than the removal")])));
    world.object_change(SINGLE, "06", Some(""));
    assert_eq!(world.seen().await, ["base", "base", "base", ""]);
}

#[tokio::test]
async fn what_the_log_names_keeps_its_sequencer_in_the_base() {
    let world = world(PREFIX);
    let object = |name: &str| format!("{PREFIX}{name}");
    world.object_change(&object("one.jsonl"), "05", Some(&rows(&[("a", "logged")])));
    world.object_change(&object("gone.jsonl"), "07", Some(&rows(&[("a", "gone")])));
    world.put_object("data/one.jsonl", rows(&[("a", "scanned")]));
    world.put_object("data/two.jsonl", rows(&[("b", "b")]));
    let base = *world.head.lock().unwrap();
    world.orders([0]).await;
    world.env().done(&world.cut(..)).await;
    let text = String::from_utf8(world.state.objects()[&base_key(PREFIX)].to_vec()).unwrap();
    assert!(text.starts_with(&format!(r#"{{"freshjoin":"base/1","reference":"{PREFIX}","version":{base},"#)), "{text}");
    world.object_change(&object("one.jsonl"), "04", Some(&rows(&[("a", "late")])));
    world.object_change(&object("gone.jsonl"), "06", Some(&rows(&[("a", "late too")])));
    world.object_change(&object("one.jsonl"), "05", Some(&rows(&[("a", "again")])));
    let seen = world.seen().await;
    assert_eq!(seen[usize::try_from(base).unwrap()..], ["scanned", "scanned", "scanned", "again"]);
}

#[tokio::test]
async fn a_removal_keeps_its_sequencer_in_the_base_though_the_log_names_nothing_else() {
    let world = world(PREFIX);
    let gone = format!("{PREFIX}gone.jsonl");
    world.object_change(&gone, "07", None);
    world.put_object("data/one.jsonl", rows(&[("a", "scanned")]));
    world.orders([0]).await;
    world.env().done(&world.cut(..)).await;
    world.object_change(&gone, "06", Some(&rows(&[("a", "late")])));
    assert_eq!(world.seen().await[1..], ["scanned", "scanned"]);
}

#[tokio::test]
async fn what_is_replaced_during_the_first_look_comes_after_it() {
    let world = Arc::new(world(SINGLE));
    world.put_object("data/products.jsonl", rows(&[("a", "looked at")]));
    world.orders([0]).await;
    let (inner, done) = (Arc::clone(&world), AtomicBool::new(false));
    // Between the object's reading and the copy's writing.
    let env = world.env_with(Arc::new(move |call: &Call<'_>| {
        if call.operation == "PUT" && call.key.contains("/objects/") && !done.swap(true, Ordering::Relaxed) {
            let replaced = rows(&[("a", "replaced")]);
            inner.clock.set(inner.clock.now().plus_millis(2_000));
            inner.put_object("data/products.jsonl", replaced.clone());
            inner.object_change(SINGLE, "01", Some(&replaced));
        }
        Fault::None
    }));
    env.done(&world.cut(..)).await;
    assert_eq!(world.seen().await, ["looked at", "replaced"]);
}

#[tokio::test]
async fn an_emptied_reference_begins_with_what_the_log_has_of_it() {
    let world = world(PREFIX);
    let object = |name: &str| format!("{PREFIX}{name}");
    world.object_change(&object("one.jsonl"), "01", Some(&rows(&[("a", "one")])));
    world.object_change(&object("two.jsonl"), "02", Some(&rows(&[("a", "two")])));
    world.object_change(&object("one.jsonl"), "03", None);
    world.object_change(&object("two.jsonl"), "04", None);
    world.orders([0]).await;
    world.env().done(&world.cut(..)).await;
    assert_eq!(world.rows(), [row(0, "two", 4)]);
}

#[tokio::test]
async fn however_old_a_content_is_what_the_log_says_after_the_first_look_counts() {
    let world = world(SINGLE);
    world.put_object("data/products.jsonl", rows(&[("a", "base")]));
    world.orders([0]).await;
    world.env().done(&world.cut(..)).await;
    let now = world.clock.now();
    // An older version that a delete brought to light, or an upload that began long ago.
    world.clock.set(now.plus_millis(-24 * 60 * 60 * 1000));
    world.object_change(SINGLE, "01", Some(&rows(&[("a", "a day old")])));
    world.clock.set(now.plus_millis(60_000));
    assert_eq!(world.seen().await, ["base", "a day old"]);
}

#[tokio::test]
async fn a_renamed_last_object_leaves_nothing_behind_in_whatever_order_its_notices_come() {
    let (old, new) = (format!("{PREFIX}a.jsonl"), format!("{PREFIX}b.jsonl"));
    let content = rows(&[("a", "same")]);
    for reversed in [false, true] {
        let world = world(PREFIX);
        world.put_object("data/a.jsonl", content.clone());
        world.orders([0]).await;
        world.env().done(&world.cut(..)).await;
        let changes = [(&new, "05", Some(content.as_str())), (&old, "06", None)];
        for at in if reversed { [1, 0] } else { [0, 1] } {
            let (object, sequencer, content) = changes[at];
            world.object_change(object, sequencer, content);
        }
        let seen = world.seen().await;
        assert_eq!(seen.last().map(String::as_str), Some("same"), "{seen:?}");
        // Both in one file.
        let world = self::world(PREFIX);
        world.put_object("data/a.jsonl", content.clone());
        world.orders([0]).await;
        world.env().done(&world.cut(..)).await;
        world.object_change(&old, "06", None);
        world.object_change(&new, "05", Some(&content));
        world.join_files(1, 2, reversed);
        assert_eq!(world.seen().await, ["same", "same"]);
    }
}

#[tokio::test]
async fn a_base_remembers_that_what_it_keeps_was_removed() {
    let world = world(PREFIX);
    let object = |name: &str| format!("{PREFIX}{name}");
    world.object_change(&object("one.jsonl"), "01", Some(&rows(&[("a", "one")])));
    world.object_change(&object("one.jsonl"), "02", None);
    world.orders([0]).await;
    world.env().done(&world.cut(..)).await;
    assert_eq!(world.rows(), [row(0, "one", 2)]);
    world.object_change(&object("two.jsonl"), "03", Some(&rows(&[("a", "two")])));
    assert_eq!(world.seen().await[2..], ["one", "two"]);
}

#[tokio::test]
async fn nothing_wrong_is_taken_for_no_rows() {
    let absent = world(SINGLE);
    absent.orders([0]).await;
    let error = absent.env().fails(&absent.cut(..)).await;
    assert!(matches!(error, ProcessError::Load(LoadError::NoObject { .. })), "{error}");
    let empty = world(PREFIX);
    empty.put_object("data/notes.txt", "not reference data");
    empty.orders([0]).await;
    let error = empty.env().fails(&empty.cut(..)).await;
    assert!(matches!(error, ProcessError::Load(LoadError::NoObject { .. })), "{error}");

    let damaged = world(SINGLE);
    damaged.put_object("data/products.jsonl", "{\"item\":\"a\"}\noops\n");
    damaged.orders([0]).await;
    let error = damaged.env().fails(&damaged.cut(..)).await;
    assert!(matches!(error, ProcessError::Load(LoadError::Content { .. })), "{error}");
    assert!(!damaged.state.objects().contains_key(&base_key(SINGLE)), "it may be mended");
    damaged.put_object("data/products.jsonl", rows(&[("a", "mended")]));
    let env = damaged.env();
    env.done(&damaged.cut(..)).await;
    assert_eq!(damaged.rows(), [row(0, "mended", 0)]);

    let content = rows(&[("a", "one")]);
    let version = damaged.object_change(SINGLE, "01", Some(&content));
    damaged.send([damaged.flag(version)]).await;
    let copy = copy_key(&hex::encode(Sha256::digest(&content)));
    for wrong in [None, Some("altered")] {
        damaged.state.remove(&copy);
        if let Some(text) = wrong {
            damaged.state.insert(&copy, text);
        }
        for env in [&env, &damaged.env()] {
            let error = env.fails(&damaged.cut(..)).await;
            assert!(matches!(error, ProcessError::Load(LoadError::Copy { .. })), "{error}");
        }
    }
    damaged.state.insert(&copy, content);
    damaged.orders([1]).await;
    env.done(&damaged.cut(..)).await;
    assert_eq!(damaged.rows(), [row(0, "mended", 0), row(1, "one", 1)]);
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_the_figure() {
    let world = World { content_limit: 1_000, ..self::world(PREFIX) };
    world.put_object("data/one.jsonl", rows(&[("a", "base")]));
    world.orders([0]).await;
    let env = world.env();
    env.done(&world.cut(..)).await;
    let many = [("a", "many"); 5];
    let two = format!("{PREFIX}two.jsonl");
    world.object_change(&two, "01", Some(&rows(&many[..2])));
    world.object_change(&two, "02", Some(&rows(&many[..3])));
    world.object_change(&two, "03", Some(&rows(&many)));
    for (version, what) in
        [(2, "it alone fits, and not beside the other object"), (3, "its rows take more than its text")]
    {
        world.send([world.flag(version)]).await;
        let text = Chain(&world.env().fails(&world.cut(..)).await).to_string();
        assert!(text.contains("1000"), "{what}: {text}");
    }
    let cold = World { content_limit: 100, ..self::world(PREFIX) };
    cold.put_object("data/one.jsonl", rows(&many[..2]));
    cold.put_object("data/two.jsonl", rows(&many[..2]));
    cold.orders([0]).await;
    let error = cold.env().fails(&cold.cut(..)).await;
    assert!(matches!(error, ProcessError::Load(LoadError::TooLarge { size: 124, limit: 100, .. })), "{error}");
}
