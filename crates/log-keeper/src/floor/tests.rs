//! Every rule by which the floor rises and snapshot files stay, each broken once.

use std::time::Duration;

use freshjoin_core::batch::{Cursor, Intent, Step, cursor_key};
use freshjoin_core::change::Version;
use freshjoin_core::location::Location;
use freshjoin_core::log::Floor;
use freshjoin_core::ports::StreamDescription;
use freshjoin_core::snapshot::{ListedSnapshot, SnapshotName};
use freshjoin_core::time::Timestamp;

use super::plan::{Facts, FoundCursor, Plan, age, is_due, plan};

const HOUR: i64 = 3_600_000;
const NOW: i64 = 1_790_000_000_000;

fn ago(hours: i64) -> Timestamp {
    Timestamp::from_millis(NOW - hours * HOUR)
}

fn file(version: Version, hours: i64) -> ListedSnapshot {
    ListedSnapshot { name: SnapshotName::of(version), modified: ago(hours), size: 1 }
}

fn rebase(from: Version, version: Version, hours: i64) -> ListedSnapshot {
    ListedSnapshot { name: SnapshotName::rebase(from, version), modified: ago(hours), size: 1 }
}

fn orders() -> StreamDescription {
    StreamDescription { name: "orders".into(), created: ago(9_000), retention: Duration::from_hours(24) }
}

/// A cursor of an open shard at a version.
fn cursor(shard: &str, version: Version) -> FoundCursor {
    let cursor = Ok(Cursor::new(&orders(), version, Location::new("s3://o")));
    FoundCursor { key: cursor_key("p", "orders", shard), retired: false, shard_gone: false, cursor }
}

/// Snapshot files at 10, 20, 30 and 40, of which the change files after 10, 20 and 30 are old enough, and a cursor at 40.
fn facts() -> Facts {
    Facts {
        now: ago(0),
        floor: Floor::default(),
        stream: orders(),
        cursors: vec![cursor("a", 40)],
        snapshots: vec![file(10, 90), file(20, 70), file(30, 50), file(40, 10)],
        successors: [(10, ago(89)), (20, ago(69)), (30, ago(49))].into(),
    }
}

fn floors(facts: &Facts) -> Vec<Version> {
    plan(facts).unwrap().floors
}

#[test]
fn the_floor_may_rise_to_any_old_snapshot_file_that_no_cursor_is_below() {
    let plan = plan(&facts()).unwrap();
    assert_eq!(plan.floors, [30, 20, 10]);
    assert_eq!(plan.hold.unwrap().version, 40);
}

#[test]
fn it_never_passes_a_version_in_force_or_of_a_pending_range() {
    let mut facts = facts();
    facts.cursors.push(cursor("b", 29));
    assert_eq!(floors(&facts), [20, 10]);
    let intent = |first, second| Intent {
        first: "1".into(),
        last: "2".into(),
        records: 2,
        steps: vec![Step { from: "1".into(), version: first }, Step { from: "2".into(), version: second }],
        definition: "d".into(),
        output: Location::new("s3://o"),
    };
    facts.cursors[1].cursor = Ok(Cursor::new(&orders(), 35, Location::new("s3://o")).with_pending(intent(19, 35)));
    assert_eq!(floors(&facts), [10]);
    let hold = plan(&facts).unwrap().hold.unwrap();
    assert_eq!((hold.version, hold.cursor.as_str()), (19, "cursors/p/orders/b.json"));
    facts.cursors[1].cursor = Ok(Cursor::new(&orders(), 30, Location::new("s3://o")));
    assert_eq!(floors(&facts), [30, 20, 10], "at a version is not below it");
    facts.cursors.clear();
    assert_eq!(floors(&facts), [30, 20, 10], "nobody needs anything");
}

#[test]
fn a_cursor_that_holds_nothing_does_not_count() {
    let stuck = || {
        let mut facts = facts();
        facts.cursors.push(cursor("b", 1));
        facts
    };
    assert!(floors(&stuck()).is_empty());
    let mut retired = stuck();
    retired.cursors[1].retired = true;
    assert_eq!(floors(&retired).len(), 3);
    let mut gone = stuck();
    gone.cursors[1].shard_gone = true;
    assert_eq!(floors(&gone).len(), 3);
    let mut other = stuck();
    let earlier = StreamDescription { created: ago(9_999), ..orders() };
    other.cursors[1].cursor = Ok(Cursor::new(&earlier, 1, Location::new("s3://o")));
    assert_eq!(floors(&other).len(), 3, "of a stream that was deleted and made again");
    let elsewhere = StreamDescription { name: "elsewhere".into(), ..earlier };
    other.cursors[1].cursor = Ok(Cursor::new(&elsewhere, 1, Location::new("s3://o")));
    assert!(floors(&other).is_empty(), "of another stream, of which nothing is known");
}

#[test]
fn a_cursor_that_cannot_be_read_raises_nothing_unless_it_holds_nothing() {
    let mut facts = facts();
    facts.cursors[0].cursor = Err("no JSON".into());
    let error = plan(&facts).unwrap_err().to_string();
    assert!(error.contains("cursors/p/orders/a.json") && error.contains("no JSON"), "{error}");
    facts.cursors[0].retired = true;
    assert_eq!(floors(&facts).len(), 3);
}

