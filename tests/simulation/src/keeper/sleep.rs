//! Somebody who sleeps for days in the middle of their work, while everybody else carries on: the log grows, the floor rises,
//! what was given up vanishes, and whoever sleeps knows nothing of it.

use freshjoin_core::batch::Cursor;
use freshjoin_core::location::Location;
use freshjoin_core::ports::{Clock, Stream};

use crate::archive::ShardKey;
use crate::history::{Violation, cursor_key};
use crate::keeper::schedule::SCHEDULED;
use crate::keeper::watch::base_header;
use crate::mapping::{Batch, Source};
use crate::schedule::{Run, What, now};

/// The hours between what others do meanwhile: enough for a snapshot file, for all to be two days old, for a floor that is
/// announced, raised and swept, and for what it swept to vanish.
const HOURS: [u64; 7] = [2, 2, 26, 26, 1, 1, 2];

impl Run {
    /// All who are at work fall asleep now, but for a few.
    pub fn sleep_for_days(&mut self) -> Result<(), Violation> {
        if !self.world.weather.allows("somebody sleeps for days") {
            return Ok(());
        }
        self.world.weather.happened("somebody sleeps for days");
        self.world.trace.note("somebody sleeps for days");
        self.world.weather.drowsy(self.rng.chance(500));
        self.begin_work()?;
        self.world.weather.drowsy(false);
        // Then no cursor keeps the floor down for long: the parents leave the stream, and nobody reads the children yet.
        if self.rng.chance(300) {
            self.reshard_all();
        }
        let until = self.step_now + self.rng.below(60);
        for task in &mut self.tasks {
            if self.rng.chance(800) {
                task.frozen = usize::MAX;
            }
        }
        for hours in HOURS {
            if self.rng.chance(500) {
                self.put_orders();
            }
            self.change_tables(2);
            for source in self.due_changes() {
                self.deliver(source);
            }
            // Shards that are closed come to their end; those after them begin later.
            for source in self.due_orders() {
                if matches!(&source, Source::Orders(key) if !self.archive.shelf(key).open) {
                    self.deliver(source);
                }
            }
            self.ask(SCHEDULED);
            self.carry_on()?;
            self.pass_hours(hours);
            self.vanish_all();
        }
        self.late_pins()?;
        self.tasks.iter_mut().for_each(|task| task.frozen = task.frozen.min(until));
        Ok(())
    }

    /// Writers, readers and first pins that have only just begun.
    fn begin_work(&mut self) -> Result<(), Violation> {
        self.change_tables(3);
        if self.rng.chance(300) && self.features.redeployments {
            self.redeploy();
        }
        for _ in 0..self.rng.below(4) {
            self.reshard();
        }
        for _ in 0..self.rng.between(1, 4) {
            self.put_orders();
        }
        let due = [self.due_changes(), self.due_orders()].concat();
        for source in due {
            if self.rng.chance(600) {
                self.deliver(source);
                self.set_about(self.tasks.len() - 1)?;
            }
        }
        Ok(())
    }

    /// One that has just begun goes on for a while: a writer at times until it is about to append, which it then does days
    /// later, perhaps under a number that was taken and given up meanwhile.
    fn set_about(&mut self, place: usize) -> Result<(), Violation> {
        let all = self.tasks.len();
        let writes = matches!(&self.tasks[place].what, What::Batch(Batch { source: Source::Table(..), .. }));
        if writes && self.rng.chance(600) {
            self.world.weather.take_sought();
            for _ in 0..60 {
                self.poll_times(place, 1)?;
                if self.tasks.len() != all {
                    return Ok(());
                }
                if self.world.weather.take_sought() {
                    break;
                }
            }
        }
        let times = self.rng.below(if writes { 8 } else { 24 });
        self.poll_times(place, times)
    }

