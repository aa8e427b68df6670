//! Buckets in memory, as S3 behaves.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::fault::{Call, Fault, Gate};
use super::{MemoryClock, lock};
use crate::location::Location;
use crate::ports::{
    Clock, ETag, KeyLimits, Listed, LocationError, Object, ObjectStore, Precondition, PutOutcome, StoreError, Stores,
};
use crate::time::Timestamp;

const PAGE: usize = 1000;
const KEY_LIMIT: usize = 1024;

/// All buckets. Clones, and handles through other gates, share them.
#[derive(Clone, Debug)]
pub struct MemoryStores {
    clock: MemoryClock,
    gate: Gate,
    buckets: Arc<Mutex<Buckets>>,
}

/// The objects below one location.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    stores: MemoryStores,
    /// `bucket/` or `bucket/prefix/`.
    root: String,
}

#[derive(Debug, Default)]
struct Buckets {
    /// By `bucket/key`.
    objects: BTreeMap<String, Object>,
    late: Vec<LateWrite>,
    /// Whether what is given up stays until it is [taken](MemoryStore::vanish).
    lingering: bool,
    /// By `bucket/key`: what has been given up and is still there.
    given_up: BTreeSet<String>,
}

#[derive(Debug)]
struct LateWrite {
    /// How many calls still come before it.
    calls: usize,
    path: String,
    bytes: Bytes,
    condition: Condition,
}

#[derive(Debug)]
enum Condition {
    None,
    Absent,
    Matches(ETag),
}

impl From<Precondition<'_>> for Condition {
    fn from(precondition: Precondition<'_>) -> Self {
        match precondition {
            Precondition::None => Self::None,
            Precondition::Absent => Self::Absent,
            Precondition::Matches(etag) => Self::Matches(etag.clone()),
        }
    }
}

impl Buckets {
    fn write(&mut self, path: String, bytes: Bytes, condition: &Condition, now: Timestamp) -> PutOutcome {
        let there = self.objects.get(&path).map(|object| &object.etag);
        let holds = match condition {
            Condition::None => true,
            Condition::Absent => there.is_none(),
            Condition::Matches(etag) => there == Some(etag),
        };
        if !holds {
            return PutOutcome::PreconditionFailed;
        }
        let digest = Sha256::digest(&bytes);
        let etag = ETag(format!("\"{}\"", hex::encode(digest.get(..16).unwrap_or_default())));
        let modified = Timestamp::from_millis(now.millis().div_euclid(1000) * 1000);
        // A new object has none of the old one's tags.
        self.given_up.remove(&path);
        self.objects.insert(path, Object { bytes, etag: etag.clone(), modified });
        PutOutcome::Written(etag)
    }

    fn expire(&mut self, path: &str) {
        if !self.lingering {
            self.objects.remove(path);
        } else if self.objects.contains_key(path) {
            self.given_up.insert(path.to_owned());
        }
    }

    /// One more call has come: what was late may now be due.
    fn settle(&mut self, now: Timestamp) {
        let late = std::mem::take(&mut self.late);
        for mut write in late {
            if write.calls == 0 {
                // Nobody waits for this answer any more.
                drop(self.write(write.path, write.bytes, &write.condition, now));
            } else {
                write.calls -= 1;
                self.late.push(write);
            }
        }
    }
}

impl MemoryStores {
    /// No objects yet; modification times come from this clock.
    #[must_use]
    pub fn new(clock: &MemoryClock) -> Self {
        Self { clock: clock.clone(), gate: Gate::default(), buckets: Arc::default() }
    }

    /// The same buckets as another environment sees them.
    #[must_use]
    pub fn through(&self, gate: &Gate) -> Self {
        Self { gate: gate.clone(), ..self.clone() }
    }

    /// From now on an object that was given up stays, as on S3, until it is [taken](MemoryStore::vanish); otherwise it
    /// vanishes at once.
    pub fn keep_given_up(&self) {
        lock(&self.buckets).lingering = true;
    }

