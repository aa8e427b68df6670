//! Hunts for a bug that was planted: seeds are run with it until one fails.

use freshjoin_core::bug::Bug;

use crate::{Settings, campaign, run};

/// A bug that was caught.
#[derive(Clone, Debug)]
pub struct Caught {
    /// The seed that it fell to.
    pub seed: u64,
    /// What does not hold.
    pub what: String,
    /// How many seeds were run for it.
    pub tried: u64,
}

/// Runs the seed that is said to catch it; where that does not, seeds from 1 on, but no more than so many.
#[must_use]
pub fn hunt(bug: Bug, hint: Option<u64>, most: u64) -> Option<Caught> {
    let settings = Settings { bug: Some(bug), ..Settings::default() };
    if let Some(seed) = hint
        && let Err(what) = run(seed, &settings, false).result
    {
        return Some(Caught { seed, what, tried: 1 });
    }
    let found = campaign(1..most + 1, &settings, |_| {});
    let tried = found.seeds;
    found.failed.map(|(seed, what)| Caught { seed, what, tried })
}
