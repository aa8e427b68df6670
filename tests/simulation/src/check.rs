//! What must hold when everything has settled.
//!
//! The cursors' history says which range was decided with which definition, output and versions. Those decisions are held
//! against the stream (I1, I2, I3), and the stores against what the decisions come to, object by object and byte by byte
//! (I3, I6, I7, I10); so neither can be wrong alone.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freshjoin_core::batch::Step;
use freshjoin_core::change::{Change, ObjectOp, Version};
use freshjoin_core::join::Counts;
use freshjoin_core::location::Location;
use freshjoin_core::memory::MemoryStore;
use freshjoin_core::record::Record;
use freshjoin_core::settings::AsOf;
use freshjoin_core::time::Timestamp;
use serde_json::Value;

use crate::archive::{Archive, Kept, ShardKey, Shelf};
use crate::bucket::Objects;
use crate::definitions::{AREAS, CUSTOMERS, Definition, MENUS, PIPELINE, PRIORITIES};
use crate::environment::World;
use crate::events::STREAM;
use crate::folded::{Folded, rank};
use crate::history::{History, Range, ShardHistory, Violation, holds};
use crate::model::{Outcome, Reference, Rows, difference, honoured};
use crate::orders::Orders;
use crate::table::References;

/// The bucket of all outputs.
pub fn outputs(world: &World) -> MemoryStore {
    world.stores.store(&Location::new("s3://out")).expect("it is a location")
}

/// How much happened in a run, so that a harness that tests nothing is seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Change files.
    pub versions: u64,
    /// Records of the order stream.
    pub records: u64,
    /// Ranges that were decided.
    pub ranges: u64,
    /// Those that were finished by others than who began them.
    pub recovered: u64,
    /// Output objects.
    pub objects: u64,
    /// Lines of dead letters.
    pub dead_letters: u64,
    /// Bases of references on S3.
    pub looks: u64,
    /// Contents of their objects.
    pub copies: u64,
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.versions += other.versions;
        self.records += other.records;
        self.ranges += other.ranges;
        self.recovered += other.recovered;
        self.objects += other.objects;
        self.dead_letters += other.dead_letters;
        self.looks += other.looks;
        self.copies += other.copies;
    }
}

/// All that a check looks at.
pub struct Settled<'a> {
    pub world: &'a World,
    pub history: &'a History,
    pub orders: &'a Orders,
    pub references: &'a References,
    pub objects: &'a Objects,
    pub archive: &'a Archive,
    pub as_of: AsOf,
    pub guarded: bool,
}

/// References at every version, by name.
pub type Folds<'a> = BTreeMap<&'a str, Reference>;

/// What all ranges come to.
#[derive(Debug, Default)]
struct Expected {
    objects: BTreeMap<String, Vec<u8>>,
    /// By key: sequence number, sub-record number, bytes.
    dead_letters: BTreeMap<String, Vec<(String, u64, String)>>,
    /// What may be there or not: of ranges that were given up, or whose stream is gone.
    perhaps: BTreeMap<String, Vec<u8>>,
    perhaps_dead: BTreeMap<String, Vec<(String, u64, String)>>,
    /// By shard, first and last sequence number.
    ranges: BTreeMap<(String, String, String), Outcome>,
}

