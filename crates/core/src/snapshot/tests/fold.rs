//! A fold is what readers see, whatever it is made from.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::super::*;
use super::{Owned, read};
use crate::change::{Change, ChangeFile, ObjectChange, ObjectOp, Origin, RowChange, Version, change_key, digest};
use crate::encode::Form;
use crate::location::Location;
use crate::log::{ChangeLog, FLOOR_KEY, ReadError};
use crate::memory::{MemoryClock, MemoryStore, MemoryStores, MemoryTables};
use crate::pipeline::Source;
use crate::ports::ObjectStore;
use crate::reference::{Contents, Library, Projection, Sources, VersionedReference, base_key, copy_key, put_copy};
use crate::time::Timestamp;

const LIMIT: u64 = 1 << 20;
const PREFIX: &str = "s3://ref/p/";

/// A state with its log.
struct State {
    store: MemoryStore,
    log: ChangeLog,
}

struct World {
    clock: MemoryClock,
    stores: MemoryStores,
    tables: MemoryTables,
    /// Never has a snapshot file.
    plain: State,
    /// Has some.
    kept: State,
}

impl State {
    fn new(stores: &MemoryStores, clock: &MemoryClock, bucket: &str) -> Self {
        let store = stores.store(&Location::new(format!("s3://{bucket}"))).unwrap();
        let log = ChangeLog::new(Arc::new(store.clone()), Arc::new(clock.clone()));
        Self { store, log }
    }

    async fn fold(&self, through: Version) -> Result<SnapshotFile, FoldError> {
        fold(FoldSources { state: &self.store, log: &self.log, limit: LIMIT }, through).await
    }

    fn keep(&self, file: &SnapshotFile) {
        self.store.insert(&file.name().key(), file.bytes().clone());
    }

    fn append(&self, version: Version, changes: Vec<Change>) -> (ChangeFile, Bytes) {
        let origin = Origin { source: "test".into(), label: "l".into(), range: String::new() };
        let file = ChangeFile { version, id: version.to_string(), origin, changes };
        let bytes = Bytes::from(file.encode().unwrap());
        self.store.insert(&change_key(version), bytes.clone());
        (file, bytes)
    }

