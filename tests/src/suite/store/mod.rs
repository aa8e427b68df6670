//! What the `ObjectStore` and `Stores` ports promise.

mod expiry;
mod keys;
mod listing;
mod race;
mod write;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use freshjoin_core::location::Location;
use freshjoin_core::ports::{ETag, ObjectStore, Precondition, PutOutcome, Stores};

use super::Case;

/// An empty place to store objects.
#[derive(Clone, Debug)]
pub struct World {
    /// The adapter.
    pub stores: Arc<dyn Stores>,
    /// Where this case may put what it likes; nobody else does.
    pub root: Location,
    /// Why races are not held to one winner here, where the server behind the adapter itself is not.
    pub lenient_races: Option<&'static str>,
    /// Shows the tags by which this adapter gives objects up; `None` where they are gone at once.
    pub tags: Option<Arc<dyn Tags>>,
}

/// What a test may ask of a store beyond the port.
#[async_trait]
pub trait Tags: Send + Sync + Debug {
    /// Key and value of each tag of an object below [`World::root`].
    async fn of(&self, key: &str) -> Vec<(String, String)>;
}

impl World {
    fn store(&self) -> Arc<dyn ObjectStore> {
        self.at("store")
    }

    fn at(&self, below: &str) -> Arc<dyn ObjectStore> {
        self.stores.open(&Location::new(format!("{}/{below}", self.root))).unwrap()
    }
}

/// Every case of this suite.
#[must_use]
pub fn cases() -> Vec<Case<World>> {
    [write::cases(), listing::cases(), keys::cases(), race::cases(), expiry::cases()].into_iter().flatten().collect()
}

async fn write(store: &dyn ObjectStore, key: &str, body: impl Into<Bytes>) -> ETag {
    match store.put(key, body.into(), Precondition::None).await {
        Ok(PutOutcome::Written(etag)) => etag,
        other => panic!("an unconditional write of {key} answered {other:?}"),
    }
}

async fn read(store: &dyn ObjectStore, key: &str) -> Option<Bytes> {
    store.get(key).await.unwrap_or_else(|error| panic!("{error}: {:?}", error.source)).map(|object| object.bytes)
}

/// All keys, page by page.
async fn keys_of(store: &dyn ObjectStore, prefix: &str) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    loop {
        let page = store.list(prefix, keys.last().map(String::as_str)).await.unwrap();
        if page.is_empty() {
            return keys;
        }
        assert!(page.len() <= 1000, "a page of {}", page.len());
        keys.extend(page.into_iter().map(|listed| listed.key));
    }
}
