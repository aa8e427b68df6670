//! A pipeline's definition from wherever it was put: in the variable itself, in a file, or on S3.
//!
//! On failure the function must not start: a definition that cannot be read is never an empty one.

use std::path::{Path, PathBuf};

use freshjoin_core::location::Location;
use freshjoin_core::ports::{LocationError, StoreError, Stores};

/// Why there is no definition.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// The file cannot be read.
    #[error("the definition's file {} cannot be read; set it to TOML text, a file or s3://bucket/key", path.display())]
    File {
        /// As it was given.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Not the URL of an object.
    #[error("{0} names no object; set it to s3://bucket/key")]
    NoObject(String),
    /// Its bucket cannot be opened.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// The object cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such object.
    #[error("there is no object {0}")]
    Missing(String),
    /// The object is no text.
    #[error("{0} is no UTF-8 text")]
    Encoding(String),
}

/// The text of a definition that is given as TOML text itself, a file path or an `s3://` URL.
///
/// # Errors
/// [`DefinitionError`] if it is not there or cannot be read.
pub async fn load_text(pipeline: &str, stores: &dyn Stores) -> Result<String, DefinitionError> {
    let given = pipeline.trim();
    if given.starts_with("s3://") {
        return load_object(given, stores).await;
    }
    let path = Path::new(given);
    // Every definition has a member, so an equals sign; a path seldom has one.
    if given.contains('\n') || (given.contains('=') && !path.is_file()) {
        return Ok(pipeline.to_owned());
    }
    std::fs::read_to_string(path).map_err(|source| DefinitionError::File { path: path.into(), source })
}

async fn load_object(url: &str, stores: &dyn Stores) -> Result<String, DefinitionError> {
    let no_object = || DefinitionError::NoObject(url.to_owned());
    let (folder, name) = url.rsplit_once('/').ok_or_else(no_object)?;
    let folder = Location::new(folder);
    if name.is_empty() || folder.s3().is_none() {
        return Err(no_object());
    }
    let object = stores.open(&folder)?.get(name).await?.ok_or_else(|| DefinitionError::Missing(url.to_owned()))?;
    String::from_utf8(object.bytes.into()).map_err(|_| DefinitionError::Encoding(url.to_owned()))
}

#[cfg(test)]
mod tests {
    use freshjoin_core::memory::{MemoryClock, MemoryStores};

    use super::*;

    const TOML: &str = "name = \"orders\"";

    fn stores() -> MemoryStores {
        let stores = MemoryStores::new(&MemoryClock::default());
        let store = stores.store(&Location::new("s3://bucket/pipelines")).unwrap();
        store.insert("orders.toml", TOML);
        store.insert("bytes.toml", vec![0xff]);
        stores
    }

    #[tokio::test]
    async fn text_a_file_and_an_object_all_give_the_definition() {
        let file = std::env::temp_dir().join(format!("freshjoin-definition-{}=1.toml", std::process::id()));
        std::fs::write(&file, TOML).unwrap();
        for given in [TOML, file.to_str().unwrap(), "s3://bucket/pipelines/orders.toml"] {
            assert_eq!(load_text(given, &stores()).await.unwrap(), TOML, "{given}");
        }
        std::fs::remove_file(file).unwrap();
    }

    #[tokio::test]
    async fn a_definition_that_is_not_there_says_where_it_should_be() {
        for given in [
            "/nowhere/orders.toml",
            "s3://bucket/pipelines/none.toml",
            "s3://bucket/pipelines/bytes.toml",
            "s3://bucket/pipelines/",
            "s3://bucket",
        ] {
            let error = load_text(given, &stores()).await.unwrap_err().to_string();
            assert!(error.contains(given), "{error}");
        }
    }
}
