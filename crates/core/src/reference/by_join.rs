//! Rows by join key, each with the versions it is valid in; and those that ended, until nobody can see them any more.
//!
//! There may be millions. So a row takes two allocations (its keys and its cells), and what finds it is four bytes in a
//! hash table: its number, or, where a join key has several rows, that of their list.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::keys::Keys;
use super::row::Row;
use super::slab::Slab;
use crate::change::Version;

const STILL_VALID: Version = Version::MAX;
/// Set in what the table holds where it is the number of a list.
const LIST: u32 = 1 << 31;

/// Rows by join key.
#[derive(Debug, Default)]
pub(super) struct ByJoin {
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    entries: Slab<Entry>,
    /// The entries of join keys that have several, in the order of their primary keys and first versions.
    lists: Slab<Vec<u32>>,
    /// Entries that ended, oldest end first, for pruning.
    ended: VecDeque<(Version, u32)>,
}

#[derive(Debug)]
struct Entry {
    keys: Keys,
    /// Under which of the join keys it is.
    join: u32,
    from: Version,
    to: Version,
    row: Row,
}

impl Entry {
    fn join(&self) -> &[u8] {
        self.keys.join(self.join as usize)
    }

    fn place(&self) -> (&[u8], Version) {
        (self.keys.primary(), self.from)
    }
}

/// The join key of what the table holds.
fn join_of<'e>(held: u32, entries: &'e Slab<Entry>, lists: &Slab<Vec<u32>>) -> Option<&'e [u8]> {
    let first = if held & LIST == 0 { held } else { *lists.get(held & !LIST)?.first()? };
    entries.get(first).map(Entry::join)
}

impl ByJoin {
    /// Room for so many rows.
    pub(super) fn reserve(&mut self, rows: usize) {
        let Self { table, hasher, entries, lists, .. } = self;
        table.reserve(rows, |held| hasher.hash_one(join_of(*held, entries, lists).unwrap_or_default()));
        entries.reserve(rows);
    }

    /// A row that is valid from a version on, under each of its join keys.
    pub(super) fn begin(&mut self, version: Version, keys: &Keys, row: Row) {
        let last = keys.joins().saturating_sub(1);
        for join in 0..last {
            self.insert(Entry::begun(version, keys, join, row.clone()));
        }
        if keys.joins() > 0 {
            self.insert(Entry::begun(version, keys, last, row));
        }
    }

    fn insert(&mut self, entry: Entry) {
        let Self { table, hasher, entries, lists, .. } = self;
        let hash = hasher.hash_one(entry.join());
        let held = table.find_mut(hash, |held| join_of(*held, entries, lists) == Some(entry.join()));
        let Some(held) = held else {
            let number = entries.insert(entry);
            let rehash = |held: &u32| hasher.hash_one(join_of(*held, entries, lists).unwrap_or_default());
            table.insert_unique(hash, number, rehash);
            return;
        };
        if *held & LIST == 0 {
            *held = lists.insert(vec![*held]) | LIST;
        }
        if let Some(list) = lists.get_mut(*held & !LIST) {
            let before = |other: &u32| entries.get(*other).is_some_and(|other| other.place() <= entry.place());
            let place = list.partition_point(before);
            list.insert(place, entries.insert(entry));
        }
    }

    /// The entries of a join key.
    fn list(&self, join: &[u8]) -> &[u32] {
        let Self { table, hasher, entries, lists, .. } = self;
        let held = table.find(hasher.hash_one(join), |held| join_of(*held, entries, lists) == Some(join));
        match held {
            None => &[],
            Some(number) if number & LIST == 0 => std::slice::from_ref(number),
            Some(list) => lists.get(list & !LIST).map(Vec::as_slice).unwrap_or_default(),
        }
    }

    /// Ends the row of a join key and a primary key.
    pub(super) fn end(&mut self, version: Version, join: &[u8], primary: &[u8]) {
        let valid = self.list(join).iter().copied().find(|number| {
            self.entries.get(*number).is_some_and(|entry| entry.to == STILL_VALID && entry.keys.primary() == primary)
        });
        let Some(number) = valid else { return };
        if let Some(entry) = self.entries.get_mut(number) {
            entry.to = version;
            self.ended.push_back((version, number));
        }
    }

