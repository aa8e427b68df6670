//! One store in one directory.
//!
//! A write fills a temporary file beside its target and then links it (put if absent: the link fails where the target
//! exists) or renames it. A write that replaces holds the lock of the target's directory while it compares and
//! renames, so that an `If-Match` has one winner. The lock is on the directory itself: no lock file is left anywhere.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use bytes::Bytes;
use freshjoin_core::ports::{
    BoxError, ETag, KeyLimits, Listed, Object, ObjectStore, Precondition, PutOutcome, StoreError,
};
use freshjoin_core::time::Timestamp;
use sha2::{Digest, Sha256};

use super::keys::{self, MAX_COMPONENT, MAX_KEY, TEMPORARY};

/// As many keys as S3 lists at once.
const PAGE: usize = 1000;

/// Objects as files below a directory, which comes into being with the first write.
#[derive(Clone, Debug)]
pub struct FsStore {
    root: PathBuf,
}

/// What a write demands, owned, as it crosses to a blocking thread.
enum Demand {
    Nothing,
    Absent,
    Matches(ETag),
}

impl FsStore {
    /// The store in a directory. Makes no call.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    async fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        key: &str,
        work: impl FnOnce(&Path, &str) -> Result<T, BoxError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (root, owned) = (self.root.clone(), key.to_owned());
        let done = tokio::task::spawn_blocking(move || work(&root, &owned)).await;
        let fail = |source: BoxError| StoreError { operation, key: format!("{}/{key}", self.root.display()), source };
        done.map_err(|error| fail(error.into()))?.map_err(fail)
    }
}

#[async_trait]
impl ObjectStore for FsStore {
    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        self.blocking("GET", key, |root, key| Ok(read(&keys::path_below(root, key)?)?)).await
    }

    async fn put(&self, key: &str, bytes: Bytes, precondition: Precondition<'_>) -> Result<PutOutcome, StoreError> {
        let demand = match precondition {
            Precondition::None => Demand::Nothing,
            Precondition::Absent => Demand::Absent,
            Precondition::Matches(etag) => Demand::Matches(etag.clone()),
        };
        self.blocking("PUT", key, move |root, key| Ok(write(&keys::path_below(root, key)?, &bytes, &demand)?)).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Vec<Listed>, StoreError> {
        let after = start_after.unwrap_or_default().to_owned();
        self.blocking("LIST", prefix, move |root, prefix| {
            let mut listing = Listing { prefix, after: &after, found: Vec::new() };
            // Only the directory that the prefix names whole can hold matches.
            let parent = prefix.rsplit_once('/').map_or("", |(parent, _)| parent);
            if !parent.is_empty() && keys::path_below(root, parent).is_err() {
                return Ok(Vec::new());
            }
            let (directory, base) = if parent.is_empty() {
                (root.to_path_buf(), String::new())
            } else {
                (root.join(parent), format!("{parent}/"))
            };
            listing.walk(&directory, &base)?;
            Ok(listing.found)
        })
        .await
    }

    /// Its file goes at once.
    async fn expire(&self, key: &str) -> Result<(), StoreError> {
        self.blocking("EXPIRE", key, |root, key| Ok(remove(&keys::path_below(root, key)?)?)).await
    }

    fn limits(&self) -> KeyLimits {
        KeyLimits { key: MAX_KEY, component: MAX_COMPONENT, prefix: 0 }
    }
}

fn etag(bytes: &[u8]) -> ETag {
    ETag(format!("\"{}\"", hex::encode(Sha256::digest(bytes))))
}

fn modified(metadata: &fs::Metadata) -> io::Result<Timestamp> {
    let since = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}

/// A path that is no file, or leads through one, holds no object: not a fault.
fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory)
}

