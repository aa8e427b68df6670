//! Conditional writes at the same time: what the change log and the cursors stand on.

use std::sync::Arc;

use bytes::Bytes;
use freshjoin_core::ports::{ObjectStore, Precondition, PutOutcome};
use futures_util::future::join_all;
use tokio::sync::Barrier;

use super::super::cases;
use super::{World, read, write};

cases!(World:
    of_many_first_writers_one_wins,
    of_many_holders_of_a_tag_one_wins,
    a_counter_by_compare_and_swap_is_exact,
    readers_see_whole_objects_only,
);

const WRITERS: usize = 16;
const ROUNDS: usize = 12;

/// Where the server behind an adapter does not keep the promise itself, the case says so and asks for less.
fn exact(world: &World) -> bool {
    if let Some(why) = world.lenient_races {
        println!("not checked here: one winner of a race ({why})");
    }
    world.lenient_races.is_none()
}

/// Lets all writers loose at once; the bodies of those who were told that they won.
async fn winners(stores: Vec<Arc<dyn ObjectStore>>, key: &str, tag: Option<freshjoin_core::ports::ETag>) -> Vec<Bytes> {
    let barrier = Arc::new(Barrier::new(stores.len()));
    let writers = stores.into_iter().enumerate().map(|(writer, store)| {
        let (barrier, key, tag) = (Arc::clone(&barrier), key.to_owned(), tag.clone());
        tokio::spawn(async move {
            let body = Bytes::from(format!("{writer}"));
            let condition = tag.as_ref().map_or(Precondition::Absent, Precondition::Matches);
            barrier.wait().await;
            match store.put(&key, body.clone(), condition).await.unwrap() {
                PutOutcome::Written(_) => Some(body),
                PutOutcome::PreconditionFailed | PutOutcome::Busy => None,
            }
        })
    });
    join_all(writers).await.into_iter().filter_map(Result::unwrap).collect()
}

fn handles(world: &World) -> Vec<Arc<dyn ObjectStore>> {
    (0..WRITERS).map(|_| world.store()).collect()
}

async fn check(world: &World, key: &str, winners: &[Bytes]) {
    let there = read(&*world.store(), key).await.unwrap();
    assert!(winners.contains(&there), "{key} holds what nobody was told to have written");
    if world.lenient_races.is_none() {
        assert_eq!(winners.len(), 1, "{key} was won by {winners:?}");
    }
}

async fn of_many_first_writers_one_wins(world: World) {
    exact(&world);
    for round in 0..ROUNDS {
        let key = format!("changes/{round:020}.json");
        let winners = winners(handles(&world), &key, None).await;
        check(&world, &key, &winners).await;
    }
}

async fn of_many_holders_of_a_tag_one_wins(world: World) {
    exact(&world);
    for round in 0..ROUNDS {
        let key = format!("cursors/{round}.json");
        let tag = write(&*world.store(), &key, "start").await;
        let winners = winners(handles(&world), &key, Some(tag)).await;
        check(&world, &key, &winners).await;
    }
}

async fn a_counter_by_compare_and_swap_is_exact(world: World) {
    const EACH: u32 = 5;
    write(&*world.store(), "counter", "0").await;
    let tasks = (0..8).map(|_| {
        let store = world.store();
        tokio::spawn(async move {
            let mut done = 0;
            while done < EACH {
                let object = store.get("counter").await.unwrap().unwrap();
                let count: u32 = std::str::from_utf8(&object.bytes).unwrap().parse().unwrap();
                let next = Bytes::from((count + 1).to_string());
                if let PutOutcome::Written(_) =
                    store.put("counter", next, Precondition::Matches(&object.etag)).await.unwrap()
                {
                    done += 1;
                }
            }
        })
    });
    join_all(tasks).await.into_iter().for_each(Result::unwrap);
    let count: u32 = std::str::from_utf8(&read(&*world.store(), "counter").await.unwrap()).unwrap().parse().unwrap();
    if exact(&world) {
        assert_eq!(count, 8 * EACH, "increments were lost");
    }
}

async fn readers_see_whole_objects_only(world: World) {
    const SIZE: usize = 512 * 1024;
    let body = |letter: u8| Bytes::from(vec![letter; SIZE]);
    write(&*world.store(), "object", body(b'a')).await;
    let writer = {
        let store = world.store();
        tokio::spawn(async move {
            for letter in b'b'..=b'z' {
                write(&*store, "object", body(letter)).await;
            }
        })
    };
    let store = world.store();
    let mut seen = 0;
    while !writer.is_finished() || seen == 0 {
        let object = store.get("object").await.unwrap().unwrap();
        let first = object.bytes[0];
        assert_eq!(object.bytes.len(), SIZE, "a part of an object");
        assert!(object.bytes.iter().all(|byte| *byte == first), "a mix of two objects");
        seen += 1;
    }
    writer.await.unwrap();
    assert_eq!(read(&*store, "object").await, Some(body(b'z')));
}
