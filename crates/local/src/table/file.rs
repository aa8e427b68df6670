//! Tables in files: JSON lines, or CSV with a header row, whose values are text and whose empty values are absent.
//!
//! A file has no primary key, and may hold a row twice. So each row gets one of its own, [`ROW_KEY`], made of its content
//! and how often that content came before. An edited file then differs from what is held by puts and deletes alone.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use freshjoin_core::ports::RawRow;
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};

use super::attribute::{Attributes, canonical};
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
    /// A line is no JSON object.
    #[error("{path}, line {line}: not a JSON object: {source}")]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A CSV file that is none.
    #[error("{path} is no CSV with a header row: {source}")]
    Csv {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: csv::Error,
    },
    /// Neither by its name.
    #[error("{0} is neither .jsonl, .ndjson, .json nor .csv; convert it, or name it so")]
    Kind(PathBuf),
}

/// The rows of a file, each with its own [`ROW_KEY`].
///
/// # Errors
/// [`FileError`], which names the file and the line.
pub fn read_rows(path: &Path) -> Result<Vec<RawRow>, FileError> {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    let open = || File::open(path).map_err(|source| FileError::Read { path: path.into(), source });
    let rows = match extension.as_deref() {
        Some("jsonl" | "ndjson" | "json") => json_lines(path, BufReader::new(open()?))?,
        Some("csv") => csv_rows(path, open()?)?,
        _ => return Err(FileError::Kind(path.into())),
    };
    let mut seen: HashMap<[u8; 32], u64> = HashMap::new();
    let keyed = rows.into_iter().enumerate().map(|(index, mut row)| {
        let fail = |source| FileError::Line { path: path.into(), line: index as u64 + 1, source };
        let digest: [u8; 32] = Sha256::digest(serde_json::to_vec(&row).map_err(fail)?).into();
        let occurrence = seen.entry(digest).or_default();
        *occurrence += 1;
        let name = format!("{}-{occurrence}", hex::encode(digest.get(..16).unwrap_or_default()));
        row.insert(ROW_KEY.into(), to_raw_value(&name).map_err(fail)?);
        to_raw_value(&row).map_err(fail)
    });
    keyed.collect()
}

fn json_lines(path: &Path, lines: impl BufRead) -> Result<Vec<Attributes>, FileError> {
    let mut rows = Vec::new();
    for (index, line) in lines.lines().enumerate() {
        let line = line.map_err(|source| FileError::Read { path: path.into(), source })?;
        let text = line.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            continue;
        }
        let row = serde_json::from_str::<&RawValue>(text).and_then(canonical);
        rows.push(row.map_err(|source| FileError::Line { path: path.into(), line: index as u64 + 1, source })?);
    }
    Ok(rows)
}

fn csv_rows(path: &Path, file: impl Read) -> Result<Vec<Attributes>, FileError> {
    let fail = |source| FileError::Csv { path: path.into(), source };
    let mut reader = csv::Reader::from_reader(file);
    let header = reader.headers().map_err(fail)?.clone();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(fail)?;
        let present = header.iter().zip(&record).filter(|(_, value)| !value.is_empty());
        let row = present.map(|(name, value)| {
            let name = name.trim_start_matches('\u{feff}').to_owned();
            to_raw_value(value)
                .map(|value| (name, value))
                .map_err(|error| fail(csv::Error::from(std::io::Error::from(error))))
        });
        rows.push(row.collect::<Result<_, _>>()?);
    }
    Ok(rows)
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

    fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
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
        let (_guard, path) = file("p.jsonl", "{\"a\":1}\n[2]\n");
        assert!(read_rows(&path).unwrap_err().to_string().contains("line 2"));
        let (_guard, path) = file("p.txt", "");
        assert!(matches!(read_rows(&path), Err(FileError::Kind(_))));
    }

    #[test]
    fn csv_values_are_text_and_empty_ones_absent() {
        let (_guard, path) = file("p.csv", "item,price,note\nburger,100,\"a,\"\"b\"\npizza,,\n");
        let rows: Vec<serde_json::Value> =
            read_rows(&path).unwrap().iter().map(|row| serde_json::from_str(row.get()).unwrap()).collect();
        assert_eq!(rows[0]["price"], "100");
        assert_eq!(rows[0]["note"], "a,\"b");
        assert!(rows[1].get("price").is_none());
        let (_guard, path) = file("p.csv", "a,b\n1\n");
        assert!(matches!(read_rows(&path), Err(FileError::Csv { .. })));
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
