//! The changes of a run of change files, sorted for merging: a table's by primary key, an object's in the log's order.

use std::collections::BTreeMap;

use crate::change::{Change, ChangeFile, ObjectChange, RowChange, Version};
use crate::reference::primary_key;

use super::fold::FoldError;

/// What happened to one key, oldest first.
pub(super) type KeyChanges = Vec<(Version, RowChange)>;
/// What happened to one table, by primary key.
pub(super) type TableChanges = BTreeMap<Box<[u8]>, KeyChanges>;

/// What a run of change files holds.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) tables: BTreeMap<String, TableChanges>,
    /// The files that have changes of objects.
    pub(super) objects: Vec<(Version, Vec<ObjectChange>)>,
}

impl Changes {
    /// Takes the next file.
    pub(super) fn push(&mut self, file: ChangeFile) -> Result<(), FoldError> {
        let ChangeFile { version, changes, .. } = file;
        let mut objects = Vec::new();
        for change in changes {
            match change {
                Change::Row(row) => {
                    let bad = |source| FoldError::Change { version, reference: row.table.clone(), source };
                    let primary = primary_key(row.key.get()).map_err(bad)?;
                    if !self.tables.contains_key(&row.table) {
                        self.tables.insert(row.table.clone(), TableChanges::new());
                    }
                    if let Some(table) = self.tables.get_mut(&row.table) {
                        table.entry(primary).or_default().push((version, row));
                    }
                }
                Change::Object(object) => objects.push(object),
            }
        }
        if !objects.is_empty() {
            self.objects.push((version, objects));
        }
        Ok(())
    }
}
