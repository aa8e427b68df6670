//! A table and what the log says of it, compared: what has to be appended so that they say the same.
//!
//! Rows are compared by their fields' JSON texts, in whatever order the fields come. Of the rows that are equal only a digest
//! is in memory, and of the others the table's own text. What is found carries the head of the log from before the table was
//! read, so that it takes effect only where nothing has happened to its key since; and it has no number of its own, but the
//! last that the log knows of the key.

use std::collections::{BTreeMap, HashMap};

use freshjoin_core::change::{RowChange, Version};
use freshjoin_core::deadline::give_way;
use freshjoin_core::ports::RawRow;
use freshjoin_core::reference::{NEVER, RowError, key_of};
use freshjoin_core::snapshot::{Entry, RowFields, SnapshotError, TableSection};
use freshjoin_core::time::Timestamp;
use sha2::{Digest, Sha256};

/// So many entries are looked at at a stretch.
const EVERY: usize = 1_024;

type RowDigest = [u8; 32];

/// A comparison under way: the log's side is known, the table's comes in row by row.
#[derive(Debug)]
pub(super) struct Comparison<'f> {
    section: TableSection<'f>,
    /// The keys that the table has not shown yet, by primary key; `None` for a tombstone.
    unseen: HashMap<Box<[u8]>, Option<RowDigest>>,
    /// The table's rows that the log has otherwise or not at all, by primary key.
    found: BTreeMap<Box<[u8]>, (RawRow, RawRow)>,
    rows: u64,
}

/// What has to be appended.
#[derive(Debug)]
pub(super) struct Difference {
    /// In the order of the primary keys; those that the log has no entry of come last.
    pub(super) changes: Vec<RowChange>,
    /// How many of them are deletes.
    pub(super) deletes: u64,
    /// How many rows the log's side has.
    pub(super) rows: u64,
}

/// When and from where a comparison looked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// The head of the log before the table was read.
    pub(super) head: Version,
    /// When reading it began.
    pub(super) at: Timestamp,
}

impl<'f> Comparison<'f> {
    /// With the log's side.
    pub(super) async fn of(section: TableSection<'f>) -> Result<Self, SnapshotError> {
        let mut unseen = HashMap::new();
        let (mut entries, mut rows) = (section.entries()?, 0);
        while let Some(entry) = entries.next_entry()? {
            let row = entry.row.as_ref().map(digest);
            rows += u64::from(row.is_some());
            unseen.insert(Box::from(entry.primary), row);
            if unseen.len().is_multiple_of(EVERY) {
                give_way().await;
            }
        }
        Ok(Self { section, unseen, found: BTreeMap::new(), rows })
    }

    /// Takes a row of the table, whose primary key has these attributes.
    pub(super) fn take(&mut self, row: RawRow, attributes: &[String]) -> Result<(), RowError> {
        let (key, primary) = key_of(&row, attributes)?;
        let there = digest(&RowFields::parse(row.get())?);
        if self.unseen.remove(&primary) != Some(Some(there)) {
            self.found.insert(primary, (key, row));
        }
        Ok(())
    }

    /// What differs, now that the whole table was taken.
    pub(super) async fn finish(mut self, table: &str, seen: Seen) -> Result<Difference, SnapshotError> {
        let change = |key: RawRow, row: Option<RawRow>, newest: Option<(&str, &str)>| {
            let (label, number) = newest.unwrap_or(NEVER);
            RowChange {
                table: table.into(),
                key,
                row,
                label: label.into(),
                sequence: number.into(),
                at: seen.at,
                unless_after: Some(seen.head),
            }
        };
        let (mut changes, mut deletes) = (Vec::new(), 0);
        let gone = self.unseen.values().any(Option::is_some);
        let mut entries = (gone || !self.found.is_empty()).then(|| self.section.entries()).transpose()?;
        let mut count = 0_usize;
        while let Some(entry) = entries.as_mut().map(|entries| entries.next_entry()).transpose()?.flatten() {
            let Entry { primary, key, known, .. } = entry;
            if let Some((key, row)) = self.found.remove(primary) {
                changes.push(change(key, Some(row), known.newest));
            } else if self.unseen.get(primary).is_some_and(Option::is_some) {
                let key = serde_json::from_str(key).map_err(|_| SnapshotError::Malformed { part: "key" })?;
                changes.push(change(key, None, known.newest));
                deletes += 1;
            }
            count += 1;
            if count.is_multiple_of(EVERY) {
                give_way().await;
            }
        }
        changes.extend(self.found.into_values().map(|(key, row)| change(key, Some(row), None)));
        Ok(Difference { changes, deletes, rows: self.rows })
    }
}

