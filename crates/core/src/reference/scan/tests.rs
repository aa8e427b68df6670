//! A long scan under crashes, races and damage: whatever happens, the base is that of one scan.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::change::{Change, Origin, RowChange};
use crate::location::Location;
use crate::log::ChangeLog;
use crate::memory::{Call, Fault, Gate, MemoryClock, MemoryStore, MemoryStores, MemoryTables};
use crate::ports::{Clock, ObjectStore};
use crate::reference::bootstrap::Sources;
use crate::reference::{LoadError, base_key};
use crate::time::Timestamp;

const ROWS: usize = 60;

struct World {
    clock: MemoryClock,
    stores: MemoryStores,
    state: MemoryStore,
    tables: MemoryTables,
}

impl World {
    fn new() -> Self {
        let clock = MemoryClock::at(Timestamp::from_millis(1_790_000_000_000));
        let stores = MemoryStores::new(&clock);
        let state = stores.store(&Location::new("s3://state/p")).unwrap();
        let tables = MemoryTables::new(&clock);
        tables.create("T", &["id"]);
        (0..ROWS).for_each(|n| tables.put("T", &row(n, "scanned")).unwrap());
        Self { clock, stores, state, tables }
    }

    /// Pages of so many rows, and these faults.
    fn keeper(&self, page: usize, faults: impl Fn(&Call<'_>) -> Fault + Send + Sync + 'static) -> Keeper {
        let gate = Gate::new(Arc::new(move |call: &Call<'_>| match faults(call) {
            Fault::None if call.operation == "Scan" => Fault::Short(page),
            fault => fault,
        }));
        let state = Arc::new(self.state.through(&gate));
        let log = ChangeLog::new(Arc::clone(&state) as Arc<dyn ObjectStore>, Arc::new(self.clock.clone()));
        Keeper {
            tables: self.tables.through(&gate),
            stores: self.stores.clone(),
            clock: self.clock.clone(),
            state,
            log,
            gate,
        }
    }

    fn sound(&self) -> Keeper {
        self.keeper(2, |_| Fault::None)
    }

