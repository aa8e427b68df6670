//! Delivery at least once: no cursor, so no memory of what was written or which version was in force.
//!
//! Each call writes what it was given, as of the head of the log or a newer flag among its records. Writing the same cut
//! again with the same head gives the same objects; another cut gives other objects with the same rows again.

use crate::change::Version;
use crate::ports::StreamDescription;

use super::consumer::{Consumer, Progress};
use super::error::ProcessError;
use super::range::Slice;

impl Consumer {
    /// Writes a shard's records.
    pub(super) async fn at_least_once(
        &self,
        stream: &StreamDescription,
        shard: &str,
        all: Slice<'_>,
        progress: &Progress,
    ) -> Result<(), ProcessError> {
        let bases = self.engine.bases(self.sources(), Version::MAX).await?;
        // From what is loaded: probing up from the bases would cost a GET a version.
        let known = self.engine.head().await.unwrap_or(0).max(bases);
        let mut version = self.log.head(known).await?.max(bases);
        let mut rest = all;
        while let Some(first) = rest.first() {
            progress.reached(first.sequence);
            let Some(range) = self.next_range(shard, rest, version).await? else { continue };
            let report = self.write_out(stream, shard, &range.intent, range.encoded, false).await?;
            range.decided.tell(&*self.deps.observer, shard, range.taken);
            self.deps.observer.committed(&report);
            version = version.max(report.version);
            rest = rest.from(rest.start() + range.taken);
        }
        Ok(())
    }
}
