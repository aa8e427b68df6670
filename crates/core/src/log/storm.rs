//! Many writers, many faults, in many orders: whatever happens, the log has no gap and holds every batch.
//!
//! Each run is decided by its seed alone; a failure names it.

use std::collections::BTreeSet;
use std::sync::Mutex;

use futures_util::future::join_all;

use super::tests::{World, batch};
use super::*;
use crate::memory::{Call, Fault, Gate};

const WRITERS: usize = 4;
const BATCHES: usize = 6;

/// Enough randomness for choosing faults.
#[derive(Debug)]
struct Seeded(Mutex<u64>);

impl Seeded {
    fn below(&self, bound: u64) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state % bound
    }

    fn fault(&self, call: &Call<'_>) -> Fault {
        match (self.below(100), call.operation) {
            (0..4, _) => Fault::Fail,
            (4..8, _) => Fault::LostAnswer,
            (8..11, _) => Fault::CrashBefore,
            (11..14, _) => Fault::CrashAfter,
            (14..20, "PUT") => Fault::LateWrite(usize::try_from(self.below(40)).unwrap()),
            (20..26, "PUT") => Fault::Busy,
            (14..20, "LIST") => Fault::Short(1),
            _ => Fault::None,
        }
    }
}

/// One writer: delivers its batches in order, each until it is acknowledged, in a new environment after each crash.
async fn deliver(world: &World, seeded: &Arc<Seeded>, writer: usize) -> Vec<Version> {
    let environment = || {
        let seeded = seeded.clone();
        let gate = Gate::new(Arc::new(move |call: &Call<'_>| seeded.fault(call)));
        (ChangeLog::new(Arc::new(world.store.through(&gate)), Arc::new(world.clock.clone())), gate)
    };
    let (mut log, mut gate) = environment();
    let mut acknowledged = Vec::new();
    for number in 0..BATCHES {
        loop {
            let (origin, changes) = batch(&format!("{writer}-{number}"));
            match gate.crash().guard(log.append(origin, changes)).await {
                Some(Ok(appended)) => {
                    acknowledged.push(appended.version);
                    break;
                }
                Some(Err(error)) => assert!(error.is_transient(), "{error}"),
                None => (log, gate) = environment(),
            }
        }
    }
    acknowledged
}

#[tokio::test]
async fn no_gap_and_nothing_lost_in_any_storm() {
    for seed in 1..=300 {
        let world = World::new();
        let seeded = Arc::new(Seeded(Mutex::new(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed))));
        let acknowledged = join_all((0..WRITERS).map(|writer| deliver(&world, &seeded, writer))).await;
        let files = world.files(0);
        let mut expected = BTreeSet::new();
        for (writer, versions) in acknowledged.iter().enumerate() {
            for (number, version) in versions.iter().enumerate() {
                let source = format!("{writer}-{number}");
                let file = files.get(usize::try_from(*version - 1).unwrap());
                assert_eq!(file.map(|file| &file.origin.source), Some(&source), "seed {seed}");
                expected.insert(source);
            }
        }
        let sources: BTreeSet<_> = files.into_iter().map(|file| file.origin.source).collect();
        assert_eq!(sources, expected, "seed {seed}");
    }
}
