//! A store of which one prefix lies somewhere else.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use freshjoin_core::ports::{KeyLimits, Listed, Object, ObjectStore, Precondition, PutOutcome, StoreError};

/// Keys that start with a prefix are, without it, keys of another store. Listings never span the two.
#[derive(Debug)]
pub struct SplitStore {
    rest: Arc<dyn ObjectStore>,
    prefix: String,
    below: Arc<dyn ObjectStore>,
}

impl SplitStore {
    /// What lies under `prefix` (with its slash) is in `below`, everything else in `rest`.
    pub fn new(rest: Arc<dyn ObjectStore>, prefix: impl Into<String>, below: Arc<dyn ObjectStore>) -> Self {
        Self { rest, prefix: prefix.into(), below }
    }

    fn route<'a>(&'a self, key: &'a str) -> (&'a dyn ObjectStore, &'a str) {
        key.strip_prefix(&self.prefix).map_or((&*self.rest, key), |key| (&*self.below, key))
    }
}

#[async_trait]
impl ObjectStore for SplitStore {
    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        let (store, key) = self.route(key);
        store.get(key).await
    }

    async fn put(&self, key: &str, bytes: Bytes, precondition: Precondition<'_>) -> Result<PutOutcome, StoreError> {
        let (store, key) = self.route(key);
        store.put(key, bytes, precondition).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Vec<Listed>, StoreError> {
        let Some(below) = prefix.strip_prefix(&self.prefix) else { return self.rest.list(prefix, start_after).await };
        let after = match start_after {
            Some(after) if after < self.prefix.as_str() => None,
            Some(after) => match after.strip_prefix(&self.prefix) {
                Some(after) => Some(after),
                None => return Ok(Vec::new()),
            },
            None => None,
        };
        let mut listed = self.below.list(below, after).await?;
        listed.iter_mut().for_each(|object| object.key.insert_str(0, &self.prefix));
        Ok(listed)
    }

    async fn expire(&self, key: &str) -> Result<(), StoreError> {
        let (store, key) = self.route(key);
        store.expire(key).await
    }

    fn limits(&self) -> KeyLimits {
        self.rest.limits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FsStore;

    #[tokio::test]
    async fn a_prefix_is_elsewhere_under_its_own_keys() {
        let directory = tempfile::tempdir().unwrap();
        let [rest, below] = ["rest", "below"].map(|name| Arc::new(FsStore::new(directory.path().join(name))));
        let store = SplitStore::new(rest.clone(), "dead-letters/", below.clone());
        for key in ["cursors/a", "dead-letters/b", "dead-letters/c"] {
            let _outcome = store.put(key, Bytes::from_static(b"x"), Precondition::None).await.unwrap();
            assert!(store.get(key).await.unwrap().is_some());
        }
        assert!(below.get("b").await.unwrap().is_some() && rest.get("dead-letters/b").await.unwrap().is_none());
        let keys = async |after| -> Vec<String> {
            store.list("dead-letters/", after).await.unwrap().into_iter().map(|listed| listed.key).collect()
        };
        assert_eq!(keys(None).await, ["dead-letters/b", "dead-letters/c"]);
        assert_eq!(keys(Some("dead-letters/b")).await, ["dead-letters/c"]);
        assert_eq!(keys(Some("a")).await.len(), 2);
        assert!(keys(Some("e")).await.is_empty());
        store.expire("dead-letters/b").await.unwrap();
        assert_eq!(keys(None).await, ["dead-letters/c"]);
    }
}