    /// The rows of a join key at a version, in the order of their primary keys.
    pub(super) fn rows<'s>(&'s self, join: &[u8], version: Version) -> impl Iterator<Item = &'s Row> + Clone + use<'s> {
        let entries = self.list(join).iter().filter_map(|number| self.entries.get(*number));
        entries.filter(move |entry| entry.from <= version && version < entry.to).map(|entry| &entry.row)
    }

    /// Forgets what only versions below `oldest` can see.
    pub(super) fn prune(&mut self, oldest: Version) {
        while let Some((_, number)) = self.ended.pop_front_if(|(ended, _)| *ended <= oldest) {
            self.take_out(number);
            self.entries.remove(number);
        }
    }

    /// Takes an entry out of what finds it.
    fn take_out(&mut self, number: u32) {
        let Self { table, hasher, entries, lists, .. } = self;
        let Some(join) = entries.get(number).map(Entry::join) else { return };
        let found = table.find_entry(hasher.hash_one(join), |held| join_of(*held, entries, lists) == Some(join));
        let Ok(found) = found else { return };
        let held = *found.get();
        if held & LIST == 0 {
            found.remove();
        } else if let Some(list) = lists.get_mut(held & !LIST) {
            list.retain(|other| *other != number);
            if list.is_empty() {
                found.remove();
                lists.remove(held & !LIST);
            }
        }
    }

    /// The version below which all but the newest `keep` ended rows ended; 0 where no more are kept.
    pub(super) fn ended_before(&self, keep: usize) -> Version {
        let surplus = self.ended.len().checked_sub(keep + 1);
        surplus.and_then(|last| self.ended.get(last)).map_or(0, |(ended, _)| *ended)
    }

    /// How many ended rows are kept for older versions.
    pub(super) fn history(&self) -> usize {
        self.ended.len()
    }
}

impl Entry {
    fn begun(version: Version, keys: &Keys, join: usize, row: Row) -> Self {
        // A row has few join keys: two to the power of its untyped join fields.
        let join = u32::try_from(join).unwrap_or(u32::MAX);
        Self { keys: keys.clone(), join, from: version, to: STILL_VALID, row }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Form;
    use crate::reference::row::{JoinKeys, Projection};

    /// A row as a plain list has it: join key, primary key, first version, the version it ended at.
    type Plain = (u8, u8, Version, Version);

    fn seen(rows: &ByJoin, join: u8, version: Version) -> Vec<String> {
        rows.rows(&[join], version).map(|row| String::from_utf8(row.cell(0).unwrap().to_vec()).unwrap()).collect()
    }

    fn expected(plain: &[Plain], join: u8, version: Version) -> Vec<String> {
        let mut found: Vec<_> =
            plain.iter().filter(|row| row.0 == join && row.2 <= version && version < row.3).collect();
        found.sort_by_key(|row| (row.1, row.2));
        found.iter().map(|row| format!("{}@{}", row.1, row.2)).collect()
    }

    #[test]
    fn rows_that_come_and_go_are_those_that_a_plain_list_has() {
        let mut projection = Projection::new(&["join"], false);
        projection.cell("text", Form::Csv);
        let (mut rows, mut plain, mut room) = (ByJoin::default(), Vec::<Plain>::new(), Vec::new());
        let (mut state, mut oldest) = (7_u64, 0);
        rows.reserve(3);
        for version in 1..2_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let [.., join, primary, action, _, _] = state.to_be_bytes();
            let (join, primary) = (join % 5, primary % 6);
            for row in plain.iter_mut().filter(|row| row.1 == primary && row.3 == STILL_VALID) {
                rows.end(version, &[row.0], &[primary]);
                row.3 = version;
            }
            if action % 3 > 0 {
                let text = format!(r#"{{"text":"{primary}@{version}"}}"#);
                let (_, row) = projection.project(&text).unwrap();
                let other = (join + 1) % 5;
                let two = action % 3 == 1;
                let joins = if two {
                    JoinKeys::Several(vec![[join].into(), [other].into()])
                } else {
                    JoinKeys::One([join].into())
                };
                rows.begin(version, &Keys::new(&[primary], &joins, "", &mut room), row);
                plain.push((join, primary, version, STILL_VALID));
                if two {
                    plain.push((other, primary, version, STILL_VALID));
                }
            }
            if action >= 250 {
                oldest = version - u64::from(action - 250);
                rows.prune(oldest);
                plain.retain(|row| row.3 > oldest);
            }
            assert_eq!(rows.history(), plain.iter().filter(|row| row.3 != STILL_VALID).count());
            let ended = plain.iter().filter(|row| row.3 != STILL_VALID).map(|row| row.3);
            assert_eq!(rows.ended_before(usize::MAX - 1), 0);
            if let Some(newest) = ended.max() {
                assert_eq!(rows.ended_before(0), newest);
            }
            for join in 0..5 {
                for at in [oldest.max(version.saturating_sub(3)), version] {
                    assert_eq!(seen(&rows, join, at), expected(&plain, join, at), "{join} at {at}");
                }
            }
        }
        rows.prune(Version::MAX - 1);
        let valid = plain.iter().filter(|row| row.3 == STILL_VALID).count();
        let kept = (0..10_000).filter(|number| rows.entries.get(*number).is_some()).count();
        assert_eq!(kept, valid, "nothing else is held on to");
    }
}
