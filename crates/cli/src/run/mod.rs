//! `freshjoin run`: the same join over local files or standard input, on the embedded stack.
//!
//! What always holds: every line is a record; memory is flat, as records are forgotten once they are committed and the
//! reader waits for room. The same input gives the same objects with the same bytes, save the time in their names.
//!
//! On failure what was committed stays in the output; the state of the run is gone with it, so it cannot be resumed.

mod follow;
mod input;
mod shard;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use freshjoin_clock::SystemClock;
use freshjoin_core::batch::{Consumer, ConsumerDeps, ConsumerSettings};
use freshjoin_core::join::Limits;
use freshjoin_core::pipeline::{Definition, Delivery};
use freshjoin_core::ports::ObjectStore;
use freshjoin_core::settings::AsOf;
use freshjoin_local::{EmbeddedStream, EmbeddedTables, FsStore, FsStores, PageLimits, SplitStore};
use futures_util::FutureExt;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::failure::Failure;
use crate::output::{DEAD_LETTERS, fresh_directory};
use crate::references::{self, ReferenceFile};
use crate::tally::{Tally, Totals};
use input::Input;

/// What is read, joined and written at a time: large enough for few objects, small enough for little memory.
const PAGE: PageLimits = PageLimits { records: 50_000, bytes: 8 << 20 };
/// A shard holds no more than so many bytes that are not committed.
const ROOM: usize = 3 * PAGE.bytes;

/// Join local files or standard input: the same join, the same output layout, without AWS.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The pipeline's definition.
    #[arg(long, value_name = "P.toml")]
    pipeline: PathBuf,
    /// A reference's rows: .jsonl, .csv with a header, or .parquet; the first two also .gz or .zst. NAME is the table's
    /// name, the object's stem, or a prefix's last folder.
    #[arg(long = "reference", value_name = "NAME=FILE", required = true)]
    references: Vec<ReferenceFile>,
    /// The records, one a line; - is standard input.
    #[arg(long, value_name = "FILE|-")]
    input: PathBuf,
    /// A directory that is empty or does not exist.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Shards, which go on side by side; lines are dealt to them in turn.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    shards: u32,
    /// Print the closing summary as one JSON object on standard output.
    #[arg(long)]
    json: bool,
    /// Keep reading a file that grows, and take edits of the reference files as changes, until interrupted.
    #[arg(long)]
    follow: bool,
}

/// What `--json` prints; all but rows and objects are sub-records.
#[derive(Debug, Serialize)]
struct Summary {
    records: u64,
    flags: u64,
    enriched: u64,
    unmatched: u64,
    dead_letters: u64,
    rows: u64,
    objects: u64,
    output: String,
}

/// Runs to the end of the input.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let started = Instant::now();
    let mut definition = read_definition(&arguments.pipeline)?;
    let mirrors = references::load(&mut definition, &arguments.references)?;
    let input = Input::open(&arguments.input, arguments.follow)?;
    let output = fresh_directory(&arguments.output)?;

    let clock = Arc::new(SystemClock);
    let scratch = tempfile::tempdir()?;
    let dead_letters = Arc::new(FsStore::new(arguments.output.join(DEAD_LETTERS)));
    let state: Arc<dyn ObjectStore> =
        Arc::new(SplitStore::new(Arc::new(FsStore::new(scratch.path())), "dead-letters/", dead_letters));
    let stream = Arc::new(EmbeddedStream::new("run", arguments.shards, clock.clone()).with_pages(PAGE));
    let tally = Arc::new(Tally::default());
    let deps = ConsumerDeps {
        state: state.clone(),
        stores: Arc::new(FsStores::new()),
        tables: Arc::new(EmbeddedTables::new(mirrors.iter().map(|mirror| mirror.table.clone()))),
        stream: stream.clone(),
        clock,
        observer: tally.clone(),
    };
    let limits = Limits { records: PAGE.records, objects: 100_000, bytes: 256 << 20 };
    let settings = ConsumerSettings { limits, ..ConsumerSettings::new(output, AsOf::Flag) };
    let consumer = Arc::new(Consumer::new(definition, deps, settings));

    let shards = stream.shard_ids();
    let (stop, stopped) = watch::channel(false);
    let mut edits = match arguments.follow {
        true => follow::follow(&mirrors, state, stream.clone(), &stopped),
        false => JoinSet::new(),
    };
    let mut work = JoinSet::new();
    for shard in shards.clone() {
        work.spawn(shard::consume(stream.clone(), consumer.clone(), shard, arguments.follow));
    }
    work.spawn(input::feed(input, stream, shards, stopped));
    let interrupted = std::pin::pin!(async {
        // A run that has an end may be cut off; one that has none ends in order.
        match arguments.follow {
            true => tokio::signal::ctrl_c().await,
            false => std::future::pending().await,
        }
    });
    let mut interrupted = interrupted.fuse();
    loop {
        tokio::select! {
            done = work.join_next() => match done {
                // The first failure ends the others: they are dropped with the set.
                Some(done) => done??,
                None => break,
            },
            pressed = &mut interrupted => {
                pressed?;
                stop.send_replace(true);
            }
        }
    }
    stop.send_replace(true);
    while let Some(ended) = edits.join_next().await {
        ended?;
    }
    report(&arguments, tally.totals(), started)
}

fn read_definition(path: &Path) -> Result<Definition, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("{} cannot be read: {error}", path.display()), "check --pipeline"))?;
    let definition = Definition::parse(&text).map_err(|error| Failure::from(error).while_doing(path.display()))?;
    if definition.output.delivery == Delivery::AtLeastOnce {
        let cause = format!("{}: a run joins as of flags, which at-least-once delivery cannot", path.display());
        return Err(Failure::new(cause, "take out delivery, or set it to \"exactly-once\""));
    }
    Ok(definition)
}

fn report(arguments: &Arguments, totals: Totals, started: Instant) -> Result<(), Failure> {
    let counts = totals.counts;
    if arguments.json {
        let summary = Summary {
            records: counts.records(),
            flags: counts.flags,
            enriched: counts.enriched,
            unmatched: counts.unmatched,
            dead_letters: counts.dead_letters,
            rows: counts.rows,
            objects: totals.objects,
            output: arguments.output.display().to_string(),
        };
        writeln!(std::io::stdout(), "{}", serde_json::to_string(&summary)?)?;
        return Ok(());
    }
    let seconds = started.elapsed().as_secs_f64();
    writeln!(
        std::io::stderr(),
        "{} records: {} enriched, {} unmatched, {} dead letters; {} rows in {} objects below {} ({seconds:.1} s)",
        counts.records(),
        counts.enriched,
        counts.unmatched,
        counts.dead_letters,
        counts.rows,
        totals.objects,
        arguments.output.display(),
    )?;
    Ok(())
}
