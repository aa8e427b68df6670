//! A definition ready to run: its plan, and the reference data at the versions that its shards need.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{RwLock, RwLockReadGuard};

use crate::bug::{Bug, planted};
use crate::change::{ChangeFile, Flag, Version};
use crate::join::Plan;
use crate::log::ReadError;
use crate::pipeline::Definition;
use crate::reference::{Contents, Library, LoadError, Refreshed, Sources, is_nearer};

use super::report::{IgnoredFlag, Observer};

/// One definition with its reference data.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) definition: Definition,
    pub(super) plan: Plan,
    observer: Arc<dyn Observer>,
    /// Newest first. Mostly one; a second where a shard is behind what the first still remembers.
    libraries: RwLock<Vec<Library>>,
    /// Digests of change files that flags named falsely. A change file never alters, so a storm of such flags costs one
    /// look at each file and no more.
    denied: Mutex<BTreeMap<Version, String>>,
}

/// So many libraries are kept.
const LIBRARIES: usize = 2;
/// So many falsely named versions are remembered.
const DENIED: usize = 4_096;

/// What became of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Honour {
    /// It announces a version that can be read now.
    Yes,
    /// It is true, but announces a version beyond the limit: nothing was loaded.
    Beyond,
    No(IgnoredFlag),
}

impl Engine {
    pub(super) fn new(definition: Definition, observer: Arc<dyn Observer>) -> Self {
        let plan = Plan::new(&definition);
        Self { definition, plan, observer, libraries: RwLock::default(), denied: Mutex::default() }
    }

    /// The newest version that any of its references' bases defines: no record is joined below it. Whoever asks is about to
    /// need `version`, or the first one above it.
    pub(super) async fn bases(&self, sources: Sources<'_>, version: Version) -> Result<Version, LoadError> {
        if let Some(oldest) = self.bases_if_loaded().await {
            return Ok(oldest);
        }
        self.add_library(sources, version).await?;
        Ok(self.bases_if_loaded().await.unwrap_or(0))
    }

    /// The newest version that is loaded, where anything is.
    pub(super) async fn head(&self) -> Option<Version> {
        self.libraries.read().await.iter().map(Library::head).max()
    }

    async fn bases_if_loaded(&self) -> Option<Version> {
        self.libraries.read().await.iter().map(Library::bases).min()
    }

    async fn add_library(&self, sources: Sources<'_>, version: Version) -> Result<(), LoadError> {
        let references = self.definition.references.iter().map(|reference| &reference.source);
        let references: Vec<_> = references.zip(self.plan.projections()).collect();
        let library = Library::load(sources, &references, version).await?;
        let mut libraries = self.libraries.write().await;
        // The new one is always kept: whoever asked for it is behind the others.
        libraries.truncate(LIBRARIES - 1);
        libraries.push(library);
        libraries.sort_by_key(|library| std::cmp::Reverse(library.head()));
        Ok(())
    }

    /// Makes a version readable that the log is known to have.
    ///
    /// # Errors
    /// [`LoadError`], with the libraries as they were.
    pub(super) async fn ensure(&self, sources: Sources<'_>, version: Version) -> Result<(), LoadError> {
        self.advance(sources, version, None).await
    }

    /// As [`ensure`](Self::ensure), with the version's change file where it is at hand.
    async fn advance(
        &self,
        sources: Sources<'_>,
        version: Version,
        last: Option<(ChangeFile, Bytes)>,
    ) -> Result<(), LoadError> {
        let mut reloaded = false;
        loop {
            let nearest = match self.nearest(version).await {
                Some(nearest) if nearest == version => return Ok(()),
                Some(nearest) => nearest,
                None if reloaded => {
                    let bases = self.bases_if_loaded().await.unwrap_or(0);
                    return Err(LoadError::BelowBases { version, bases });
                }
                None => {
                    // None is loaded, or all have forgotten this version.
                    reloaded = true;
                    self.add_library(sources, version).await?;
                    continue;
                }
            };
            match self.follow(sources, nearest, version, last.clone()).await {
                // The log cannot be followed from there: perhaps from a snapshot file that is nearer.
                Err(error) if !reloaded && error.is_of_the_log() && is_nearer(sources, nearest, version).await? => {
                    tracing::warn!(version, from = nearest, error = %error, "going on from a snapshot file");
                    reloaded = true;
                    self.add_library(sources, version).await?;
                }
                followed => return followed,
            }
        }
    }

    /// Brings the library that is nearest to a version up to it, change file by change file.
    async fn follow(
        &self,
        sources: Sources<'_>,
        nearest: Version,
        version: Version,
        last: Option<(ChangeFile, Bytes)>,
    ) -> Result<(), LoadError> {
        let through = if last.is_some() { version - 1 } else { version };
        let mut files = sources.log.read_range(nearest, through).await?;
        files.extend(last);
        let mut refreshed = Refreshed::default();
        // What is read is read without the lock: others may meanwhile have applied the same, or more, or loaded a library
        // of their own. So each turn looks anew at which one is the nearest.
        loop {
            let (from, now, wanted) = {
                let libraries = self.libraries.read().await;
                if covering(&libraries, version).is_some() {
                    break;
                }
                let behind = |library: &&Library| (nearest..version).contains(&library.head());
                let Some(library) = libraries.iter().find(behind) else { break };
                let head = library.head();
                let rest = files.get(files.partition_point(|(file, _)| file.version <= head)..).unwrap_or_default();
                let (count, wanted) = library.next(rest);
                (head, rest.get(..count).unwrap_or_default(), wanted)
            };
            if now.is_empty() {
                break;
            }
            let contents = Contents::read(sources, wanted).await?;
            let mut libraries = self.libraries.write().await;
            if let Some(library) = libraries.iter_mut().find(|library| (from..version).contains(&library.head())) {
                refreshed += library.apply(now, contents)?;
            }
            libraries.sort_by_key(|library| std::cmp::Reverse(library.head()));
        }
        if refreshed.files > 0 {
            self.observer.refreshed(version, refreshed);
        }
        Ok(())
    }

