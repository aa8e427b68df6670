//! `freshjoin demo`: the whole pipeline in one process, with the handlers that Lambda runs. Orders flow, one priority
//! changes midway, and the objects written are counted against what was sent.
//!
//! What always holds: every order that was sent is looked for in the output, also after Ctrl-C, which only ends the
//! sending. On failure of a count the summary is printed all the same, and the exit code is 1.

mod check;
mod orders;
mod story;
mod tap;
mod watch;
mod world;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::failure::Failure;
use crate::output::fresh_directory;
use check::Freshness;
use orders::{Orders, SentOrders};
use story::Story;
use world::World;

/// Orders are sent in so many portions a second.
const TICK: Duration = Duration::from_millis(10);
/// No shard holds more than so many bytes that are not joined yet.
const ROOM: usize = 64 << 20;

/// Watch the whole pipeline in one process: table, change stream, bucket, events, a 4-shard stream, orders.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How long orders are sent; the priority changes midway.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Orders a second.
    #[arg(long, value_name = "R", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// A directory that is empty or does not exist; by default a new one among the temporary files.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Decides the orders.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print one JSON object on the last line of standard output, and no story.
    #[arg(long)]
    json: bool,
}

/// What came of it; the order of the members is the interface's.
#[derive(Clone, Debug, Serialize)]
struct Summary {
    records: u64,
    flags: u64,
    enriched: u64,
    unmatched: u64,
    dead_letters: u64,
    lost: u64,
    duplicated: u64,
    stale: u64,
    refreshes: u64,
    versions: u64,
    freshness_ms: Freshness,
    output: String,
}

/// Runs the demo.
pub(crate) async fn demo(arguments: Arguments) -> Result<(), Failure> {
    let directory = match &arguments.output {
        Some(path) => path.clone(),
        None => tempfile::Builder::new().prefix("freshjoin-demo-").tempdir()?.keep(),
    };
    let location = fresh_directory(&directory)?;
    let (mut world, news) = World::start(&location, &directory)?;
    let mut story = Story::new(arguments.json, news, directory.clone());
    story.open(arguments.rate, arguments.seconds);

    let mut orders = Orders::new(arguments.seed);
    let mut sent = SentOrders::default();
    let updated = send(&arguments, &mut world, &mut orders, &mut sent, &mut story).await?;
    story.draining(sent.len());
    let (tap, watch) = world.finish().await?;
    story.news();

    let first_flags = tap.first_flags();
    let checked = {
        let (watch, directory) = (watch.clone(), directory.clone());
        tokio::task::spawn_blocking(move || check::check(&directory, &sent, &first_flags, &watch, updated)).await??
    };
    let totals = watch.totals();
    let summary = Summary {
        records: totals.counts.records(),
        flags: totals.counts.flags,
        enriched: totals.counts.enriched,
        unmatched: totals.counts.unmatched,
        dead_letters: totals.counts.dead_letters,
        lost: checked.lost,
        duplicated: checked.duplicated,
        stale: checked.stale,
        refreshes: totals.refreshes,
        versions: totals.version,
        freshness_ms: checked.freshness,
        output: directory.display().to_string(),
    };
    if arguments.json {
        writeln!(std::io::stdout(), "{}", serde_json::to_string(&summary)?)?;
    } else {
        story.close(&summary, &checked)?;
    }
    verdict(&summary, checked.sent)
}

/// Sends orders until the time is over or somebody presses Ctrl-C; updates the row midway. Answers when it was updated.
async fn send(
    arguments: &Arguments,
    world: &mut World,
    orders: &mut Orders,
    sent: &mut SentOrders,
    story: &mut Story,
) -> Result<Option<i64>, Failure> {
    let (started, length) = (Instant::now(), Duration::from_secs(arguments.seconds));
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut updated = None;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            pressed = &mut interrupted => {
                pressed?;
                return Ok(updated);
            }
        }
        let elapsed = started.elapsed().min(length);
        if updated.is_none() && elapsed >= length / 2 {
            let row: Box<RawValue> = serde_json::from_str(orders::UPDATED_ROW)?;
            let now = world.clock.now();
            updated = Some(now.millis());
            story.updating(now);
            world.table.put(&row)?;
        }
        let due = u128::from(arguments.rate) * elapsed.as_millis() / 1000;
        world.room(ROOM).await?;
        while (sent.len() as u128) < due {
            let order = orders.next();
            let placed = world.stream.append(&order.customer_id.to_string(), order.json().as_bytes())?;
            sent.push(&order, &placed)?;
        }
        story.progress(sent.len(), &world.watch);
        if elapsed >= length {
            return Ok(updated);
        }
    }
}

fn verdict(summary: &Summary, sent: u64) -> Result<(), Failure> {
    let kept = summary.lost + summary.duplicated + summary.stale + summary.dead_letters == 0;
    if kept && summary.records == sent {
        return Ok(());
    }
    let cause = format!(
        "of {sent} orders {} were counted: {} lost, {} duplicated, {} stale, {} dead letters",
        summary.records, summary.lost, summary.duplicated, summary.stale, summary.dead_letters
    );
    Err(Failure::new(cause, format!("please report it with the objects below {}", summary.output)))
}
