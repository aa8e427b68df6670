//! What a person sees: the flow, one live line, the update on its way through the shards, the closing table.
//!
//! The story goes to standard error and the table to standard output; colour and the live line only where standard
//! error is a terminal.

use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::PathBuf;
use std::time::Duration;

use freshjoin_core::time::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Summary;
use super::check::{Checked, Freshness};
use super::orders::{CHANGING, NEW_PRIORITY, ROWS, TABLE, first_priority};
use super::watch::{News, Watch};
use super::world::{ENVIRONMENTS, SHARDS};
use crate::failure::Failure;

/// The live line is drawn anew so often.
const DRAW: Duration = Duration::from_millis(100);

/// The teller.
#[derive(Debug)]
pub(super) struct Story {
    quiet: bool,
    terminal: bool,
    news: mpsc::UnboundedReceiver<News>,
    output: PathBuf,
    started: Instant,
    drawn: Instant,
    updated: Option<Timestamp>,
    /// An object of the old partition as it was at the update, and the first of the new one.
    switch: (Option<String>, Option<String>),
}

impl Story {
    pub(super) fn new(quiet: bool, news: mpsc::UnboundedReceiver<News>, output: PathBuf) -> Self {
        let started = Instant::now();
        let terminal = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { quiet, terminal, news, output, started, drawn: started, updated: None, switch: (None, None) }
    }

    /// The scene.
    pub(super) fn open(&mut self, rate: u64, seconds: u64) {
        self.started = Instant::now();
        let rows: Vec<String> = ROWS.iter().map(|(item, priority)| format!("{item} {priority}")).collect();
        self.line("");
        self.line(&format!(
            "  {} {} orders a second for {seconds} s, {SHARDS} shards, {ENVIRONMENTS} environments of the enricher",
            self.paint("1", "freshjoin demo:"),
            grouped(rate),
        ));
        self.line("");
        self.line("    table ──▶ change-capture ──▶ change file ──▶ a flag in every shard ──┐");
        self.line("    orders ────────────────────────────────────────────────▶ stream ─────┴──▶ enricher ──▶ output");
        self.line("");
        self.line(&format!("    {TABLE}: {}", rows.join(", ")));
        self.line("    and no row for donut: its orders must not vanish");
        self.line("");
    }

    /// The live line, where there is a terminal, and the news.
    pub(super) fn progress(&mut self, sent: usize, watch: &Watch) {
        self.news();
        if self.quiet || !self.terminal || self.drawn.elapsed() < DRAW {
            return;
        }
        self.drawn = Instant::now();
        let counts = watch.totals().counts;
        let line = format!(
            "{}  {} orders sent, {} joined, {} without a row, {} objects",
            self.clock(),
            grouped(sent as u64),
            grouped(counts.enriched),
            grouped(counts.unmatched),
            grouped(watch.totals().objects)
        );
        self.write(&format!("\r\u{1b}[K{}", self.paint("2", &line)));
    }

    /// The row is about to change.
    pub(super) fn updating(&mut self, at: Timestamp) {
        self.switch.0 = self.newest_object(first_priority(CHANGING).unwrap_or_default());
        let change = format!("{CHANGING}: {} → {NEW_PRIORITY}", first_priority(CHANGING).unwrap_or_default());
        self.say(&format!("{}  {}", self.clock(), self.paint("1;33", &format!("the table is updated: {change}"))));
        self.updated = Some(at);
    }

    /// What happened since it was last asked.
    pub(super) fn news(&mut self) {
        while let Ok(news) = self.news.try_recv() {
            let since = |at: Timestamp| self.updated.map_or(0, |updated| (at.millis() - updated.millis()).max(0));
            let line = match &news {
                News::Flag { shard, at } => {
                    format!("{}  {} has the flag {:>5} ms after the update", self.clock(), short(shard), since(*at))
                }
                News::Joined { shard, key, at } => format!(
                    "{}  {}",
                    self.clock(),
                    self.paint(
                        "32",
                        &format!(
                            "{} joins {CHANGING}s as {NEW_PRIORITY} {:>5} ms after it: {}",
                            short(shard),
                            since(*at),
                            abridged(key)
                        )
                    )
                ),
            };
            if let News::Joined { key, .. } = news {
                self.switch.1.get_or_insert(key);
            }
            self.say(&line);
        }
    }

