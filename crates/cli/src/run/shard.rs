//! One shard of a run: its records are joined and forgotten, page by page, until the shard ends.

use std::sync::Arc;
use std::time::Duration;

use freshjoin_clock::SystemClock;
use freshjoin_core::batch::{Consumer, Progress};
use freshjoin_core::ports::{Clock, Position, Stream};
use freshjoin_local::EmbeddedStream;

use crate::failure::Failure;

/// How long a shard that is followed is left alone where it has nothing new.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Consumes a shard to its end. Whole pages do not depend on how fast the input comes, so neither do the objects; who
/// follows wants what is there.
pub(super) async fn consume(
    stream: Arc<EmbeddedStream>,
    consumer: Arc<Consumer>,
    shard: String,
    follow: bool,
) -> Result<(), Failure> {
    let mut from = Position::TrimHorizon;
    loop {
        if !follow {
            stream.whole_page(&shard).await?;
        }
        let page = stream.read(&shard, &from).await?;
        match page.records.last_sequence() {
            Some(last) => {
                consumer.process(&shard, &page.records, &Progress::default()).await?;
                stream.trim(&shard, &last)?;
            }
            None if page.next.is_some() => SystemClock.sleep(LOOK_AGAIN).await,
            None => {}
        }
        match page.next {
            Some(next) => from = next,
            None => return Ok(()),
        }
    }
}
