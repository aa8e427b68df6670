//! A library's versions, and what it refuses.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::*;
use crate::change::Origin;
use crate::encode::Form;
use crate::location::Location;
use crate::log::ChangeLog;
use crate::memory::{MemoryClock, MemoryStore, MemoryStores, MemoryTables};
use crate::reference::{base_key, put_copy};
use crate::time::Timestamp;

struct World {
    clock: MemoryClock,
    stores: MemoryStores,
    state: MemoryStore,
    tables: MemoryTables,
    log: ChangeLog,
}

fn raw(text: String) -> Box<RawValue> {
    RawValue::from_string(text).unwrap()
}

fn put(table: &str, version: Version, row: &str) -> Change {
    Change::Row(RowChange {
        table: table.into(),
        key: raw(r#"{"item":"a"}"#.into()),
        row: Some(raw(row.into())),
        label: "l".into(),
        sequence: version.to_string().as_str().into(),
        at: Timestamp::default(),
        unless_after: None,
    })
}

/// Sets the priority of `a` to `v<version>`.
fn bump(table: &str, version: Version) -> Change {
    put(table, version, &format!(r#"{{"item":"a","priority":"v{version}"}}"#))
}

fn file(version: Version, changes: Vec<Change>) -> (ChangeFile, Bytes) {
    let origin = Origin { source: "test".into(), label: "l".into(), range: String::new() };
    let file = ChangeFile { version, id: version.to_string(), origin, changes };
    let bytes = file.encode().unwrap().into();
    (file, bytes)
}

fn projection() -> Projection {
    let mut projection = Projection::new(&["item"], false);
    projection.cell("priority", Form::Csv);
    projection
}

impl World {
    fn new() -> Self {
        let clock = MemoryClock::default();
        let stores = MemoryStores::new(&clock);
        let state = stores.store(&Location::new("s3://state")).unwrap();
        let log = ChangeLog::new(Arc::new(state.clone()), Arc::new(clock.clone()));
        Self { tables: MemoryTables::new(&clock), clock, stores, state, log }
    }

    fn put_base(&self, table: &str, version: Version) {
        let header = format!(
            r#"{{"freshjoin":"base/1","reference":"{table}","version":{version},"scan_started":"1970-01-01T00:00:00Z","rows":1}}"#
        );
        let line = r#"{"key":{"item":"a"},"row":{"item":"a","priority":"base"}}"#;
        self.state.insert(&base_key(table), format!("{header}\n{line}\n"));
    }

    fn sources(&self) -> Sources<'_> {
        Sources {
            state: &self.state,
            log: &self.log,
            tables: &self.tables,
            stores: &self.stores,
            limit: 1 << 20,
            clock: &self.clock,
        }
    }

    async fn load(&self, tables: &[&str]) -> Result<Library, LoadError> {
        let projection = projection();
        let tables: Vec<_> = tables.iter().map(|table| Source::Table((*table).into())).collect();
        let references: Vec<_> = tables.iter().map(|table| (table, &projection)).collect();
        Library::load(self.sources(), &references, Version::MAX).await
    }
}

fn seen(library: &Library, reference: usize, version: Version) -> String {
    let mut key = Vec::new();
    Form::Key.append("\"a\"", &mut key).unwrap();
    let rows = library.references()[reference].rows(&key, version);
    rows.map(|row| String::from_utf8(row.cell(0).unwrap().to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn it_starts_at_the_newest_of_its_bases() {
    let world = World::new();
    world.put_base("T", 1);
    world.put_base("U", 3);
    for version in 1..=4 {
        let (_, bytes) = file(version, vec![bump("T", version), bump("U", version), bump("W", version)]);
        world.state.insert(&crate::change::change_key(version), bytes);
    }
    let library = world.load(&["T", "U"]).await.unwrap();
    assert_eq!((library.bases(), library.oldest(), library.head()), (3, 3, 3));
    assert_eq!((seen(&library, 0, 3), seen(&library, 1, 3)), ("v3".into(), "base".into()), "a base is its version");
    world.state.remove(&crate::change::change_key(2));
    assert!(matches!(world.load(&["T", "U"]).await, Err(LoadError::Log(ReadError::Gap { version: 2, .. }))));
}

#[tokio::test]
async fn changes_are_applied_once_and_without_a_hole() {
    let world = World::new();
    world.put_base("T", 0);
    let mut library = world.load(&["T"]).await.unwrap();
    let files: Vec<_> = (1..=3).map(|version| file(version, vec![bump("T", version), bump("X", version)])).collect();
    assert_eq!(library.apply(&files[..2], Contents::default()).unwrap(), Refreshed { files: 2, changes: 2 });
    assert_eq!(
        library.apply(&files[..2], Contents::default()).unwrap(),
        Refreshed::default(),
        "another one had fetched the same"
    );
    assert!(matches!(
        library.apply(&[file(4, vec![])], Contents::default()),
        Err(LoadError::Log(ReadError::Gap { version: 3, .. }))
    ));
    assert_eq!(library.head(), 2);
    library.apply(&files, Contents::default()).unwrap();
    let all: Vec<_> = (0..=3).map(|version| seen(&library, 0, version)).collect();
    assert_eq!(all, ["base", "v1", "v2", "v3"]);
    assert_eq!(library.digest(2), Some(digest(&files[1].1).as_str()));
    assert_eq!(library.digest(4), None);
}

#[tokio::test]
async fn an_entry_that_cannot_be_applied_stops_before_its_file() {
    let world = World::new();
    world.put_base("T", 0);
    let mut library = world.load(&["T"]).await.unwrap();
    let object = |id: &str| {
        Change::Object(ObjectChange {
            object: id.into(),
            op: ObjectOp::Remove,
            sha256: String::new(),
            etag: None,
            version_id: None,
            sequencer: "1".into(),
            at: Timestamp::default(),
        })
    };
    let first = file(1, vec![bump("T", 1), object("s3://b/unrelated")]);
    assert_eq!(library.apply(&[first], Contents::default()).unwrap(), Refreshed { files: 1, changes: 1 });
    let second = file(2, vec![object("T"), put("T", 2, "[]")]);
    assert!(matches!(library.apply(&[second], Contents::default()), Err(LoadError::Change { version: 2, .. })));
    assert_eq!((library.head(), seen(&library, 0, 1)), (1, "v1".into()));
}

#[tokio::test]
async fn a_long_history_is_forgotten_but_for_the_newest_versions() {
    let world = World::new();
    world.put_base("T", 0);
    let mut library = world.load(&["T"]).await.unwrap();
    let few = Version::try_from(HISTORY).unwrap();
    let files: Vec<_> = (1..=few).map(|version| file(version, vec![bump("T", version)])).collect();
    library.apply(&files, Contents::default()).unwrap();
    assert_eq!((library.oldest(), seen(&library, 0, 0)), (0, "base".into()), "as long as there is room");
    library.apply(&[file(few + 1, vec![bump("T", few + 1)])], Contents::default()).unwrap();
    assert_eq!((library.oldest(), library.head()), (few + 1 - RING, few + 1));
    assert_eq!(library.references()[0].history() as u64, RING, "and its rows are gone");
    for version in library.oldest()..=library.head() {
        assert_eq!(seen(&library, 0, version), format!("v{version}"));
    }
    assert_eq!(library.bases(), 0, "what defines the oldest version of all stays known");
    assert!(library.digest(few + 1 - RING).is_some() && library.digest(few - RING).is_none());
}

#[tokio::test]
async fn objects_replaced_again_and_again_keep_no_more_old_rows_than_new_ones() {
    const ROWS: usize = 40;
    let url = "s3://ref/p.jsonl";
    let content = |version: Version| -> String {
        (0..ROWS).map(|n| format!("{{\"item\":\"a\",\"priority\":\"v{version} \",\"n\":{n}}}\n")).collect()
    };
    let world = World::new();
    world.stores.store(&Location::new("s3://ref")).unwrap().insert("p.jsonl", content(0));
    let (source, projection) = (Source::Object(url.into()), projection());
    let mut library = Library::load(world.sources(), &[(&source, &projection)], Version::MAX).await.unwrap();
    for version in 1..=6 {
        let sha256 = put_copy(&world.state, content(version).into()).await.unwrap();
        let change = ObjectChange {
            object: url.into(),
            op: ObjectOp::Replace,
            sha256,
            etag: None,
            version_id: None,
            sequencer: format!("0{version}"),
            at: Timestamp::default(),
        };
        let files = [file(version, vec![Change::Object(change)])];
        let (count, wanted) = library.next(&files);
        assert_eq!((count, wanted.len()), (1, 1));
        let contents = Contents::read(world.sources(), wanted).await.unwrap();
        assert_eq!(library.apply(&files, contents).unwrap(), Refreshed { files: 1, changes: 1 });
        assert!(library.references()[0].history() <= ROWS);
        for seen_at in library.oldest()..=version {
            assert_eq!(seen(&library, 0, seen_at), format!("v{seen_at} ").repeat(ROWS));
        }
    }
    assert_eq!((library.oldest(), library.references()[0].len()), (5, ROWS));
    let (count, wanted) = library.next(&[file(7, vec![bump("T", 7)]), file(8, Vec::new())]);
    assert_eq!((count, wanted.len()), (2, 0), "files without contents are applied together");
}
