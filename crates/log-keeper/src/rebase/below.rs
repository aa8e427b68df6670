//! Below the newest snapshot file: a file that was folded while it could be read, and cannot be any more.
//!
//! A shard that is behind may need its version still. The next snapshot file above it then stands in for it and for what lies
//! between: nearer to what was than the tables are now, and without reading them.

use bytes::Bytes;
use freshjoin_core::change::Version;
use freshjoin_core::snapshot::{SnapshotFile, SnapshotName, SnapshotWriter, list};

use super::file::copied;
use super::{RebaseError, Rebased, open, readable, write};
use crate::LogKeeper;

/// Gets past the first change file between the floor and the newest snapshot file that cannot be read and that nothing stands
/// in for; `None` where there is none.
pub(super) async fn stand_in(keeper: &LogKeeper, newest: Version) -> Result<Option<Rebased>, RebaseError> {
    let names: Vec<SnapshotName> = list(&*keeper.deps.state).await?.into_iter().map(|listed| listed.name).collect();
    let stands_in = |version| names.iter().any(|name| name.from.is_some() && name.covers(version));
    let floor = keeper.log.floor().await?.version;
    for version in floor.saturating_add(1)..=newest {
        if stands_in(version) || readable(keeper, version).await? {
            continue;
        }
        for above in names.iter().filter(|name| name.version >= version) {
            let Some(file) = open(keeper, *above).await? else { continue };
            let name = SnapshotName::rebase(version, file.version());
            write(keeper, name, renamed(&file, name)?).await?;
            tracing::warn!(from = version, version = name.version, "a snapshot file stands in for what cannot be read");
            return Ok(Some(Rebased { from: version, version: name.version, unreadable: [version].into() }));
        }
    }
    Ok(None)
}

/// The same contents under another name.
fn renamed(file: &SnapshotFile, name: SnapshotName) -> Result<Bytes, RebaseError> {
    let mut writer = SnapshotWriter::new(name)?;
    for section in file.tables() {
        copied(section, &mut writer)?;
    }
    if !file.named_objects().is_empty() {
        writer.named_objects(file.named_objects().to_vec());
    }
    for reference in file.object_references() {
        if let Some((base, lines)) = file.base_of(reference).zip(file.objects(reference)) {
            writer.objects(reference, base, lines.to_vec());
        }
    }
    Ok(writer.finish()?.into())
}