    /// The objects below `s3://bucket[/prefix]`.
    ///
    /// # Errors
    /// [`LocationError`] for any other text.
    pub fn store(&self, location: &Location) -> Result<MemoryStore, LocationError> {
        let Some((bucket, prefix)) = location.s3() else {
            let reason = "expected s3://bucket[/prefix]".into();
            return Err(LocationError { location: location.clone(), reason });
        };
        let slash = if prefix.is_empty() { "" } else { "/" };
        Ok(MemoryStore { stores: self.clone(), root: format!("{bucket}/{prefix}{slash}") })
    }
}

impl Stores for MemoryStores {
    fn open(&self, location: &Location) -> Result<Arc<dyn ObjectStore>, LocationError> {
        Ok(Arc::new(self.store(location)?))
    }
}

impl MemoryStore {
    /// Everything that is there, by key, without a call being counted or failing.
    #[must_use]
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        let buckets = lock(&self.stores.buckets);
        let below = buckets.objects.range::<str, _>((Bound::Included(self.root.as_str()), Bound::Unbounded));
        below
            .map_while(|(path, object)| Some((path.strip_prefix(&self.root)?.to_owned(), object.bytes.clone())))
            .collect()
    }

    /// Writes an object behind the ports' back, as another writer or a person does.
    pub fn insert(&self, key: &str, bytes: impl Into<Bytes>) {
        let now = self.stores.clock.now();
        // Without a precondition it is always written.
        drop(lock(&self.stores.buckets).write(format!("{}{key}", self.root), bytes.into(), &Condition::None, now));
    }

    /// Replaces an object's bytes where they lie, as rot does: its modification time stays. Whether there was one.
    pub fn alter(&self, key: &str, bytes: impl Into<Bytes>) -> bool {
        let mut buckets = lock(&self.stores.buckets);
        let path = format!("{}{key}", self.root);
        let Some(modified) = buckets.objects.get(&path).map(|object| object.modified) else { return false };
        // Without a precondition it is always written.
        drop(buckets.write(path, bytes.into(), &Condition::None, modified));
        true
    }

    /// What is there, without a call being counted or failing.
    #[must_use]
    pub fn peek(&self, key: &str) -> Option<Object> {
        lock(&self.stores.buckets).objects.get(&format!("{}{key}", self.root)).cloned()
    }

    /// Takes an object away, as an expiry rule or a person does; whether there was one.
    pub fn remove(&self, key: &str) -> bool {
        let path = format!("{}{key}", self.root);
        let mut buckets = lock(&self.stores.buckets);
        buckets.given_up.remove(&path);
        buckets.objects.remove(&path).is_some()
    }

    /// The keys of all objects that were given up and are [still there](MemoryStores::keep_given_up).
    #[must_use]
    pub fn given_up(&self) -> BTreeSet<String> {
        let buckets = lock(&self.stores.buckets);
        buckets.given_up.iter().filter_map(|path| Some(path.strip_prefix(&self.root)?.to_owned())).collect()
    }

    /// Takes an object away as the expiry rule does, if it was given up; whether it was.
    pub fn vanish(&self, key: &str) -> bool {
        let path = format!("{}{key}", self.root);
        let mut buckets = lock(&self.stores.buckets);
        buckets.given_up.remove(&path) && buckets.objects.remove(&path).is_some()
    }

    /// The same objects as another environment sees them.
    #[must_use]
    pub fn through(&self, gate: &Gate) -> Self {
        Self { stores: self.stores.through(gate), root: self.root.clone() }
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        key: &str,
        effect: impl FnOnce(&mut Buckets, &str, &Fault) -> T,
    ) -> Result<T, StoreError> {
        let path = format!("{}{key}", self.root);
        let fail = |source| StoreError { operation, key: format!("s3://{path}"), source };
        let MemoryStores { clock, gate, buckets } = &self.stores;
        let fault =
            gate.enter(clock, Call { operation, key: &path, entries: 1 }).await.map_err(|e| fail(Box::new(e)))?;
        if operation == "PUT" && path.len().saturating_sub(path.find('/').map_or(0, |at| at + 1)) > KEY_LIMIT {
            return Err(fail("KeyTooLongError: a key has at most 1024 bytes".into()));
        }
        let answer = {
            let mut buckets = lock(buckets);
            buckets.settle(clock.now());
            effect(&mut buckets, &path, &fault)
        };
        if matches!(fault, Fault::LateWrite(_)) {
            return Err(fail("injected fault: no answer in time".into()));
        }
        gate.leave(clock, &fault).await.map_err(|e| fail(Box::new(e)))?;
        Ok(answer)
    }
}

