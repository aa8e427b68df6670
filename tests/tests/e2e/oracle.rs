//! What ought to come out, computed from the stream and the change log alone, by other means than the product's: every
//! order once, joined with the fold of the log at the newest flag before it in its shard.

use std::collections::{BTreeMap, HashMap};

use freshjoin_core::change::digest;
use freshjoin_core::ports::{Position, Shard};
use serde_json::Value;

use crate::output::{NULL, Row};
use crate::world::{ROWS, World};

/// The reference: (item, price) to priority.
pub(crate) type Reference = BTreeMap<(String, String), String>;

/// What is known of a row of an order: item, priority, cost and price as they should be written.
type Expected = (String, String, String, String);

pub(crate) fn sample() -> Reference {
    ROWS.iter().map(|(item, priority)| (((*item).into(), "100".into()), (*priority).into())).collect()
}

/// The reference at each version of the log, from 0 on.
pub(crate) fn folds(base: &Reference, files: &[impl AsRef<[u8]>]) -> Vec<Reference> {
    let mut folds = vec![base.clone()];
    for file in files {
        let file: Value = serde_json::from_slice(file.as_ref()).unwrap();
        let mut fold = folds[folds.len() - 1].clone();
        for change in file["changes"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            let key = (text(&change["key"]["item"]), text(&change["key"]["price"]));
            match change["op"].as_str().unwrap() {
                "put" => drop(fold.insert(key, text(&change["row"]["priority"]))),
                "delete" => drop(fold.remove(&key)),
                other => panic!("an op {other}"),
            }
        }
        folds.push(fold);
    }
    folds
}

impl World {
    /// All records of a shard, as bytes.
    pub(crate) async fn records_of(&self, shard: &str) -> Vec<Vec<u8>> {
        let (mut all, mut position) = (Vec::new(), Position::TrimHorizon);
        loop {
            let page = self.stream.read(shard, &position).await.unwrap();
            all.extend(page.records.iter().map(|record| record.data.to_vec()));
            match page.next {
                Some(next) if !page.at_tip => position = next,
                _ => return all,
            }
        }
    }

    /// Rows that each order of the stream ought to have, by customer, if the reference was `base` before the log began.
    async fn expected(&self, base: &Reference) -> HashMap<u64, Vec<Expected>> {
        let files = self.change_files().await;
        let folds = folds(base, &files);
        let mut versions: HashMap<String, usize> = HashMap::new();
        let mut expected = HashMap::new();
        let mut shards: Vec<Shard> = self.stream.shards().await.unwrap();
        // A child's name is above its parents'.
        shards.sort_by(|a, b| a.id.cmp(&b.id));
        for shard in shards {
            let mut version =
                shard.parents.iter().filter_map(|parent| versions.get(parent)).max().copied().unwrap_or(0);
            for data in self.records_of(&shard.id).await {
                let Ok(record) = serde_json::from_slice::<Value>(&data) else { continue };
                if let Some(flag) = record["freshjoin"].as_str().filter(|format| format.starts_with("change-flag/")) {
                    let named =
                        record["version"].as_u64().and_then(|version| usize::try_from(version).ok()).unwrap_or(0);
                    let file = named.checked_sub(1).and_then(|index| files.get(index));
                    let honoured = flag == "change-flag/1"
                        && file.is_some_and(|file| record["digest"].as_str() == Some(&digest(file)));
                    version = if honoured { version.max(named) } else { version };
                } else if let Some(customer) = record["customer_id"].as_u64() {
                    let dish = record["dish"].as_str().unwrap();
                    let row = |price: &str, priority: &str| {
                        (dish.to_owned(), priority.to_owned(), record["cost"].to_string(), price.to_owned())
                    };
                    let mut rows: Vec<Expected> = folds[version]
                        .iter()
                        .filter(|((item, _), _)| item == dish)
                        .map(|((_, price), priority)| row(price, priority))
                        .collect();
                    if rows.is_empty() {
                        rows.push(row("", NULL));
                    }
                    assert!(expected.insert(customer, rows).is_none(), "customer {customer} ordered twice");
                }
            }
            versions.insert(shard.id, version);
        }
        expected
    }

    /// Holds every row of the output against what it ought to be: none lost, none twice, none of another version.
    pub(crate) async fn verify(&self) {
        self.verify_from(&sample()).await;
    }

    /// The same where the reference was another one before the log began.
    pub(crate) async fn verify_from(&self, base: &Reference) {
        let expected = self.expected(base).await;
        let mut found: HashMap<u64, Vec<Expected>> = HashMap::new();
        // Poison that could be read after all is an order of nobody.
        let rows = self.rows().await.into_iter().filter(|row| row.get("customer_id") != Some(""));
        for row in rows {
            let column = |name: &str| row.get(name).unwrap_or_else(|| panic!("no {name} in {row:?}")).to_owned();
            let columns = (column("item"), column("priority"), column("cost"), column("price"));
            found.entry(row.customer()).or_default().push(columns);
        }
        let mut wrong = Vec::new();
        for (customer, rows) in &expected {
            let mut found = found.remove(customer).unwrap_or_default();
            let mut rows = rows.clone();
            found.sort_unstable();
            rows.sort_unstable();
            if found != rows {
                wrong.push(format!("customer {customer}: expected {rows:?}, found {found:?}"));
            }
        }
        wrong.extend(found.keys().map(|customer| format!("customer {customer} never ordered")));
        assert!(!expected.is_empty(), "nobody ordered");
        assert!(wrong.is_empty(), "{} of {} orders are wrong, such as {}", wrong.len(), expected.len(), wrong[0]);
    }
}

/// Rows of a dish among the output.
pub(crate) fn of_dish<'a>(rows: &'a [Row], dish: &str) -> Vec<&'a Row> {
    rows.iter().filter(|row| row.get("item") == Some(dish)).collect()
}
