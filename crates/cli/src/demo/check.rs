//! The check: every object written is read, and every order looked for, in the place where it belongs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use serde::Serialize;

use super::orders::{CHANGING, NEW_PRIORITY, SentOrders, first_priority, place};
use super::watch::Watch;
use crate::failure::Failure;

/// What Hive calls the partition of a null.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// From the row's update to the first order joined with it being in the output, over the shards, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Freshness {
    pub(super) p50: Option<i64>,
    pub(super) p99: Option<i64>,
    pub(super) max: Option<i64>,
}

/// What the objects say.
#[derive(Clone, Debug, Default)]
pub(super) struct Checked {
    pub(super) sent: u64,
    pub(super) objects: u64,
    /// Orders that are nowhere.
    pub(super) lost: u64,
    /// Rows too many.
    pub(super) duplicated: u64,
    /// Rows joined with another version than the flag before them says, or in a wrong partition.
    pub(super) stale: u64,
    pub(super) freshness: Freshness,
    /// Rows by item and priority.
    pub(super) partitions: BTreeMap<(String, String), u64>,
}

/// Reads everything below the output and compares it with what was sent.
pub(super) fn check(
    directory: &Path,
    sent: &SentOrders,
    flags: &BTreeMap<u8, u64>,
    watch: &Watch,
    updated: Option<i64>,
) -> Result<Checked, Failure> {
    let mut checked = Checked { sent: sent.len() as u64, ..Checked::default() };
    let mut found = vec![0_u8; sent.len()];
    // By shard: the first place joined with the new row, and when it was committed.
    let mut fresh: BTreeMap<u8, (u64, i64)> = BTreeMap::new();
    for path in objects(directory)? {
        let object = Object::of(directory, &path)?;
        checked.objects += 1;
        for customer in customers(&path)? {
            *checked.partitions.entry((object.item.clone(), object.priority.clone())).or_default() += 1;
            let index = usize::try_from(customer).unwrap_or(usize::MAX);
            let (Some(order), Some(times)) = (sent.get(customer), found.get_mut(index)) else {
                // A row that nobody ordered.
                checked.duplicated += 1;
                continue;
            };
            *times = times.saturating_add(1);
            let new = order.dish() == CHANGING && flags.get(&order.shard()).is_some_and(|flag| order.place() > *flag);
            let priority = if new { Some(NEW_PRIORITY) } else { first_priority(order.dish()) };
            if object.item != order.dish() || object.priority != priority.unwrap_or(NULL) {
                checked.stale += 1;
            } else if new && let Some(at) = watch.committed_at(&object.shard, &object.first) {
                let first = fresh.entry(order.shard()).or_insert((order.place(), at));
                *first = (*first).min((order.place(), at));
            }
        }
    }
    for (_, times) in sent.iter().zip(&found) {
        checked.lost += u64::from(*times == 0);
        checked.duplicated += u64::from(times.saturating_sub(1));
    }
    if let Some(updated) = updated {
        checked.freshness = freshness(fresh.values().map(|(_, at)| (at - updated).max(0)).collect());
    }
    Ok(checked)
}

fn freshness(mut samples: Vec<i64>) -> Freshness {
    samples.sort_unstable();
    // The smallest sample that is not below this share of them.
    let rank = |percent: usize| samples.get((samples.len() * percent).div_ceil(100).saturating_sub(1)).copied();
    Freshness { p50: rank(50), p99: rank(99), max: samples.last().copied() }
}

/// What an object's key says.
#[derive(Debug, PartialEq, Eq)]
struct Object {
    item: String,
    priority: String,
    shard: String,
    first: String,
}

impl Object {
    /// `item=…/priority=…/<shard>-<first>-<last>.csv`.
    fn of(directory: &Path, path: &Path) -> Result<Self, Failure> {
        let read = || {
            let key = path.strip_prefix(directory).ok()?.to_str()?;
            let mut parts = key.split('/');
            let mut value = |name: &str| {
                let value = parts.next()?.strip_prefix(name)?.strip_prefix('=')?;
                Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
            };
            let (item, priority) = (value("item")?, value("priority")?);
            let mut ends = parts.next()?.rsplitn(3, '-');
            let (_last, first, shard) = (ends.next()?, ends.next()?, ends.next()?);
            place(shard, first).ok()?;
            Some(Self { item, priority, shard: shard.into(), first: first.into() })
        };
        read().ok_or_else(|| {
            Failure::new(format!("{} is no object of the demo", path.display()), "leave its output alone")
        })
    }
}