    async fn change(&self, number: &str, n: usize, row: Option<String>) {
        let key = serde_json::from_str(&format!(r#"{{"id":{n}}}"#)).unwrap();
        let change = RowChange {
            table: "T".into(),
            key,
            row: row.map(|row| serde_json::from_str(&row).unwrap()),
            label: "l".into(),
            sequence: number.into(),
            at: self.clock.now(),
            unless_after: None,
        };
        let origin = Origin { source: "test".into(), label: "l".into(), range: number.into() };
        self.sound().log.append(origin, vec![Change::Row(change)]).await.unwrap();
    }

    fn base(&self) -> Option<String> {
        self.state.objects().get(&base_key("T")).map(text)
    }

    /// The rows of the base, and its header.
    fn lines(&self) -> (String, Vec<String>) {
        let base = self.base().unwrap();
        let mut lines = base.lines().map(str::to_owned);
        (lines.next().unwrap(), lines.collect())
    }

    fn parts(&self) -> Vec<String> {
        let folder = part::folder("T");
        self.state.objects().into_keys().filter(|key| key.starts_with(&folder)).collect()
    }

    /// Nothing of the scan is left, but perhaps that it is done.
    fn assert_tidy(&self, case: &str) {
        let objects = self.state.objects();
        let left = objects.iter().filter(|(key, _)| key.starts_with(SCANS));
        let left: Vec<_> = left.filter(|(_, bytes)| !text(bytes).contains("\"done\":true")).collect();
        assert!(left.is_empty(), "{case}: {left:?}");
    }
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn row(n: usize, value: &str) -> String {
    format!(r#"{{"id":{n},"value":"{value}"}}"#)
}

fn line(n: usize, value: &str) -> String {
    format!(r#"{{"key":{{"id":{n}}},"row":{}}}"#, row(n, value))
}

struct Keeper {
    state: Arc<MemoryStore>,
    stores: MemoryStores,
    tables: MemoryTables,
    clock: MemoryClock,
    log: ChangeLog,
    gate: Gate,
}

impl Keeper {
    fn sources(&self) -> Sources<'_> {
        Sources {
            state: &*self.state,
            log: &self.log,
            tables: &self.tables,
            stores: &self.stores,
            limit: u64::MAX,
            clock: &self.clock,
        }
    }

    async fn scan(&self) -> Result<Scanned, LoadError> {
        scan_on(self.sources(), "T", None, self.clock.now().plus_millis(1_000_000)).await
    }

    /// `None` where it crashed.
    async fn invoke(&self) -> Option<Result<Scanned, LoadError>> {
        self.gate.crash().guard(self.scan()).await
    }
}

#[tokio::test]
async fn a_scan_in_one_go_is_the_base_that_an_environment_would_have_made() {
    let world = World::new();
    world.change("5", 3, None).await;
    world.change("6", 1000, Some(row(1000, "gone meanwhile"))).await;
    assert_eq!(world.sound().scan().await.unwrap(), Scanned::Done { rows: ROWS as u64 });
    let base = world.base().unwrap();
    world.assert_tidy("done");
    assert!(world.state.remove(&base_key("T")));
    let other = world.sound();
    let bytes = crate::reference::bootstrap::scan(other.sources(), "T").await.unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), base);
    assert!(base.contains(r#""seq":"6""#) && base.contains(r#""version":2"#), "{base}");
}

#[tokio::test]
async fn each_invocation_comes_on_and_the_head_stays_that_before_the_first() {
    let world = World::new();
    world.change("1", 0, Some(row(0, "old"))).await;
    let (mut invocations, mut rows) = (0, 0);
    loop {
        // Time is up with the second page.
        let keeper = world.sound();
        let clock = world.clock.clone();
        let until = clock.now().plus_millis(2);
        let slow = world.keeper(2, move |call| {
            if call.operation == "Scan" {
                clock.advance(Duration::from_millis(1));
            }
            Fault::None
        });
        match scan_on(slow.sources(), "T", None, until).await.unwrap() {
            Scanned::Done { .. } => break,
            Scanned::UnderWay { rows: now, elsewhere } => {
                assert!(!elsewhere && (now > rows || now == ROWS as u64), "{now} after {rows}");
                rows = now;
            }
        }
        let waiting = under_way(&*keeper.state, &world.clock, "T").await.unwrap();
        assert_eq!(waiting, Some(rows));
        invocations += 1;
        world.change("2", invocations, Some(row(invocations, "later"))).await;
    }
    assert!(invocations > 3, "{invocations}");
    let (header, lines) = world.lines();
    assert!(header.contains("\"version\":1,") && header.contains("\"rows\":60"), "{header}");
    assert!(lines.contains(&line(7, "scanned")), "what is only in the log comes from the log");
    world.assert_tidy("done");
}

#[tokio::test]
async fn a_crash_or_fault_at_any_call_is_gone_on_from() {
    let undisturbed = World::new();
    let keeper = undisturbed.sound();
    keeper.scan().await.unwrap();
    let calls: u64 = keeper.gate.counts().values().sum();
    for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::Fail, Fault::LostAnswer, Fault::LateWrite(3)] {
        for at in 0..usize::try_from(calls).unwrap() {
            let case = format!("{fault:?} at call {at}");
            let world = World::new();
            let (count, fault) = (AtomicUsize::new(0), fault.clone());
            let keeper =
                world.keeper(
                    2,
                    move |_| {
                        if count.fetch_add(1, Ordering::Relaxed) == at { fault.clone() } else { Fault::None }
                    },
                );
            let first = keeper.invoke().await;
            let again = world.sound();
            for _ in 0..2 {
                // A late write of the progress may be in the way of the next one.
                world.clock.advance(Duration::from_secs(60));
                if world.base().is_none() {
                    again.scan().await.unwrap();
                }
            }
            assert!(first.is_none_or(|first| first.is_err()) || again.gate.count("Scan") == 0, "{case}");
            tidy(&*again.state, "T").await.unwrap();
            assert_eq!(world.lines().1, undisturbed.lines().1, "{case}");
            assert!(world.lines().0.contains("\"rows\":60"), "{case}");
            world.assert_tidy(&case);
        }
    }
}

#[tokio::test]
async fn a_table_that_hangs_takes_along_nothing_that_it_gave_nor_the_lease() {
    let world = World::new();
    let count = AtomicUsize::new(0);
    let hangs = world.keeper(2, move |call| {
        let later = call.operation == "Scan" && count.fetch_add(1, Ordering::Relaxed) >= 10;
        if later { Fault::Hang } else { Fault::None }
    });
    let until = world.clock.now().plus_millis(20_000);
    let scanned = scan_on(hangs.sources(), "T", None, until).await.unwrap();
    assert_eq!(scanned, Scanned::UnderWay { rows: 20, elsewhere: false });
    assert_eq!(world.clock.now(), until.plus_millis(5_000));
    let again = world.sound();
    assert!(matches!(again.scan().await.unwrap(), Scanned::Done { .. }));
    assert!(again.gate.count("Scan") <= 22, "{}", again.gate.count("Scan"));
    assert_eq!(world.lines().1.len(), ROWS);
}

#[tokio::test]
async fn what_is_written_is_not_scanned_again() {
    let world = World::new();
    let scans = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&scans);
    let keeper = world.keeper(2, move |call| {
        let last = call.operation == "Scan" && count.fetch_add(1, Ordering::Relaxed) == 28;
        if last { Fault::CrashBefore } else { Fault::None }
    });
    assert!(keeper.invoke().await.is_none());
    world.clock.advance(Duration::from_secs(60));
    let again = world.sound();
    assert!(matches!(again.scan().await.unwrap(), Scanned::Done { .. }));
    assert!(again.gate.count("Scan") < 20, "{}", again.gate.count("Scan"));
}

#[tokio::test]
async fn whoever_is_at_it_is_left_alone_until_the_lease_ends() {
    let world = World::new();
    let keeper =
        world.keeper(2, |call| if call.operation == "DescribeTable" { Fault::CrashBefore } else { Fault::None });
    assert!(keeper.invoke().await.is_none());
    let other = world.sound();
    assert!(matches!(other.scan().await.unwrap(), Scanned::UnderWay { elsewhere: true, .. }));
    assert_eq!(other.gate.count("Scan"), 0);
    world.clock.advance(Duration::from_secs(46));
    assert!(matches!(other.scan().await.unwrap(), Scanned::Done { .. }));
}

/// Runs what needs nothing but to be polled, in the middle of another's call.
fn at_once<T>(work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(tokio::task::unconstrained(work));
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
            return done;
        }
    }
}

