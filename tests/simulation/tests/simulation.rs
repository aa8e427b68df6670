//! Some seeds of the simulation, as part of every test run; `scripts/simulate` runs many more.

use freshjoin_simulation::{Settings, campaign, replay_command, run, smallest};

/// So many seeds run here; `scripts/test` runs 2,000 in an optimized build.
const SEEDS: u64 = 100;

#[test]
fn every_invariant_holds_whatever_goes_wrong() {
    let settings = Settings::default();
    let found = campaign(1..SEEDS + 1, &settings, |_| {});
    println!("{:?}", found.summary);
    if let Some((seed, what)) = found.failed {
        let least = smallest(seed, &settings, &what);
        panic!(
            "seed {seed}: {what}\n\nreplay it: {}\nthe smallest that fails: {}\n{}",
            replay_command(seed, &settings),
            replay_command(seed, &least.settings),
            least.what
        );
    }
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    for seed in [3, 4, 11] {
        let [first, second] = [(); 2].map(|()| run(seed, &Settings::default(), true));
        assert_eq!(format!("{:?}", first.result), format!("{:?}", second.result));
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
}