#[async_trait]
impl ObjectStore for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        self.call("GET", key, |buckets, path, _| buckets.objects.get(path).cloned()).await
    }

    async fn put(&self, key: &str, bytes: Bytes, precondition: Precondition<'_>) -> Result<PutOutcome, StoreError> {
        let condition = Condition::from(precondition);
        let outcome = self.call("PUT", key, |buckets, path, fault| match fault {
            Fault::Busy if !matches!(condition, Condition::None) => PutOutcome::Busy,
            Fault::LateWrite(calls) => {
                buckets.late.push(LateWrite { calls: *calls, path: path.to_owned(), bytes, condition });
                PutOutcome::Busy
            }
            _ => buckets.write(path.to_owned(), bytes, &condition, self.stores.clock.now()),
        });
        let outcome = outcome.await?;
        if outcome == PutOutcome::PreconditionFailed {
            self.stores.gate.refused(&Call { operation: "PUT", key, entries: 1 });
        }
        Ok(outcome)
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Vec<Listed>, StoreError> {
        let root = &self.root;
        self.call("LIST", prefix, |buckets, path, fault| {
            let after = start_after.map(|key| format!("{root}{key}"));
            let start = match &after {
                Some(after) if after.as_str() >= path => Bound::Excluded(after.as_str()),
                _ => Bound::Included(path),
            };
            let page = if let Fault::Short(most) = fault { (*most).clamp(1, PAGE) } else { PAGE };
            buckets
                .objects
                .range::<str, _>((start, Bound::Unbounded))
                .take_while(|(found, _)| found.starts_with(path))
                .take(page)
                .map(|(found, object)| Listed {
                    key: found.strip_prefix(root.as_str()).unwrap_or(found).to_owned(),
                    modified: object.modified,
                    size: object.bytes.len() as u64,
                })
                .collect()
        })
        .await
    }

    async fn expire(&self, key: &str) -> Result<(), StoreError> {
        self.call("EXPIRE", key, |buckets, path, _| buckets.expire(path)).await
    }

    fn limits(&self) -> KeyLimits {
        let prefix = self.root.split_once('/').map_or(0, |(_, prefix)| prefix.len());
        KeyLimits { key: KEY_LIMIT, component: usize::MAX, prefix }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Script;

    fn store(location: &str) -> (MemoryStore, Arc<Script>, Gate) {
        let script = Arc::new(Script::default());
        let gate = Gate::new(script.clone());
        let stores = MemoryStores::new(&MemoryClock::at(Timestamp::from_millis(12_999)));
        (stores.through(&gate).store(&Location::new(location)).unwrap(), script, gate)
    }

    async fn put(store: &MemoryStore, key: &str, text: &'static str, precondition: Precondition<'_>) -> PutOutcome {
        store.put(key, text.into(), precondition).await.unwrap()
    }

    #[tokio::test]
    async fn a_write_keeps_its_precondition() {
        let (store, ..) = store("s3://b/p");
        let PutOutcome::Written(first) = put(&store, "k", "1", Precondition::Absent).await else { panic!("written") };
        assert_eq!(put(&store, "k", "2", Precondition::Absent).await, PutOutcome::PreconditionFailed);
        let PutOutcome::Written(second) = put(&store, "k", "2", Precondition::Matches(&first)).await else {
            panic!("written")
        };
        assert_eq!(put(&store, "k", "3", Precondition::Matches(&first)).await, PutOutcome::PreconditionFailed);
        assert_eq!(put(&store, "x", "3", Precondition::Matches(&first)).await, PutOutcome::PreconditionFailed);
        let object = store.get("k").await.unwrap().unwrap();
        assert_eq!((&object.bytes[..], object.etag, object.modified.millis()), (&b"2"[..], second, 12_000));
        assert!(store.get("x").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn rot_leaves_the_modification_time() {
        let (store, ..) = store("s3://b/p");
        assert!(!store.alter("k", "x"));
        store.insert("k", "1");
        store.stores.clock.set(Timestamp::from_millis(99_000));
        assert!(store.alter("k", "x"));
        let object = store.peek("k").unwrap();
        assert_eq!((&object.bytes[..], object.modified.millis()), (&b"x"[..], 12_000));
    }

    #[tokio::test]
    async fn listings_are_sorted_paged_and_do_not_leak() {
        let (store, script, _) = store("s3://b/p");
        let beside = store.stores.store(&Location::new("s3://b/pp")).unwrap();
        beside.insert("a/0", "x");
        for n in 0..1500 {
            store.insert(&format!("a/{n:04}"), "x");
        }
        store.insert("b", "x");
        let page = store.list("a/", None).await.unwrap();
        assert_eq!((page.len(), page[0].key.as_str(), page[999].key.as_str()), (1000, "a/0000", "a/0999"));
        let rest = store.list("a/", Some("a/0999")).await.unwrap();
        assert_eq!((rest.len(), rest[0].key.as_str()), (500, "a/1000"));
        assert!(store.list("a/", Some("a/1499")).await.unwrap().is_empty());
        assert_eq!(store.list("a/", Some("A")).await.unwrap().len(), 1000);
        script.add("LIST", [Fault::Short(0)]);
        assert_eq!(store.list("a/", None).await.unwrap().len(), 1);
        assert_eq!(store.objects().len(), 1501);
    }

    #[tokio::test]
    async fn what_is_given_up_vanishes_at_once_or_when_it_is_taken() {
        let (store, script, gate) = store("s3://b/p");
        for key in ["a", "b", "c"] {
            store.insert(key, "x");
        }
        script.add("EXPIRE", [Fault::Fail, Fault::LostAnswer]);
        assert!(store.expire("a").await.is_err() && store.objects().contains_key("a"));
        assert!(store.expire("a").await.is_err() && !store.objects().contains_key("a"));
        store.stores.keep_given_up();
        for key in ["a", "b", "c", "c"] {
            store.expire(key).await.unwrap();
        }
        assert_eq!(gate.count("EXPIRE"), 6);
        assert_eq!(store.given_up().into_iter().collect::<Vec<_>>(), ["b", "c"]);
        assert!(store.get("c").await.unwrap().is_some());
        store.insert("c", "again");
        assert!(store.vanish("b") && !store.vanish("b") && !store.vanish("c") && !store.vanish("a"));
        assert_eq!(store.objects().into_keys().collect::<Vec<_>>(), ["c"]);
    }

    #[tokio::test]
    async fn faults_happen_before_after_or_late() {
        let (store, script, gate) = store("s3://b");
        script.add("PUT", [Fault::Fail, Fault::LostAnswer, Fault::LateWrite(1), Fault::Busy]);
        assert!(store.put("a", "1".into(), Precondition::Absent).await.is_err());
        assert!(store.objects().is_empty());
        assert!(store.put("a", "1".into(), Precondition::Absent).await.is_err());
        assert_eq!(store.objects().len(), 1);
        assert!(store.put("b", "late".into(), Precondition::Absent).await.is_err());
        assert_eq!(put(&store, "b", "2", Precondition::Absent).await, PutOutcome::Busy);
        assert!(!store.objects().contains_key("b"));
        assert_eq!(&store.get("b").await.unwrap().unwrap().bytes[..], b"late");
        assert_eq!((gate.count("PUT"), gate.count("GET")), (4, 1));
    }

    #[tokio::test]
    async fn after_a_crash_nothing_of_that_environment_returns() {
        let (store, script, gate) = store("s3://b");
        script.add("PUT", [Fault::CrashAfter]);
        let done = gate.crash().guard(store.put("a", "1".into(), Precondition::None)).await;
        assert!(done.is_none() && gate.crash().has_struck());
        assert_eq!(store.objects().len(), 1);
        let again = Gate::default();
        assert!(again.crash().guard(store.through(&again).get("a")).await.unwrap().unwrap().is_some());
    }

    #[tokio::test]
    async fn one_of_many_racing_writers_wins() {
        let (store, ..) = store("s3://b");
        let writers = (0..16).map(|n| {
            let store = store.clone();
            async move { store.put("k", format!("{n}").into(), Precondition::Absent).await.unwrap() }
        });
        let outcomes = futures_util::future::join_all(writers).await;
        assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, PutOutcome::Written(_))).count(), 1);
    }
}
