//! `scripts/simulate`: many seeds, or one with its whole trace.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use freshjoin_core::bug::Bug;
use freshjoin_simulation::{Off, Settings, campaign, hunt, replay_command, run, seed_of, smallest};

/// Runs freshjoin's handlers in a seeded world in which everything goes wrong, and checks that every invariant holds.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Arguments {
    /// So many seeds.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Only this one, with its whole trace.
    #[arg(long)]
    seed: Option<u64>,
    /// A kind of fault or event that may not come, by its name or the beginning of it; several times.
    #[arg(long)]
    without: Vec<String>,
    /// The only kinds that may come, in the same way.
    #[arg(long, conflicts_with = "without")]
    only: Vec<String>,
    /// None may come.
    #[arg(long, conflicts_with_all = ["without", "only"])]
    calm: bool,
    /// No more than so many steps before the calm.
    #[arg(long)]
    steps: Option<usize>,
    /// A rule that is broken on purpose.
    #[arg(long, value_parser = bug)]
    bug: Option<Bug>,
    /// Instead: break each rule in turn, and say which seed notices.
    #[arg(long)]
    hunt: bool,
}

fn bug(name: &str) -> Result<Bug, String> {
    let known = Bug::ALL.iter().find(|bug| format!("{bug:?}") == name).copied();
    known.ok_or_else(|| Bug::ALL.iter().map(|bug| format!("\n  {bug:?}: {}", bug.words())).collect())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let names = arguments.without.iter().chain(&arguments.only).cloned();
    let off = match Off::new(names, arguments.calm || !arguments.only.is_empty()) {
        Ok(off) => off,
        Err(what) => {
            complain(&what);
            return ExitCode::from(2);
        }
    };
    let settings = Settings { off, steps: arguments.steps, bug: arguments.bug };
    // A seed that panics says so itself; the backtrace is the replay's.
    std::panic::set_hook(Box::new(|_| {}));
    if arguments.hunt {
        return hunt_all(&arguments);
    }
    match match arguments.seed {
        Some(seed) => one(seed, &settings),
        None => many(&arguments, &settings),
    } {
        Ok(code) => code,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Every bug, or the one that was named, in no more than so many seeds each.
fn hunt_all(arguments: &Arguments) -> ExitCode {
    let mut all = true;
    for bug in Bug::ALL.iter().copied().filter(|bug| arguments.bug.is_none_or(|only| only == *bug)) {
        let start = Instant::now();
        let line = match hunt(bug, seed_of(bug), arguments.seeds) {
            Some(caught) => {
                let what = caught.what.lines().next().unwrap_or_default().to_owned();
                let seconds = start.elapsed().as_secs();
                format!("{bug:?} fell to seed {} ({} tried, {seconds} s): {what:.160}", caught.seed, caught.tried)
            }
            None => {
                all = false;
                format!("{bug:?} survives {} seeds", arguments.seeds)
            }
        };
        if writeln!(io::stdout(), "{line}").is_err() {
            break;
        }
    }
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn complain(what: &str) {
    // Nobody is left to be told.
    drop(writeln!(io::stderr(), "{what}"));
}

fn one(seed: u64, settings: &Settings) -> io::Result<ExitCode> {
    let outcome = run(seed, settings, true);
    let mut out = io::stdout().lock();
    for line in outcome.trace {
        writeln!(out, "{line}")?;
    }
    match outcome.result {
        Ok(summary) => {
            writeln!(out, "seed {seed}: {summary:?}")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(what) => {
            complain(&format!("seed {seed}: {what}"));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn many(arguments: &Arguments, settings: &Settings) -> io::Result<ExitCode> {
    let (start, done) = (Instant::now(), AtomicU64::new(0));
    let end = arguments.from.saturating_add(arguments.seeds);
    let found = campaign(arguments.from..end, settings, |_| {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done % 1_000 == 0 {
            complain(&format!("{done} of {} seeds after {} s", arguments.seeds, start.elapsed().as_secs()));
        }
    });
    let mut out = io::stdout().lock();
    for (kind, count) in found.tally.counts() {
        writeln!(out, "{count:>10}  {kind}")?;
    }
    writeln!(out, "{:?}", found.summary)?;
    let seconds = start.elapsed().as_secs_f64();
    writeln!(out, "{} seeds in {seconds:.0} s, {:.1} a second", found.seeds, found.seeds as f64 / seconds)?;
    let Some((seed, what)) = &found.failed else {
        let missing = found.missing();
        let enough = arguments.seeds >= 2_000 && settings.off.is_nothing();
        if enough && !missing.is_empty() {
            complain(&format!("never came: {}", missing.join(", ")));
            return Ok(ExitCode::FAILURE);
        }
        return Ok(ExitCode::SUCCESS);
    };
    complain(&format!("seed {seed}: {what}\nreplay it with its whole trace: {}", replay_command(*seed, settings)));
    let least = smallest(*seed, settings, what);
    let kinds: Vec<String> = least.kinds.iter().map(|(kind, count)| format!("{kind} ({count})")).collect();
    complain(&format!(
        "\nit still fails so: {}\nwith no more than: {}\nreplay that: {}",
        least.what,
        kinds.join(", "),
        replay_command(*seed, &least.settings)
    ));
    Ok(ExitCode::FAILURE)
}
