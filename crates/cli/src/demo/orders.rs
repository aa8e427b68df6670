//! The sample data: what is on the menu, and the orders, by a seed.

use freshjoin_local::stream::Placed;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::failure::Failure;

/// The table's name.
pub(super) const TABLE: &str = "ProductPriority";
/// Its key.
pub(super) const KEY: [&str; 2] = ["item", "price"];
/// Its rows: item and priority, all at a price of 100.
pub(super) const ROWS: [(&str, &str); 5] = [
    ("salad", "high"),
    ("pizza", "low"),
    ("burger", "medium"),
    ("pasta", "very high"),
    ("ice-cream", "very very high"),
];
/// What is ordered. Nobody wrote a row for donuts: they must not vanish.
pub(super) const DISHES: [&str; 5] = ["pizza", "burger", "salad", "donut", "ice-cream"];
/// The item whose priority changes midway.
pub(super) const CHANGING: &str = "burger";
/// Its new priority.
pub(super) const NEW_PRIORITY: &str = "high";
/// Its new row.
pub(super) const UPDATED_ROW: &str = r#"{"item":"burger","price":100,"priority":"high"}"#;
/// The pipeline.
pub(super) const DEFINITION: &str = r#"name = "orders"

[source]
format = "json"

[[reference]]
dynamodb = "ProductPriority"
on = { dish = "item" }
join = "left"

[output]
columns = ["cost", "price", "priority", "customer_id", "item"]
partition_by = ["item", "priority"]
format = "csv"
"#;

/// The priority that an item has before the change.
pub(super) fn first_priority(item: &str) -> Option<&'static str> {
    ROWS.iter().find(|(known, _)| *known == item).map(|(_, priority)| *priority)
}

/// One order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    dish: usize,
    cost: u32,
    /// Counts the orders from 0, so that each can be found again.
    pub(super) customer_id: u64,
}

impl Order {
    /// The record.
    pub(super) fn json(&self) -> String {
        let dish = DISHES.get(self.dish).copied().unwrap_or_default();
        format!(r#"{{"dish":"{dish}","cost":{},"customer_id":{}}}"#, self.cost, self.customer_id)
    }
}

/// An endless supply of orders.
#[derive(Debug)]
pub(super) struct Orders {
    random: StdRng,
    next: u64,
}

impl Orders {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), next: 0 }
    }

    pub(super) fn next(&mut self) -> Order {
        let customer_id = self.next;
        self.next += 1;
        let dish = self.random.random_range(0..DISHES.len());
        Order { dish, cost: self.random.random_range(10..=150), customer_id }
    }
}

/// What is remembered of an order: enough to say how it must have been joined.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    dish: u8,
    shard: u8,
    place: u64,
}

impl Sent {
    pub(super) fn dish(&self) -> &'static str {
        DISHES.get(usize::from(self.dish)).copied().unwrap_or_default()
    }

    pub(super) fn shard(&self) -> u8 {
        self.shard
    }

    /// Its place among the records of its shard.
    pub(super) fn place(&self) -> u64 {
        self.place
    }
}

/// All orders that were sent, by customer.
#[derive(Debug, Default)]
pub(super) struct SentOrders(Vec<Sent>);

impl SentOrders {
    /// Remembers the next order.
    pub(super) fn push(&mut self, order: &Order, placed: &Placed) -> Result<(), Failure> {
        let dish = u8::try_from(order.dish)?;
        let (shard, place) = place(&placed.shard, placed.sequence.as_str())?;
        self.0.push(Sent { dish, shard, place });
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Sent> {
        self.0.iter()
    }

    pub(super) fn get(&self, customer_id: u64) -> Option<&Sent> {
        self.0.get(usize::try_from(customer_id).ok()?)
    }
}

/// A shard's number and a record's place in it, from their texts: the last digits of an embedded stream's sequence
/// number count its shard's records.
pub(super) fn place(shard: &str, sequence: &str) -> Result<(u8, u64), Failure> {
    let digits = |text: &str, count: usize| text.get(text.len().saturating_sub(count)..).unwrap_or_default().to_owned();
    Ok((digits(shard, 3).parse()?, digits(sequence, 19).parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_orders() {
        let take = |seed| {
            let mut orders = Orders::new(seed);
            (0..50).map(|_| orders.next().json()).collect::<Vec<_>>()
        };
        assert_eq!(take(1), take(1));
        assert_ne!(take(1), take(2));
        let order: serde_json::Value = serde_json::from_str(&take(1)[49]).unwrap();
        assert_eq!(order["customer_id"], 49);
        for dish in DISHES {
            assert!(take(1).iter().any(|order| order.contains(dish)), "{dish}");
        }
    }

    #[test]
    fn the_definition_and_the_row_are_sound() {
        freshjoin_core::pipeline::Definition::parse(DEFINITION).unwrap();
        let row: serde_json::Value = serde_json::from_str(UPDATED_ROW).unwrap();
        assert_eq!((row["item"].as_str(), row["priority"].as_str()), (Some(CHANGING), Some(NEW_PRIORITY)));
        assert_eq!(first_priority(CHANGING), Some("medium"));
        assert_eq!(first_priority("donut"), None);
    }
}
