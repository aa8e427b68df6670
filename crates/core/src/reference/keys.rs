//! A row's keys in one shared allocation: what is known of its primary key, and what its row is found by, refer to the same.
//! The number of the change that brought them is there too, as both change together.

use std::sync::Arc;

use super::row::JoinKeys;

/// A primary key, the join keys of its row, and the sequence number of its newest change.
///
/// First how many keys there are and where each ends, four bytes each; then the keys, the primary one first; then the
/// number.
#[derive(Clone, Debug)]
pub(super) struct Keys(Arc<[u8]>);

const WORD: usize = 4;

impl Keys {
    /// Of a primary key, its row's join keys, and a number, which may be empty. `room` is used for putting them together,
    /// again and again.
    pub(super) fn new(primary: &[u8], joins: &JoinKeys, number: &str, room: &mut Vec<u8>) -> Self {
        room.clear();
        let count = 1 + joins.iter().count();
        let mut end = WORD * (1 + count);
        // Keys are parts of a row, and no row has 4 GiB.
        let mut word = |number: usize| {
            room.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
        };
        word(count);
        for key in std::iter::once(primary).chain(joins.iter()) {
            end += key.len();
            word(end);
        }
        for key in std::iter::once(primary).chain(joins.iter()) {
            room.extend_from_slice(key);
        }
        room.extend_from_slice(number.as_bytes());
        Self(room.as_slice().into())
    }

    /// The primary key.
    pub(super) fn primary(&self) -> &[u8] {
        self.key(0)
    }

    /// One of the join keys, from 0.
    pub(super) fn join(&self, index: usize) -> &[u8] {
        self.key(index + 1)
    }

    /// How many join keys there are.
    pub(super) fn joins(&self) -> usize {
        self.word(0).saturating_sub(1)
    }

    /// The sequence number.
    pub(super) fn number(&self) -> &str {
        let number = self.0.get(self.word(self.word(0))..).unwrap_or_default();
        std::str::from_utf8(number).unwrap_or_default()
    }

    fn key(&self, index: usize) -> &[u8] {
        let start = if index == 0 { WORD * (1 + self.word(0)) } else { self.word(index) };
        self.0.get(start..self.word(index + 1)).unwrap_or_default()
    }

    fn word(&self, index: usize) -> usize {
        let bytes = self.0.get(WORD * index..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_comes_back() {
        let mut room = Vec::new();
        let several = JoinKeys::Several(vec![Box::from(&b"a"[..]), Box::default(), Box::from(&b"bc"[..])]);
        let keys = Keys::new(b"primary", &several, "123", &mut room);
        assert_eq!((keys.primary(), keys.joins(), keys.number()), (&b"primary"[..], 3, "123"));
        assert_eq!([0, 1, 2].map(|index| keys.join(index)), [&b"a"[..], b"", b"bc"]);
        let none = Keys::new(b"", &JoinKeys::None, "", &mut room);
        assert_eq!((none.primary(), none.joins(), none.number()), (&b""[..], 0, ""));
    }
}
