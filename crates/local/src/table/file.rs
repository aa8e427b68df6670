//! Tables in files, of every format that reference data may have.
//!
//! A file has no primary key, and may hold a row twice. So each row gets one of its own, [`ROW_KEY`], made of its content
//! and how often that content came before. An edited file then differs from what is held by puts and deletes alone.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use freshjoin_core::content::{ContentError, ContentFormat, rows};
use freshjoin_core::ports::RawRow;
use serde_json::value::to_raw_value;
use sha2::{Digest, Sha256};

use super::attribute::canonical;
use super::{EmbeddedTable, RowError};

/// The attribute that tells the rows of a file apart. A pipeline that does not name it never shows it.
pub const ROW_KEY: &str = "_freshjoin_row";

/// A reference file that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// By the operating system.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not what its name says.
    #[error("{path}: {source}")]
    Content {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: ContentError,
    },
    /// A row that cannot be told from others.
    #[error("{path}, row {row}: {source}")]
    Row {
        /// The file.
        path: PathBuf,
        /// From 1.
        row: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Unknown by its name.
    #[error(
        "{0} is neither .jsonl, .ndjson, .json nor .csv (also with .gz or .zst after it), nor .parquet; convert it, or name it so"
    )]
    Kind(PathBuf),
}

/// The rows of a file, each with its own [`ROW_KEY`].
///
/// # Errors
/// [`FileError`], which names the file and the place in it.
pub fn read_rows(path: &Path) -> Result<Vec<RawRow>, FileError> {
    let content_error = |source| FileError::Content { path: path.into(), source };
    let format = ContentFormat::of_name(&path.to_string_lossy()).ok_or_else(|| FileError::Kind(path.into()))?;
    let bytes = std::fs::read(path).map_err(|source| FileError::Read { path: path.into(), source })?;
    // The machine's memory is the bound, as it is for all else that a local run holds.
    let rows = rows(format, bytes.into(), u64::MAX).map_err(content_error)?;
    let mut seen: HashMap<[u8; 32], u64> = HashMap::new();
    let keyed = rows.enumerate().map(|(index, row)| {
        let row_error = |source| FileError::Row { path: path.into(), row: index + 1, source };
        let mut row = canonical(&row.map_err(content_error)?).map_err(row_error)?;
        let digest: [u8; 32] = Sha256::digest(serde_json::to_vec(&row).map_err(row_error)?).into();
        let occurrence = seen.entry(digest).or_default();
        *occurrence += 1;
        let name = format!("{}-{occurrence}", hex::encode(digest.get(..16).unwrap_or_default()));
        row.insert(ROW_KEY.into(), to_raw_value(&name).map_err(row_error)?);
        to_raw_value(&row).map_err(row_error)
    });
    keyed.collect()
}

/// What a [`synchronize`] changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// Rows that are new.
    pub put: usize,
    /// Rows that are gone.
    pub deleted: usize,
}

/// Makes a table hold just these rows of [`read_rows`], by as few puts and deletes as that takes. Puts come first, so
/// that a row that was altered never lacks both its forms.
///
/// # Errors
/// [`RowError`]; what was changed before stays changed, and the next call goes on from there.
pub fn synchronize(table: &EmbeddedTable, rows: &[RawRow]) -> Result<Synced, RowError> {
    let mut synced = Synced::default();
    let mut wanted = BTreeSet::new();
    for row in rows {
        wanted.insert(table.key_of(&canonical(row)?)?);
        synced.put += usize::from(table.put(row)?.is_some());
    }
    let gone: Vec<String> = table.lock().keys().filter(|key| !wanted.contains(*key)).cloned().collect();
    for key in gone {
        let key: RawRow = serde_json::from_str(&key)?;
        synced.deleted += usize::from(table.delete(&key)?.is_some());
    }
    Ok(synced)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::StillClock;

    fn file(name: &str, text: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        (directory, path)
    }

    #[test]
    fn duplicates_stay_and_every_digit_too() {
        let (_guard, path) = file("p.jsonl", "\u{feff}{\"a\":1.10}\n\n{ \"a\" : 1.10 }\n{\"a\":2}\r\n");
        let rows = read_rows(&path).unwrap();
        assert_eq!(rows.len(), 3);
        assert!(rows[0].get().contains("\"a\":1.10") && rows[0].get() != rows[1].get());
    }

    #[test]
    fn a_file_is_read_as_its_name_says_and_an_error_names_it() {
        let (_guard, path) = file("p.csv", "item,price\nburger,100\n");
        assert!(read_rows(&path).unwrap()[0].get().contains("\"price\":\"100\""));
        for (name, text, problem) in [
            ("p.jsonl", "{\"a\":1}\n[2]\n", "line 2"),
            ("p.json", "{\"a\":\"\\udc00\"}", "row 1"),
            ("p.csv", "a,b\n1\n", "line 2"),
            ("p.parquet", "a,b\n1\n", "Parquet"),
            ("p.txt", "", "convert it"),
        ] {
            let (_guard, path) = file(name, text);
            let error = read_rows(&path).unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains(name), "{error}");
        }
    }

    #[test]
    fn an_edited_file_differs_by_what_was_edited() {
        let table = EmbeddedTable::new("P", &[ROW_KEY], Arc::new(StillClock::default()));
        let (_guard, path) = file("p.jsonl", "{\"a\":1}\n{\"a\":1}\n{\"a\":2}\n");
        table.load(read_rows(&path).unwrap()).unwrap();
        assert_eq!(synchronize(&table, &read_rows(&path).unwrap()).unwrap(), Synced::default());
        std::fs::write(&path, "{\"a\":1}\n{\"a\":3}\n{\"a\":2}\n").unwrap();
        assert_eq!(synchronize(&table, &read_rows(&path).unwrap()).unwrap(), Synced { put: 1, deleted: 1 });
    }
}
