//! Makes a snapshot file: the newest earlier one that can be used, the bases that it lacks, and the change files since,
//! merged.
//!
//! Always: the same log and bases make the same file, whatever earlier snapshot file it is made from, but for tombstones
//! below the floor. In memory are the files that are read and written, the keys of a base that is new, and the changes of
//! [`BUDGET`] bytes of change files or little more; never a table.
//!
//! What cannot be read is an error that names it; but where an earlier snapshot file cannot be, an older one may do.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::changes::{Changes, TableChanges};
use super::error::{OpenError, SnapshotError, WriteError};
use super::file::{BaseInfo, SnapshotFile};
use super::merge::{Earlier, Merge};
use super::name::{SnapshotName, list};
use super::objects::{FoldedObjects, NamedObjects};
use super::write::SnapshotWriter;
use crate::chain::Chain;
use crate::change::Version;
use crate::log::{ChangeLog, FloorError, ReadError};
use crate::ports::{ObjectStore, StoreError};
use crate::reference::{
    BASES, BaseError, BaseHeader, LoadError, RowError, base_header, base_key, base_lines, candidates, read_manifest,
};

/// So many bytes of change files are merged at once.
const BUDGET: usize = if cfg!(test) { 4_096 } else { 64 << 20 };
/// So many change files are read at a time.
const FILES: Version = if cfg!(test) { 3 } else { 64 };

/// What a snapshot file is made from.
#[derive(Clone, Copy, Debug)]
pub struct FoldSources<'a> {
    /// The state.
    pub state: &'a dyn ObjectStore,
    /// The change log in it.
    pub log: &'a ChangeLog,
    /// Bytes that the content of one reference object may have after unpacking.
    pub limit: u64,
}

