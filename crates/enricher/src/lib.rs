//! The enricher: a Kinesis event becomes joined, partitioned objects, exactly once.
//!
//! Everything that matters happens in [`Consumer`]; here an event becomes records, a deadline is kept, and what could not
//! be finished becomes batch item failures from its first unfinished record on. The cause is logged once, here.

mod event;
mod scan;

pub use event::{EventError, KinesisEvent};

use freshjoin_core::batch::{Consumer, ConsumerDeps, ConsumerSettings, Progress};
use freshjoin_core::chain::Chain;
use freshjoin_core::deadline::within;
use freshjoin_core::location::Location;
use freshjoin_core::pipeline::{Definition, DefinitionError, Delivery};
use freshjoin_core::record::Records;
use freshjoin_core::response::BatchResponse;
use freshjoin_core::settings::{AsOf, EnricherSettings};
use freshjoin_core::time::Timestamp;

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
    /// Its notices would be taken for the state's own.
    #[error(
        "reference {reference:?} lies inside FRESHJOIN_STATE ({state}), whose notices are not about reference data; \
         move the one or the other to a prefix of its own"
    )]
    InsideState {
        /// The object's URL, or the prefix.
        reference: String,
        /// The state's location.
        state: Location,
    },
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
        let inside = format!("{}/", settings.state);
        let ids = definition.references.iter().map(|reference| reference.source.id());
        if let Some(reference) = ids.into_iter().find(|id| id.starts_with(&inside)) {
            return Err(BuildError::InsideState { reference: reference.into(), state: settings.state.clone() });
        }
        let mut consumer = ConsumerSettings::new(settings.output.clone(), settings.as_of);
        consumer.content_limit = settings.content_limit;
        Ok(Self { consumer: Consumer::new(definition, deps, consumer), stream: settings.stream.name.clone() })
    }
}

/// So long before the deadline an invocation ends itself, to answer what it has finished.
const MARGIN_MILLIS: i64 = 750;

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
    let progress = Progress::default();
    let work = enricher.consumer.process(shard, records, &progress);
    let done = within(&**enricher.consumer.clock(), deadline.plus_millis(-MARGIN_MILLIS), work).await;
    let cause = match &done {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => Chain(error).to_string(),
        Err(out_of_time) => out_of_time.to_string(),
    };
    let reached = progress.first_unfinished().map(|sequence| sequence.to_string());
    let from = reached.or_else(|| records.get(0).map(|record| record.sequence.to_owned()));
    tracing::error!(shard, from, cause, "the batch is not finished; it will be delivered again");
    from
}
