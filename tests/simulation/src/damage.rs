//! What rots in the state, and is mended by hand: bytes change where they lie, and are put back as they were.

use bytes::Bytes;

use crate::schedule::Run;

/// What rot makes of things: nothing at all, half of it, another document, or one flipped bit.
fn rotten(bytes: &Bytes, kind: usize) -> Bytes {
    match kind {
        0 => Bytes::new(),
        1 => bytes.slice(..bytes.len() / 2),
        2 => Bytes::from_static(b"{\"freshjoin\":\"nothing/1\"}"),
        _ => Bytes::from_static(b"\0\0\0\0"),
    }
}

impl Run {
    /// A cursor, a change file or a base can no longer be read.
    pub fn rot(&mut self) {
        let (folder, event) = *self.rng.pick(&[
            ("cursors/", "a cursor is corrupt"),
            ("changes/", "a change file is corrupt"),
            ("snapshots/_base/", "a base is corrupt"),
            ("snapshots/0", "a snapshot file is corrupt"),
        ]);
        let objects = self.world.state.objects();
        let keys: Vec<&String> = objects.keys().filter(|key| key.starts_with(folder)).collect();
        if keys.is_empty() || !self.world.weather.allows(event) {
            return;
        }
        // The newest change files above all are those that somebody will read.
        let newest = if self.rng.chance(600) { keys.len().saturating_sub(3) } else { 0 };
        let key = keys[self.rng.between(newest, keys.len() - 1)].clone();
        if self.rotten.contains_key(&key) || !self.history.has_seen(&key) {
            return;
        }
        let (was, kind) = (objects[&key].clone(), self.rng.below(4));
        let is = rotten(&was, kind);
        self.world.weather.happened(event);
        self.world.trace.note(format_args!("{key} rots"));
        self.world.state.alter(&key, is.clone());
        self.rotten.insert(key, (was, is));
    }

    /// Somebody puts one thing back.
    pub fn mend_rot(&mut self) {
        let keys: Vec<String> = self.rotten.keys().cloned().collect();
        if !keys.is_empty() {
            let key = self.rng.pick(&keys).clone();
            self.mend_one(&key);
        }
    }

    /// Somebody puts everything back.
    pub fn mend_all_rot(&mut self) {
        for key in self.rotten.keys().cloned().collect::<Vec<_>>() {
            self.mend_one(&key);
        }
    }

    fn mend_one(&mut self, key: &str) {
        if let Some((was, is)) = self.rotten.remove(key)
            && self.world.state.peek(key).is_some_and(|object| object.bytes == is)
        {
            self.world.trace.note(format_args!("{key} is put back"));
            self.world.state.alter(key, was);
        }
    }
}
