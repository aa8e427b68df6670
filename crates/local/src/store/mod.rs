//! Object stores in directories: a location is a directory, or `s3://bucket/prefix` below a root that stands for all
//! buckets.
//!
//! What always holds: a key is a relative path that never leaves its store; an object is seen whole or not at all; a
//! conditional write has one winner among any number of processes. An object that was written survives the end of
//! its process; nothing is forced to the disk, so a power failure may lose it.
//!
//! On failure every method answers with the operating system's error and the full path.

mod directory;
mod keys;
mod notify;
mod split;

use std::path::PathBuf;
use std::sync::Arc;

use freshjoin_core::location::Location;
use freshjoin_core::ports::{LocationError, ObjectStore, Stores};

pub use directory::FsStore;
pub use keys::KeyError;
pub use notify::{Notice, NotifyingStore};
pub use split::SplitStore;

/// Opens directories as stores.
#[derive(Clone, Debug, Default)]
pub struct FsStores {
    buckets: Option<PathBuf>,
}

impl FsStores {
    /// Locations are directories; an `s3://` URL is refused.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Locations are directories, or `s3://bucket/prefix`, which is the directory `bucket/prefix` below `root`.
    pub fn with_buckets(root: impl Into<PathBuf>) -> Self {
        Self { buckets: Some(root.into()) }
    }

    /// The directory of a location.
    ///
    /// # Errors
    /// [`LocationError`] for an `s3://` URL that is malformed, or where there are no buckets.
    pub fn directory(&self, location: &Location) -> Result<PathBuf, LocationError> {
        let refuse = |reason: &str| LocationError { location: location.clone(), reason: reason.into() };
        // A location drops its trailing slashes: `s3://` comes here as `s3:`.
        if !location.as_str().contains("://") && location.as_str() != "s3:" {
            return match location.as_str() {
                "" => Err(refuse("it is empty; name a directory")),
                text => Ok(PathBuf::from(text)),
            };
        }
        let Some(root) = &self.buckets else { return Err(refuse("only directories hold objects here")) };
        let (bucket, prefix) = location.s3().ok_or_else(|| refuse("expected a directory or s3://bucket/prefix"))?;
        let joined = if prefix.is_empty() { bucket.to_owned() } else { format!("{bucket}/{prefix}") };
        keys::path_below(root, &joined).map_err(|error| refuse(&error.to_string()))
    }
}

impl Stores for FsStores {
    fn open(&self, location: &Location) -> Result<Arc<dyn ObjectStore>, LocationError> {
        Ok(Arc::new(FsStore::new(self.directory(location)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_directories_and_no_location_leaves_the_root() {
        let stores = FsStores::with_buckets("/r");
        let directory = |text: &str| stores.directory(&Location::new(text));
        assert_eq!(directory("s3://b/p/q").unwrap(), PathBuf::from("/r/b/p/q"));
        assert_eq!(directory("s3://b").unwrap(), PathBuf::from("/r/b"));
        assert_eq!(directory("out/x").unwrap(), PathBuf::from("out/x"));
        for bad in ["s3://../x", "s3://b/../../x", "s3://", "gs://b", ""] {
            assert!(directory(bad).is_err(), "{bad}");
        }
        assert!(FsStores::new().directory(&Location::new("s3://b/p")).is_err());
    }
}