#[tokio::test]
async fn two_at_it_at_once_make_one_base_without_a_row_twice_or_lost() {
    let is_part = |call: &Call<'_>| call.operation == "PUT" && call.key.ends_with("jsonl") && call.key.contains(SCANS);
    let cases = (0..8).flat_map(|first| (0..9).flat_map(move |other| [false, true].map(|dies| (first, other, dies))));
    for (first_at, other_at, dies) in cases {
        let case = format!("at part {first_at}, up to the other's part {other_at}, dies: {dies}");
        let world = Arc::new(World::new());
        let (inner, count) = (Arc::clone(&world), AtomicUsize::new(0));
        let first = world.keeper(2, move |call| {
            if is_part(call) && count.fetch_add(1, Ordering::Relaxed) == first_at {
                // By the other's clock the lease is over; its pages have another size.
                let parts = AtomicUsize::new(0);
                let mut other = inner.keeper(3, move |call| {
                    let crash = is_part(call) && parts.fetch_add(1, Ordering::Relaxed) == other_at;
                    if crash || call.operation == "DescribeTable" { Fault::CrashBefore } else { Fault::None }
                });
                other.clock = MemoryClock::at(inner.clock.now().plus_millis(60_000));
                assert!(at_once(other.invoke()).is_none());
                return if dies { Fault::CrashAfter } else { Fault::None };
            }
            Fault::None
        });
        assert_eq!(first.invoke().await.is_none(), dies, "{case}");
        world.clock.advance(Duration::from_secs(120));
        world.sound().scan().await.unwrap();
        let lines = world.lines().1;
        let expected: BTreeSet<_> = (0..ROWS).map(|n| line(n, "scanned")).collect();
        assert_eq!((lines.len(), lines.into_iter().collect()), (ROWS, expected), "{case}");
    }
}