#[test]
fn what_follows_it_must_be_older_than_the_retention_and_a_day() {
    let mut facts = facts();
    assert_eq!(
        (age(Duration::from_hours(24)), age(Duration::from_hours(2))),
        (Duration::from_hours(48), Duration::from_hours(48))
    );
    facts.successors.insert(30, ago(48));
    assert_eq!(floors(&facts), [20, 10], "to the hour");
    facts.successors.remove(&20);
    assert_eq!(floors(&facts), [10], "nothing follows it: it may be the head");
    facts.stream.retention = Duration::from_hours(66);
    assert!(floors(&facts).is_empty());
    facts.stream.retention = Duration::from_hours(60);
    assert_eq!(floors(&facts), [10]);
    facts.snapshots[0].modified = ago(80);
    assert!(floors(&facts).is_empty(), "a snapshot file that was written long after its version");
}

#[test]
fn it_never_sinks_nor_stands_on_what_was_given_up() {
    let mut facts = facts();
    facts.floor = Floor { version: 20, rising: 20, ..Floor::default() };
    assert_eq!(floors(&facts), [30]);
    facts.floor = Floor { thinned: 30, kept: vec![20], ..Floor::default() };
    assert_eq!(floors(&facts), [20]);
    facts.floor = Floor { thinned: 29, ..Floor::default() };
    assert_eq!(floors(&facts), [30]);
}

#[test]
fn it_may_stand_on_a_rebase_file_s_own_version_only() {
    let mut facts = facts();
    facts.snapshots = vec![file(10, 90), rebase(12, 20, 70), file(40, 10)];
    facts.cursors = vec![cursor("a", 15)];
    assert_eq!(floors(&facts), [10]);
    facts.cursors = vec![cursor("a", 20)];
    assert_eq!(floors(&facts), [20, 10]);
}

fn thinned(facts: &Facts) -> (Version, Vec<Version>) {
    let Plan { thinned, kept, .. } = plan(facts).unwrap();
    (thinned, kept)
}

#[test]
fn of_an_hour_s_snapshot_files_one_every_so_often_stays() {
    let mut facts = facts();
    facts.snapshots = (1..=48).map(|version: Version| file(version, 49 - version.cast_signed())).collect();
    let (through, kept) = thinned(&facts);
    assert_eq!(through, 47, "the newest is left alone, and so is what is an hour old");
    assert_eq!(kept, [1, 7, 13, 19, 25, 31, 37, 40, 43], "every six hours; and where a cursor begins");
    facts.cursors.clear();
    assert_eq!(thinned(&facts).1, [1, 7, 13, 19, 25, 31, 37, 43]);
    // An hour on nothing that stayed goes, and what was given up does not come back.
    facts.floor = Floor { thinned: through, kept: kept.clone(), ..Floor::default() };
    facts.now = ago(-1);
    facts.snapshots.push(file(49, 0));
    assert_eq!(thinned(&facts), (48, vec![1, 7, 13, 19, 25, 31, 37, 43]));
}

#[test]
fn the_older_the_seldomer() {
    let mut facts = facts();
    facts.snapshots = (1..=4_000).map(|version: Version| file(version, 4_001 - version.cast_signed())).collect();
    facts.cursors.clear();
    let (_, kept) = thinned(&facts);
    assert!(kept.len() < 60, "{}", kept.len());
    assert_eq!(kept[..2], [1, 446], "an eighth of its age");
}

#[test]
fn what_cursors_begin_at_and_what_gets_past_damage_stays() {
    let mut facts = facts();
    facts.snapshots = vec![file(10, 90), file(11, 89), rebase(12, 13, 88), file(14, 87), file(15, 86), file(40, 10)];
    facts.cursors = vec![cursor("a", 14), cursor("b", 39)];
    assert_eq!(thinned(&facts), (15, vec![10, 13, 14, 15]));
    facts.floor = Floor { version: 13, rising: 13, ..Floor::default() };
    assert_eq!(thinned(&facts), (15, vec![14, 15]), "what lies under the floor is none of this");
}

#[test]
fn young_files_and_the_newest_are_left_alone() {
    let mut facts = facts();
    facts.snapshots = vec![file(10, 1), file(20, 0)];
    assert_eq!(thinned(&facts), (0, vec![]));
    facts.snapshots = vec![file(10, 100)];
    assert_eq!(thinned(&facts), (0, vec![]));
}

#[test]
fn nothing_is_looked_at_where_nothing_can_come_of_it() {
    let due = |floor: &Floor, snapshots: &[ListedSnapshot]| is_due(ago(0), floor, Duration::from_hours(24), snapshots);
    let none = Floor::default();
    assert!(!due(&none, &[]) && !due(&none, &[file(10, 48)]) && !due(&none, &[file(10, 1), file(20, 0)]));
    assert!(due(&none, &[file(10, 49)]) && due(&none, &[file(10, 2), file(20, 0)]));
    assert!(!due(&Floor { version: 10, rising: 10, ..Floor::default() }, &[file(10, 49)]));
    assert!(!due(&Floor { thinned: 10, ..Floor::default() }, &[file(10, 2), file(20, 0)]));
    assert!(
        due(&Floor { version: 1, rising: 2, ..Floor::default() }, &[]),
        "an announcement that nobody brought to its end"
    );
}
