//! Which snapshot file reference data is loaded from, for a version that is wanted.
//!
//! The newest one at or below it, as everything after that is in the log; or the rebase file whose range holds it, as the
//! log below cannot be read. One that is damaged is passed over for an older one, loudly; where there is none left, the
//! bases and the whole log are what remains.

use super::bootstrap::Sources;
use super::error::LoadError;
use crate::change::Version;
use crate::snapshot::{ListedSnapshot, SnapshotError, SnapshotFile, SnapshotName, list};

/// What a library begins with.
#[derive(Debug, Default)]
pub(super) struct Restored {
    /// The best file that can be read.
    pub(super) file: Option<SnapshotFile>,
    /// A better one that cannot: the reason why loading may fail.
    pub(super) damaged: Option<(String, SnapshotError)>,
}

/// The best snapshot file for a version.
///
/// # Errors
/// [`LoadError::Store`] for anything but clean answers.
pub(super) async fn restore(sources: Sources<'_>, version: Version) -> Result<Restored, LoadError> {
    let mut damaged = None;
    for name in candidates(&list(sources.state).await?, version) {
        // One that has expired since the listing is as good as never listed.
        let Some(object) = sources.state.get(&name.key()).await? else { continue };
        match SnapshotFile::decode(name, object.bytes) {
            Ok(file) => return Ok(Restored { file: Some(file), damaged }),
            Err(source) => {
                tracing::error!(key = name.key(), error = %source, "a snapshot file cannot be read; trying an older one");
                damaged = damaged.or(Some((name.key(), source)));
            }
        }
    }
    Ok(Restored { file: None, damaged })
}

/// Whether a snapshot file leads nearer to a version than what is loaded already.
///
/// # Errors
/// [`LoadError::Store`] for anything but clean answers.
pub(crate) async fn is_nearer(sources: Sources<'_>, loaded: Version, version: Version) -> Result<bool, LoadError> {
    let best = candidates(&list(sources.state).await?, version).next();
    Ok(best.is_some_and(|name| name.version > loaded))
}

/// The files that can be used for a version, best first.
pub(crate) fn candidates(listed: &[ListedSnapshot], version: Version) -> impl Iterator<Item = SnapshotName> {
    let names = || listed.iter().map(|listed| listed.name);
    let covering: Vec<_> = names().filter(|name| name.from.is_some() && name.covers(version)).collect();
    let below: Vec<_> = names().filter(|name| name.version <= version).collect();
    // The first of several rebase files is what everybody agrees on.
    covering.into_iter().chain(below.into_iter().rev())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn the_newest_at_or_below_is_best_unless_a_rebase_file_covers_the_version() {
        let names = [
            SnapshotName::of(3),
            SnapshotName::of(7),
            SnapshotName::rebase(9, 12),
            SnapshotName::rebase(9, 14),
            SnapshotName::of(20),
        ];
        let listed = names.map(|name| ListedSnapshot { name, modified: Timestamp::default(), size: 1 });
        let best = |version| candidates(&listed, version).map(|name| name.version).collect::<Vec<_>>();
        assert_eq!(best(2), [] as [Version; 0]);
        assert_eq!(best(3), [3]);
        assert_eq!(best(8), [7, 3]);
        assert_eq!(best(9), [12, 14, 7, 3]);
        assert_eq!(best(13), [14, 12, 7, 3]);
        assert_eq!(best(Version::MAX), [20, 14, 12, 7, 3]);
    }
}
