//! The enricher: a Kinesis event becomes joined, partitioned objects, exactly once.
//!
//! Everything that matters happens in [`Consumer`]; here an event becomes records, a deadline is kept, and what could not
//! be finished becomes batch item failures from its first unfinished record on. The cause is logged once, here.

mod event;
mod scan;

pub use event::{EventError, KinesisEvent};

use std::pin::pin;
use std::time::Duration;

use freshjoin_core::batch::{Consumer, ConsumerDeps, ConsumerSettings, ProcessError, Progress};
use freshjoin_core::pipeline::{Definition, DefinitionError, Delivery, Source};
use freshjoin_core::record::Records;
use freshjoin_core::response::BatchResponse;
use freshjoin_core::settings::{AsOf, EnricherSettings};
use freshjoin_core::time::Timestamp;
use futures_util::future::{Either, select};

/// An event of which nothing was processed; the event source mapping delivers it again.
#[derive(Debug, thiserror::Error)]
pub enum EnrichError {
    /// Not a Kinesis event.
    #[error(transparent)]
    Event(#[from] EventError),
    /// Another stream's event.
    #[error(
        "the event is of stream {found:?} and this function is configured for {expected:?}; set FRESHJOIN_STREAM to the stream of its trigger"
    )]
    OtherStream {
        /// The stream in the event.
        found: String,
        /// The stream in the settings.
        expected: String,
    },
}

/// The enricher's parts.
#[derive(Debug)]
pub struct Enricher {
    /// Does the work.
    pub consumer: Consumer,
    /// The stream's name, for refusing events of another.
    pub stream: String,
}

/// A definition that this function cannot run.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The definition is refused.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// Without a cursor nothing remembers the version of a flag.
    #[error(
        "delivery = \"at-least-once\" keeps no cursor, so it cannot join as of flags; set FRESHJOIN_AS_OF to latest"
    )]
    NoCursor,
    /// This version joins with tables.
    #[error("reference {0:?} is an object on S3, which this version cannot join with; use a DynamoDB table")]
    Object(String),
}

impl Enricher {
    /// An enricher that has not made a call yet.
    ///
    /// # Errors
    /// [`BuildError`] for a definition that cannot run as configured.
    pub fn new(definition: &str, settings: &EnricherSettings, deps: ConsumerDeps) -> Result<Self, BuildError> {
        let definition = Definition::parse(definition)?;
        if definition.output.delivery == Delivery::AtLeastOnce && settings.as_of != AsOf::Latest {
            return Err(BuildError::NoCursor);
        }
        if let Some(Source::Object(url)) = definition
            .references
            .iter()
            .map(|reference| &reference.source)
            .find(|source| matches!(source, Source::Object(_)))
        {
            return Err(BuildError::Object(url.clone()));
        }
        let consumer = ConsumerSettings::new(settings.output.clone(), settings.as_of);
        Ok(Self { consumer: Consumer::new(definition, deps, consumer), stream: settings.stream.name.clone() })
    }
}

/// So long before the deadline an invocation ends itself, to answer what it has finished.
const MARGIN: Duration = Duration::from_millis(750);

/// Processes one event; answers before the deadline.
///
/// # Errors
/// [`EnrichError`] for an event that is not this function's; nothing of it was processed.
pub async fn handle(event: &str, enricher: &Enricher, deadline: Timestamp) -> Result<BatchResponse, EnrichError> {
    let event = KinesisEvent::parse(event)?;
    if let Some(found) = event.stream.filter(|found| *found != enricher.stream) {
        return Err(EnrichError::OtherStream { found, expected: enricher.stream.clone() });
    }
    let mut failures = Vec::new();
    for (shard, records) in &event.shards {
        failures.extend(process(enricher, shard, records, deadline).await);
    }
    Ok(failures.into_iter().collect())
}

/// The first unfinished record of a shard, if any.
async fn process(enricher: &Enricher, shard: &str, records: &Records, deadline: Timestamp) -> Option<String> {
    let clock = enricher.consumer.clock();
    let left = u64::try_from(deadline.millis() - clock.now().millis()).unwrap_or(0);
    let progress = Progress::default();
    let work = pin!(enricher.consumer.process(shard, records, &progress));
    let alarm = pin!(clock.sleep(Duration::from_millis(left).saturating_sub(MARGIN)));
    let unfinished = || {
        let reached = progress.first_unfinished().map(|sequence| sequence.to_string());
        reached.or_else(|| records.get(0).map(|record| record.sequence.to_owned()))
    };
    match select(work, alarm).await {
        Either::Left((Ok(()), _)) => None,
        Either::Left((Err(error), _)) => {
            let from = unfinished();
            tracing::error!(
                shard,
                from,
                cause = chain(&error),
                "the batch is not finished; it will be delivered again"
            );
            from
        }
        Either::Right(((), _)) => {
            let from = unfinished();
            tracing::error!(shard, from, "the batch is not finished in time; it will be delivered again");
            from
        }
    }
}

/// An error with all its sources, for the log.
fn chain(error: &ProcessError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
