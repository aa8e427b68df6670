//! Which keys a directory can hold, and the path of each. No key leads outside its store.

use std::path::{Path, PathBuf};

/// The longest whole key, in bytes: S3's limit.
pub(super) const MAX_KEY: usize = 1024;
/// The longest part between two slashes, in bytes: what file systems allow.
pub(super) const MAX_COMPONENT: usize = 255;
/// Files of this prefix are writes under way, and no objects.
pub(super) const TEMPORARY: &str = ".freshjoin-tmp-";

/// A key that no directory can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// An empty part, as in `a//b`, `/a` or `a/`.
    #[error("a key with an empty part between slashes")]
    Empty,
    /// `.` or `..`.
    #[error("a key with a part that is \".\" or \"..\"")]
    Relative,
    /// A zero byte.
    #[error("a key with a zero byte")]
    Zero,
    /// A name that is kept for writes under way.
    #[error("a key with a part that starts with \"{TEMPORARY}\", which is reserved")]
    Reserved,
    /// More than 1,024 bytes, or more than 255 in one part.
    #[error("a key of more than {MAX_KEY} bytes, or {MAX_COMPONENT} in one part")]
    TooLong,
}

/// The path of a key below a root.
pub(super) fn path_below(root: &Path, key: &str) -> Result<PathBuf, KeyError> {
    if key.len() > MAX_KEY {
        return Err(KeyError::TooLong);
    }
    let mut path = root.to_path_buf();
    for part in key.split('/') {
        match part {
            "" => return Err(KeyError::Empty),
            "." | ".." => return Err(KeyError::Relative),
            _ if part.contains('\0') => return Err(KeyError::Zero),
            _ if part.starts_with(TEMPORARY) => return Err(KeyError::Reserved),
            _ if part.len() > MAX_COMPONENT => return Err(KeyError::TooLong),
            _ => path.push(part),
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_leaves_the_root() {
        let root = Path::new("/r");
        assert_eq!(path_below(root, "a/b=%2F c/…").unwrap(), Path::new("/r/a/b=%2F c/…"));
        for (key, error) in [
            ("", KeyError::Empty),
            ("/etc/passwd", KeyError::Empty),
            ("a//b", KeyError::Empty),
            ("a/", KeyError::Empty),
            ("../x", KeyError::Relative),
            ("a/../../x", KeyError::Relative),
            ("a/./b", KeyError::Relative),
            ("a\0b", KeyError::Zero),
            (".freshjoin-tmp-1", KeyError::Reserved),
        ] {
            assert_eq!(path_below(root, key), Err(error), "{key:?}");
        }
        assert_eq!(path_below(root, &"x".repeat(256)), Err(KeyError::TooLong));
        assert_eq!(path_below(root, &"x/".repeat(512)), Err(KeyError::Empty));
        assert_eq!(path_below(root, &"x/".repeat(513)), Err(KeyError::TooLong));
        assert!(path_below(root, &"x".repeat(255)).is_ok());
    }
}
