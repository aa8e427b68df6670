//! What delivery at least once promises: every record's rows are there, each as of some version of the log, perhaps more
//! than once; and nothing else is.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::{Folds, Settled, dead_letter, outputs};
use crate::history::{Violation, holds};
use crate::model::{Outcome, Rows};

/// What lets two attempts at one cut write at a time.
const MIXING: [&str; 3] = ["late write of PUT", "an invocation beside another one of its shard", "a batch comes twice"];

/// A line of some partition: an output row, or a dead letter.
type Line = (String, String);

/// Looks at every row and dead letter that is there, and at every record.
pub fn check(settled: &Settled<'_>, folds: &Folds<'_>) -> Result<(), Violation> {
    let found = found(settled)?;
    // Two attempts at one cut that overlap, or of which one lands late, replace each other's objects: what is there may be
    // partly of one head and partly of the other.
    let alone = settled
        .world
        .weather
        .tally()
        .counts()
        .iter()
        .all(|(kind, count)| *count == 0 || !MIXING.contains(&kind.as_str()));
    let mut allowed: BTreeSet<Line> = BTreeSet::new();
    for (key, shelf) in &settled.archive.shelves {
        for (place, record) in shelf.records.iter().enumerate() {
            let Some(subs) = settled.orders.known.get(&record.data) else { continue };
            let mut some = shelf.lost.contains(&place);
            for definition in &settled.world.definitions {
                let references: Option<Vec<_>> =
                    definition.joins.iter().map(|join| folds.get(join.reference)).collect();
                let Some(references) = references else { continue };
                for version in 0..=settled.history.head() {
                    let rows: Option<Vec<&Rows>> = references.iter().map(|fold| fold.versions.get(&version)).collect();
                    let Some(rows) = rows else { continue };
                    let mut outcome = Outcome::default();
                    outcome.record(definition, &key.id, record.record(), subs, &rows, version);
                    let lines = lines(&outcome, definition.csv);
                    let there = |line| found.contains(line);
                    some |= if alone { lines.iter().all(there) } else { lines.is_empty() || lines.iter().any(there) };
                    allowed.extend(lines.into_iter().filter(|line| found.contains(line)));
                }
            }
            holds!(some, "I3: nothing came of {} of {key:?}", record.sequence);
        }
    }
    let foreign = found.iter().find(|line| !allowed.contains(*line));
    holds!(foreign.is_none(), "I3: no record comes to {foreign:?}");
    Ok(())
}

/// Everything that a record comes to.
fn lines(outcome: &Outcome, csv: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    for (partition, bytes) in &outcome.objects {
        let text = String::from_utf8_lossy(bytes);
        lines.extend(text.lines().skip(usize::from(csv)).map(|line| (partition.clone(), line.to_owned())));
    }
    lines.extend(outcome.dead_letters.iter().map(|letter| (String::new(), format!("{letter:?}"))));
    lines
}

fn found(settled: &Settled<'_>) -> Result<BTreeSet<Line>, Violation> {
    let mut found = BTreeSet::new();
    for (key, bytes) in outputs(settled.world).objects() {
        let Some((_, rest)) = key.split_once('/') else { continue };
        if key.ends_with("/_freshjoin.json") {
            continue;
        }
        let partition = rest.rsplit_once('/').map_or(String::new(), |(partition, _)| format!("{partition}/"));
        let text = String::from_utf8_lossy(&bytes);
        found.extend(
            text.lines().skip(usize::from(key.ends_with(".csv"))).map(|line| (partition.clone(), line.to_owned())),
        );
    }
    let letters: BTreeMap<_, _> = settled.world.state.objects();
    for (key, bytes) in letters.iter().filter(|(key, _)| key.starts_with("dead-letters/")) {
        for line in String::from_utf8_lossy(bytes).lines() {
            let letter = dead_letter(line).ok_or_else(|| Violation(format!("{key} is malformed")))?;
            found.insert((String::new(), format!("{letter:?}")));
        }
    }
    Ok(found)
}
