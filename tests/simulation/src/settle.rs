//! The end of a run: nothing goes wrong any more, everything is done, and what it came to is looked at; then all of it
//! comes once more, to the same pipeline and to one with another name.

use std::collections::BTreeMap;

use freshjoin_core::join::Limits;
use freshjoin_core::ports::Clock;
use freshjoin_core::settings::AsOf;

use crate::check::{Settled, Summary, outputs};
use crate::days::RETENTION_HOURS;
use crate::definitions;
use crate::environment::{Deployment, Function};
use crate::history::{Violation, holds};
use crate::mapping::{Batch, Place, Source};
use crate::replay;
use crate::schedule::{Run, What, copies_first};

/// The longest that the calm may take, in rounds.
const PATIENCE: usize = 200_000;
const REPLAYED: &str = "s3://out/replay";

impl Run {
    /// From the last fault to the last check.
    pub fn end(&mut self) -> Result<Summary, Violation> {
        self.settle()?;
        // What all this came to is looked at once more, row by row.
        self.put_every_order();
        self.quiet()?;
        let summary = self.check()?;
        if self.features.guarded {
            self.redeliver()?;
            self.replay()?;
        }
        Ok(summary)
    }

    /// Nothing goes wrong any more; old events come once more, and all is done.
    fn settle(&mut self) -> Result<(), Violation> {
        self.world.trace.note("calm");
        self.calm = true;
        self.world.weather.calm_down();
        self.mend_all_rot();
        if self.features.keeper {
            self.mend_objects();
        }
        self.keep_first()?;
        // What is left is done in few ranges: all that matters happened before.
        let last = self.deployments[self.deployments.len() - 1];
        self.deployments.push(Deployment { limits: UNLIMITED, ..last });
        let (few, all) = (self.rng.chance(500), self.rng.chance(300));
        for source in self.due_tables() {
            let stale = "a stale change that comes again";
            let (start, done) = (self.trimmed(&source), self.mappings.place(&source).checkpoint);
            if done <= start || !(few || all) || !self.world.weather.allows(stale) {
                continue;
            }
            self.world.weather.happened(stale);
            if few {
                // A few records of the tables' streams come once more, without what followed: old changes do no harm.
                for _ in 0..3 {
                    let start = self.rng.between(start, done - 1);
                    let end = done.min(start + self.rng.between(1, 2));
                    self.begin(Batch { source: source.clone(), start, end, again: true, calm: true });
                }
            } else {
                // All that they still hold does.
                self.begin(Batch { source, start, end: done, again: true, calm: true });
            }
        }
        self.mend_objects();
        self.give_up_lost_ranges();
        self.quiet()?;
        self.reconcile()?;
        if self.features.keeper {
            self.vanish();
        }
        self.quiet()
    }

    /// Runs on until nothing is left to do.
    pub fn quiet(&mut self) -> Result<(), Violation> {
        let mut announced = None;
        for _ in 0..PATIENCE {
            self.retire();
            for place in (0..self.tasks.len()).rev() {
                self.poll(place)?;
                self.observe()?;
            }
            // Whoever finds log-keeper at a first scan comes again later, which is no fault.
            if self.tasks.iter().any(|task| matches!(task.what, What::Keep(_))) {
                continue;
            }
            for source in [self.due_changes(), self.due_orders()].concat() {
                self.deliver(source);
            }
            if !self.notices.is_empty() {
                self.deliver_notice();
            }
            if self.tasks.is_empty() {
                self.give_up_lost_ranges();
                let head = self.history.head();
                if announced == Some(head) {
                    return Ok(());
                }
                // What log-keeper does on a schedule.
                announced = Some(head);
                if head > 0 && self.features.keeper {
                    self.keep_on_schedule();
                } else if head > 0 {
                    self.notice(head);
                }
            }
        }
        Err(Violation("I11: it never settles".into()))
    }