impl Settled<'_> {
    /// Everything.
    pub fn check(&self) -> Result<Summary, Violation> {
        let mut folds = BTreeMap::new();
        for table in [PRIORITIES, CUSTOMERS] {
            let Some(fold) = Reference::fold(self.history, table)? else { continue };
            let newest = fold.versions.values().next_back().expect("there is the base");
            let rows = self.references.rows(table);
            holds!(*newest == rows, "I5: {table} is {rows:?} and the log folds to {newest:?}");
            folds.insert(table, fold);
        }
        for (version, (_, file)) in &self.history.files {
            for change in &file.changes {
                let Change::Object(change) = change else { continue };
                let sha256 = (change.op == ObjectOp::Replace).then_some(change.sha256.as_str());
                let was = self.objects.was(&change.object, sha256, rank(&change.sequencer));
                holds!(was, "I5: change file {version} says what was not there by then: {change:?}");
            }
        }
        let mut looks = 0;
        for reference in [AREAS, MENUS] {
            let Some(folded) = Folded::new(self.history, self.objects, reference)? else { continue };
            looks += 1;
            folded.settled(&self.objects.below(reference))?;
            folds.insert(reference, folded.reference);
        }
        let mut expected = Expected::default();
        let records = self.archive.shelves.values().map(|shelf| shelf.records.len() as u64).sum();
        if self.guarded {
            for (key, shelf) in &self.archive.shelves {
                self.shard(key, shelf, &folds, &mut expected)?;
            }
            self.stores(&expected)?;
        } else {
            crate::unguarded::check(self, &folds)?;
        }
        let recovered = if self.guarded { self.reports(&expected)? } else { 0 };
        Ok(Summary {
            versions: self.history.head(),
            records,
            ranges: expected.ranges.len() as u64,
            recovered,
            objects: expected.objects.len() as u64,
            dead_letters: expected.dead_letters.values().map(|lines| lines.len() as u64).sum(),
            looks,
            copies: self.history.fixed.keys().filter(|key| key.starts_with("objects/")).count() as u64,
        })
    }

    fn shard(
        &self,
        key: &ShardKey,
        shelf: &Shelf,
        folds: &Folds<'_>,
        expected: &mut Expected,
    ) -> Result<(), Violation> {
        let current = key.stream == self.archive.stream;
        let Some(last) = shelf.records.last() else { return Ok(()) };
        let Some(history) = self.history.shards.get(key) else {
            let lost = (0..shelf.records.len()).all(|place| shelf.lost.contains(&place));
            holds!(lost, "I11: {key:?} has {} records and no cursor", shelf.records.len());
            return Ok(());
        };
        let ShardHistory { cursor, ranges, given_up, .. } = history;
        let head = self.history.head();
        if current {
            holds!(cursor.pending.is_none(), "I11: {key:?} has a pending range left");
            let through = cursor.committed_through.as_ref().map(|through| through.as_str());
            let done = through == Some(&last.sequence) || shelf.lost.contains(&(shelf.records.len() - 1));
            holds!(done, "I11: {key:?} is committed through {through:?}, its last record is {}", last.sequence);
            holds!(!shelf.open || cursor.version >= head, "I11: {key:?} is at version {} of {head}", cursor.version);
        }
        if !ranges.is_empty() {
            self.pin(key, shelf, history, folds)?;
        }
        let (mut next, mut totals) = (0, Counts::default());
        for range in ranges {
            let (end, outcome) = self.range(key, shelf, next, range, folds)?;
            let gone = given_up.contains(&range.intent.first) || cursor.pending.as_ref() == Some(&range.intent);
            if !gone {
                totals += outcome.counts();
            }
            expected.add(self, key, range, outcome, gone);
            next = end;
        }
        holds!(cursor.totals == totals, "I6: {key:?} counts {:?}, due are {totals:?}", cursor.totals);
        let left = (next..shelf.records.len()).find(|place| !shelf.lost.contains(place));
        holds!(left.is_none() || !current, "I3: {key:?}: records after place {next} are in no range");
        Ok(())
    }

    /// A shard starts at the newest version that was written by the arrival of its first record, but never below its
    /// parents and the bases.
    fn pin(&self, key: &ShardKey, shelf: &Shelf, history: &ShardHistory, folds: &Folds<'_>) -> Result<(), Violation> {
        let parents = self.archive.used_by_parents(self.history, key);
        if self
            .archive
            .ancestors(key)
            .iter()
            .any(|key| self.archive.shelves.get(key).is_some_and(|s| !s.lost.is_empty()))
        {
            // Nobody waits for what a parent has lost, and it may still go on.
            return Ok(());
        }
        let first = shelf.records.iter().position(|record| record.sequence == history.ranges[0].intent.first.as_str());
        let written_by = |arrival: Timestamp| {
            let written = self.history.written.iter().rev().find(|(_, written)| **written <= arrival);
            written.map_or(0, |(version, _)| *version)
        };
        let bases = |definition: &Definition| {
            definition
                .joins
                .iter()
                .filter_map(|join| folds.get(join.reference))
                .map(|fold| fold.base)
                .max()
                .unwrap_or(0)
        };
        let bases: BTreeSet<Version> = self.world.definitions.iter().map(bases).collect();
        let mut due = BTreeSet::new();
        for record in &shelf.records[..=first.unwrap_or(0)] {
            due.extend(bases.iter().map(|base| parents.max(written_by(record.arrival)).max(*base)));
        }
        due.extend(self.history.late_pins.get(key));
        // Or at the floor, where that, or its announcement, is above.
        let least = due.first().copied().unwrap_or(0);
        due.extend(self.history.kept.announced.iter().filter(|floor| **floor > least));
        holds!(due.contains(&history.pin), "I4: {key:?} starts at version {}, due is one of {due:?}", history.pin);
        Ok(())
    }

    /// One range, which must start at a place, or after what was lost there; the place after it.
    fn range(
        &self,
        key: &ShardKey,
        shelf: &Shelf,
        next: usize,
        range: &Range,
        folds: &Folds<'_>,
    ) -> Result<(usize, Outcome), Violation> {
        let (id, intent) = (&key.id, &range.intent);
        let (first, last) = (intent.first.as_str(), intent.last.as_str());
        let of = |place: usize| shelf.records.get(place).map(|record| record.sequence.as_str());
        let mut start = next;
        while of(start).is_some_and(|sequence| sequence != first) && shelf.lost.contains(&start) {
            start += 1;
        }
        holds!(of(start) == Some(first), "I3: {id}: a range starts at {first}, due is {:?}", of(start));
        let end = start + intent.records as usize;
        holds!(end > start && of(end - 1) == Some(last), "I3: {id}: {first}-{last} is not {} records", end - start);
        let definition = self.world.definitions.iter().find(|known| known.digest == intent.definition);
        let definition = definition.ok_or_else(|| Violation(format!("{id}: {first}: an unknown definition")))?;
        let mut tables = Vec::new();
        for join in &definition.joins {
            let fold = folds.get(join.reference);
            tables.push(fold.ok_or_else(|| Violation(format!("{} has no base", join.reference)))?);
        }
        let records = &shelf.records[start..end];
        let versions = self.versions(key, range, &tables, records)?;
        let mut outcome = Outcome::default();
        for (record, version) in records.iter().zip(versions) {
            match self.orders.known.get(&record.data) {
                None => outcome.flag(),
                Some(subs) => {
                    let missing = || Violation(format!("{id}: no reference at version {version}"));
                    let rows: Option<Vec<&Rows>> = tables.iter().map(|table| table.versions.get(&version)).collect();
                    outcome.record(definition, id, record.record(), subs, &rows.ok_or_else(missing)?, version);
                }
            }
        }
        Ok((end, outcome))
    }

    /// I1 and I2: the version of each record of a range, which its steps must say.
    fn versions(
        &self,
        key: &ShardKey,
        range: &Range,
        tables: &[&Reference],
        records: &[Kept],
    ) -> Result<Vec<Version>, Violation> {
        let (id, intent) = (&key.id, &range.intent);
        let start = intent.steps.first().map_or(0, |step| step.version);
        let bases = tables.iter().map(|table| table.base).max().unwrap_or(0);
        holds!(start >= bases, "{id}: {}: version {start} is below its definition's bases", intent.first);
        match range.before {
            None => {
                let parents = self.archive.ancestors(key);
                // Nobody waits for what a parent has lost, and it may still go on.
                let whole = |key: &&ShardKey| self.archive.shelves.get(key).is_some_and(|shelf| shelf.lost.is_empty());
                let parents = parents.iter().filter(whole).filter_map(|key| self.history.shards.get(key));
                let parents = parents.map(|parent| parent.cursor.version).max().unwrap_or(0);
                holds!(start >= parents, "I2: {id} starts at version {start}, its parents ended at {parents}");
            }
            Some(before) => {
                holds!(start >= before, "I2: {id}: {}: version {start} after {before}", intent.first);
                // A flag at the very start is in force at once.
                let flag = records.first().and_then(|record| self.flag(record.record())) == Some(start);
                let due = self.as_of == AsOf::Latest || start == before.max(bases) || flag;
                holds!(due, "{id}: {}: version {start} without a flag, after {before}", intent.first);
            }
        }
        holds!(start <= range.head, "{id}: {}: version {start} of {}", intent.first, range.head);
        let mut steps = intent.steps.iter().skip(1).peekable();
        let mut in_force = start;
        let mut versions = Vec::new();
        for record in records {
            if let Some(version) = self.flag(record.record()).filter(|version| *version > in_force) {
                let here = |step: &&Step| step.from.as_str() == record.sequence && step.version == version;
                let step = steps.next_if(here);
                holds!(
                    step.is_some(),
                    "I1: {id}: the flag of version {version} at {} is passed over: {intent:?}",
                    record.sequence
                );
                in_force = version;
            }
            versions.push(in_force);
        }
        let left = steps.next();
        holds!(left.is_none(), "I1: {id}: step {left:?} has no flag");
        Ok(versions)
    }

    /// The version that a record announces, if it is a flag to be honoured.
    pub fn flag(&self, record: Record<'_>) -> Option<Version> {
        let order = self.orders.known.contains_key(record.data);
        if order { None } else { honoured(self.history, record.data) }
    }

    fn stores(&self, expected: &Expected) -> Result<(), Violation> {
        let found = outputs(self.world).objects();
        let found: BTreeMap<String, Vec<u8>> = found
            .into_iter()
            .map(|(key, bytes)| (key, bytes.to_vec()))
            .filter(|(key, bytes)| !key.ends_with("/_freshjoin.json") && expected.perhaps.get(key) != Some(bytes))
            .collect();
        let differing = difference(&expected.objects, &found);
        if let Some(first) = differing.first() {
            let key = first.rsplit_once(" is ").or_else(|| first.rsplit_once(' ')).map_or("", |(key, _)| key);
            let show = |objects: &BTreeMap<String, Vec<u8>>| {
                objects.get(key).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
            };
            let (expected, found) = (show(&expected.objects), show(&found));
            return Err(Violation(format!("I3: output: {differing:#?}\nexpected:\n{expected}found:\n{found}")));
        }
        let mut dead_letters = BTreeMap::new();
        for (key, bytes) in self.world.state.objects() {
            if key.starts_with("dead-letters/") {
                let lines = String::from_utf8_lossy(&bytes).lines().map(dead_letter).collect::<Option<Vec<_>>>();
                let lines = lines.ok_or_else(|| Violation(format!("{key} is malformed")))?;
                if expected.perhaps_dead.get(&key) != Some(&lines) {
                    dead_letters.insert(key, lines);
                }
            }
        }
        let differing = difference(&expected.dead_letters, &dead_letters);
        holds!(differing.is_empty(), "I3: dead letters: {differing:#?}");
        Ok(())
    }

    /// I6; how many ranges were finished by others than who began them.
    fn reports(&self, expected: &Expected) -> Result<u64, Violation> {
        let mut seen = BTreeSet::new();
        let mut recovered = 0;
        for report in self.world.reports.all() {
            let key = (report.shard.clone(), report.first.to_string(), report.last.to_string());
            let Some(outcome) = expected.ranges.get(&key) else {
                return Err(Violation(format!("I6: {key:?} was reported and never decided")));
            };
            let found = report.counts;
            let counts = [found.enriched, found.unmatched, found.dead_letters, found.flags, found.rows];
            let dead_letters = outcome.dead_letters.len() as u64;
            let due = [outcome.enriched, outcome.unmatched, dead_letters, outcome.flags, outcome.rows];
            holds!(counts == due, "I6: {key:?} reports {found:?}, due are {due:?}");
            holds!(report.objects == outcome.objects.len(), "I6: {key:?} reports {} objects", report.objects);
            holds!(seen.insert(key.clone()), "I6: {key:?} was reported twice");
            recovered += u64::from(report.recovered);
        }
        Ok(recovered)
    }
}

