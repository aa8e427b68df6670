//! The rows that a stream does not carry (view types `KEYS_ONLY` and `OLD_IMAGE`), read from the table.
//!
//! A record without a new image says only that its key was written. The key's row is read strongly consistently, and
//! becomes a change with the record's own label and sequence number: a put of the row that is there, or a delete where
//! there is none. Why that is sound:
//!
//! - The read is later than the record, so what it finds is at least as new as what the record told of.
//! - Whatever is written after the read has a record of its own with a greater number, which is read again. So the change
//!   with a key's greatest number always holds what the key came to.
//! - A record that comes again may find another row than before, under the same number. Of two changes with one number the
//!   first in the log stays: whoever joined with it once gets the same again. The newer row comes with its own record.
//! - A record of an earlier incarnation of the table (made anew, or its stream enabled anew) finds a row of the present one,
//!   under the earlier label. That is the row which is there; any later write has the later label and wins.
//!
//! A delete needs no read. Where a key is deleted and written anew, a read for a record before the delete may find the new
//! row already: the reference then has it, loses it for a moment with the delete, and gets it back with its own record.
//!
//! On failure there is no change at all: a table that does not answer is never one without rows.

use freshjoin_core::change::Change;
use freshjoin_core::ports::{RawRow, TableError, Tables};

use crate::batch::Batch;

/// Takes off the batch as many changes as the table gives rows for at once: all, unless they would be too much memory.
pub(crate) async fn take(tables: &dyn Tables, batch: &mut Batch) -> Result<Vec<Change>, TableError> {
    let unread = batch.left.as_slice().iter().filter(|captured| captured.unread);
    let keys: Vec<RawRow> = unread.map(|captured| captured.change.key.clone()).collect();
    let rows = if keys.is_empty() { Vec::new() } else { tables.rows(&batch.table, &keys).await? };
    if rows.is_empty() != keys.is_empty() {
        let source = "no key was answered for".into();
        return Err(TableError { operation: "BatchGetItem", table: batch.table.clone(), source });
    }
    let mut rows = rows.into_iter();
    let mut changes = Vec::new();
    while let Some(unread) = batch.left.as_slice().first().map(|next| next.unread) {
        let row = if unread { rows.next() } else { None };
        if unread && row.is_none() {
            break;
        }
        let Some(captured) = batch.left.next() else { break };
        let mut change = captured.change;
        if let Some(row) = row {
            change.row = row;
        }
        changes.push(Change::Row(change));
    }
    Ok(changes)
}
