//! The deterministic simulation: the real handlers of change-capture, flag-injector and enricher over ports in memory,
//! on one thread and in virtual time, with every fault and every interleaving drawn from a seed.
//!
//! `FRESHJOIN_SIM_SEED=7` replays one seed with its whole trace; `FRESHJOIN_SIM_SEEDS=2000` runs that many. A failure
//! names the seed, the command that replays it, what does not hold, and the last of what happened.

mod bucket;
mod check;
mod definitions;
mod delivery;
mod environment;
mod events;
mod faults;
mod folded;
mod history;
mod mapping;
mod model;
mod orders;
mod outside;
mod rng;
mod schedule;
mod table;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use check::Summary;
use faults::Trace;

/// So many seeds run where nobody says how many.
const SEEDS: u64 = 200;
/// So many lines of the trace a failure shows.
const TAIL: usize = 60;

#[expect(clippy::disallowed_methods, reason = "a test's own settings")]
fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}; set it to a number")))
}

/// Runs a seed; what went wrong, if something did.
fn failure(seed: u64, trace: &Trace) -> Result<Summary, String> {
    match catch_unwind(AssertUnwindSafe(|| schedule::run(seed, trace))) {
        Ok(Ok(summary)) => Ok(summary),
        Ok(Err(violation)) => Err(violation.0),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(format!("panicked: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default()))
        }
    }
}

fn report(seed: u64, trace: &Trace, lines: usize, what: &str) -> String {
    let all = trace.lines();
    let tail = all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n");
    format!(
        "seed {seed}: {what}\n\nthe last of what happened:\n{tail}\n\nreplay it with its whole trace: \
         FRESHJOIN_SIM_SEED={seed} cargo test -p freshjoin-tests --test simulation -- --nocapture"
    )
}

#[test]
fn every_invariant_holds_whatever_goes_wrong() {
    if let Some(seed) = setting("FRESHJOIN_SIM_SEED") {
        let trace = Trace::default();
        match failure(seed, &trace) {
            Ok(summary) => println!("{}\nseed {seed}: {summary:?}", trace.lines().join("\n")),
            Err(what) => panic!("{}", report(seed, &trace, usize::MAX, &what)),
        }
        return;
    }
    let seeds = setting("FRESHJOIN_SIM_SEEDS").unwrap_or(SEEDS);
    println!("seeds 1 to {seeds}");
    let (next, total) = (AtomicU64::new(1), Mutex::new(Summary::default()));
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > seeds || failed.lock().is_ok_and(|failed| !failed.is_empty()) {
                        return;
                    }
                    let trace = Trace::default();
                    match failure(seed, &trace) {
                        Ok(summary) => *total.lock().expect("nobody panics here") += summary,
                        Err(what) => failed.lock().expect("nobody panics here").push(report(seed, &trace, TAIL, &what)),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("nobody panics here");
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    println!("{:?}", total.into_inner().expect("nobody panics here"));
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    for seed in [3, 4, 11] {
        let (first, second) = (Trace::default(), Trace::default());
        let outcomes = [failure(seed, &first), failure(seed, &second)];
        assert_eq!(format!("{:?}", outcomes[0]), format!("{:?}", outcomes[1]));
        assert_eq!(first.lines(), second.lines(), "seed {seed}");
    }
}