impl Expected {
    /// What a range comes to; perhaps nothing, where it is `gone`.
    fn add(&mut self, settled: &Settled<'_>, key: &ShardKey, range: &Range, outcome: Outcome, gone: bool) {
        let (id, intent) = (&key.id, &range.intent);
        let (first, last) = (intent.first.as_str(), intent.last.as_str());
        let definition = settled.world.definitions.iter().find(|known| known.digest == intent.definition);
        let extension = definition.map_or("", Definition::extension);
        let output = intent.output.as_str().trim_start_matches("s3://out/");
        let objects = if gone { &mut self.perhaps } else { &mut self.objects };
        for (partition, bytes) in &outcome.objects {
            objects.insert(format!("{output}/{partition}{id}-{first}-{last}.{extension}"), bytes.clone());
        }
        if !outcome.dead_letters.is_empty() {
            let dead_letters = if gone { &mut self.perhaps_dead } else { &mut self.dead_letters };
            let key = format!("dead-letters/{PIPELINE}/{STREAM}/{id}/{first}-{last}.jsonl");
            dead_letters.insert(key, outcome.dead_letters.clone());
        }
        if !gone {
            self.ranges.insert((id.clone(), first.into(), last.into()), outcome);
        }
    }
}

/// Sequence number, sub-record number and bytes of a dead letter that says all it must.
pub fn dead_letter(line: &str) -> Option<(String, u64, String)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let reason = line["reason"].as_str().filter(|reason| !reason.is_empty());
    let whole = reason.is_some() && line["shard"].is_string() && line["arrival"].is_string();
    let data = line["data"].as_str().filter(|data| whole && STANDARD.decode(data).is_ok())?;
    Some((line["sequence"].as_str()?.to_owned(), line["sub_sequence"].as_u64()?, data.to_owned()))
}
