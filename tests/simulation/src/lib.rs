//! The deterministic simulation: the real handlers of the functions over ports in memory, on one thread and in virtual
//! time, with every fault and every interleaving drawn from a seed, held against a model that shares nothing with them
//! but the formats of what they write.
//!
//! A seed gives the same run everywhere. A failure names the seed and the command that replays it with its whole trace,
//! and how much of what went wrong in it is needed for it.

mod archive;
mod bucket;
mod campaign;
mod caught;
mod check;
mod damage;
mod days;
mod definitions;
mod delivery;
mod environment;
mod events;
mod faults;
mod features;
mod folded;
mod history;
mod hunt;
mod keeper;
mod kinds;
mod known;
mod mapping;
mod model;
mod orders;
mod outside;
mod replay;
mod rng;
mod schedule;
mod settle;
mod shrink;
mod table;
mod trace;
mod unguarded;

use std::panic::{AssertUnwindSafe, catch_unwind};

use freshjoin_core::bug::{Bug, plant};

pub use campaign::{Campaign, campaign};
pub use caught::seed_of;
pub use check::Summary;
pub use hunt::{Caught, hunt};
pub use kinds::{Off, Tally};
pub use shrink::{Smallest, smallest};

use trace::Trace;

/// How a seed is run.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What may not happen.
    pub off: Off,
    /// No more than so many steps before the calm.
    pub steps: Option<usize>,
    /// A rule that is broken on purpose.
    pub bug: Option<Bug>,
}

/// What came of a seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What it did, or what does not hold.
    pub result: Result<Summary, String>,
    /// How often what happened.
    pub tally: Tally,
    /// What happened, where that was to be kept.
    pub trace: Vec<String>,
}

/// Runs a seed.
#[must_use]
pub fn run(seed: u64, settings: &Settings, traced: bool) -> Outcome {
    let trace = if traced { Trace::kept() } else { Trace::default() };
    let mut tally = Tally::default();
    plant(settings.bug);
    let result = catch_unwind(AssertUnwindSafe(|| schedule::run(seed, settings, &trace, &mut tally)));
    plant(None);
    let result = match result {
        Ok(Ok(summary)) => Ok(summary),
        Ok(Err(violation)) => Err(violation.0),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(format!("panicked: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default()))
        }
    };
    Outcome { result, tally, trace: trace.lines() }
}

/// The command that replays a seed with its whole trace.
#[must_use]
pub fn replay_command(seed: u64, settings: &Settings) -> String {
    let mut command = format!("scripts/simulate --seed {seed}{}", settings.off.options());
    if let Some(steps) = settings.steps {
        command.push_str(&format!(" --steps {steps}"));
    }
    if let Some(bug) = settings.bug {
        command.push_str(&format!(" --bug {bug:?}"));
    }
    command
}