/// A snapshot file could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// The store failed: try again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The floor could not be read.
    #[error(transparent)]
    Floor(#[from] FloorError),
    /// The change files that an older snapshot file would need are expired, and this one cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The earlier snapshot file is not what its checksum promises.
    #[error("the earlier snapshot file cannot be used")]
    Earlier(#[from] SnapshotError),
    /// A base cannot be read: a person must look.
    #[error("the base {key} cannot be read; put it back as it was, or delete it to have its reference scanned anew")]
    Base {
        /// Its key below the state's location.
        key: String,
        /// What is wrong with it.
        #[source]
        source: BaseError,
    },
    /// A base's row that cannot be held.
    #[error("the row of {key} in the base of {reference} cannot be used")]
    BaseRow {
        /// The reference.
        reference: String,
        /// The row's primary key.
        key: String,
        /// Why.
        #[source]
        source: RowError,
    },
    /// A change file's entry that cannot be used.
    #[error("change file {version} has an entry for {reference} that cannot be used")]
    Change {
        /// Its number.
        version: Version,
        /// The table.
        reference: String,
        /// Why.
        #[source]
        source: RowError,
    },
    /// An object's content had to be looked into, and could not be.
    #[error(transparent)]
    Content(#[from] LoadError),
    /// The file could not be written.
    #[error("the snapshot file cannot be made")]
    Write(#[from] WriteError),
}

impl FoldError {
    /// Whether the same can succeed later without anybody doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(_) | Self::Open(OpenError::Store(_)) => true,
            Self::Log(error) => error.is_transient(),
            Self::Floor(error) => matches!(error, FloorError::Store(_)),
            Self::Content(error) => matches!(error, LoadError::Store(_)),
            _ => false,
        }
    }
}

/// A base that the earlier snapshot file lacks.
struct Base {
    header: BaseHeader,
    bytes: Bytes,
}

impl Base {
    fn info(&self) -> BaseInfo {
        BaseInfo { version: self.header.version, scan_started: self.header.scan_started }
    }

    fn of_objects(&self) -> bool {
        self.header.reference.starts_with("s3://")
    }

    fn unreadable(&self) -> impl Fn(BaseError) -> FoldError + use<> {
        let key = base_key(&self.header.reference);
        move |source| FoldError::Base { key: key.clone(), source }
    }
}

/// Makes the snapshot file of a version, which is not above the head. It is written nowhere.
///
/// # Errors
/// [`FoldError`]; making it again is safe.
pub async fn fold(sources: FoldSources<'_>, through: Version) -> Result<SnapshotFile, FoldError> {
    fold_without(sources, through, &BTreeSet::new()).await
}

/// The same without some change files, as if they held nothing. It is no snapshot file of that version: only what a rebase
/// begins with.
///
/// # Errors
/// As [`fold`].
pub async fn fold_without(
    sources: FoldSources<'_>,
    through: Version,
    without: &BTreeSet<Version>,
) -> Result<SnapshotFile, FoldError> {
    let floor = sources.log.floor().await?.version;
    let (mut earlier, mut unsound) = earlier(sources.state, through).await?;
    let bases = lacking_bases(sources, earlier.as_ref(), through).await?;
    let mut at = earlier.as_ref().map_or(0, SnapshotFile::version);
    let mut from = bases.iter().map(|base| base.header.version).fold(at, Version::min);
    loop {
        let mut changes = Changes::default();
        let mut size = 0;
        // What a base brings back is read again up to where the earlier file stands: there is nothing to stop at before.
        while from < through && (from < at || size < BUDGET) {
            let next = from.saturating_add(1);
            if without.contains(&next) {
                from = next;
                continue;
            }
            let left_out = without.range(next..).next().map_or(through, |version| version.saturating_sub(1));
            let upto = from.saturating_add(FILES).min(through).min(left_out);
            let files = sources.log.read_range(from, upto).await;
            for (file, bytes) in files.map_err(|error| explained(error, unsound.take()))? {
                size += bytes.len();
                changes.push(file)?;
            }
            from = upto;
        }
        let done = from >= through;
        let (to, tombstones_above) = if done { (through, floor) } else { (from, 0) };
        let step = Step { sources, earlier: earlier.as_ref(), at, bases: &bases, changes, to, tombstones_above };
        let bytes = step.run().await?;
        let file = SnapshotFile::decode(SnapshotName::of(to), bytes.into())?;
        if done {
            return Ok(file);
        }
        earlier = Some(file);
        at = to;
    }
}

/// The best snapshot file that can be used for a version; and a better one that cannot be read.
async fn earlier(
    state: &dyn ObjectStore,
    through: Version,
) -> Result<(Option<SnapshotFile>, Option<OpenError>), FoldError> {
    let mut unsound = None;
    for name in candidates(&list(state).await?, through) {
        match SnapshotFile::open(state, name).await {
            Ok(Some(file)) => return Ok((Some(file), unsound)),
            // Given up meanwhile.
            Ok(None) => {}
            Err(OpenError::Store(error)) => return Err(error.into()),
            Err(error) => {
                tracing::error!(snapshot = %name, error = %Chain(&error), "a snapshot file cannot be read");
                unsound.get_or_insert(error);
            }
        }
    }
    Ok((None, unsound))
}

/// Where the change files are expired, what is to be mended is the snapshot file that would have done without them.
fn explained(error: ReadError, unsound: Option<OpenError>) -> FoldError {
    match (error, unsound) {
        (ReadError::Expired { .. }, Some(unsound)) => unsound.into(),
        (error, _) => error.into(),
    }
}

/// The bases that count and that a snapshot file does not hold yet.
async fn lacking_bases(
    sources: FoldSources<'_>,
    earlier: Option<&SnapshotFile>,
    through: Version,
) -> Result<Vec<Base>, FoldError> {
    let held: BTreeSet<String> = earlier.into_iter().flat_map(SnapshotFile::complete).map(base_key).collect();
    let mut bases = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = sources.state.list(BASES, after.as_deref()).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        for key in page.iter().map(|listed| &listed.key).filter(|key| !held.contains(*key)) {
            let Some(object) = sources.state.get(key).await? else { continue };
            let unreadable = |source| FoldError::Base { key: key.clone(), source };
            let header = base_header(&object.bytes).map_err(unreadable)?;
            if base_key(&header.reference) != *key {
                let (found, expected) = (format!("the base of {}", header.reference), key.clone());
                return Err(unreadable(BaseError::Foreign { found, expected }));
            }
            bases.push(Base { header, bytes: object.bytes });
        }
    }
    if bases.is_empty() {
        return Ok(bases);
    }
    // One below it does not count: whoever wrote it makes another.
    let rising = sources.log.floor().await?.rising;
    bases.retain(|base| (rising..=through).contains(&base.header.version));
    Ok(bases)
}