fn read(path: &Path) -> io::Result<Option<Object>> {
    let attempt = || -> io::Result<Object> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
        io::Read::read_to_end(&mut file, &mut bytes)?;
        Ok(Object { etag: etag(&bytes), bytes: bytes.into(), modified: modified(&metadata)? })
    };
    match attempt() {
        Ok(object) => Ok(Some(object)),
        Err(error) if absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, bytes: &[u8], demand: &Demand) -> io::Result<PutOutcome> {
    let parent = path.parent().ok_or(ErrorKind::InvalidInput)?;
    fs::create_dir_all(parent)?;
    let temporary = Temporary::create(parent, bytes)?;
    match demand {
        Demand::Absent => match fs::hard_link(&temporary.0, path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(PutOutcome::PreconditionFailed),
            Err(error) => return Err(error),
        },
        Demand::Nothing | Demand::Matches(_) => {
            let directory = File::open(parent)?;
            directory.lock()?;
            if let Demand::Matches(expected) = demand
                && read(path)?.is_none_or(|object| object.etag != *expected)
            {
                return Ok(PutOutcome::PreconditionFailed);
            }
            fs::rename(&temporary.0, path)?;
        }
    }
    Ok(PutOutcome::Written(etag(bytes)))
}

/// Under the lock that a write which replaces holds, so that none finds its object gone between comparing and renaming.
fn remove(path: &Path) -> io::Result<()> {
    let attempt = || -> io::Result<()> {
        let directory = File::open(path.parent().ok_or(ErrorKind::InvalidInput)?)?;
        directory.lock()?;
        if path.is_file() { fs::remove_file(path) } else { Ok(()) }
    };
    match attempt() {
        Err(error) if absent(&error) => Ok(()),
        other => other,
    }
}

/// A file beside its target that goes away with this value, unless it was renamed.
struct Temporary(PathBuf);

impl Temporary {
    fn create(parent: &Path, bytes: &[u8]) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("{TEMPORARY}{}-{number}", std::process::id()));
            match File::create_new(&path) {
                Ok(mut file) => {
                    let temporary = Self(path);
                    file.write_all(bytes)?;
                    return Ok(temporary);
                }
                // Left by a process of the same number that was killed.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing to remove; a file that stays is invisible to readers.
        drop(fs::remove_file(&self.0));
    }
}

struct Listing<'a> {
    prefix: &'a str,
    after: &'a str,
    found: Vec<Listed>,
}