#[tokio::test]
async fn a_part_that_is_missing_or_damaged_makes_the_scan_begin_anew() {
    for damage in 0..4 {
        let world = World::new();
        let keeper = world.keeper(2, |call| if call.operation == "DescribeTable" { Fault::Fail } else { Fault::None });
        keeper.scan().await.unwrap_err();
        let parts = world.parts();
        assert!(parts.len() >= 8);
        let victim = parts[0].clone();
        let bytes = world.state.objects()[&victim].clone();
        let last = bytes.iter().rposition(|byte| *byte == b'\n').unwrap();
        match damage {
            0 => assert!(world.state.remove(&victim)),
            1 => world.state.insert(&victim, bytes.slice(..last)),
            2 => world.state.insert(&victim, bytes.slice(..last + 9)),
            _ => world.state.insert(&victim, "{}"),
        }
        world.tables.put("T", &row(0, "newer")).unwrap();
        let again = world.sound();
        assert!(matches!(again.scan().await.unwrap(), Scanned::Done { .. }), "{damage}");
        let lines = world.lines().1;
        assert_eq!((lines.len(), lines.contains(&line(0, "newer"))), (ROWS, true), "{damage}");
        world.assert_tidy("anew");
    }
}

#[tokio::test]
async fn a_progress_that_cannot_be_read_or_whose_base_was_deleted_is_begun_anew() {
    let world = World::new();
    world.state.insert(&progress_key("T"), "{\"freshjoin\":\"scan/9\"}");
    assert!(matches!(world.sound().scan().await.unwrap(), Scanned::Done { .. }));
    world.stores.keep_given_up();
    assert!(world.state.remove(&base_key("T")));
    assert!(matches!(world.sound().scan().await.unwrap(), Scanned::Done { .. }));
    assert!(world.state.objects().contains_key(&progress_key("T")), "given up, and still there");
    assert_eq!(under_way(&world.state, &world.clock, "T").await.unwrap(), None);
    assert!(world.state.remove(&base_key("T")));
    assert!(matches!(world.sound().scan().await.unwrap(), Scanned::Done { rows: 60 }));
}

#[tokio::test]
async fn a_base_that_nobody_can_use_is_replaced_and_one_that_was_there_first_counts() {
    let world = World::new();
    world.state.insert(&base_key("T"), "unusable");
    let etag = world.state.get(&base_key("T")).await.unwrap().unwrap().etag;
    let keeper = world.sound();
    let until = world.clock.now().plus_millis(1_000_000);
    let done = scan_on(keeper.sources(), "T", Some(&etag), until).await.unwrap();
    assert_eq!((done, world.lines().1.len()), (Scanned::Done { rows: 60 }, ROWS));
    let first = world.base();
    for replacing in [None, Some(&etag)] {
        let late = scan_on(keeper.sources(), "T", replacing, until).await.unwrap();
        assert_eq!((late, world.base()), (Scanned::Done { rows: 0 }, first.clone()));
    }
}

#[tokio::test]
async fn an_environment_waits_for_a_scan_that_comes_on_and_for_no_other() {
    let world = World::new();
    let keeper =
        world.keeper(2, |call| if call.operation == "DescribeTable" { Fault::CrashBefore } else { Fault::None });
    assert!(keeper.invoke().await.is_none());
    let other = world.sound();
    let scan = || crate::reference::bootstrap::scan(other.sources(), "T");
    assert!(matches!(scan().await, Err(LoadError::Scanning { .. })));
    assert_eq!(other.gate.count("Scan"), 0);
    world.clock.advance(Duration::from_millis(YOUNG_MILLIS.unsigned_abs()));
    assert!(scan().await.unwrap().len() > ROWS);
}
