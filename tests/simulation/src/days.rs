//! Time that passes by the hour and the day: what is old leaves its stream, whether or not it was read.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use freshjoin_core::ports::Clock;

use crate::archive::ShardKey;
use crate::mapping::Source;
use crate::schedule::Run;

/// For so long the order stream keeps its records, in hours.
pub const RETENTION_HOURS: i64 = 24;

impl Run {
    /// The day before a first deployment: the streams fill, and nobody reads them yet.
    pub fn day_before(&mut self) {
        for _ in 0..self.rng.between(3, 15) {
            self.world.clock.advance(Duration::from_secs(self.rng.between(60, 5_000) as u64));
            for _ in 0..self.rng.below(3) {
                let told = self.references.change(&mut self.rng);
                self.world.trace.note(format_args!("changed{told}"));
            }
            if self.rng.chance(600) {
                self.put_orders();
            }
        }
    }

    /// Some hours pass, or days.
    pub fn pass_days(&mut self) {
        // Whoever is in the middle of something may sleep through all of it, and much of what follows.
        for task in &mut self.tasks {
            if self.rng.chance(400) && self.world.weather.allows("a stalled environment") {
                task.frozen = task.frozen.max(self.step_now + self.rng.below(1_200));
                self.world.weather.happened("a stalled environment");
            }
        }
        let hours = *self.rng.pick(&[1, 5, 13, 25, 30, 60]);
        self.world.weather.happened("days that pass");
        self.pass_hours(hours);
    }

    /// So many hours later.
    pub fn pass_hours(&mut self, hours: u64) {
        self.give_up_lost_ranges();
        self.world.trace.note(format_args!("{hours} hours pass"));
        self.world.clock.advance(Duration::from_secs(hours * 3600));
        self.trim();
    }

    /// What is older than the streams keep has left them.
    fn trim(&mut self) {
        self.refresh();
        let before = self.world.clock.now().plus_millis(-RETENTION_HOURS * 3_600_000);
        self.world.stream.trim(before);
        self.archive.trim(before);
        let left: Vec<(ShardKey, usize)> = self
            .archive
            .shelves
            .iter()
            .filter(|(key, shelf)| key.stream == self.archive.stream && shelf.trimmed > 0)
            .map(|(key, shelf)| (key.clone(), shelf.trimmed))
            .collect();
        for (key, trimmed) in left {
            self.lose(&key, trimmed);
        }
        self.list_shards();
        self.world.weather.resharded();
        // Where nobody reconciles, a change that nobody has read stays.
        let (mappings, gaps) = (&mut self.mappings, self.features.gaps);
        self.references.trim(
            |table, shard| {
                if gaps { usize::MAX } else { mappings.place(&Source::Table(table, shard)).checkpoint }
            },
        );
        for (place, trimmed) in self.references.trimmed.clone() {
            let place = self.mappings.place(&Source::Table(place.0, place.1));
            if place.checkpoint < trimmed {
                place.checkpoint = trimmed;
                self.world.weather.happened("a gap in a table's stream");
            }
        }
    }

    /// What a shard held up to a place is no longer there to be read, and may never be committed.
    fn lose(&mut self, key: &ShardKey, trimmed: usize) {
        let place = self.mappings.place(&Source::Orders(key.clone()));
        let unread = place.checkpoint < trimmed;
        place.checkpoint = place.checkpoint.max(trimmed);
        if unread {
            self.world.weather.happened("records that left the stream unread");
        }
        let committed = self.history.shards.get(key).and_then(|known| known.cursor.committed_through.clone());
        let Some(shelf) = self.archive.shelves.get_mut(key) else { return };
        let done = shelf.records.partition_point(|record| {
            committed
                .as_ref()
                .is_some_and(|through| freshjoin_core::sequence::compare(&record.sequence, through.as_str()).is_le())
        });
        shelf.lost.extend(done..trimmed.max(done));
    }

    /// Somebody deletes the order stream and makes another one of its name. What was being read is over.
    pub fn recreate_stream(&mut self) {
        self.features.recreated_stream = self.rng.chance(200);
        self.world.weather.happened("a recreated stream");
        self.refresh();
        let busy: BTreeSet<String> =
            self.tasks.iter().filter(|task| self.is_of_orders(task)).map(|task| task.environment.clone()).collect();
        for environment in self.environments.iter().filter(|known| busy.contains(&known.name)) {
            environment.kill();
        }
        self.tasks.retain(|task| !busy.contains(&task.environment));
        self.environments.retain(|known| !busy.contains(&known.name));
        let keys: Vec<ShardKey> =
            self.archive.shelves.keys().filter(|key| key.stream == self.archive.stream).cloned().collect();
        for key in keys {
            let length = self.archive.shelf(&key).records.len();
            self.lose(&key, length);
        }
        // For a minute environments may take it for the one before: neither a stream nor its mapping is made faster.
        self.world.clock.advance(Duration::from_secs(self.rng.between(60, 150) as u64));
        self.world.stream.recreate(self.rng.between(1, 3) as u32);
        self.archive.recreate(self.world.clock.now());
        self.world.trace.note("the order stream is made again");
        self.list_shards();
        self.world.weather.resharded();
    }

    /// A range that is pending and has left the stream is given up by a person.
    pub fn give_up_lost_ranges(&mut self) {
        let stream = self.archive.stream;
        let keys: Vec<ShardKey> = self.history.shards.keys().filter(|key| key.stream == stream).cloned().collect();
        for key in keys {
            let Some(known) = self.history.shards.get(&key) else { continue };
            let Some(intent) = &known.cursor.pending else { continue };
            let shelf = self.archive.shelf(&key);
            let Some(first) = shelf.records.iter().position(|record| record.sequence == intent.first.as_str()) else {
                continue;
            };
            if first >= shelf.trimmed {
                continue;
            }
            let mut given_up = known.cursor.clone();
            given_up.committed_through = Some(intent.last.clone());
            given_up.version = given_up.version.max(intent.last_version());
            given_up.pending = None;
            let count = intent.records as usize;
            self.world.weather.happened("a range that left the stream");
            self.world.trace.note(format_args!("{key:?}: {intent:?} is given up"));
            let name = crate::history::cursor_key(&key.id);
            let bytes = Bytes::from(given_up.encode().expect("it encodes"));
            assert!(self.world.state.alter(&name, bytes), "it is there");
            self.history.give_up(&key, given_up);
            if let Some(shelf) = self.archive.shelves.get_mut(&key) {
                shelf.lost.extend(first..first + count);
            }
        }
    }
}
