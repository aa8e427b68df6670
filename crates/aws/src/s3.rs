//! The object store over S3 (general purpose buckets, whose listings are in the order of UTF-8 bytes).
//!
//! What always holds: a missing object is only what S3 itself calls `NoSuchKey`. A missing bucket, a refusal or an
//! answer from something in between is a fault, so that no outage ever reads as "nothing there". A write is checked
//! by S3 against the checksum that the SDK sends, and a read by the SDK against the one that S3 keeps.
//!
//! On failure: the SDK retries what may be retried. If the answer to a conditional write was lost, that retry itself
//! meets the object which the first attempt wrote, and says `PreconditionFailed`. Callers settle it by looking: the
//! change log by the id in the file, a cursor by reading it again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{EncodingType, Tag, Tagging};
use bytes::Bytes;
use freshjoin_core::chain::Chain;
use freshjoin_core::location::Location;
use freshjoin_core::ports::{
    BoxError, ETag, Fetched, KeyLimits, Listed, LocationError, Object, ObjectStore, Precondition, PutOutcome,
    StoreError, Stores,
};
use freshjoin_core::time::Timestamp;
use percent_encoding::percent_decode_str;

use crate::config::{has_endpoint, timeouts};
use crate::fault::{ServiceFault, status};

/// From this size on a write gets more time, at [`SLOWEST`].
const LARGE: usize = 4 << 20;

/// Bytes a second that an upload is granted at the least.
const SLOWEST: usize = 2 << 20;

/// How often a body that breaks off after its headers is asked for: the SDK retries only up to the headers.
const BODY_ATTEMPTS: u32 = 2;

const KEY_BYTES: usize = 1024;

/// The tag of objects that were given up, key and value, as the template's lifecycle rule names it.
pub const EXPIRED: (&str, &str) = ("freshjoin", "expired");

/// Opens buckets and prefixes with one client and its pool of connections.
#[derive(Clone, Debug)]
pub struct S3Stores {
    client: Client,
}

/// The objects of one bucket below one prefix.
#[derive(Clone, Debug)]
pub struct S3Store {
    client: Client,
    bucket: String,
    /// Empty, or with a slash at its end.
    prefix: String,
}

impl S3Stores {
    /// Over a configuration as [`crate::config::load`] gives it. With an endpoint URL for S3 or for all services,
    /// buckets are addressed path-style.
    #[must_use]
    pub fn new(config: &SdkConfig) -> Self {
        let builder = aws_sdk_s3::config::Builder::from(config);
        let client = Client::from_conf(builder.force_path_style(has_endpoint(config, "S3")).build());
        Self { client }
    }
}

impl Stores for S3Stores {
    fn open(&self, location: &Location) -> Result<Arc<dyn ObjectStore>, LocationError> {
        let Some((bucket, prefix)) = location.s3() else {
            return Err(LocationError {
                location: location.clone(),
                reason: "it should be s3://bucket or s3://bucket/prefix".into(),
            });
        };
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Arc::new(S3Store { client: self.client.clone(), bucket: bucket.into(), prefix }))
    }
}

impl S3Store {
    fn fault(&self, operation: &'static str, key: &str, source: impl Into<BoxError>) -> StoreError {
        StoreError { operation, key: format!("s3://{}/{}{key}", self.bucket, self.prefix), source: source.into() }
    }

    async fn object(&self, output: GetObjectOutput) -> Result<Object, BoxError> {
        let etag = ETag(output.e_tag.ok_or("the answer has no ETag")?);
        let modified = timestamp(&output.last_modified.ok_or("the answer has no Last-Modified")?);
        let body = output.body.collect().await.map_err(|error| ServiceFault::new(Chain(&error).to_string()))?;
        Ok(Object { bytes: body.into_bytes(), etag, modified })
    }
}

impl S3Store {
    async fn read(&self, key: &str, version: Option<&str>, limit: u64) -> Result<Fetched, StoreError> {
        let mut attempt = 1;
        loop {
            let request = self.client.get_object().bucket(&self.bucket).key(format!("{}{key}", self.prefix));
            let output = match request.set_version_id(version.map(Into::into)).send().await {
                Ok(output) => output,
                Err(error) if error.as_service_error().is_some_and(|e| is_absent(e.code())) => {
                    return Ok(Fetched::Missing);
                }
                // The version asked for is a delete marker.
                Err(error) if version.is_some() && status(&error) == Some(405) => return Ok(Fetched::Missing),
                Err(error) => {
                    let fault = ServiceFault::of(&error);
                    let fault = if status(&error) == Some(403) { fault.with_mend(LIST_BUCKET) } else { fault };
                    return Err(self.fault("GET", key, fault));
                }
            };
            let size = output.content_length().and_then(|size| u64::try_from(size).ok());
            if let Some(size) = size.filter(|size| *size > limit) {
                return Ok(Fetched::TooLarge(size));
            }
            let version_id = output.version_id().filter(|id| *id != UNVERSIONED).map(Into::into);
            match self.object(output).await {
                Ok(object) => return Ok(Fetched::Found(object, version_id)),
                Err(error) if attempt == BODY_ATTEMPTS => return Err(self.fault("GET", key, error)),
                Err(error) => tracing::warn!(key, %error, "an object's body broke off; asking again"),
            }
            attempt += 1;
        }
    }
}