/// Every object below the output; names that start with an underscore are no data.
fn objects(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with('_') {
                continue;
            }
            if entry.file_type()?.is_dir() { open.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    Ok(found)
}

fn customers(path: &Path) -> Result<Vec<u64>, Failure> {
    let mut reader = csv::Reader::from_path(path)?;
    let column = reader.headers()?.iter().position(|name| name == "customer_id");
    let missing = || Failure::new(format!("{} has no customer_id", path.display()), "leave the output alone");
    let column = column.ok_or_else(missing)?;
    let customer = |row: csv::StringRecord| Ok(row.get(column).ok_or_else(missing)?.parse()?);
    reader.into_records().map(|row| customer(row?)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use freshjoin_clock::SystemClock;
    use freshjoin_local::EmbeddedStream;
    use tokio::sync::mpsc;

    use super::super::orders::Orders;
    use super::*;

    #[test]
    fn the_smallest_sample_that_is_not_below_the_share() {
        let of = |samples: &[i64]| freshness(samples.to_vec());
        assert_eq!(of(&[]), Freshness::default());
        assert_eq!(of(&[40, 10, 30, 20]), Freshness { p50: Some(20), p99: Some(40), max: Some(40) });
        assert_eq!(of(&[7]), Freshness { p50: Some(7), p99: Some(7), max: Some(7) });
    }

    #[test]
    fn what_is_lost_twice_there_or_in_a_wrong_place_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let stream = EmbeddedStream::new("s", 1, Arc::new(SystemClock));
        let (mut orders, mut sent) = (Orders::new(1), SentOrders::default());
        for _ in 0..100 {
            let order = orders.next();
            sent.push(&order, &stream.append("k", b"").unwrap()).unwrap();
        }
        let (news, _listener) = mpsc::unbounded_channel();
        let watch = Watch::new(Arc::new(SystemClock), directory.path().into(), news);
        let write = |except: &[u64], extra: &[(u64, &str, &str)]| {
            let flag = 50;
            let mut rows: BTreeMap<(String, String), Vec<u64>> = BTreeMap::new();
            for customer in (0..100).filter(|customer| !except.contains(customer)) {
                let order = sent.get(customer).unwrap();
                let new = order.dish() == CHANGING && order.place() > flag;
                let priority = if new { Some(NEW_PRIORITY) } else { first_priority(order.dish()) };
                rows.entry((order.dish().into(), priority.unwrap_or(NULL).into())).or_default().push(customer);
            }
            for (customer, item, priority) in extra {
                rows.entry(((*item).into(), (*priority).into())).or_default().push(*customer);
            }
            for ((item, priority), customers) in rows {
                let folder = directory.path().join(format!("item={item}/priority={}", priority.replace(' ', "%20")));
                std::fs::create_dir_all(&folder).unwrap();
                let lines: String = customers.iter().map(|customer| format!("1,100,{customer}\n")).collect();
                std::fs::write(folder.join("shardId-000000000000-1-9.csv"), format!("cost,price,customer_id\n{lines}"))
                    .unwrap();
            }
            let flags = BTreeMap::from([(0, flag)]);
            let checked = check(directory.path(), &sent, &flags, &watch, None).unwrap();
            (checked.lost, checked.duplicated, checked.stale)
        };
        assert_eq!(write(&[], &[]), (0, 0, 0));
        assert_eq!(write(&[7], &[]), (1, 0, 0));
        let burger = (0..100).rfind(|customer| sent.get(*customer).unwrap().dish() == CHANGING).unwrap();
        assert_eq!(write(&[burger], &[(burger, CHANGING, "medium")]), (0, 0, 1));
        assert_eq!(write(&[], &[(burger, CHANGING, NEW_PRIORITY), (1000, "pizza", "low")]), (0, 2, 0));
    }
}