fn digest(row: &RowFields<'_>) -> RowDigest {
    Sha256::digest(row.json()).into()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use freshjoin_core::reference::{KnownChange, primary_key};
    use freshjoin_core::snapshot::{BaseInfo, SnapshotFile, SnapshotName, SnapshotWriter};

    use super::*;

    const AT: Timestamp = Timestamp::from_millis(5_000);

    fn raw(text: &str) -> RawRow {
        serde_json::from_str(text).unwrap()
    }

    /// A snapshot file of table `T` with keys, each with its newest change and its row.
    type Known<'t> = (&'t str, Option<(&'t str, &'t str)>, Option<&'t str>);

    fn file(entries: &[Known<'_>]) -> SnapshotFile {
        let name = SnapshotName::of(9);
        let mut writer = SnapshotWriter::new(name).unwrap();
        writer.table("T", Some(BaseInfo { version: 1, scan_started: AT })).unwrap();
        let mut sorted: Vec<_> = entries.iter().map(|entry| (primary_key(entry.0).unwrap(), entry)).collect();
        sorted.sort_unstable();
        for (primary, (key, newest, row)) in &sorted {
            let row = row.map(|row| RowFields::parse(row).unwrap());
            let known = KnownChange { newest: *newest, changed: 3 };
            writer.push(&Entry { primary, key, known, row }).unwrap();
        }
        SnapshotFile::decode(name, Bytes::from(writer.finish().unwrap())).unwrap()
    }

    async fn compare(file: &SnapshotFile, table: &[&str]) -> Difference {
        let mut comparison = Comparison::of(file.table("T").unwrap()).await.unwrap();
        table.iter().for_each(|row| comparison.take(raw(row), &["id".into()]).unwrap());
        comparison.finish("T", Seen { head: 12, at: AT }).await.unwrap()
    }

    fn texts(difference: &Difference) -> Vec<(String, Option<String>, String, String)> {
        let text = |change: &RowChange| {
            assert_eq!((change.unless_after, change.at, change.table.as_str()), (Some(12), AT, "T"));
            let row = change.row.as_ref().map(|row| row.get().to_owned());
            (change.key.get().to_owned(), row, change.label.clone(), change.sequence.to_string())
        };
        difference.changes.iter().map(text).collect()
    }

    #[tokio::test]
    async fn what_is_equal_whatever_the_order_of_its_fields_makes_no_change() {
        let file = file(&[
            (r#"{"id":1}"#, None, Some(r#"{"id":1,"b":1.50,"a":"x"}"#)),
            (r#"{"id":2}"#, Some(("l", "5")), None),
            (r#"{"id":3}"#, Some(("l", "6")), Some(r#"{"id":3}"#)),
        ]);
        let same = compare(&file, &[r#"{"id":3}"#, r#"{"a":"x","b":1.50,"id":1}"#]).await;
        assert_eq!((texts(&same), same.deletes, same.rows), (vec![], 0, 2));
        let written_otherwise = compare(&file, &[r#"{"id":3}"#, r#"{"a":"x","b":1.5,"id":1}"#]).await;
        assert_eq!(written_otherwise.changes.len(), 1, "its digits are what is joined");
    }

    #[tokio::test]
    async fn each_difference_becomes_a_change_with_the_key_s_last_number_or_none() {
        let file = file(&[
            (r#"{"id":1}"#, None, Some(r#"{"id":1,"n":1}"#)),
            (r#"{"id":2}"#, Some(("l", "5")), None),
            (r#"{"id":3}"#, Some(("l", "6")), Some(r#"{"id":3}"#)),
            (r#"{"id":4}"#, Some(("l", "7")), Some(r#"{"id":4,"n":1}"#)),
            (r#"{"id":5}"#, None, Some(r#"{"id":5}"#)),
        ]);
        let table = [r#"{"id":9}"#, r#"{"id":1,"n":2}"#, r#"{"id":2,"n":3}"#, r#"{"id":4,"n":4}"#];
        let found = compare(&file, &table).await;
        let row = |text: &str| Some(text.to_owned());
        let expected = [
            (r#"{"id":1}"#, row(table[1]), "", "0"),
            (r#"{"id":2}"#, row(table[2]), "l", "5"),
            (r#"{"id":3}"#, None, "l", "6"),
            (r#"{"id":4}"#, row(table[3]), "l", "7"),
            (r#"{"id":5}"#, None, "", "0"),
            (r#"{"id":9}"#, row(table[0]), "", "0"),
        ];
        let expected = expected.map(|(key, row, label, number)| (key.to_owned(), row, label.into(), number.to_owned()));
        assert_eq!((texts(&found), found.deletes, found.rows), (expected.into(), 2, 4));
    }
}
