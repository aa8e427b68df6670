//! Environments at work on the same shard at once, in many orders of their calls.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::objects;
use super::world::{World, order, row};
use crate::memory::{Call, Fault, MemoryStream};
use crate::record::Records;

/// Numbers that look random, the same for the same seed.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// Runs futures to their ends, each time polling one that the seed chooses.
fn interleave<'f, T>(seed: u64, mut futures: Vec<Pin<Box<dyn Future<Output = T> + 'f>>>) -> Vec<T> {
    let mut random = Random(seed);
    let mut context = Context::from_waker(Waker::noop());
    let mut done = Vec::new();
    for _ in 0..1_000_000 {
        if futures.is_empty() {
            return done;
        }
        let chosen = usize::try_from(random.below(futures.len() as u64)).unwrap();
        if let Poll::Ready(value) = futures[chosen].as_mut().poll(&mut context) {
            done.push(value);
            drop(futures.swap_remove(chosen));
        }
    }
    panic!("seed {seed}: no end");
}

fn alone<'f, T>(future: impl Future<Output = T> + 'f) -> T {
    interleave(0, vec![Box::pin(future)]).remove(0)
}

/// Twelve orders in two partitions, with two flags among them.
fn world() -> World {
    let mut world = World::new();
    world.limits.records = 5;
    alone(async {
        let first = world.bump();
        for n in 0..12 {
            if n == 3 {
                world.send([world.flag(first)]).await;
            }
            if n == 7 {
                world.wait(1);
                let second = world.bump();
                world.send([world.flag(second)]).await;
            }
            world.send([order(n, if n % 3 == 2 { "b" } else { "a" })]).await;
        }
    });
    world
}

fn check(world: &World, seed: u64) {
    let rows = world.rows();
    let numbers: Vec<_> = rows.iter().map(|(n, ..)| *n).collect();
    assert_eq!(numbers, (0..12).collect::<Vec<_>>(), "seed {seed}: every row once");
    let versions: Vec<_> = rows.iter().map(|(.., version)| *version).collect();
    assert_eq!(versions, [1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2], "seed {seed}");
}

/// As an event source mapping does: on to the next batch when one is done, the same again after an error.
async fn deliver(world: &World, env: &super::world::Environment, cuts: &[(usize, usize)]) {
    for (from, to) in cuts {
        let records: Records = world.cut(*from..*to);
        while let Some(Err(_)) = env.batch(&records).await {}
        if env.gate.crash().has_struck() {
            return;
        }
    }
}

#[test]
fn two_environments_on_the_same_batch_write_each_row_once() {
    for seed in 0..100 {
        let world = world();
        let envs = [world.env(), world.env()];
        let work = envs.iter().map(|env| Box::pin(deliver(&world, env, &[(0, 14)])) as Pin<Box<_>>);
        interleave(seed, work.collect());
        check(&world, seed);
    }
}

#[test]
fn environments_on_overlapping_cuts_write_each_row_once() {
    for seed in 0..150 {
        let world = world();
        let cuts: [&[(usize, usize)]; 3] = [&[(0, 14)], &[(0, 4), (4, 9), (9, 14)], &[(0, 6), (3, 14)]];
        let envs = [world.env(), world.env(), world.env()];
        let work = envs.iter().zip(cuts).map(|(env, cuts)| Box::pin(deliver(&world, env, cuts)) as Pin<Box<_>>);
        interleave(seed, work.collect());
        check(&world, seed);
    }
}

#[test]
fn racing_environments_that_fail_and_die_write_each_row_once() {
    let mut struck = BTreeSet::new();
    for seed in 0..300 {
        let world = world();
        let faulty = |number: u64| {
            let random = Mutex::new((Random(seed * 7 + number), 6));
            world.env_with(Arc::new(move |_: &Call<'_>| {
                let mut guard = random.lock().unwrap();
                let (random, left) = &mut *guard;
                if *left == 0 || random.below(12) > 0 {
                    return Fault::None;
                }
                *left -= 1;
                match random.below(10) {
                    0 => Fault::CrashBefore,
                    1 => Fault::CrashAfter,
                    2 | 3 => Fault::LostAnswer,
                    4 | 5 => Fault::LateWrite(usize::try_from(random.below(9)).unwrap_or(0)),
                    6 | 7 => Fault::Busy,
                    _ => Fault::Fail,
                }
            }))
        };
        let cuts: [&[(usize, usize)]; 3] = [&[(0, 14)], &[(0, 5), (5, 14)], &[(0, 8), (6, 14)]];
        let envs: Vec<_> = (0..3).map(faulty).collect();
        let work = envs.iter().zip(cuts).map(|(env, cuts)| Box::pin(deliver(&world, env, cuts)) as Pin<Box<_>>);
        interleave(seed, work.collect());
        struck.extend(envs.iter().map(|env| env.gate.crash().has_struck()));
        let last = world.env();
        alone(last.done(&world.cut(..)));
        check(&world, seed);
    }
    assert_eq!(struck.len(), 2, "some died and some did not");
}

#[test]
fn one_environment_may_work_on_several_shards_at_once() {
    for seed in 0..50 {
        let mut world = World::unscanned();
        world.stream = MemoryStream::new("s", 2, &world.clock);
        let other = "shardId-000000000001";
        alone(async {
            world.orders(0..4).await;
            let version = world.bump();
            world.send([world.flag(version), order(4, "a")]).await;
        });
        let env = world.env();
        let records = world.cut(..);
        let work: Vec<Pin<Box<dyn Future<Output = ()>>>> =
            vec![Box::pin(env.done(&records)), Box::pin(env.done_of(other, &records))];
        interleave(seed, work);
        let rows = world.rows();
        assert_eq!(rows.len(), 10, "seed {seed}");
        assert!(rows.iter().all(|(n, _, version)| *n < 4 || *version == 1), "seed {seed}");
        assert!(env.heard.refreshed().iter().all(|refreshed| refreshed.files > 0), "seed {seed}: told of nothing");
    }
}

#[test]
fn one_environment_may_load_contents_for_several_shards_at_once() {
    for seed in 0..50 {
        let mut world = objects::world(objects::SINGLE);
        world.stream = MemoryStream::new("s", 2, &world.clock);
        world.put_object("data/products.jsonl", objects::rows(&[("a", "base")]));
        let other = "shardId-000000000001";
        alone(async {
            world.orders([0]).await;
            let first = world.env();
            first.done(&world.cut(..)).await;
            first.done_of(other, &world.cut(..)).await;
            for n in 1..=4 {
                let rows = objects::rows(&[("a", &format!("contents {n}"))]);
                world.object_change(objects::SINGLE, &format!("0{n}"), Some(&rows));
            }
            world.send([world.flag(4), order(1, "a")]).await;
        });
        let env = world.env();
        let records = world.cut(..);
        let work: Vec<Pin<Box<dyn Future<Output = ()>>>> =
            vec![Box::pin(env.done(&records)), Box::pin(env.done_of(other, &records))];
        interleave(seed, work);
        let due = [row(0, "base", 0), row(0, "base", 0), row(1, "contents 4", 4), row(1, "contents 4", 4)];
        assert_eq!(world.rows(), due, "seed {seed}");
    }
}
