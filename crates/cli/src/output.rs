//! Output directories: new or empty.

use std::path::Path;

use freshjoin_core::location::Location;

use crate::failure::Failure;

/// Where dead letters go, below an output directory.
pub(crate) const DEAD_LETTERS: &str = "_dead-letters";

/// The location of a directory that is made where it does not exist and refused where it is not empty.
pub(crate) fn fresh_directory(path: &Path) -> Result<Location, Failure> {
    let refuse = |cause: String| Failure::new(cause, "give --output an empty or new directory");
    std::fs::create_dir_all(path).map_err(|error| refuse(format!("{}: {error}", path.display())))?;
    let mut entries = std::fs::read_dir(path).map_err(|error| refuse(format!("{}: {error}", path.display())))?;
    if entries.next().is_some() {
        return Err(refuse(format!("{} is not empty", path.display())));
    }
    let text = path.to_str().ok_or_else(|| refuse(format!("{} is no UTF-8 text", path.display())))?;
    Ok(Location::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_anything_in_it_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        assert_eq!(fresh_directory(&path).unwrap().as_str(), path.to_str().unwrap());
        std::fs::write(path.join("x"), "").unwrap();
        assert!(fresh_directory(&path).unwrap_err().to_string().contains("not empty"));
        assert!(fresh_directory(&path.join("x")).is_err());
    }
}
