//! The change flag: a record in the stream that announces a version by number and digest.
//!
//! Anybody with `PutRecord` can write one, so it carries no path, and whoever honours it compares the digest first.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Version;

/// `sha256:<hex>` of a change file's bytes.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A flag that is well-formed; whether the log has what it names is for the reader to find out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flag {
    freshjoin: String,
    /// The version that it announces.
    pub version: Version,
    /// [`digest`] of that version's change file.
    pub digest: String,
}

/// A record that is a flag by its `freshjoin` member but cannot be honoured.
#[derive(Debug, thiserror::Error)]
pub enum FlagError {
    /// Not the JSON of a flag.
    #[error("malformed change flag: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Another format number.
    #[error("change flag of an unknown format")]
    Format,
}

const FORMAT: &str = "change-flag/1";

impl Flag {
    /// The flag of a version whose change file has these bytes.
    #[must_use]
    pub fn of(version: Version, change_file: &[u8]) -> Self {
        Self { freshjoin: FORMAT.into(), version, digest: digest(change_file) }
    }

    /// The record's bytes.
    ///
    /// # Errors
    /// Only if serialization fails, which would be a bug.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Reads a record that is known to be a flag.
    ///
    /// # Errors
    /// [`FlagError`]; such a flag is ignored and counted.
    pub fn decode(data: &[u8]) -> Result<Self, FlagError> {
        let flag: Self = serde_json::from_slice(data)?;
        if flag.freshjoin == FORMAT { Ok(flag) } else { Err(FlagError::Format) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_the_contract_s_text() {
        let flag = Flag::of(42, b"x");
        let bytes = flag.encode().unwrap();
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            r#"{"freshjoin":"change-flag/1","version":42,"digest":"sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}"#
        );
        assert_eq!(Flag::decode(&bytes).unwrap(), flag);
        assert!(matches!(
            Flag::decode(br#"{"freshjoin":"change-flag/1","version":-1,"digest":""}"#),
            Err(FlagError::Malformed(_))
        ));
        assert!(matches!(
            Flag::decode(br#"{"freshjoin":"change-flag/9","version":1,"digest":""}"#),
            Err(FlagError::Format)
        ));
    }
}
