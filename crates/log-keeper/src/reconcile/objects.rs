//! Reference objects and what the log says of them, compared: notices that never came.
//!
//! Each object is read and copied as it is now, and its digest compared. What is found carries the object's last known
//! sequencer: of two changes with one sequencer the later version wins, and a notice that comes after all has a greater one.

use std::collections::BTreeMap;

use freshjoin_core::change::{Change, ObjectChange, ObjectOp};
use freshjoin_core::pipeline::Source;
use freshjoin_core::reference::{ObjectLine, objects_now};
use freshjoin_core::snapshot::SnapshotFile;
use freshjoin_core::time::Timestamp;

use super::{Found, ReconcileError};
use crate::LogKeeper;

/// What differs; `None` where the log does not have the whole reference.
pub(super) async fn compare(
    keeper: &LogKeeper,
    source: &Source,
    file: &SnapshotFile,
) -> Result<Option<Found>, ReconcileError> {
    let Some(known) = file.objects(source.id()) else { return Ok(None) };
    let at = keeper.deps.clock.now();
    let now = objects_now(keeper.sources(), source).await?;
    Ok(Some(difference(known, now, at)))
}

fn difference(known: &[ObjectLine], now: Vec<ObjectLine>, at: Timestamp) -> Found {
    let mut unseen: BTreeMap<&str, &ObjectLine> = known.iter().map(|line| (line.object.as_str(), line)).collect();
    let mut changes = Vec::new();
    for line in now {
        let before = unseen.remove(line.object.as_str());
        if before.is_some_and(|before| !before.removed && before.sha256 == line.sha256) {
            continue;
        }
        let sequencer = before.and_then(|before| before.sequencer.clone()).unwrap_or_default();
        changes.push(ObjectChange {
            object: line.object,
            op: ObjectOp::Replace,
            sha256: line.sha256.unwrap_or_default(),
            etag: line.etag,
            version_id: line.version_id,
            sequencer,
            at,
        });
    }
    let gone: Vec<&ObjectLine> = unseen.into_values().filter(|line| !line.removed && line.sha256.is_some()).collect();
    let held = known.iter().filter(|line| line.sha256.is_some());
    let (rows, deleted_rows) = (held.map(weight).sum(), gone.iter().copied().map(weight).sum());
    let deletes = gone.len() as u64;
    changes.extend(gone.into_iter().map(|line| ObjectChange {
        object: line.object.clone(),
        op: ObjectOp::Remove,
        sha256: String::new(),
        etag: None,
        version_id: None,
        sequencer: line.sequencer.clone().unwrap_or_default(),
        at,
    }));
    Found { changes: changes.into_iter().map(Change::Object).collect(), deletes, rows, deleted_rows }
}

/// Objects stand for their rows, as nobody counts those; but one that is known to have none does not.
fn weight(line: &ObjectLine) -> u64 {
    u64::from(line.has_rows != Some(false))
}