    /// First pins land that somebody sent days ago, for a record that has left the stream since.
    fn late_pins(&mut self) -> Result<(), Violation> {
        let open: Vec<ShardKey> =
            self.shards.iter().filter(|shard| shard.open).map(|shard| self.archive.key(&shard.id)).collect();
        let bases = self.history.fixed.iter().filter(|(key, _)| key.starts_with("snapshots/_base/"));
        let bases = bases.filter_map(|(_, base)| base_header(base)).map(|(_, version)| version).max();
        for key in open {
            let name = cursor_key(&key.id);
            let allowed = self.world.weather.allows("a first pin that lands days late");
            let Some(bases) = bases.filter(|_| allowed && self.features.guarded && self.rng.chance(500)) else {
                continue;
            };
            if self.world.state.peek(&name).is_some()
                || !self.archive.ancestors(&key).iter().all(|key| self.is_over(key))
            {
                continue;
            }
            let version = self.archive.used_by_parents(&self.history, &key).max(bases);
            let stream = now(self.world.stream.describe()).expect("nothing fails here");
            let output = Location::new(self.deployments[self.deployments.len() - 1].output);
            let pin = Cursor::new(&stream, version, output).encode().expect("it encodes");
            self.world.weather.happened("a first pin that lands days late");
            self.world.trace.note(format_args!("the pin of {key:?} lands, at version {version}"));
            self.world.state.insert(&name, pin);
            let object = self.world.state.peek(&name).expect("it is there");
            self.history.late_pins.insert(key, version);
            self.history.observe(&name, &object, &self.objects, self.world.clock.now())?;
        }
        Ok(())
    }

    /// Whether all that a shard ever held is committed, or has left the stream.
    fn is_over(&self, key: &ShardKey) -> bool {
        let shelf = self.archive.shelf(key);
        let last = shelf.records[shelf.trimmed..].last();
        match self.history.shards.get(key).map(|known| &known.cursor) {
            Some(cursor) => cursor.pending.is_none() && last.is_none_or(|last| cursor.has_committed(&last.sequence)),
            None => last.is_none(),
        }
    }

    /// Everybody but log-keeper goes on for a while, and reads what there is to read.
    fn overtake(&mut self) -> Result<(), Violation> {
        self.late_pins()?;
        self.put_orders();
        for _ in 0..3 {
            for source in self.due_orders() {
                self.deliver(source);
            }
            for _ in 0..200 {
                let others = |place: &usize| {
                    let task = &self.tasks[*place];
                    task.frozen <= self.step_now && !matches!(task.what, What::Keep(_))
                };
                let others: Vec<usize> = (0..self.tasks.len()).filter(others).collect();
                if others.is_empty() {
                    break;
                }
                let place = *self.rng.pick(&others);
                self.poll(place)?;
                self.observe()?;
            }
        }
        Ok(())
    }

    fn change_tables(&mut self, times: usize) {
        for _ in 0..times {
            let told = self.references.change(&mut self.rng);
            self.world.trace.note(format_args!("changed{told}"));
        }
    }

    /// Whoever is awake comes to an end, or nearly so.
    fn carry_on(&mut self) -> Result<(), Violation> {
        for _ in 0..300 {
            let asleep = |place: &usize| self.tasks[*place].frozen > self.step_now;
            let (sleeping, awake): (Vec<_>, Vec<_>) = (0..self.tasks.len()).partition(asleep);
            // Now and then one wakes in the middle of it; above all when somebody believes to know what everybody needs.
            let often = if self.world.weather.take_looked() { 300 } else { 4 };
            if often > 4 && self.rng.chance(300) {
                self.overtake()?;
                continue;
            }
            if !sleeping.is_empty() && self.rng.chance(often) {
                let place = *self.rng.pick(&sleeping);
                self.tasks[place].frozen = 0;
                let times = self.rng.below(12);
                self.poll_times(place, times)?;
                continue;
            }
            let Some(place) = awake.last() else { break };
            let place = if self.rng.chance(500) { *place } else { *self.rng.pick(&awake) };
            self.poll(place)?;
            self.observe()?;
        }
        Ok(())
    }
}
