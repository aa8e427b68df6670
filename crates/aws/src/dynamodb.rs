//! Reference tables in DynamoDB: the key's attributes, scans, and rows by key, all with strongly consistent reads.
//!
//! What always holds: a row's text is that of change-capture for the same item, as both come from
//! [`freshjoin_attribute`]. On failure: throttling is met by the SDK's adaptive retries, which also slow the scan down;
//! any other fault is the caller's, who may ask for the same page again.

mod key;
mod rows;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{KeyType, TableDescription};
use freshjoin_attribute::item_to_json;
use freshjoin_core::ports::{BoxError, Clock, RawRow, ScanPage, Segment, TableError, Tables};
use serde_dynamo::Item;

use crate::fault::ServiceFault;

/// A throttled table may need more tries than a store does. Their waits stay below the operation's timeout, so that the
/// last answer is heard instead of the timeout.
const ATTEMPTS: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The tables of one account and region.
#[derive(Clone, Debug)]
pub struct DynamoTables {
    client: Client,
    clock: Arc<dyn Clock>,
}

impl DynamoTables {
    /// Over a configuration as [`crate::config::load`] gives it. Makes no call.
    #[must_use]
    pub fn new(config: &SdkConfig, clock: Arc<dyn Clock>) -> Self {
        let retries = RetryConfig::adaptive().with_max_attempts(ATTEMPTS).with_initial_backoff(FIRST_WAIT);
        let config = aws_sdk_dynamodb::config::Builder::from(config).retry_config(retries).build();
        Self { client: Client::from_conf(config), clock }
    }

    async fn describe(&self, table: &str) -> Result<TableDescription, TableError> {
        const OPERATION: &str = "DescribeTable";
        let request = self.client.describe_table().table_name(table);
        let output = request.send().await.map_err(|error| fault(OPERATION, table, ServiceFault::of(&error)))?;
        output.table.ok_or_else(|| fault(OPERATION, table, "the answer describes no table"))
    }
}

/// The names of the key's attributes, partition key first; none where the answer lacks them.
fn key_names(described: &TableDescription) -> Vec<String> {
    let mut schema: Vec<_> = described.key_schema().iter().collect();
    schema.sort_by_key(|element| element.key_type != KeyType::Hash);
    schema.into_iter().map(|element| element.attribute_name.clone()).collect()
}

#[async_trait]
impl Tables for DynamoTables {
    async fn key_attributes(&self, table: &str) -> Result<Vec<String>, TableError> {
        let names = key_names(&self.describe(table).await?);
        if names.is_empty() {
            return Err(fault("DescribeTable", table, "the answer has no key schema"));
        }
        Ok(names)
    }

    async fn scan(&self, table: &str, segment: Segment, from: Option<&str>) -> Result<ScanPage, TableError> {
        const OPERATION: &str = "Scan";
        let number = |n: u32| i32::try_from(n).map_err(|error| fault(OPERATION, table, error));
        let start =
            from.map(serde_json::from_str::<Item>).transpose().map_err(|error| fault(OPERATION, table, error))?;
        let of_many = segment.of > 1;
        let page = self
            .client
            .scan()
            .table_name(table)
            .consistent_read(true)
            .set_segment(of_many.then_some(number(segment.index)?))
            .set_total_segments(of_many.then_some(number(segment.of)?))
            .set_exclusive_start_key(start.map(Into::into))
            .send()
            .await
            .map_err(|error| fault(OPERATION, table, ServiceFault::of(&error)))?;
        let rows = page.items.unwrap_or_default().into_iter().map(|item| item_to_json(&Item::from(item)));
        let rows = rows.collect::<Result<_, _>>().map_err(|error| fault(OPERATION, table, error))?;
        let next =
            page.last_evaluated_key.filter(|key| !key.is_empty()).map(|key| serde_json::to_string(&Item::from(key)));
        let next = next.transpose().map_err(|error| fault(OPERATION, table, error))?;
        Ok(ScanPage { rows, next })
    }

    async fn rows(&self, table: &str, keys: &[RawRow]) -> Result<Vec<Option<RawRow>>, TableError> {
        self.rows_of(table, keys).await
    }
}

fn fault(operation: &'static str, table: &str, source: impl Into<BoxError>) -> TableError {
    TableError { operation, table: table.into(), source: source.into() }
}
