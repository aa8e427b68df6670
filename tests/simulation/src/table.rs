//! The reference tables with their change streams: every change reaches the table at once and the stream in order.

use std::collections::BTreeMap;

use freshjoin_core::memory::{MemoryClock, MemoryTables};
use freshjoin_core::ports::Clock;
use serde_json::{Value, json};

use crate::definitions::{CUSTOMERS, PRIORITIES};
use crate::events;
use crate::rng::Rng;

/// What an order may ask for; nobody ever adds the last one to the table.
pub const DISHES: [&str; 6] = ["burger", "pizza", "salad", "ice/cream", "pasta", "donut"];
pub const BUYERS: [&str; 4] = ["ann", "bob", "cy", "zoe"];
const LEVELS: [&str; 5] = ["low", "medium", "high", "very high", "a=b/c"];
/// So many shards a change stream has.
pub const STREAM_SHARDS: usize = 2;
/// The label of the tables' streams.
const LABEL: &str = "2026-01-01T00:00:00.000";
/// What the tables' streams may carry.
const VIEWS: [&str; 2] = ["NEW_AND_OLD_IMAGES", "KEYS_ONLY"];

/// One record of a table's change stream.
#[derive(Clone, Debug)]
pub struct Change {
    pub sequence: String,
    pub event: Value,
}

/// Both tables.
#[derive(Debug)]
pub struct References {
    tables: MemoryTables,
    clock: MemoryClock,
    /// By table and shard; an item stays in one shard.
    pub streams: BTreeMap<(&'static str, usize), Vec<Change>>,
    sequence: u64,
    /// Of each table's stream.
    pub views: BTreeMap<&'static str, &'static str>,
}

impl References {
    /// Tables with some rows that no stream tells of.
    pub fn new(tables: &MemoryTables, clock: &MemoryClock, rng: &mut Rng) -> Self {
        tables.create(PRIORITIES, &["item", "price"]);
        tables.create(CUSTOMERS, &["customer"]);
        let mut streams = BTreeMap::new();
        for shard in 0..STREAM_SHARDS {
            streams.insert((PRIORITIES, shard), Vec::new());
            streams.insert((CUSTOMERS, shard), Vec::new());
        }
        // Numbers that gain a digit on the way.
        let views = [PRIORITIES, CUSTOMERS].map(|table| (table, *rng.pick(&VIEWS))).into();
        let mut references = Self { tables: tables.clone(), clock: clock.clone(), streams, sequence: 99_990, views };
        for _ in 0..rng.below(12) {
            let (table, key, row) = references.draw(rng);
            references.write(table, &key, row.as_ref());
        }
        references
    }

    /// One change, or two of one table at once.
    pub fn change(&mut self, rng: &mut Rng) -> String {
        let mut told = String::new();
        for _ in 0..rng.between(1, 2) {
            let (table, key, row) = self.draw(rng);
            self.write(table, &key, row.as_ref());
            self.sequence += rng.between(1, 3) as u64;
            let sequence = self.sequence.to_string();
            let millis = self.clock.now().millis();
            let ttl = row.is_none() && rng.chance(500);
            let stream = (table, LABEL, self.views[table]);
            let event = events::change(stream, &sequence, &key, row.as_ref(), millis, ttl);
            let text = key[if table == PRIORITIES { "item" } else { "customer" }].to_string();
            let shard = text.bytes().map(usize::from).sum::<usize>() % STREAM_SHARDS;
            told.push_str(&format!(" {table}/{shard} {sequence} {key} → {}", row.unwrap_or_default()));
            self.streams.entry((table, shard)).or_default().push(Change { sequence, event });
        }
        told
    }

    fn draw(&mut self, rng: &mut Rng) -> (&'static str, Value, Option<Value>) {
        let delete = rng.chance(350);
        if rng.chance(650) {
            let (item, price) = (*rng.pick(&DISHES[..5]), rng.between(1, 2));
            let key = json!({ "item": item, "price": price });
            let row = json!({ "item": item, "price": price, "priority": rng.pick(&LEVELS), "unused": rng.below(9) });
            (PRIORITIES, key, (!delete).then_some(row))
        } else {
            let customer = *rng.pick(&BUYERS[..3]);
            let row = json!({ "customer": customer, "tier": rng.pick(&LEVELS) });
            (CUSTOMERS, json!({ "customer": customer }), (!delete).then_some(row))
        }
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

/// A row's or key's primary key as text, in an order that is also that of join results.
pub fn key_text(table: &str, row: &Value) -> String {
    if table == PRIORITIES { format!("{} {}", row["item"], row["price"]) } else { row["customer"].to_string() }
}
