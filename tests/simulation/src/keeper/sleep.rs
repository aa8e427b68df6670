//! Somebody who sleeps for days in the middle of their work, while everybody else carries on: the log grows, the floor rises,
//! what was given up vanishes, and whoever sleeps knows nothing of it.

use crate::history::Violation;
use crate::keeper::schedule::SCHEDULED;
use crate::schedule::Run;

/// The hours between what others do meanwhile: enough for a snapshot file, for all to be two days old, for a floor that is
/// announced, raised and swept, and for what it swept to vanish.
const HOURS: [u64; 6] = [2, 26, 26, 1, 1, 2];

impl Run {
    /// All who are at work fall asleep now, but for a few.
    pub fn sleep_for_days(&mut self) -> Result<(), Violation> {
        if !self.world.weather.allows("somebody sleeps for days") {
            return Ok(());
        }
        self.world.weather.happened("somebody sleeps for days");
        self.world.trace.note("somebody sleeps for days");
        self.begin_work()?;
        let until = self.step_now + self.rng.below(60);
        for task in &mut self.tasks {
            if self.rng.chance(800) {
                task.frozen = usize::MAX;
            }
        }
        for hours in HOURS {
            self.change_tables(2);
            for source in self.due_changes() {
                self.deliver(source);
            }
            self.ask(SCHEDULED);
            self.carry_on()?;
            self.pass_hours(hours);
        }
        self.vanish_all();
        self.tasks.iter_mut().for_each(|task| task.frozen = task.frozen.min(until));
        Ok(())
    }

    /// Writers, readers and first pins that have only just begun.
    fn begin_work(&mut self) -> Result<(), Violation> {
        self.change_tables(1);
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
                self.poll_some(self.tasks.len() - 1, 24)?;
            }
        }
        Ok(())
    }

    /// One that is at work, alone and for a while.
    fn poll_some(&mut self, place: usize, most: usize) -> Result<(), Violation> {
        let all = self.tasks.len();
        for _ in 0..self.rng.below(most) {
            if self.tasks.len() == all {
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
            if !sleeping.is_empty() && self.rng.chance(often) {
                let place = *self.rng.pick(&sleeping);
                self.tasks[place].frozen = 0;
                self.poll_some(place, 12)?;
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
