//! What is known of each primary key of a table: its newest change, when one last took effect, and its row's join keys.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashSet, HashTable};

use super::keys::Keys;
use super::newest::KnownChange;
use crate::change::Version;

/// All primary keys, tombstones included. None ever goes.
#[derive(Debug, Default)]
pub(super) struct KnownKeys {
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    known: Vec<Known>,
    /// There are few, one for each time that the table's stream was enabled.
    labels: HashSet<Arc<str>>,
    /// The one that came last, as it nearly always comes again.
    last: Option<Arc<str>>,
}

#[derive(Debug)]
struct Known {
    /// Without join keys where there is no row, or where it matches nothing. With the number of the newest change.
    keys: Keys,
    /// The newest change's; `None` while the key is known from scans only.
    label: Option<Arc<str>>,
    changed: Version,
}

impl KnownKeys {
    /// Room for so many keys.
    pub(super) fn reserve(&mut self, keys: usize) {
        let Self { table, hasher, known, .. } = self;
        table.reserve(keys, |number| hasher.hash_one(primary_of(*number, known)));
        known.reserve(keys);
    }

    /// What is known of a key.
    pub(super) fn get(&self, primary: &[u8]) -> Option<KnownChange<'_>> {
        let Self { table, hasher, known, .. } = self;
        let found = table.find(hasher.hash_one(primary), |number| primary_of(*number, known) == primary)?;
        let Known { keys, label, changed } = known.get(*found as usize)?;
        let newest = label.as_ref().map(|label| (&**label, keys.number()));
        Some(KnownChange { newest, changed: *changed })
    }

    /// Sets what is known of a key: the newest change's number is with the keys, its label here. The keys that it had
    /// before.
    pub(super) fn set(&mut self, keys: Keys, label: Option<&str>, changed: Version) -> Option<Keys> {
        let label = label.map(|label| self.shared(label));
        let Self { table, hasher, known, .. } = self;
        let primary = keys.primary();
        let hash = hasher.hash_one(primary);
        let found = table.find(hash, |number| primary_of(*number, known) == primary).copied();
        let now = Known { keys, label, changed };
        if let Some(before) = found.and_then(|number| known.get_mut(number as usize)) {
            return Some(std::mem::replace(before, now).keys);
        }
        // So many keys as 2^32 would take hundreds of gigabytes.
        let number = u32::try_from(known.len()).unwrap_or(u32::MAX);
        known.push(now);
        table.insert_unique(hash, number, |number| hasher.hash_one(primary_of(*number, known)));
        None
    }

    /// Notes a change that had no effect, which is a bug.
    #[cfg(feature = "seeded-bugs")]
    pub(super) fn touch(&mut self, primary: &[u8], version: Version) {
        let Self { table, hasher, known, .. } = self;
        let found = table.find(hasher.hash_one(primary), |number| primary_of(*number, known) == primary).copied();
        if let Some(touched) = found.and_then(|number| known.get_mut(number as usize)) {
            touched.changed = version;
        }
    }

    fn shared(&mut self, label: &str) -> Arc<str> {
        if let Some(last) = self.last.as_ref().filter(|last| ***last == *label) {
            return Arc::clone(last);
        }
        let shared = Arc::clone(self.labels.get_or_insert_with(label, |label| label.into()));
        self.last = Some(Arc::clone(&shared));
        shared
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

fn primary_of(number: u32, known: &[Known]) -> &[u8] {
    known.get(number as usize).map(|known| known.keys.primary()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::row::JoinKeys;

    #[test]
    fn what_was_set_last_is_known() {
        let (mut known, mut room) = (KnownKeys::default(), Vec::new());
        for number in 0..100_u32 {
            let join = JoinKeys::One(number.to_be_bytes().into());
            let keys = Keys::new(&number.to_le_bytes(), &join, "", &mut room);
            assert!(known.set(keys, None, 1).is_none());
        }
        let seven = 7_u32.to_le_bytes();
        assert_eq!(known.get(&seven), Some(KnownChange::scanned(1)));
        for (label, number, changed) in [("l", "12", 3), ("m", "4", 5), ("l", "", 6)] {
            let before =
                known.set(Keys::new(&seven, &JoinKeys::None, number, &mut room), Some(label), changed).unwrap();
            assert_eq!(before.joins(), usize::from(changed == 3));
            assert_eq!(known.get(&seven), Some(KnownChange { newest: Some((label, number)), changed }));
        }
        assert_eq!((known.len(), known.get(b"other")), (100, None));
    }
}
