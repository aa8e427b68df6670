//! What `--follow` adds: an edited reference file becomes changes, which travel through the change log as everywhere
//! else, and are announced in every shard.
//!
//! On failure a file that cannot be read (it may be half written) is left as it was joined so far, with a warning, until
//! it is edited again.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use freshjoin_change_capture::ChangeCapture;
use freshjoin_clock::SystemClock;
use freshjoin_core::ports::{Clock, ObjectStore, Stream};
use freshjoin_local::table::{EmbeddedTables, read_rows, synchronize};
use freshjoin_local::{EmbeddedStream, EventShape, Mapping, MappingSettings};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::failure::Failure;
use crate::functions;
use crate::references::Mirror;

/// How often a file is looked at. It is read when it has not changed between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// So long the changes of an edit are waited for.
const WINDOW: Duration = Duration::from_millis(50);

/// Follows every reference until `stop` becomes true.
pub(super) fn follow(
    mirrors: &[Mirror],
    state: Arc<dyn ObjectStore>,
    stream: Arc<EmbeddedStream>,
    stop: &watch::Receiver<bool>,
) -> JoinSet<()> {
    let clock = Arc::new(SystemClock);
    let tables = Arc::new(EmbeddedTables::new(mirrors.iter().map(|mirror| mirror.table.clone())));
    let capture = Arc::new(ChangeCapture::new(state, tables, clock.clone(), Some(stream as Arc<dyn Stream>)));
    let mut tasks = JoinSet::new();
    for mirror in mirrors {
        let changes = mirror.table.changes();
        let mapping = Mapping::new(
            changes.clone(),
            EventShape::DynamoDb,
            vec![functions::change_capture(capture.clone())],
            clock.clone(),
            // The window gathers what one edit changed into one change file.
            MappingSettings { batch_size: 10_000, window: WINDOW, ..MappingSettings::default() },
            Arc::new(functions::Trim(changes)),
        );
        let stop = stop.clone();
        tasks.spawn(watch_file(mirror.clone(), stop.clone()));
        tasks.spawn(async move { mapping.run(stop).await });
    }
    tasks
}

async fn watch_file(mirror: Mirror, mut stop: watch::Receiver<bool>) {
    let path = mirror.path.clone();
    // What was there at the start was loaded already, unless it changed meanwhile: then it is read once more.
    let (mut read, mut seen) = (None, stamp(&path));
    while !*stop.borrow() {
        tokio::select! {
            () = SystemClock.sleep(LOOK_AGAIN) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let now = stamp(&path);
        let settled = now == seen && now != read;
        seen = now;
        if !settled {
            continue;
        }
        read = now;
        let mirror = mirror.clone();
        let synced = tokio::task::spawn_blocking(move || -> Result<_, Failure> {
            Ok(synchronize(&mirror.table, &read_rows(&mirror.path)?)?)
        });
        match synced.await {
            Ok(Ok(synced)) if synced.put + synced.deleted > 0 => {
                tracing::info!(path = %path.display(), put = synced.put, deleted = synced.deleted, "reference edited");
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the edited reference is not taken"),
            Err(error) => tracing::warn!(%error, "the edited reference is not taken"),
        }
    }
}

/// What tells one state of a file from another.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