impl Listing<'_> {
    /// Walks a directory whose keys start with `base`, in the order of whole keys: a directory sorts as its name with
    /// a slash, so `a-b` comes before `a/b`.
    fn walk(&mut self, directory: &Path, base: &str) -> io::Result<()> {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if absent(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            // A name that is no UTF-8 is no key.
            let Ok(mut name) = entry.file_name().into_string() else { continue };
            if name.starts_with(TEMPORARY) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                name.push('/');
            }
            names.push(name);
        }
        names.sort_unstable();
        for name in names {
            if self.found.len() >= PAGE {
                break;
            }
            let key = format!("{base}{name}");
            let path = directory.join(&name);
            if key.ends_with('/') {
                let matches = key.starts_with(self.prefix) || self.prefix.starts_with(&key);
                let after = key.as_str() > self.after || self.after.starts_with(&key);
                if matches && after {
                    self.walk(&path, &key)?;
                }
            } else if key.starts_with(self.prefix) && key.as_str() > self.after {
                match fs::metadata(&path) {
                    Ok(metadata) => {
                        self.found.push(Listed { key, modified: modified(&metadata)?, size: metadata.len() });
                    }
                    Err(error) if absent(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn store() -> (tempfile::TempDir, FsStore) {
        let directory = tempfile::tempdir().unwrap();
        let store = FsStore::new(directory.path().join("not yet there"));
        (directory, store)
    }

    async fn put(store: &FsStore, key: &str, precondition: Precondition<'_>) -> PutOutcome {
        store.put(key, Bytes::from(key.to_owned()), precondition).await.unwrap()
    }

    #[tokio::test]
    async fn preconditions_hold_and_nothing_else_is_left_in_the_directory() {
        let (_guard, store) = store();
        assert!(store.get("a/b").await.unwrap().is_none());
        let PutOutcome::Written(first) = put(&store, "a/b", Precondition::Absent).await else { panic!("written") };
        assert_eq!(put(&store, "a/b", Precondition::Absent).await, PutOutcome::PreconditionFailed);
        assert_eq!(store.get("a/b").await.unwrap().unwrap().etag, first);
        let replaced = store.put("a/b", Bytes::from_static(b"2"), Precondition::Matches(&first)).await.unwrap();
        assert!(matches!(replaced, PutOutcome::Written(_)));
        assert_eq!(put(&store, "a/b", Precondition::Matches(&first)).await, PutOutcome::PreconditionFailed);
        assert_eq!(put(&store, "a/c", Precondition::Matches(&first)).await, PutOutcome::PreconditionFailed);
        assert!(store.get("a").await.unwrap().is_none(), "a directory is no object");
        assert!(store.get("a/b/c").await.unwrap().is_none(), "what lies below an object is no object");
        let files: Vec<_> = fs::read_dir(store.root().join("a")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(files, ["b"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn racing_conditional_writes_have_one_winner() {
        let (_guard, store) = store();
        let store = Arc::new(store);
        for round in 0..20 {
            let key = format!("k{round}");
            let race = |tag: Option<ETag>| {
                let writers = (0..16).map(|writer| {
                    let (store, key, tag) = (store.clone(), key.clone(), tag.clone());
                    tokio::spawn(async move {
                        let precondition = tag.as_ref().map_or(Precondition::Absent, Precondition::Matches);
                        store.put(&key, Bytes::from(format!("{writer} {tag:?}")), precondition).await.unwrap()
                    })
                });
                futures_util::future::join_all(writers.collect::<Vec<_>>())
            };
            let winners = |outcomes: Vec<Result<PutOutcome, _>>| {
                outcomes.into_iter().filter(|o| matches!(o, Ok(PutOutcome::Written(_)))).count()
            };
            assert_eq!(winners(race(None).await), 1);
            let tag = store.get(&key).await.unwrap().unwrap().etag;
            assert_eq!(winners(race(Some(tag)).await), 1);
        }
    }

    #[tokio::test]
    async fn listings_are_in_byte_order_and_page() {
        let (_guard, store) = store();
        let mut keys: Vec<String> = ["a-b", "a/b", "a/b-", "a0", "ab/é", "ab/z", "b", "a/c/d"].map(Into::into).to_vec();
        for key in &keys {
            assert!(matches!(put(&store, key, Precondition::None).await, PutOutcome::Written(_)));
        }
        keys.sort_unstable();
        let list = async |prefix: &str, after: Option<&str>| -> Vec<String> {
            store.list(prefix, after).await.unwrap().into_iter().map(|listed| listed.key).collect()
        };
        assert_eq!(list("", None).await, keys);
        for after in &keys {
            let rest: Vec<_> = keys.iter().filter(|key| *key > after).cloned().collect();
            assert_eq!(list("", Some(after)).await, rest);
        }
        assert_eq!(list("", Some("a/b!")).await, keys[keys.iter().position(|key| key == "a/b-").unwrap()..]);
        assert_eq!(list("a/b", None).await, ["a/b", "a/b-"]);
        assert_eq!(list("a/", None).await, ["a/b", "a/b-", "a/c/d"]);
        assert!(list("zz/", None).await.is_empty());
        assert!(list("../", None).await.is_empty());
    }

    #[tokio::test]
    async fn a_page_holds_a_thousand() {
        let (_guard, store) = store();
        fs::create_dir_all(store.root().join("p")).unwrap();
        for number in 0..1001 {
            fs::write(store.root().join(format!("p/{number:04}")), "").unwrap();
        }
        let page = store.list("p/", None).await.unwrap();
        assert_eq!((page.len(), page.last().unwrap().key.as_str()), (1000, "p/0999"));
        assert_eq!(store.list("p/", Some("p/0999")).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_is_given_up_is_gone_and_never_a_directory() {
        let (_guard, store) = store();
        store.expire("a/b").await.unwrap();
        drop(put(&store, "a/b", Precondition::Absent).await);
        for key in ["a", "a/b/c", "a/x", "a/b", "a/b"] {
            store.expire(key).await.unwrap();
        }
        assert!(store.get("a/b").await.unwrap().is_none());
        assert!(matches!(put(&store, "a/b", Precondition::Absent).await, PutOutcome::Written(_)));
        assert!(store.expire("../x").await.is_err());
    }

    #[tokio::test]
    async fn a_key_that_would_leave_the_store_is_refused() {
        let (_guard, store) = store();
        let error = store.put("../x", Bytes::new(), Precondition::None).await.unwrap_err();
        assert!(error.source.to_string().contains("\"..\""), "{error}");
        assert!(store.get("../../etc/passwd").await.is_err());
    }
}