    /// The version itself where a library covers it, else the highest head below it.
    async fn nearest(&self, version: Version) -> Option<Version> {
        let libraries = self.libraries.read().await;
        match covering(&libraries, version) {
            Some(_) => Some(version),
            None => libraries.iter().map(Library::head).filter(|head| *head < version).max(),
        }
    }

    /// Makes what a flag announces readable, if the log has it as the flag says and it is not beyond `limit`.
    ///
    /// # Errors
    /// [`LoadError`] where the log could not be read; never taken for "unknown".
    pub(super) async fn honour(
        &self,
        sources: Sources<'_>,
        flag: &Flag,
        limit: Version,
        head: &mut Option<Version>,
    ) -> Result<Honour, LoadError> {
        let known = {
            let libraries = self.libraries.read().await;
            libraries.iter().find_map(|library| library.digest(flag.version).map(|digest| digest == flag.digest))
        };
        let file = match known {
            Some(true) => None,
            Some(false) => return Ok(Honour::No(IgnoredFlag::OtherDigest)),
            None => match self.look_up(sources, flag, head).await? {
                Ok(file) => file,
                Err(why) => return Ok(Honour::No(why)),
            },
        };
        // Whoever finishes this may be cold: the limit holds for what is at hand, too.
        if flag.version > limit {
            return Ok(Honour::Beyond);
        }
        self.advance(sources, flag.version, file).await?;
        Ok(Honour::Yes)
    }

    /// Whether the log has what a flag announces, with the change file if it can be had, or why not.
    async fn look_up(
        &self,
        sources: Sources<'_>,
        flag: &Flag,
        head: &mut Option<Version>,
    ) -> Result<Result<Option<(ChangeFile, Bytes)>, IgnoredFlag>, LoadError> {
        if self.denied().get(&flag.version).is_some_and(|digest| *digest != flag.digest) {
            return Ok(Err(IgnoredFlag::OtherDigest));
        }
        if head.is_some_and(|head| flag.version > head) || flag.version == 0 {
            return Ok(Err(IgnoredFlag::Unknown));
        }
        // A flag may name any number: only its own file is looked at before it is believed.
        match sources.log.read(flag.version).await {
            Ok(Some((file, bytes))) if crate::change::digest(&bytes) == flag.digest || planted(Bug::AnyDigest) => {
                Ok(Ok(Some((file, bytes))))
            }
            Ok(Some((_, bytes))) => {
                let mut denied = self.denied();
                if denied.len() >= DENIED {
                    denied.pop_first();
                }
                denied.insert(flag.version, crate::change::digest(&bytes));
                Ok(Err(IgnoredFlag::OtherDigest))
            }
            Ok(None) => {
                // Whatever else is forged in this batch above the head then costs nothing.
                if head.is_none() {
                    let known = self.head().await.unwrap_or(0);
                    *head = Some(sources.log.listed_head(known).await?);
                }
                if head.is_none_or(|head| flag.version > head) {
                    return Ok(Err(IgnoredFlag::Unknown));
                }
                // Later files are there: it has just been appended, or somebody deleted it and the flag may be true.
                let appended = sources.log.read(flag.version).await?;
                if appended.is_some_and(|(_, bytes)| crate::change::digest(&bytes) != flag.digest) {
                    return Ok(Err(IgnoredFlag::OtherDigest));
                }
                Ok(Ok(None))
            }
            // The flag may have been true before the file was damaged. Nobody can follow the log through that; a snapshot
            // file may lead past it.
            Err(ReadError::Poison { .. }) => Ok(Ok(None)),
            Err(ReadError::Store(_)) if planted(Bug::FaultIsMissing) => Ok(Err(IgnoredFlag::Unknown)),
            Err(error) => Err(error.into()),
        }
    }

    fn denied(&self) -> MutexGuard<'_, BTreeMap<Version, String>> {
        self.denied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a flag of a version that is in force already is known to be false; makes no call.
    pub(super) async fn is_false(&self, flag: &Flag) -> bool {
        let libraries = self.libraries.read().await;
        libraries.iter().find_map(|library| library.digest(flag.version)).is_some_and(|digest| digest != flag.digest)
    }

    /// The libraries, to find the one that covers a version. Not to be held across an await.
    pub(super) async fn libraries(&self) -> RwLockReadGuard<'_, Vec<Library>> {
        self.libraries.read().await
    }
}

/// The library that can be read at a version.
pub(super) fn covering(libraries: &[Library], version: Version) -> Option<&Library> {
    libraries.iter().find(|library| library.oldest() <= version && version <= library.head())
}
