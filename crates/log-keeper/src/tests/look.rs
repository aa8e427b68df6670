//! What the reference is by the log, for comparing with the table.

use std::collections::BTreeMap;
use std::sync::Arc;

use freshjoin_core::change::{Change, ChangeFile, Origin, RowChange, Version, change_key};
use freshjoin_core::log::ChangeLog;
use freshjoin_core::ports::{Clock, Tables};
use freshjoin_core::snapshot::{FoldSources, SnapshotFile, fold};
use serde_json::value::RawValue;

use super::World;

pub(super) fn raw(text: &str) -> Box<RawValue> {
    serde_json::from_str(text).unwrap()
}

pub(super) fn row(item: &str, priority: &str) -> String {
    format!(r#"{{"item":"{item}","priority":"{priority}"}}"#)
}

impl World {
    pub(super) fn log(&self) -> ChangeLog {
        ChangeLog::new(Arc::new(self.state.clone()), Arc::new(self.clock.clone()))
    }

    pub(super) async fn head(&self) -> Version {
        self.log().head(0).await.unwrap()
    }

    /// Puts a row into the table only.
    pub(super) fn put(&self, item: &str, priority: &str) {
        self.tables.put("T", &row(item, priority)).unwrap();
    }

    pub(super) fn delete(&self, item: &str) {
        assert!(self.tables.delete("T", &format!(r#"{{"item":"{item}"}}"#)).unwrap());
    }

    /// Appends what change-capture would have made of a put (or, without a priority, a delete).
    pub(super) async fn captured(&self, label: &str, number: &str, item: &str, priority: Option<&str>) -> Version {
        let origin = Origin { source: "capture".into(), label: label.into(), range: format!("{number}-{item}") };
        let change = RowChange {
            table: "T".into(),
            key: raw(&format!(r#"{{"item":"{item}"}}"#)),
            row: priority.map(|priority| raw(&row(item, priority))),
            label: label.into(),
            sequence: number.into(),
            at: self.clock.now(),
            unless_after: None,
        };
        self.log().append(origin, vec![Change::Row(change)]).await.unwrap().version
    }

    pub(super) fn file(&self, version: Version) -> ChangeFile {
        ChangeFile::decode(version, &self.state.objects()[&change_key(version)]).unwrap()
    }

    pub(super) async fn fold(&self) -> SnapshotFile {
        self.fold_to(self.head().await).await
    }

    pub(super) async fn fold_to(&self, version: Version) -> SnapshotFile {
        let log = self.log();
        let sources = FoldSources { state: &self.state, log: &log, limit: 1 << 20 };
        fold(sources, version).await.unwrap()
    }

    /// The table as the log has it, key to row.
    pub(super) async fn by_the_log(&self) -> BTreeMap<String, String> {
        rows(&self.fold().await)
    }

    /// The table as it is.
    pub(super) async fn by_the_table(&self) -> BTreeMap<String, String> {
        let key = &self.tables.key_attributes("T").await.unwrap()[0];
        let rows = self.tables.rows("T").unwrap();
        let key = |row: &RawValue| {
            let row: serde_json::Value = serde_json::from_str(row.get()).unwrap();
            serde_json::json!({ key: row[key] }).to_string()
        };
        rows.iter().map(|row| (key(row), row.get().to_owned())).collect()
    }

    pub(super) async fn assert_settled(&self, case: &str) {
        assert_eq!(self.by_the_log().await, self.by_the_table().await, "{case}");
    }
}

/// The rows of T in a snapshot file.
pub(super) fn rows(file: &SnapshotFile) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    let mut entries = file.table("T").unwrap().entries().unwrap();
    while let Some(entry) = entries.next_entry().unwrap() {
        if let Some(row) = &entry.row {
            rows.insert(entry.key.to_owned(), row.json());
        }
    }
    rows
}

/// Runs what needs nothing but to be polled, in the middle of another's call.
pub(super) fn at_once<T>(work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(tokio::task::unconstrained(work));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(done) = work.as_mut().poll(&mut context) {
            return done;
        }
    }
}
