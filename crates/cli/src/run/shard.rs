//! One shard of a run: whole pages are joined and forgotten, until the shard ends.

use std::sync::Arc;

use freshjoin_core::batch::{Consumer, Progress};
use freshjoin_core::ports::{Position, Stream};
use freshjoin_local::EmbeddedStream;

use crate::failure::Failure;

/// Consumes a shard to its end. Pages do not depend on how fast the input comes, so neither do the objects.
pub(super) async fn consume(
    stream: Arc<EmbeddedStream>,
    consumer: Arc<Consumer>,
    shard: String,
) -> Result<(), Failure> {
    let mut from = Position::TrimHorizon;
    loop {
        stream.whole_page(&shard).await?;
        let page = stream.read(&shard, &from).await?;
        if let Some(last) = page.records.last_sequence() {
            consumer.process(&shard, &page.records, &Progress::default()).await?;
            stream.trim(&shard, &last)?;
        }
        match page.next {
            Some(next) => from = next,
            None => return Ok(()),
        }
    }
}
