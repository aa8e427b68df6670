//! A bucket's notices: every object that a [`NotifyingStore`] writes is told to whoever listens, as S3 tells its
//! notification targets. A write whose answer was a fault is not told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use freshjoin_core::ports::{Clock, KeyLimits, Listed, Object, ObjectStore, Precondition, PutOutcome, StoreError};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use tokio::sync::mpsc;

use freshjoin_core::time::Timestamp;

/// What form encoding leaves as it is; S3 keeps the slash too.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/').remove(b' ');

/// An object was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The bucket's name.
    pub bucket: String,
    /// The whole key, as it is.
    pub key: String,
    /// Bytes.
    pub size: usize,
    /// The new object's tag, without quotes.
    pub etag: String,
    /// Orders the notices of one key: hexadecimal, rising.
    pub sequencer: String,
    /// When.
    pub at: Timestamp,
}

impl Notice {
    /// The event that S3 sends: one record, its key form-encoded.
    #[must_use]
    pub fn event(&self) -> String {
        let key = utf8_percent_encode(&self.key, PLAIN).to_string().replace(' ', "+");
        json!({"Records": [{
            "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "us-east-1", "eventTime": self.at.to_string(),
            "eventName": "ObjectCreated:Put",
            "s3": {
                "s3SchemaVersion": "1.0", "configurationId": "freshjoin",
                "bucket": {"name": self.bucket, "arn": format!("arn:aws:s3:::{}", self.bucket)},
                "object": {"key": key, "size": self.size, "eTag": self.etag, "sequencer": self.sequencer},
            },
        }]})
        .to_string()
    }
}

/// A store whose writes are told as they succeed.
#[derive(Debug)]
pub struct NotifyingStore {
    inner: Arc<dyn ObjectStore>,
    bucket: String,
    prefix: String,
    clock: Arc<dyn Clock>,
    notices: mpsc::UnboundedSender<Notice>,
    sequencer: AtomicU64,
}

impl NotifyingStore {
    /// Tells of the writes to `inner`, which holds the keys of `bucket` below `prefix` (empty, or with its slash).
    pub fn new(
        inner: Arc<dyn ObjectStore>,
        bucket: impl Into<String>,
        prefix: impl Into<String>,
        clock: Arc<dyn Clock>,
    ) -> (Self, mpsc::UnboundedReceiver<Notice>) {
        let (notices, listener) = mpsc::unbounded_channel();
        let (bucket, prefix) = (bucket.into(), prefix.into());
        (Self { inner, bucket, prefix, clock, notices, sequencer: AtomicU64::new(1) }, listener)
    }
}

#[async_trait]
impl ObjectStore for NotifyingStore {
    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        self.inner.get(key).await
    }

    async fn put(&self, key: &str, bytes: Bytes, precondition: Precondition<'_>) -> Result<PutOutcome, StoreError> {
        let size = bytes.len();
        let outcome = self.inner.put(key, bytes, precondition).await?;
        if let PutOutcome::Written(etag) = &outcome {
            let notice = Notice {
                bucket: self.bucket.clone(),
                key: format!("{}{key}", self.prefix),
                size,
                etag: etag.0.trim_matches('"').to_owned(),
                sequencer: format!("{:018X}", self.sequencer.fetch_add(1, Ordering::Relaxed)),
                at: self.clock.now(),
            };
            // Nobody listens any more: then nobody is to be told.
            drop(self.notices.send(notice));
        }
        Ok(outcome)
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(prefix, start_after).await
    }

    async fn expire(&self, key: &str) -> Result<(), StoreError> {
        self.inner.expire(key).await
    }

    fn limits(&self) -> KeyLimits {
        self.inner.limits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::StillClock;

    #[tokio::test]
    async fn a_write_is_told_once_with_its_key_form_encoded() {
        let directory = tempfile::tempdir().unwrap();
        let inner = Arc::new(crate::FsStore::new(directory.path()));
        let (store, mut listener) = NotifyingStore::new(inner, "state", "p/", Arc::new(StillClock::default()));
        let key = "changes/a b+c=é.json";
        for _ in 0..2 {
            let _outcome = store.put(key, Bytes::from_static(b"x"), Precondition::Absent).await.unwrap();
        }
        let notice = listener.try_recv().unwrap();
        assert!(listener.try_recv().is_err(), "a write that lost is not told");
        assert_eq!((notice.bucket.as_str(), notice.key.as_str(), notice.size), ("state", "p/changes/a b+c=é.json", 1));
        let event: serde_json::Value = serde_json::from_str(&notice.event()).unwrap();
        assert_eq!(event["Records"][0]["s3"]["object"]["key"], "p/changes/a+b%2Bc%3D%C3%A9.json");
    }
}
