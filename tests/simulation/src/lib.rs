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

use faults::Trace;


#[derive(Debug, Default)]
pub struct X;
impl X { pub fn t(seed: u64) { let t = Trace::default(); schedule::run(seed, &t).unwrap(); } }
