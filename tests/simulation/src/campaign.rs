//! Many seeds, on every core.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::{Settings, Summary, Tally, run};

/// What came of many seeds.
#[derive(Debug, Default)]
pub struct Campaign {
    /// How many were run.
    pub seeds: u64,
    /// How much happened.
    pub summary: Summary,
    /// How often what happened.
    pub tally: Tally,
    /// The lowest seed that failed, and what did not hold.
    pub failed: Option<(u64, String)>,
}

impl Campaign {
    /// The kinds that never came.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        self.tally.counts().into_iter().filter(|(_, count)| *count == 0).map(|(kind, _)| kind).collect()
    }
}

/// Runs seeds until one fails; `each` is told of each.
pub fn campaign(seeds: Range<u64>, settings: &Settings, each: impl Fn(u64) + Sync) -> Campaign {
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let whole = Mutex::new(Campaign::default());
    let work = || {
        let mut part = Campaign::default();
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let outcome = run(seed, settings, false);
            part.seeds += 1;
            part.tally += &outcome.tally;
            match outcome.result {
                Ok(summary) => part.summary += summary,
                Err(what) => {
                    stop.store(true, Ordering::Relaxed);
                    part.failed = Some((seed, what));
                }
            }
            each(seed);
        }
        whole.lock().unwrap_or_else(PoisonError::into_inner).add(part);
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    whole.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Campaign {
    fn add(&mut self, part: Self) {
        self.seeds += part.seeds;
        self.summary += part.summary;
        self.tally += &part.tally;
        self.failed = [self.failed.take(), part.failed].into_iter().flatten().min_by_key(|(seed, _)| *seed);
    }
}
