//! What must hold when everything has settled.
//!
//! The cursors' history says which range was decided with which definition, output and versions. Those decisions are held
//! against the stream (I1, I2, I3), and the stores against what the decisions come to, object by object and byte by byte
//! (I3, I6, I7, I10); so neither can be wrong alone.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freshjoin_core::change::{Change, ObjectOp, Version};
use freshjoin_core::location::Location;
use freshjoin_core::memory::MemoryStore;
use freshjoin_core::ports::Shard;
use freshjoin_core::record::{Record, Records};
use freshjoin_core::settings::AsOf;
use serde_json::Value;

use crate::bucket::Objects;
use crate::definitions::{AREAS, CUSTOMERS, MENUS, PIPELINE, PRIORITIES};
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
    pub versions: u64,
    pub records: u64,
    pub ranges: u64,
    pub recovered: u64,
    pub objects: u64,
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
    pub shards: &'a [Shard],
    pub as_of: AsOf,
}

/// What all ranges come to.
#[derive(Debug, Default)]
struct Expected {
    objects: BTreeMap<String, Vec<u8>>,
    /// By key: sequence number, sub-record number, bytes.
    dead_letters: BTreeMap<String, Vec<(String, u64, String)>>,
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
        let mut records = 0;
        for shard in self.shards {
            let found = self.world.stream.records(&shard.id);
            records += found.len() as u64;
            self.shard(shard, &found, &folds, &mut expected)?;
        }
        self.stores(&expected)?;
        let recovered = self.reports(&expected)?;
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
        shard: &Shard,
        records: &Records,
        folds: &BTreeMap<&str, Reference>,
        expected: &mut Expected,
    ) -> Result<(), Violation> {
        let id = &shard.id;
        let Some(last) = records.last_sequence() else { return Ok(()) };
        let history = self.history.shards.get(id);
        let ShardHistory { cursor, ranges } =
            history.ok_or_else(|| Violation(format!("I11: {id} has {} records and no cursor", records.len())))?;
        holds!(cursor.pending.is_none(), "I11: {id} has a pending range left");
        let through = cursor.committed_through.as_ref();
        holds!(through == Some(&last), "I11: {id} is committed through {through:?}, its last record is {last}");
        let head = self.history.head();
        holds!(!shard.open || cursor.version >= head, "I11: {id} is at version {} of {head}", cursor.version);
        let mut next = 0;
        for range in ranges {
            next = self.range(shard, records, next, range, folds, expected)?;
        }
        holds!(next == records.len(), "I3: {id}: records after place {next} are in no range");
        Ok(())
    }

    /// One range, which must start at a place; the place after it.
    fn range(
        &self,
        shard: &Shard,
        records: &Records,
        start: usize,
        range: &Range,
        folds: &BTreeMap<&str, Reference>,
        expected: &mut Expected,
    ) -> Result<usize, Violation> {
        let (id, intent) = (&shard.id, &range.intent);
        let (first, last) = (intent.first.as_str(), intent.last.as_str());
        let of = |place: usize| records.get(place).map(|record| record.sequence);
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
        let versions = self.versions(shard, range, &tables, (start..end).filter_map(|place| records.get(place)))?;
        let mut outcome = Outcome::default();
        for (place, version) in (start..end).zip(versions) {
            let Some(record) = records.get(place) else { continue };
            match self.orders.known.get(record.data) {
                None => outcome.flag(),
                Some(subs) => {
                    let missing = || Violation(format!("{id}: no reference at version {version}"));
                    let rows: Option<Vec<&Rows>> = tables.iter().map(|table| table.versions.get(&version)).collect();
                    outcome.record(definition, id, record, subs, &rows.ok_or_else(missing)?, version);
                }
            }
        }
        let file = format!("{id}-{first}-{last}.{}", definition.extension());
        let output = intent.output.as_str().trim_start_matches("s3://out/");
        for (partition, bytes) in &outcome.objects {
            expected.objects.insert(format!("{output}/{partition}{file}"), bytes.clone());
        }
        if !outcome.dead_letters.is_empty() {
            let key = format!("dead-letters/{PIPELINE}/{STREAM}/{id}/{first}-{last}.jsonl");
            expected.dead_letters.insert(key, outcome.dead_letters.clone());
        }
        expected.ranges.insert((id.clone(), first.into(), last.into()), outcome);
        Ok(end)
    }

    /// I1 and I2: the version of each record of a range, which its steps must say.
    fn versions<'r>(
        &self,
        shard: &Shard,
        range: &Range,
        tables: &[&Reference],
        records: impl Iterator<Item = Record<'r>>,
    ) -> Result<Vec<Version>, Violation> {
        let (id, intent) = (&shard.id, &range.intent);
        let mut records = records.peekable();
        let start = intent.steps.first().map_or(0, |step| step.version);
        let bases = tables.iter().map(|table| table.base).max().unwrap_or(0);
        holds!(start >= bases, "{id}: {}: version {start} is below its definition's bases", intent.first);
        match range.before {
            None => {
                let parents = self.ancestors(shard).into_iter().filter_map(|id| self.history.shards.get(&id));
                let parents = parents.map(|parent| parent.cursor.version).max().unwrap_or(0);
                holds!(start >= parents, "I2: {id} starts at version {start}, its parents ended at {parents}");
            }
            Some(before) => {
                holds!(start >= before, "I2: {id}: {}: version {start} after {before}", intent.first);
                // A flag at the very start is in force at once.
                let flag = records.peek().and_then(|record| self.flag(*record)) == Some(start);
                let due = self.as_of == AsOf::Latest || start == before.max(bases) || flag;
                holds!(due, "{id}: {}: version {start} without a flag, after {before}", intent.first);
            }
        }
        holds!(start <= range.head, "{id}: {}: version {start} of {}", intent.first, range.head);
        let mut steps = intent.steps.iter().skip(1).peekable();
        let mut in_force = start;
        let mut versions = Vec::new();
        for record in records {
            if let Some(version) = self.flag(record).filter(|version| *version > in_force) {
                let step = steps.next_if(|step| step.from.as_str() == record.sequence && step.version == version);
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
    fn flag(&self, record: Record<'_>) -> Option<Version> {
        let order = self.orders.known.contains_key(record.data);
        if order { None } else { honoured(self.history, record.data) }
    }

    fn ancestors(&self, shard: &Shard) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut waiting = shard.parents.clone();
        while let Some(parent) = waiting.pop() {
            if let Some(shard) = self.shards.iter().find(|shard| shard.id == parent) {
                waiting.extend(shard.parents.iter().cloned());
            }
            found.insert(parent);
        }
        found
    }

    fn stores(&self, expected: &Expected) -> Result<(), Violation> {
        let found = outputs(self.world).objects();
        let found: BTreeMap<String, Vec<u8>> = found
            .into_iter()
            .filter(|(key, _)| !key.ends_with("/_freshjoin.json"))
            .map(|(k, v)| (k, v.into()))
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
                dead_letters.insert(key.clone(), lines.ok_or_else(|| Violation(format!("{key} is malformed")))?);
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

/// Sequence number, sub-record number and bytes of a dead letter that says all it must.
fn dead_letter(line: &str) -> Option<(String, u64, String)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let reason = line["reason"].as_str().filter(|reason| !reason.is_empty());
    let whole = reason.is_some() && line["shard"].is_string() && line["arrival"].is_string();
    let data = line["data"].as_str().filter(|data| whole && STANDARD.decode(data).is_ok())?;
    Some((line["sequence"].as_str()?.to_owned(), line["sub_sequence"].as_u64()?, data.to_owned()))
}
