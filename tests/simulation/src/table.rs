//! The reference tables with their change streams: every change reaches the table at once and the stream in order.

use std::collections::BTreeMap;

use freshjoin_core::memory::{MemoryClock, MemoryTables};
use freshjoin_core::ports::Clock;
use serde_json::{Value, json};

use crate::definitions::{CUSTOMERS, PRIORITIES};
use crate::events;
use crate::known::order;
use crate::rng::Rng;

/// What an order may ask for; nobody ever adds the last one to the table.
pub const DISHES: [&str; 6] = ["burger", "pizza", "salad", "ice/cream", "pasta", "donut"];
pub const BUYERS: [&str; 4] = ["ann", "bob", "cy", "zoe"];
const LEVELS: [&str; 5] = ["low", "medium", "high", "very high", "a=b/c"];
/// So many shards a change stream has. Those of a recreated table's stream are numbered on.
pub const STREAM_SHARDS: usize = 2;
/// For so long a change stream keeps its records, in milliseconds.
const RETENTION: i64 = 24 * 3_600_000;
/// What the tables' streams may carry.
const VIEWS: [&str; 2] = ["NEW_AND_OLD_IMAGES", "KEYS_ONLY"];

/// One record of a table's change stream.
#[derive(Clone, Debug)]
pub struct Change {
    pub sequence: String,
    pub at: i64,
    pub key: Value,
    pub event: Value,
}

impl Change {
    /// Its key, and what it is ranked by.
    pub fn names(&self, table: &str) -> (String, (String, u64)) {
        let arn = self.event["eventSourceARN"].as_str().unwrap_or_default();
        let label = arn.rsplit('/').next().unwrap_or_default();
        (key_text(table, &self.key), order(label, &self.sequence))
    }
}