    /// The sending is over.
    pub(super) fn draining(&mut self, sent: usize) {
        self.say(&format!(
            "{}  {} orders sent; now every object is read and counted",
            self.clock(),
            grouped(sent as u64)
        ));
    }

    /// The closing table.
    pub(super) fn close(&self, summary: &Summary, checked: &Checked) -> Result<(), Failure> {
        let mut out = stdout().lock();
        writeln!(out)?;
        writeln!(
            out,
            "  orders      {} sent = {} joined + {} without a row + {} dead letters",
            grouped(checked.sent),
            grouped(summary.enriched),
            grouped(summary.unmatched),
            grouped(summary.dead_letters)
        )?;
        writeln!(
            out,
            "  counted     {} lost, {} duplicated, {} stale, in {} objects",
            summary.lost,
            summary.duplicated,
            summary.stale,
            grouped(checked.objects)
        )?;
        writeln!(
            out,
            "  changes     {} version, {} flags, {} refreshes",
            summary.versions, summary.flags, summary.refreshes
        )?;
        if let Freshness { p50: Some(p50), p99: Some(p99), max: Some(max) } = summary.freshness_ms {
            let what = "from the update to the first order joined with it, in the output";
            writeln!(out, "  freshness   p50 {p50} ms, p99 {p99} ms, max {max} ms over the shards: {what}")?;
        }
        writeln!(out, "\n  {:<12}{:<36}{:>10}", "item", "priority", "orders")?;
        for ((item, priority), count) in &checked.partitions {
            let changed = item == CHANGING && priority == NEW_PRIORITY;
            let mark = if changed { "  ◀ since the update" } else { "" };
            writeln!(out, "  {item:<12}{priority:<36}{:>10}{mark}", grouped(*count))?;
        }
        writeln!(out)?;
        if let (Some(before), Some(after)) = &self.switch {
            writeln!(out, "  before      {}\n  after       {}", abridged(before), abridged(after))?;
        }
        writeln!(out, "  output      {}\n", summary.output)?;
        Ok(())
    }

    /// The newest object of the changing item's partition, as its key.
    fn newest_object(&self, priority: &str) -> Option<String> {
        let folder = format!("item={CHANGING}/priority={priority}");
        let entries = std::fs::read_dir(self.output.join(&folder)).ok()?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let newest = names.filter(|name| name.ends_with(".csv")).max()?;
        Some(format!("{folder}/{newest}"))
    }

    fn clock(&self) -> String {
        format!("  {:>5.1} s", self.started.elapsed().as_secs_f64())
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.terminal { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// A line that takes the place of the live line.
    fn say(&self, text: &str) {
        self.line(&if self.terminal { format!("\r\u{1b}[K{text}") } else { text.to_owned() });
    }

    fn line(&self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    fn write(&self, text: &str) {
        if !self.quiet {
            // A story that nobody can hear must not stop the pipeline.
            drop(stderr().write_all(text.as_bytes()).and_then(|()| stderr().flush()));
        }
    }
}

/// `shardId-000000000002` as `shard 2`.
fn short(shard: &str) -> String {
    let number = shard.trim_start_matches("shardId-").trim_start_matches('0');
    format!("shard {}", if number.is_empty() { "0" } else { number })
}

/// A key whose sequence numbers keep their last digits only.
fn abridged(key: &str) -> String {
    let mut parts = key.rsplitn(3, '-');
    let (Some(last), Some(first), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return key.to_owned();
    };
    let tail = |text: &str, keep: usize| text.get(text.len().saturating_sub(keep)..).unwrap_or_default().to_owned();
    format!("{rest}-…{}-…{}", tail(first, 6), tail(last, 10))
}

/// A number with its thousands set apart.
fn grouped(number: impl Display) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_readable() {
        assert_eq!([grouped(7), grouped(1000), grouped(12_345_678)], ["7", "1,000", "12,345,678"]);
        assert_eq!([short("shardId-000000000000"), short("shardId-000000000012")], ["shard 0", "shard 12"]);
        let name = format!(
            "item=burger/priority=high/shardId-000000000001-49{}123-49{}456.csv",
            "0".repeat(51),
            "0".repeat(51)
        );
        assert_eq!(abridged(&name), "item=burger/priority=high/shardId-000000000001-…000123-…000456.csv");
    }
}