    fn set_floor(&self, version: Version, rising: Version) {
        self.store.insert(FLOOR_KEY, format!(r#"{{"freshjoin":"floor/1","version":{version},"rising":{rising}}}"#));
    }

    fn put_base(&self, table: &str, version: Version, lines: &[&str]) {
        let header = format!(
            r#"{{"freshjoin":"base/1","reference":"{table}","version":{version},"scan_started":"1970-01-01T00:00:00Z","rows":{}}}"#,
            lines.len()
        );
        self.store.insert(&base_key(table), format!("{header}\n{}\n", lines.join("\n")));
    }
}

impl World {
    fn new() -> Self {
        let clock = MemoryClock::at(Timestamp::from_millis(1_000_000_000));
        let stores = MemoryStores::new(&clock);
        let tables = MemoryTables::new(&clock);
        let (plain, kept) = (State::new(&stores, &clock, "plain"), State::new(&stores, &clock, "kept"));
        Self { clock, stores, tables, plain, kept }
    }

    fn sources(&self) -> Sources<'_> {
        Sources {
            state: &self.plain.store,
            log: &self.plain.log,
            tables: &self.tables,
            stores: &self.stores,
            limit: LIMIT,
            clock: &self.clock,
        }
    }
}

/// Numbers that look random, the same from the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn row(&mut self, table: &str, version: Version) -> Change {
        let id = self.roll(9);
        let raw = |text: String| RawValue::from_string(text).unwrap();
        let mut row = format!(r#"{{"id":{id},"item":"x{}","v":"v{version}""#, self.roll(4));
        if self.roll(3) == 0 {
            row.push_str(&format!(r#","f{}":{}.50"#, self.roll(20), self.roll(100)));
        }
        row.push('}');
        Change::Row(RowChange {
            table: table.into(),
            key: raw(format!(r#"{{"id":{id}}}"#)),
            row: (self.roll(3) > 0).then(|| raw(row)),
            label: ["a", "b"][usize::try_from(self.roll(2)).unwrap()].into(),
            sequence: self.roll(40).to_string().as_str().into(),
            at: Timestamp::from_millis(1_000_000_000 - i64::try_from(self.roll(600_000)).unwrap()),
            unless_after: (self.roll(4) == 0).then(|| version.saturating_sub(self.roll(6))),
        })
    }

    fn content(&mut self) -> String {
        let rows = self.roll(3);
        (0..rows).map(|_| format!("{{\"item\":\"x{}\",\"v\":\"o{}\"}}\n", self.roll(4), self.roll(1_000))).collect()
    }

    async fn object(&mut self, world: &World) -> Change {
        let object = ["s3://ref/p/a.jsonl", "s3://ref/p/b.jsonl", "s3://ref/p/c.jsonl", "s3://ref/q.jsonl"];
        let op = if self.roll(2) == 0 { ObjectOp::Remove } else { ObjectOp::Replace };
        let mut sha256 = String::new();
        if op == ObjectOp::Replace {
            let content = Bytes::from(self.content());
            put_copy(&world.plain.store, content.clone()).await.unwrap();
            sha256 = put_copy(&world.kept.store, content).await.unwrap();
        }
        Change::Object(ObjectChange {
            object: object[usize::try_from(self.roll(4)).unwrap()].into(),
            op,
            sha256,
            etag: (op == ObjectOp::Replace).then(|| self.roll(99).to_string()),
            version_id: None,
            sequencer: format!("{:x}", self.roll(16)),
            at: Timestamp::default(),
        })
    }
}

fn same_key(a: &Change, b: &Change) -> bool {
    match (a, b) {
        (Change::Row(a), Change::Row(b)) => a.table == b.table && a.key.get() == b.key.get(),
        (Change::Object(a), Change::Object(b)) => a.object == b.object,
        _ => false,
    }
}

fn projection() -> Projection {
    let mut projection = Projection::new(&["item"], false);
    projection.cell("v", Form::Csv);
    projection
}

type Seen = Vec<Vec<String>>;

fn seen(rows: &VersionedReference, version: Version) -> Seen {
    let seen = |item| {
        let mut key = Vec::new();
        Form::Key.append(&format!("\"x{item}\""), &mut key).unwrap();
        rows.rows(&key, version).map(|row| String::from_utf8(row.cell(0).unwrap().to_vec()).unwrap()).collect()
    };
    (0..4).map(seen).collect()
}

/// The rows of all contents that count, in no order.
async fn rows_of(state: &State, lines: &[crate::reference::ObjectLine]) -> Seen {
    let mut seen: Seen = vec![Vec::new(); 4];
    for sha256 in lines.iter().filter_map(|line| line.sha256.as_ref()) {
        let content = state.store.get(&copy_key(sha256)).await.unwrap().unwrap().bytes;
        for line in String::from_utf8(content.to_vec()).unwrap().lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let item: usize = row["item"].as_str().unwrap()[1..].parse().unwrap();
            seen[item].push(row["v"].as_str().unwrap().into());
        }
    }
    seen
}

fn sorted(mut seen: Seen) -> Seen {
    seen.iter_mut().for_each(|rows| rows.sort());
    seen
}

/// A log of random changes, folded at every version by who has snapshot files and by who has none.
async fn random_log(seed: u64) {
    let (mut dice, world) = (Dice(seed), World::new());
    let reference = world.stores.store(&Location::new("s3://ref")).unwrap();
    world.tables.create("T", &["id"]);
    let (table, prefix, projection) = (Source::Table("T".into()), Source::Object(PREFIX.into()), projection());
    let based = dice.roll(8);
    // A base may land long after the head was noted that it is the reference at.
    let landed = based + dice.roll(6);
    let mut library: Option<Library> = None;
    let mut followed: Vec<VersionedReference> = Vec::new();
    for version in 0..24 {
        let mut changes = Vec::new();
        for _ in 0..dice.roll(5) {
            let table = ["T", "T", "U"][usize::try_from(dice.roll(3)).unwrap()];
            let change = if dice.roll(3) == 0 { dice.object(&world).await } else { dice.row(table, version) };
            // A file has one change for each key.
            if !changes.iter().any(|other| same_key(other, &change)) {
                changes.push(change);
            }
        }
        if version > 0 {
            let file = world.plain.append(version, changes.clone());
            world.kept.append(version, changes.clone());
            if let Some(library) = &mut library {
                let (_, wanted) = library.next(std::slice::from_ref(&file));
                let contents = Contents::read(world.sources(), wanted).await.unwrap();
                library.apply(&[file], contents).unwrap();
            }
        }
        if version == based {
            for id in (0..9).filter(|_| dice.roll(2) == 0).collect::<Vec<_>>() {
                world.tables.put("T", &format!(r#"{{"id":{id},"item":"x{}","v":"base"}}"#, id % 4)).unwrap();
            }
            reference.insert("p/a.jsonl", dice.content());
            reference.insert("p/d.jsonl", dice.content());
            library = Some(
                Library::load(world.sources(), &[(&table, &projection), (&prefix, &projection)], Version::MAX)
                    .await
                    .unwrap(),
            );
        }
        if version == landed {
            for (key, bytes) in world.plain.store.objects() {
                if key.starts_with("snapshots/_base/") || key.starts_with("objects/") {
                    world.kept.store.insert(&key, bytes);
                }
            }
        }
        let plain = world.plain.fold(version).await.unwrap();
        let kept = world.kept.fold(version).await.unwrap();
        if dice.roll(4) == 0 {
            world.kept.keep(&kept);
        }
        if version < landed {
            assert_eq!(kept.base_of("T"), None);
            continue;
        }
        assert_eq!(digest(plain.bytes()), digest(kept.bytes()), "seed {seed}, version {version}");
        let library = library.as_ref().unwrap();
        for reference in &mut followed {
            for change in &changes {
                if let Change::Row(change) = change
                    && change.table == "T"
                {
                    reference.apply(version, change).unwrap();
                }
            }
        }
        followed.push(kept.load_table("T", &projection).unwrap().unwrap());
        let expected = seen(&library.references()[0], version);
        for reference in &followed {
            assert_eq!(seen(reference, version), expected, "seed {seed}, version {version}");
        }
        assert_eq!(
            sorted(rows_of(&world.kept, kept.objects(PREFIX).unwrap()).await),
            sorted(seen(&library.references()[1], version)),
            "seed {seed}, version {version}"
        );
    }
    // Also when the first snapshot file is made of a long log, or an old version is asked for.
    let version = landed.min(22) + 1;
    assert_eq!(world.plain.fold(version).await.unwrap().bytes(), world.kept.fold(version).await.unwrap().bytes());
}

#[tokio::test]
async fn a_fold_is_what_readers_see_and_the_same_from_whatever_it_is_made() {
    for seed in 0..60 {
        random_log(seed).await;
    }
}

fn change(table: &str, id: u32, sequence: u32, row: Option<&str>) -> Change {
    let raw = |text: &str| RawValue::from_string(text.into()).unwrap();
    Change::Row(RowChange {
        table: table.into(),
        key: raw(&format!(r#"{{"id":{id}}}"#)),
        row: row.map(raw),
        label: "l".into(),
        sequence: sequence.to_string().as_str().into(),
        at: Timestamp::from_millis(1_000_000_000),
        unless_after: None,
    })
}

fn entries(file: &SnapshotFile, table: &str) -> Vec<Owned> {
    read(file.table(table).unwrap()).unwrap()
}

#[tokio::test]
async fn what_the_log_names_of_a_table_without_a_base_is_kept_apart_until_the_base_comes() {
    let World { plain: state, .. } = World::new();
    state.append(1, vec![change("T", 1, 5, Some(r#"{"id":1,"v":1}"#)), change("T", 2, 6, None)]);
    state.append(2, vec![change("T", 1, 4, None)]);
    let file = state.fold(2).await.unwrap();
    assert_eq!(file.base_of("T"), None);
    assert_eq!(
        entries(&file, "T"),
        [
            Owned::of(r#"{"id":1}"#, Some(r#"{"id":1,"v":1}"#), Some(("l", "5")), 1),
            Owned::of(r#"{"id":2}"#, None, Some(("l", "6")), 1),
        ]
    );
    state.keep(&file);
    // Not sorted, and one key twice, of which the later counts.
    let lines = [
        r#"{"key":{"id":3},"row":{"id":3,"v":"base"}}"#,
        r#"{"key":{"id":1},"row":{"id":1,"v":0}}"#,
        r#"{"key":{"id":1.0},"row":{"id":1,"v":2},"label":"l","seq":"5"}"#,
    ];
    state.put_base("T", 1, &lines);
    let file = state.fold(2).await.unwrap();
    assert_eq!(file.base_of("T").unwrap().version, 1);
    let expected = [
        Owned::of(r#"{"id":1.0}"#, Some(r#"{"id":1,"v":2}"#), Some(("l", "5")), 1),
        Owned::of(r#"{"id":3}"#, Some(r#"{"id":3,"v":"base"}"#), None, 1),
    ];
    assert_eq!(entries(&file, "T"), expected, "what the base does not have is not there");
}

#[tokio::test]
async fn a_base_that_lands_late_brings_back_a_log_of_any_length() {
    let World { plain, kept, .. } = World::new();
    for version in 1..=40 {
        let row = format!(r#"{{"v":{version},"text":"{}"}}"#, "x".repeat(300));
        let id = u32::try_from(version).unwrap();
        for state in [&plain, &kept] {
            state.append(version, vec![change("T", id % 7, id, Some(&row)), change("U", id % 5, id, Some(&row))]);
        }
    }
    kept.keep(&kept.fold(30).await.unwrap());
    for state in [&plain, &kept] {
        state.put_base("T", 2, &[r#"{"key":{"id":9},"row":{"v":"base"}}"#]);
    }
    for through in [30, 40] {
        let file = kept.fold(through).await.unwrap();
        assert_eq!(file.bytes(), plain.fold(through).await.unwrap().bytes());
        assert_eq!((file.base_of("T").unwrap().version, entries(&file, "T").len()), (2, 8));
    }
}

#[tokio::test]
async fn tombstones_are_let_go_of_at_the_floor() {
    let World { plain: state, .. } = World::new();
    state.append(1, vec![change("T", 1, 1, None), change("T", 3, 1, Some("{}"))]);
    state.append(2, vec![change("T", 2, 2, None)]);
    state.append(3, Vec::new());
    let all = state.fold(2).await.unwrap();
    let keys = |file: &SnapshotFile| entries(file, "T").into_iter().map(|entry| entry.key).collect::<Vec<_>>();
    assert_eq!(keys(&all), [1, 2, 3].map(|id| format!(r#"{{"id":{id}}}"#)), "all are kept above the floor");
    state.keep(&state.fold(1).await.unwrap());
    state.set_floor(1, 1);
    assert_eq!(keys(&state.fold(3).await.unwrap()), [2, 3].map(|id| format!(r#"{{"id":{id}}}"#)));
}

#[tokio::test]
async fn change_files_below_the_floor_are_never_read() {
    let World { plain: state, .. } = World::new();
    state.append(1, vec![change("T", 1, 1, Some("{}"))]);
    let first = state.fold(1).await.unwrap();
    state.keep(&first);
    state.append(1, vec![change("T", 9, 1, Some("{}"))]);
    state.append(2, vec![change("T", 2, 2, Some("{}"))]);
    state.set_floor(1, 1);
    assert_eq!(entries(&state.fold(2).await.unwrap(), "T").len(), 2, "another file stands there now");
    assert!(state.store.remove(&first.name().key()));
    assert!(matches!(state.fold(2).await, Err(FoldError::Log(ReadError::Expired { version: 1, .. }))));
}

#[tokio::test]
async fn a_damaged_snapshot_file_is_passed_over_for_an_older_one_or_named() {
    let World { plain: state, .. } = World::new();
    for version in 1..=6 {
        let row = format!(r#"{{"v":{version}}}"#);
        state.append(version, vec![change("T", u32::try_from(version).unwrap(), 1, Some(&row))]);
    }
    let expected = state.fold(6).await.unwrap();
    for version in [2, 4] {
        state.keep(&state.fold(version).await.unwrap());
    }
    let damaged = SnapshotName::of(4).key();
    state.store.insert(&damaged, state.fold(4).await.unwrap().bytes().slice(1..));
    assert_eq!(state.fold(6).await.unwrap().bytes(), expected.bytes());
    state.set_floor(4, 4);
    let error = state.fold(6).await.unwrap_err();
    assert!(matches!(&error, FoldError::Open(OpenError::Unsound { key, .. }) if *key == damaged), "{error}");
}

#[tokio::test]
async fn a_base_counts_unless_the_floor_was_announced_above_it() {
    let World { plain: state, .. } = World::new();
    for version in 1..=3 {
        state.append(version, vec![change("T", 1, 1, Some("{}"))]);
    }
    state.put_base("T", 2, &[]);
    for (rising, through, complete) in [(2, 3, true), (3, 3, false), (2, 1, false)] {
        state.set_floor(0, rising);
        let file = state.fold(through).await.unwrap();
        assert_eq!(file.base_of("T").is_some(), complete, "announced {rising}, folded through {through}");
    }
    state.store.insert(&base_key("T"), "{");
    assert!(matches!(state.fold(3).await, Err(FoldError::Base { .. })));
    state.put_base("T", 2, &[]);
    let other = state.store.get(&base_key("T")).await.unwrap().unwrap().bytes;
    state.store.insert(&base_key("U"), other);
    assert!(matches!(state.fold(3).await, Err(FoldError::Base { .. })));
}

#[tokio::test]
async fn a_rebase_file_gets_past_what_nobody_can_read() {
    let World { plain: state, .. } = World::new();
    state.append(1, vec![change("T", 1, 1, Some("{}"))]);
    state.append(2, Vec::new());
    state.store.insert(&change_key(2), "{");
    state.append(3, vec![change("T", 3, 3, Some("{}"))]);
    state.append(4, vec![change("T", 4, 4, Some("{}"))]);
    assert!(matches!(state.fold(4).await, Err(FoldError::Log(ReadError::Poison { version: 2, .. }))));
    let mut writer = SnapshotWriter::new(SnapshotName::rebase(2, 3)).unwrap();
    writer.table("T", Some(BaseInfo { version: 3, scan_started: Timestamp::default() })).unwrap();
    Owned::of(r#"{"id":7}"#, Some("{}"), None, 3).push_to(&mut writer).unwrap();
    state.store.insert(&SnapshotName::rebase(2, 3).key(), writer.finish().unwrap());
    for (through, keys) in [(1, vec![1]), (2, vec![7]), (3, vec![7]), (4, vec![4, 7])] {
        let file = state.fold(through).await.unwrap();
        let found: Vec<_> = entries(&file, "T").into_iter().map(|entry| entry.key).collect();
        assert_eq!(found, keys.iter().map(|id| format!(r#"{{"id":{id}}}"#)).collect::<Vec<_>>(), "at {through}");
        assert_eq!(file.name(), SnapshotName::of(through));
    }
}

#[tokio::test]
async fn entries_that_no_reader_could_use_are_named() {
    let World { plain: state, .. } = World::new();
    state.append(1, vec![change("T", 1, 1, Some(r#"{"\ud800":1}"#))]);
    let error = state.fold(1).await.unwrap_err();
    assert!(matches!(error, FoldError::Change { version: 1, .. }), "{error}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_removed_object_keeps_its_rows_only_while_no_other_has_any() {
    let World { plain: state, .. } = World::new();
    let object = |name: &str, content: Option<&str>, sequencer: &str| {
        let sha256 = content.map(|sha256| sha256.to_owned()).unwrap_or_default();
        let op = if content.is_some() { ObjectOp::Replace } else { ObjectOp::Remove };
        let (object, sequencer, at) = (format!("{PREFIX}{name}"), sequencer.into(), Timestamp::default());
        Change::Object(ObjectChange { object, op, sha256, etag: None, version_id: None, sequencer, at })
    };
    let rows = put_copy(&state.store, Bytes::from_static(b"{}\n")).await.unwrap();
    let empty = put_copy(&state.store, Bytes::new()).await.unwrap();
    state.put_base(PREFIX, 0, &[&format!(r#"{{"object":"{PREFIX}a.jsonl","sha256":"{empty}"}}"#)]);
    state.append(1, vec![object("b.jsonl", Some(&rows), "1")]);
    state.append(2, vec![object("b.jsonl", None, "2")]);
    state.append(3, vec![object("c.jsonl", Some(&empty), "1"), object("b.jsonl", None, "1")]);
    state.append(4, vec![object("c.jsonl", Some(&rows), "2")]);
    for (through, held) in [(1, "a:- b:+"), (2, "a:- b:removed"), (3, "a:- b:removed c:-"), (4, "a:- b: c:+")] {
        let file = state.fold(through).await.unwrap();
        let shown = file.objects(PREFIX).unwrap().iter().map(|line| {
            let name = &line.object[PREFIX.len()..PREFIX.len() + 1];
            let content = match &line.sha256 {
                None => "",
                Some(_) if line.removed => "removed",
                Some(sha256) if *sha256 == rows => "+",
                Some(_) => "-",
            };
            format!("{name}:{content}")
        });
        assert_eq!(shown.collect::<Vec<_>>().join(" "), held, "at {through}");
        let named: Vec<_> = file.named_objects().iter().map(|line| line.sequencer.as_deref().unwrap()).collect();
        assert_eq!(
            named,
            [vec!["1"], vec!["2"], vec!["2", "1"], vec!["2", "2"]][usize::try_from(through - 1).unwrap()]
        );
        state.keep(&file);
    }
}