/// Both tables.
#[derive(Debug)]
pub struct References {
    tables: MemoryTables,
    clock: MemoryClock,
    /// By table and shard; an item stays in one shard.
    pub streams: BTreeMap<(&'static str, usize), Vec<Change>>,
    /// So many of a shard's records have left it.
    pub trimmed: BTreeMap<(&'static str, usize), usize>,
    /// How often each table was made, and the last sequence number of its stream.
    made: BTreeMap<&'static str, (usize, u64)>,
    /// Of each table's stream.
    pub views: BTreeMap<&'static str, &'static str>,
}

impl References {
    /// Tables with some rows that no stream tells of.
    pub fn new(tables: &MemoryTables, clock: &MemoryClock, rng: &mut Rng) -> Self {
        let views = [PRIORITIES, CUSTOMERS].map(|table| (table, *rng.pick(&VIEWS))).into();
        let mut references = Self {
            tables: tables.clone(),
            clock: clock.clone(),
            streams: BTreeMap::new(),
            trimmed: BTreeMap::new(),
            made: BTreeMap::new(),
            views,
        };
        // Numbers that gain a digit on the way.
        references.make(PRIORITIES, 99_990);
        references.make(CUSTOMERS, 99_990);
        for _ in 0..rng.below(12) {
            let (table, key, row) = references.draw(rng);
            references.write(table, &key, row.as_ref());
        }
        references
    }

    /// An empty table, with a stream of its own.
    fn make(&mut self, table: &'static str, sequence: u64) {
        self.tables.create(table, if table == PRIORITIES { &["item", "price"] } else { &["customer"] });
        let made = self.made.entry(table).or_default();
        *made = (made.0 + 1, sequence);
        for shard in (made.0 - 1) * STREAM_SHARDS..made.0 * STREAM_SHARDS {
            self.streams.insert((table, shard), Vec::new());
        }
    }

    /// A table is deleted and made again: its stream has a later label and smaller numbers. Whoever did it puts every row
    /// that there may ever have been, or deletes it, if `whole`.
    pub fn recreate(&mut self, whole: bool, rng: &mut Rng) -> &'static str {
        let table = *rng.pick(&[PRIORITIES, CUSTOMERS]);
        self.make(table, rng.between(1, 500) as u64);
        for key in if whole { keys(table) } else { Vec::new() } {
            let row = row(table, &key, rng);
            self.apply(table, &key, Some(&row), rng);
            if rng.chance(350) {
                self.apply(table, &key, None, rng);
            }
        }
        table
    }

    /// Some rows of a table change, or all go, without a word to its stream.
    pub fn restore(&mut self, rng: &mut Rng) -> String {
        let table = *rng.pick(&[PRIORITIES, CUSTOMERS]);
        let most = *rng.pick(&[1, 3, 20]);
        let mut told = format!("{table} is restored:");
        for key in keys(table) {
            if rng.below(10) < most {
                let row = row(table, &key, rng);
                let row = (most < 20 && rng.chance(600)).then_some(&row);
                self.write(table, &key, row);
                told.push_str(&format!(" {key} → {}", row.unwrap_or(&Value::Null)));
            }
        }
        told
    }

    /// One change, or two of one table at once.
    pub fn change(&mut self, rng: &mut Rng) -> String {
        let mut told = String::new();
        for _ in 0..rng.between(1, 2) {
            let (table, key, row) = self.draw(rng);
            told.push_str(&self.apply(table, &key, row.as_ref(), rng));
        }
        told
    }

    fn apply(&mut self, table: &'static str, key: &Value, row: Option<&Value>, rng: &mut Rng) -> String {
        self.write(table, key, row);
        let (made, sequence) = self.made.get_mut(table).expect("it was made");
        *sequence += rng.between(1, 3) as u64;
        let sequence = sequence.to_string();
        let at = self.clock.now().millis();
        let ttl = row.is_none() && rng.chance(500);
        let label = format!("2026-{made:02}-01T00:00:00.000");
        let event = events::change((table, &label, self.views[table]), &sequence, key, row, at, ttl);
        let text = key[if table == PRIORITIES { "item" } else { "customer" }].to_string();
        let shard = (*made - 1) * STREAM_SHARDS + text.bytes().map(usize::from).sum::<usize>() % STREAM_SHARDS;
        let told = format!(" {table}/{shard} {sequence} {key} → {}", row.unwrap_or(&Value::Null));
        self.streams.entry((table, shard)).or_default().push(Change { sequence, at, key: key.clone(), event });
        told
    }

    /// What was written a day ago leaves the streams; of each no more than `most` says.
    pub fn trim(&mut self, mut most: impl FnMut(&'static str, usize) -> usize) {
        let before = self.clock.now().millis() - RETENTION;
        for ((table, shard), changes) in &self.streams {
            let old = changes.partition_point(|change| change.at < before).min(most(table, *shard));
            let trimmed = self.trimmed.entry((table, *shard)).or_default();
            *trimmed = old.max(*trimmed);
        }
    }

    fn draw(&self, rng: &mut Rng) -> (&'static str, Value, Option<Value>) {
        let delete = rng.chance(350);
        let table = if rng.chance(650) { PRIORITIES } else { CUSTOMERS };
        let key = rng.pick(&keys(table)).clone();
        let row = row(table, &key, rng);
        (table, key, (!delete).then_some(row))
    }

    fn write(&self, table: &str, key: &Value, row: Option<&Value>) {
        match row {
            Some(row) => self.tables.put(table, &row.to_string()).expect("the row has its key"),
            None => drop(self.tables.delete(table, &key.to_string()).expect("the key is whole")),
        }
    }

    /// What the table holds, by key.
    pub fn rows(&self, table: &str) -> BTreeMap<String, Value> {
        let rows = self.tables.rows(table).expect("the table is there");
        rows.iter()
            .map(|row| {
                let row: Value = serde_json::from_str(row.get()).expect("a row is JSON");
                (key_text(table, &row), row)
            })
            .collect()
    }
}

/// Every key that a table may have.
fn keys(table: &str) -> Vec<Value> {
    if table == CUSTOMERS {
        return BUYERS[..3].iter().map(|customer| json!({ "customer": customer })).collect();
    }
    let items = DISHES[..5].iter();
    items.flat_map(|item| (1..=2).map(move |price| json!({ "item": item, "price": price }))).collect()
}

fn row(table: &str, key: &Value, rng: &mut Rng) -> Value {
    let mut row = key.clone();
    if table == PRIORITIES {
        row["priority"] = json!(rng.pick(&LEVELS));
        row["unused"] = json!(rng.below(9));
    } else {
        row["tier"] = json!(rng.pick(&LEVELS));
    }
    row
}

/// A row's or key's primary key as text, in an order that is also that of join results.
pub fn key_text(table: &str, row: &Value) -> String {
    if table == PRIORITIES { format!("{} {}", row["item"], row["price"]) } else { row["customer"].to_string() }
}