    fn check(&mut self) -> Result<Summary, Violation> {
        let objects = self.world.state.objects();
        let mut keys: Vec<&str> = objects.keys().map(String::as_str).collect();
        copies_first(&mut keys);
        for key in keys {
            let object = self.world.state.peek(key).ok_or_else(|| Violation(format!("{key} is gone")))?;
            self.history.observe(key, &object, &self.objects, self.world.clock.now())?;
        }
        self.history.complete(&objects)?;
        let settled = Settled {
            world: &self.world,
            history: &self.history,
            orders: &self.orders,
            references: &self.references,
            objects: &self.objects,
            archive: &self.archive,
            as_of: self.deployments[0].as_of,
            guarded: self.features.guarded,
        };
        settled.check()
    }

    /// I4: everything that is in the stream comes again, to whoever is there and to nobody who remembers.
    fn redeliver(&mut self) -> Result<(), Violation> {
        self.world.trace.note("redelivery");
        let before = (self.world.state.objects(), outputs(&self.world).objects());
        let warm = self.rng.chance(300);
        self.environments.retain(|environment| warm || environment.function != Function::Enrich);
        for shard in self.shards.clone() {
            let source = Source::Orders(self.archive.key(&shard.id));
            let length = self.length(&source);
            // What has left the stream cannot come again.
            let mut start = self.trimmed(&source);
            while start < length {
                let end = self.rng.between(start + 1, length);
                self.begin(Batch { source: source.clone(), start, end, again: true, calm: true });
                start = end;
            }
        }
        self.end_tasks()?;
        let after = (self.world.state.objects(), outputs(&self.world).objects());
        let keys = crate::model::difference(&before.1, &after.1);
        holds!(keys.is_empty(), "I4: a redelivery alters the output: {keys:#?}");
        let mut keys = crate::model::difference(&before.0, &after.0);
        keys.retain(|key| !key.starts_with("pipelines/"));
        holds!(keys.is_empty(), "I4: a redelivery alters the state: {keys:#?}");
        Ok(())
    }

    /// I4: under a new name, what the stream still holds is read once more, from its beginning. Row for row it gives what
    /// the first reading gave, where that was done by one definition, as of the flags.
    fn replay(&mut self) -> Result<(), Violation> {
        let last = self.deployments[self.deployments.len() - 1];
        let one = self.deployments.iter().all(|deployment| deployment.definition == last.definition);
        // Nor may anything be there that should have left the stream by now.
        let retained = self.world.clock.now().plus_millis(-RETENTION_HOURS * 3_600_000);
        let untouched = self.archive.shelves.iter().all(|(key, shelf)| {
            let young = shelf.records.first().is_none_or(|record| record.arrival > retained);
            young && shelf.trimmed == 0 && key.stream == self.archive.stream
        });
        let kind = "a replay under a new name";
        if last.as_of != AsOf::Flag || !one || !untouched || !self.world.weather.allows(kind) {
            return Ok(());
        }
        self.world.weather.happened(kind);
        self.world.trace.note("replay");
        let definition = definitions::replayed(last.definition);
        self.deployments.push(Deployment { definition, output: REPLAYED, ..last });
        self.environments.clear();
        let firsts: BTreeMap<Source, Place> = std::mem::take(&mut self.mappings.0);
        for (source, place) in &firsts {
            if let Source::Table(..) = source {
                self.mappings.0.insert(source.clone(), place.clone());
            }
        }
        for _ in 0..PATIENCE {
            for place in (0..self.tasks.len()).rev() {
                self.poll(place)?;
            }
            for source in self.due_orders() {
                self.deliver(source);
            }
            if self.tasks.is_empty() {
                return replay::same(&self.world);
            }
        }
        Err(Violation("I11: a replay never ends".into()))
    }
}

/// What is left at the end is done in few ranges.
const UNLIMITED: Limits = Limits { records: 10_000, objects: 1_000, bytes: 64 << 20 };
