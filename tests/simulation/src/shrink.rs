//! A failing run made smaller: kinds of faults and events are switched off, and steps left out, for as long as it fails.

use crate::kinds::{FAULTS, Off};
use crate::{Settings, run};

/// The smallest run of a seed that was found to fail.
#[derive(Clone, Debug)]
pub struct Smallest {
    /// How to run it.
    pub settings: Settings,
    /// What does not hold in it.
    pub what: String,
    /// The kinds that still come in it, each with how often.
    pub kinds: Vec<(String, u64)>,
}

/// Tries, for a seed that fails under these settings, to fail with less.
#[must_use]
pub fn smallest(seed: u64, settings: &Settings, what: &str) -> Smallest {
    let mut best = Smallest { settings: settings.clone(), what: what.to_owned(), kinds: Vec::new() };
    // Whole groups first, then whatever is still there.
    let groups = FAULTS.iter().map(|fault| (*fault).to_owned());
    let events = crate::kinds::EVENTS.iter().map(|event| (*event).to_owned());
    for name in groups.chain(events) {
        best.attempt(seed, Settings { off: best.settings.off.with(&name), ..best.settings.clone() });
    }
    let left = run(seed, &best.settings, false).tally.counts();
    for (name, _) in left.into_iter().filter(|(_, count)| *count > 0) {
        best.attempt(seed, Settings { off: best.settings.off.with(&name), ..best.settings.clone() });
    }
    let (mut low, mut high) = (0, best.settings.steps.unwrap_or(4_000));
    while low < high {
        let middle = low + (high - low) / 2;
        if best.attempt(seed, Settings { steps: Some(middle), ..best.settings.clone() }) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    let counts = run(seed, &best.settings, false).tally.counts();
    best.kinds = counts.into_iter().filter(|(_, count)| *count > 0).collect();
    // Said the other way round it is mostly shorter.
    let off = Off::all_but(best.kinds.iter().map(|(kind, _)| kind.clone()));
    best.attempt(seed, Settings { off, ..best.settings.clone() });
    best
}

/// The invariant that does not hold, mostly.
fn class(what: &str) -> &str {
    what.split_once(':').map_or(what, |(class, _)| class)
}

impl Smallest {
    /// Whether it fails so too; then that is the smallest.
    fn attempt(&mut self, seed: u64, settings: Settings) -> bool {
        let Err(what) = run(seed, &settings, false).result else { return false };
        let same = class(&what) == class(&self.what);
        if same {
            (self.settings, self.what) = (settings, what);
        }
        same
    }
}