/// One merge.
struct Step<'s> {
    sources: FoldSources<'s>,
    earlier: Option<&'s SnapshotFile>,
    /// The version that the earlier file stands for; 0 without one.
    at: Version,
    bases: &'s [Base],
    changes: Changes,
    to: Version,
    tombstones_above: Version,
}

impl Step<'_> {
    async fn run(&self) -> Result<Vec<u8>, FoldError> {
        let mut writer = SnapshotWriter::new(SnapshotName::of(self.to))?;
        self.tables(&mut writer).await?;
        self.objects(&mut writer).await?;
        Ok(writer.finish()?)
    }

    /// The base of a reference that begins with this merge.
    fn base(&self, reference: &str) -> Option<&Base> {
        let held = self.earlier.and_then(|file| file.base_of(reference)).is_some();
        let base = self.bases.iter().find(|base| base.header.reference == reference);
        base.filter(|base| !held && base.header.version <= self.to)
    }

    async fn tables(&self, writer: &mut SnapshotWriter) -> Result<(), FoldError> {
        let of_bases = self.bases.iter().filter(|base| !base.of_objects()).map(|base| base.header.reference.as_str());
        let of_bases = of_bases.filter(|reference| self.base(reference).is_some());
        let of_file = self.earlier.into_iter().flat_map(SnapshotFile::tables).map(|table| table.reference());
        let of_log = self.changes.tables.keys().map(String::as_str);
        let references: BTreeSet<&str> = of_bases.chain(of_file).chain(of_log).collect();
        let nothing = TableChanges::new();
        for reference in references {
            let section = self.earlier.and_then(|file| file.table(reference));
            let base = self.base(reference);
            let info = base.map(Base::info).or_else(|| section.and_then(|section| section.base()));
            let (start, earlier) = match (base, section) {
                (Some(base), _) => {
                    let mut lines = base_lines(reference, &base.bytes).map_err(base.unreadable())?;
                    // No scan gives a key twice; one that did means its last row.
                    lines.dedup_by(|later, kept| {
                        let same = later.primary == kept.primary;
                        if same {
                            std::mem::swap(later, kept);
                        }
                        same
                    });
                    (base.header.version, Earlier::Base(lines.into_iter(), base.header.version))
                }
                (None, Some(section)) => (self.at, Earlier::Snapshot(Box::new(section.entries()?))),
                (None, None) => (self.at, Earlier::None),
            };
            writer.table(reference, info)?;
            let merge = Merge {
                reference,
                start,
                scan_started: info.map(|info| info.scan_started),
                tombstones_above: self.tombstones_above,
            };
            merge.run(earlier, self.changes.tables.get(reference).unwrap_or(&nothing), writer).await?;
        }
        Ok(())
    }

    async fn objects(&self, writer: &mut SnapshotWriter) -> Result<(), FoldError> {
        let mut references = BTreeMap::new();
        for reference in self.earlier.into_iter().flat_map(SnapshotFile::object_references) {
            let held = self.earlier.and_then(|file| file.base_of(reference).zip(file.objects(reference)));
            if let Some((base, lines)) = held {
                references.insert(reference, FoldedObjects::new(reference, base, self.at, lines.to_vec()));
            }
        }
        for base in self.bases.iter().filter(|base| base.of_objects()) {
            let reference = base.header.reference.as_str();
            if self.base(reference).is_some() {
                let (_, lines) = read_manifest(reference, &base.bytes).map_err(base.unreadable())?;
                let info = base.info();
                references.insert(reference, FoldedObjects::new(reference, info, info.version, lines));
            }
        }
        let mut named = NamedObjects::new(self.earlier.map(SnapshotFile::named_objects).unwrap_or_default());
        for (version, changes) in &self.changes.objects {
            for reference in references.values_mut() {
                reference.apply(*version, changes, self.sources).await?;
            }
            // What the earlier file has of them already changes nothing.
            named.apply(changes);
        }
        let named = named.into_lines();
        if !named.is_empty() {
            writer.named_objects(named);
        }
        for (reference, base, lines) in references.into_values().map(FoldedObjects::into_parts) {
            writer.objects(&reference, base, lines);
        }
        Ok(())
    }
}
