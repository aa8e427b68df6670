//! Rows by key: `BatchGetItem` with strongly consistent reads.
//!
//! What always holds: `None` stands only for a key that DynamoDB took and gave no row for. What it put off is asked for
//! again, with pauses while nothing comes; a row that nobody asked for, or keys put off for too long, are faults.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use freshjoin_attribute::item_to_json;
use freshjoin_core::ports::{BoxError, RawRow, TableError};
use serde_dynamo::Item;

use super::key::{Identity, Schema};
use super::{DynamoTables, fault};
use crate::fault::ServiceFault;

const OPERATION: &str = "BatchGetItem";
/// As many keys as a call takes.
const KEYS: usize = 100;
/// When the rows have come to so many bytes of text, no further call is made for this answer.
const ENOUGH: usize = 8 << 20;
/// So many answers in a row may bring nothing at all.
const PATIENCE: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

type Key = HashMap<String, AttributeValue>;

impl DynamoTables {
    pub(super) async fn rows_of(&self, table: &str, keys: &[RawRow]) -> Result<Vec<Option<RawRow>>, TableError> {
        let fail = |source: BoxError| fault(OPERATION, table, source);
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let schema = Schema::of(&self.describe(table).await?).map_err(|error| fail(error.into()))?;
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for keys in keys.chunks(KEYS) {
            let found = self.chunk(table, &schema, keys).await?;
            bytes += found.iter().flatten().map(|row| row.get().len()).sum::<usize>();
            rows.extend(found);
            if bytes >= ENOUGH {
                break;
            }
        }
        Ok(rows)
    }

    /// The rows of as many keys as a call takes.
    async fn chunk(&self, table: &str, schema: &Schema, keys: &[RawRow]) -> Result<Vec<Option<RawRow>>, TableError> {
        let fail = |source: BoxError| fault(OPERATION, table, source);
        // A call that names a key twice is refused.
        let (mut identities, mut asked, mut due) = (Vec::new(), HashSet::new(), Vec::new());
        for key in keys {
            let typed = schema.typed(key).map_err(|error| fail(error.into()))?;
            let identity = schema.identity(key).map_err(|error| fail(error.into()))?;
            if asked.insert(identity.clone()) {
                due.push(typed);
            }
            identities.push(identity);
        }
        let mut found: HashMap<Identity, RawRow> = HashMap::new();
        let mut fruitless = 0;
        while !due.is_empty() {
            let (items, left) = self.ask(table, due).await?;
            fruitless = if items.is_empty() && !left.is_empty() { fruitless + 1 } else { 0 };
            for item in items {
                let row = item_to_json(&Item::from(item)).map_err(|error| fail(error.into()))?;
                let identity = schema.identity(&row).map_err(|error| fail(error.into()))?;
                if !asked.contains(&identity) {
                    return Err(fail("the answer has a row that was not asked for".into()));
                }
                found.insert(identity, row);
            }
            if fruitless > PATIENCE {
                let text = format!("{} keys stayed unprocessed; does the table have enough read capacity?", left.len());
                return Err(fail(text.into()));
            }
            if fruitless > 0 {
                self.clock.sleep(FIRST_PAUSE * (1 << fruitless.min(5))).await;
            }
            due = left;
        }
        Ok(identities.iter().map(|identity| found.get(identity).cloned()).collect())
    }

    /// One call: the rows that it gave, and the keys that it put off.
    async fn ask(&self, table: &str, keys: Vec<Key>) -> Result<(Vec<Key>, Vec<Key>), TableError> {
        let asked = keys.len();
        let wanted = KeysAndAttributes::builder().consistent_read(true).set_keys(Some(keys)).build();
        let wanted = wanted.map_err(|error| fault(OPERATION, table, error))?;
        let request = self.client.batch_get_item().request_items(table, wanted);
        let output = request.send().await.map_err(|error| fault(OPERATION, table, ServiceFault::of(&error)))?;
        let BatchGetItemOutput { responses, unprocessed_keys, .. } = output;
        let items = responses.unwrap_or_default().remove(table);
        let left = unprocessed_keys.unwrap_or_default().remove(table).map(|left| left.keys).unwrap_or_default();
        if items.is_none() && left.len() < asked {
            return Err(fault(OPERATION, table, "the answer is silent on the table"));
        }
        Ok((items.unwrap_or_default(), left))
    }
}
