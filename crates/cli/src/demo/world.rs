//! The wiring: what AWS's services do between the functions, in this process.
//!
//! table → its change stream → change-capture (with direct flags) → bucket → S3 notices → flag-injector → the stream →
//! event source mapping → four environments of the enricher → output. The handlers are the ones that Lambda runs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use freshjoin_change_capture::ChangeCapture;
use freshjoin_clock::SystemClock;
use freshjoin_core::batch::ConsumerDeps;
use freshjoin_core::location::Location;
use freshjoin_core::ports::{Clock, Stores, Stream};
use freshjoin_core::settings::{AsOf, DEFAULT_CONTENT_LIMIT, EnricherSettings, StreamName};
use freshjoin_enricher::Enricher;
use freshjoin_flag_injector::{FlagInjector, InjectorDeps};
use freshjoin_local::{
    AsyncInvoker, AsyncSettings, EmbeddedStream, EmbeddedTable, EmbeddedTables, EventShape, FsStore, FsStores,
    Function, Mapping, MappingSettings, NotifyingStore, SplitStore,
};
use serde_json::value::RawValue;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::orders::{DEFINITION, KEY, ROWS, TABLE};
use super::tap::Tap;
use super::watch::{News, Watch};
use crate::failure::Failure;
use crate::functions;
use crate::output::DEAD_LETTERS;

/// Shards of the stream.
pub(super) const SHARDS: u32 = 4;
/// Execution environments of the enricher. None belongs to a shard.
pub(super) const ENVIRONMENTS: usize = 4;
const STREAM: &str = "orders";
const BUCKET: &str = "freshjoin-demo-state";

/// The pipeline at work.
#[derive(Debug)]
pub(super) struct World {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) table: Arc<EmbeddedTable>,
    pub(super) stream: Arc<EmbeddedStream>,
    pub(super) watch: Arc<Watch>,
    tap: Arc<Tap>,
    shards: Vec<String>,
    stop: watch::Sender<bool>,
    capture: JoinHandle<Mapping>,
    notices: JoinHandle<()>,
    enricher: JoinHandle<Mapping>,
    /// Holds the bucket; it goes away with this value.
    _scratch: TempDir,
}

impl World {
    /// Starts everything. The table's rows are there before its stream is.
    pub(super) fn start(output: &Location, directory: &Path) -> Result<(Self, mpsc::UnboundedReceiver<News>), Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let scratch = tempfile::tempdir()?;
        let (news, listener) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);

        let table = Arc::new(EmbeddedTable::new(TABLE, &KEY, clock.clone()));
        table.load(rows()?)?;
        let stream = Arc::new(EmbeddedStream::new(STREAM, SHARDS, clock.clone()));
        let tap = Arc::new(Tap::new(stream.clone(), clock.clone(), news.clone()));
        let stores = FsStores::with_buckets(scratch.path());
        let state = Location::new(format!("s3://{BUCKET}"));
        let bucket = stores.open(&state)?;

        let (told, notices) = NotifyingStore::new(bucket.clone(), BUCKET, "", clock.clone());
        let tables = Arc::new(EmbeddedTables::new([table.clone()]));
        let direct = Some(tap.clone() as Arc<dyn Stream>);
        let capture = ChangeCapture::new(Arc::new(told), tables.clone(), clock.clone(), direct);
        let capture = Mapping::new(
            table.changes(),
            EventShape::DynamoDb,
            vec![functions::change_capture(Arc::new(capture))],
            clock.clone(),
            MappingSettings { batch_size: 100, poll: Duration::from_millis(10), ..MappingSettings::default() },
            Arc::new(functions::Trim(table.changes())),
        );

        let stores: Arc<dyn Stores> = Arc::new(stores);
        let injector = FlagInjector::new(InjectorDeps {
            state: state.clone(),
            store: bucket.clone(),
            stores: stores.clone(),
            stream: tap.clone(),
            clock: clock.clone(),
            content_limit: DEFAULT_CONTENT_LIMIT,
        });
        let injector = functions::flag_injector(Arc::new(injector));
        let injector = AsyncInvoker::new(injector, clock.clone(), AsyncSettings::default());

        let watch = Arc::new(Watch::new(clock.clone(), directory.into(), news));
        let dead_letters = Arc::new(FsStore::new(directory.join(DEAD_LETTERS)));
        let deps = ConsumerDeps {
            state: Arc::new(SplitStore::new(bucket, "dead-letters/", dead_letters)),
            stores,
            tables,
            stream: stream.clone(),
            clock: clock.clone(),
            observer: watch.clone(),
        };
        let settings = EnricherSettings {
            pipeline: DEFINITION.into(),
            state,
            output: output.clone(),
            stream: StreamName { name: STREAM.into(), arn: None },
            as_of: AsOf::Flag,
            content_limit: DEFAULT_CONTENT_LIMIT,
        };
        let environments = (0..ENVIRONMENTS)
            .map(|_| Ok(functions::enricher(Arc::new(Enricher::new(DEFINITION, &settings, deps.clone())?))))
            .collect::<Result<Vec<Arc<dyn Function>>, Failure>>()?;
        let enricher = Mapping::new(
            stream.clone(),
            EventShape::Kinesis { arn: stream.arn() },
            environments,
            clock.clone(),
            MappingSettings {
                batch_size: 2000,
                window: Duration::from_millis(200),
                poll: Duration::from_millis(10),
                ..MappingSettings::default()
            },
            Arc::new(functions::Trim(stream.clone())),
        );

        let world = Self {
            clock,
            table,
            shards: stream.shard_ids(),
            stream,
            watch,
            tap,
            capture: tokio::spawn(run(capture, stopped.clone())),
            // It ends when nobody can write to the bucket's changes any more.
            notices: tokio::spawn({
                let (keep, never) = watch::channel(false);
                async move {
                    injector.run(notices, never).await;
                    drop(keep);
                }
            }),
            enricher: tokio::spawn(run(enricher, stopped)),
            stop,
            _scratch: scratch,
        };
        Ok((world, listener))
    }

    /// Waits until every shard holds fewer than so many bytes.
    pub(super) async fn room(&self, bytes: usize) -> Result<(), Failure> {
        for shard in &self.shards {
            self.stream.room(shard, bytes).await?;
        }
        Ok(())
    }

    /// Lets everything settle, in the direction of the flow, and ends it.
    pub(super) async fn finish(self) -> Result<(Arc<Tap>, Arc<Watch>), Failure> {
        self.stop.send_replace(true);
        let (capture, enricher) = (self.capture.await?, self.enricher.await?);
        capture.drain().await?;
        drop(capture);
        self.notices.await?;
        enricher.drain().await?;
        Ok((self.tap, self.watch))
    }
}

async fn run(mapping: Mapping, stop: watch::Receiver<bool>) -> Mapping {
    mapping.run(stop).await;
    mapping
}

fn rows() -> Result<Vec<Box<RawValue>>, Failure> {
    let row = |(item, priority)| serde_json::json!({"item": item, "price": 100, "priority": priority});
    ROWS.into_iter().map(|pair| Ok(serde_json::value::to_raw_value(&row(pair))?)).collect()
}