/// A missing object, or a missing version of one, by S3's own words.
fn is_absent(code: Option<&str>) -> bool {
    matches!(code, Some("NoSuchKey" | "NoSuchVersion"))
}

/// The version of an object that was written before its bucket kept versions.
const UNVERSIONED: &str = "null";

#[async_trait]
impl ObjectStore for S3Store {
    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        match self.read(key, None, u64::MAX).await? {
            Fetched::Found(object, _) => Ok(Some(object)),
            Fetched::Missing => Ok(None),
            // Nothing is longer than this bound.
            Fetched::TooLarge(size) => Err(self.fault("GET", key, format!("it has {size} bytes"))),
        }
    }

    async fn fetch(&self, key: &str, version: Option<&str>, limit: u64) -> Result<Fetched, StoreError> {
        self.read(key, version, limit).await
    }

    async fn put(&self, key: &str, bytes: Bytes, precondition: Precondition<'_>) -> Result<PutOutcome, StoreError> {
        let size = bytes.len();
        let request = self.client.put_object().bucket(&self.bucket).key(format!("{}{key}", self.prefix));
        let request = match precondition {
            Precondition::None => request,
            Precondition::Absent => request.if_none_match("*"),
            Precondition::Matches(etag) => request.if_match(&etag.0),
        };
        let mut request = request.body(ByteStream::from(bytes)).customize();
        if size >= LARGE {
            let extra = Duration::from_secs(u64::try_from(size / SLOWEST).unwrap_or(u64::MAX));
            request = request.config_override(aws_sdk_s3::config::Builder::new().timeout_config(timeouts(extra)));
        }
        let error = match request.send().await {
            Ok(output) => {
                let etag = output.e_tag.ok_or_else(|| self.fault("PUT", key, "the answer has no ETag"))?;
                return Ok(PutOutcome::Written(ETag(etag)));
            }
            Err(error) => error,
        };
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
        match (status(&error), precondition) {
            (Some(412), _) => Ok(PutOutcome::PreconditionFailed),
            (Some(409), _) => Ok(PutOutcome::Busy),
            (Some(404), Precondition::Matches(_)) if code == Some("NoSuchKey") => Ok(PutOutcome::PreconditionFailed),
            _ => Err(self.fault("PUT", key, ServiceFault::of(&error))),
        }
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Vec<Listed>, StoreError> {
        let mut token = None;
        loop {
            let page = self
                .client
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(format!("{}{prefix}", self.prefix))
                .set_start_after(start_after.map(|after| format!("{}{after}", self.prefix)))
                .set_continuation_token(token)
                // Without it a key with a control character makes the answer undecodable.
                .encoding_type(EncodingType::Url)
                .send()
                .await
                .map_err(|error| self.fault("LIST", prefix, ServiceFault::of(&error)))?;
            let encoded = page.encoding_type == Some(EncodingType::Url);
            let mut listed = Vec::with_capacity(page.contents().len());
            for object in page.contents.unwrap_or_default() {
                let entry = object.key.as_deref().zip(object.last_modified).and_then(|(key, modified)| {
                    let key = if encoded { decode(key)? } else { key.to_owned() };
                    Some(Listed {
                        key: key.strip_prefix(&self.prefix)?.to_owned(),
                        modified: timestamp(&modified),
                        size: u64::try_from(object.size.unwrap_or_default()).ok()?,
                    })
                });
                listed.push(entry.ok_or_else(|| {
                    self.fault("LIST", prefix, format!("an entry is incomplete or out of place: {:?}", object.key))
                })?);
            }
            token = page.next_continuation_token;
            // An empty answer would mean the end, so a page that is empty although more follow is skipped.
            if !listed.is_empty() || token.is_none() {
                return Ok(listed);
            }
        }
    }

    /// A tag, by which a lifecycle rule of the bucket deletes the object later.
    async fn expire(&self, key: &str) -> Result<(), StoreError> {
        let tag = Tag::builder().key(EXPIRED.0).value(EXPIRED.1).build();
        let tagging = tag.and_then(|tag| Tagging::builder().tag_set(tag).build());
        let tagging = tagging.map_err(|error| self.fault("EXPIRE", key, error))?;
        let request = self.client.put_object_tagging().bucket(&self.bucket).key(format!("{}{key}", self.prefix));
        match request.tagging(tagging).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|e| is_absent(e.code())) => Ok(()),
            Err(error) => Err(self.fault("EXPIRE", key, ServiceFault::of(&error))),
        }
    }

    fn limits(&self) -> KeyLimits {
        KeyLimits { key: KEY_BYTES, component: usize::MAX, prefix: self.prefix.len() }
    }
}

const LIST_BUCKET: &str = "if the object is only missing, S3 says 404 instead of 403 once the role has s3:ListBucket on \
                           this bucket and prefix; otherwise it lacks s3:GetObject";

/// As S3 encodes keys in a listing: form encoding, where `+` is a space.
fn decode(key: &str) -> Option<String> {
    let spaced = key.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(Into::into)
}

fn timestamp(at: &DateTime) -> Timestamp {
    Timestamp::from_seconds_and_nanos(at.secs(), at.subsec_nanos())
}
