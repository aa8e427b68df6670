//! Listings: their order, their pages, and what does not belong to them.

use futures_util::stream::{self, StreamExt};

use super::super::cases;
use super::{World, keys_of, write};

cases!(World:
    keys_are_listed_in_the_order_of_their_bytes,
    more_than_a_page_is_listed_whole,
    start_after_is_exclusive_and_need_not_exist,
    a_prefix_is_no_folder,
    an_empty_listing_is_the_end,
    locations_do_not_leak_into_one_another,
);

async fn keys_are_listed_in_the_order_of_their_bytes(world: World) {
    let store = world.store();
    // U+FF5E sorts before U+10000 by UTF-8 bytes, and after it by UTF-16; a folder's slash sorts after a hyphen.
    let mut keys = vec![
        "0",
        "Z",
        "a-b",
        "a/b",
        "a/b-c",
        "a/b0",
        "a/c/d",
        "a0",
        "b",
        "é",
        "\u{ff5e}",
        "\u{10000}",
        "~",
        "changes/9",
        "changes/10",
    ];
    for key in keys.iter().rev() {
        write(&*store, key, "x").await;
    }
    keys.sort_unstable();
    assert_eq!(keys_of(&*store, "").await, keys);
}

async fn more_than_a_page_is_listed_whole(world: World) {
    let store = world.store();
    let keys: Vec<String> = (1..=1100).map(|version| format!("changes/{version:020}.json")).collect();
    stream::iter(&keys).for_each_concurrent(16, |key| async { drop(write(&*store, key, "{}").await) }).await;
    write(&*store, "cursors/orders/stream/shard.json", "{}").await;
    let first = store.list("changes/", None).await.unwrap();
    assert!(!first.is_empty() && first.len() <= 1000, "a page of {}", first.len());
    assert!(keys_of(&*store, "changes/").await == keys, "pages overlap, miss keys or are out of order");
}

async fn start_after_is_exclusive_and_need_not_exist(world: World) {
    let store = world.store();
    for key in ["changes/1", "changes/3", "changes/5", "floor.json"] {
        write(&*store, key, "x").await;
    }
    for (after, keys) in [
        ("changes/1", &["changes/3", "changes/5"][..]),
        ("changes/2", &["changes/3", "changes/5"]),
        ("changes/", &["changes/1", "changes/3", "changes/5"]),
        ("a", &["changes/1", "changes/3", "changes/5"]),
        ("changes/5", &[]),
        ("changes/9", &[]),
        ("z", &[]),
    ] {
        let listed = store.list("changes/", Some(after)).await.unwrap();
        assert_eq!(listed.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), keys, "after {after}");
    }
}

async fn a_prefix_is_no_folder(world: World) {
    let store = world.store();
    for key in ["changes/01", "changes/02", "changes/1", "changes-old/1", "changed"] {
        write(&*store, key, "x").await;
    }
    assert_eq!(keys_of(&*store, "changes/").await, ["changes/01", "changes/02", "changes/1"]);
    assert_eq!(keys_of(&*store, "changes/0").await, ["changes/01", "changes/02"]);
    assert_eq!(keys_of(&*store, "changes").await.len(), 4);
    assert_eq!(keys_of(&*store, "chang").await.len(), 5);
}

async fn an_empty_listing_is_the_end(world: World) {
    let store = world.store();
    assert!(store.list("", None).await.unwrap().is_empty(), "of a store where nothing ever was");
    assert!(store.list("changes/", Some("changes/1")).await.unwrap().is_empty());
    write(&*store, "other", "x").await;
    assert!(store.list("changes/", None).await.unwrap().is_empty());
}

async fn locations_do_not_leak_into_one_another(world: World) {
    let (inner, neighbour, below) = (world.at("a"), world.at("ab"), world.at("a/b"));
    write(&*inner, "x", "inner").await;
    write(&*neighbour, "y", "neighbour").await;
    write(&*below, "z", "below").await;
    assert_eq!(keys_of(&*inner, "").await, ["b/z", "x"], "keys are relative to their location, and only its own");
    assert_eq!(keys_of(&*neighbour, "").await, ["y"]);
    assert_eq!(keys_of(&*below, "").await, ["z"]);
    assert!(inner.get("y").await.unwrap().is_none());
}
