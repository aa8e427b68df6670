//! When log-keeper runs: on its schedule and by hand at random while everything goes wrong, several at once; and on its
//! schedule only once nothing does.

use std::time::Duration;

use freshjoin_core::ports::Clock;
use serde_json::Value;

use crate::environment::{Deployment, Environment, Function};
use crate::history::{Violation, holds};
use crate::schedule::{Run, What};

/// So long after it was given up, at the soonest, something vanishes.
const LINGERS_MILLIS: i64 = 3_600_000;
pub const SCHEDULED: &str = r#"{"version":"0","detail-type":"Scheduled Event","source":"aws.events","resources":[]}"#;
/// Nobody waits for anybody's scan, and holds no lease, after so many seconds.
const IDLE_SECONDS: u64 = 660;
/// The longest that one invocation may take in the calm, in rounds.
const PATIENCE: usize = 20_000;

impl Run {
    /// Somebody or the schedule runs log-keeper, beside whoever else does.
    pub fn keep(&mut self) {
        let weights = [600, 120, 40, 80, if self.features.gaps { 60 } else { 0 }, 30, 50, 40];
        let request = match self.rng.weighted(&weights) {
            0 => SCHEDULED,
            1 => r#"{"task":"snapshot"}"#,
            2 => r#"{"task":"rebroadcast"}"#,
            3 => r#"{"task":"reconcile"}"#,
            4 => r#"{"task":"reconcile","force":true}"#,
            5 => r#"{"task":"reconcile","reference":"ProductPriority"}"#,
            6 => r#"{"task":"bootstrap"}"#,
            // Where something can be read later and not now, by hand means by somebody who knows that.
            _ if self.features.rot => r#"{"task":"scheduled"}"#,
            _ => r#"{"task":"rebase"}"#,
        };
        if request.contains("reconcile") && self.rng.chance(500) {
            self.stale_changes();
        }
        let beside = self.tasks.iter().any(|task| matches!(task.what, What::Keep(_)));
        if beside {
            self.world.weather.happened("a log-keeper beside another one");
        }
        self.ask(request);
        if request.contains("reconcile") && self.rng.chance(500) {
            self.stale_changes();
        }
    }

    /// Something that was given up a while ago is no longer there.
    pub fn vanish(&mut self) {
        let due = self.world.clock.now().plus_millis(-LINGERS_MILLIS);
        let due = self.history.kept.given_up.iter().filter(|(_, since)| **since <= due);
        let due: Vec<String> = due.map(|(key, _)| key.clone()).collect();
        if due.is_empty() || !self.world.weather.allows("something that was given up vanishes") {
            return;
        }
        let most = if self.rng.chance(300) { due.len() } else { 1 };
        for _ in 0..most {
            let key = self.rng.pick(&due).clone();
            self.vanish_one(&key);
        }
    }

    /// All that was given up is gone, however young.
    pub fn vanish_all(&mut self) {
        if self.world.weather.allows("something that was given up vanishes") {
            for key in self.history.kept.given_up.keys().cloned().collect::<Vec<_>>() {
                self.vanish_one(&key);
            }
        }
    }

    fn vanish_one(&mut self, key: &str) {
        if self.world.state.vanish(key) {
            self.world.weather.happened("something that was given up vanishes");
            self.world.trace.note(format_args!("{key} vanishes"));
            self.rotten.remove(key);
            self.history.vanished(key);
        }
    }

    /// Takes note of what has been given up, if that may be news.
    pub fn observe_given_up(&mut self) -> Result<(), Violation> {
        if self.features.keeper {
            for event in self.history.given_up(self.world.state.given_up(), self.world.clock.now())? {
                self.world.weather.happened(event);
            }
        }
        Ok(())
    }

    /// Before the calm: whoever is at work ends, what log-keeper left half done is done, and nobody waits for anybody.
    pub fn keep_first(&mut self) -> Result<(), Violation> {
        if !self.features.keeper {
            return Ok(());
        }
        self.end_tasks()?;
        self.world.clock.advance(Duration::from_secs(IDLE_SECONDS));
        let definition = self.deployments[self.deployments.len() - 1].definition;
        self.keep_alone(SCHEDULED, definition)?.map_err(fails)?;
        Ok(())
    }

    /// In the calm: what the schedule does. Where the flag itself has left the stream unread, somebody has it put there again.
    pub fn keep_on_schedule(&mut self) {
        let lost =
            self.archive.shelves.iter().any(|(key, shelf)| key.stream == self.archive.stream && !shelf.lost.is_empty());
        let request = if lost { r#"{"task":"rebroadcast"}"# } else { SCHEDULED };
        self.ask(request);
    }

    /// In the calm: one invocation by hand, with a definition of its own and nothing else under way; what it said.
    pub fn keep_alone(&mut self, request: &str, definition: usize) -> Result<Result<Value, String>, Violation> {
        self.start_keeper(definition);
        self.said = None;
        self.ask(request);
        self.end_tasks()?;
        let said = self.said.take().ok_or_else(|| Violation("log-keeper says nothing".into()))?;
        self.environments.retain(|environment| environment.function != Function::Keep);
        Ok(said.map(|text| serde_json::from_str(&text).unwrap_or_default()))
    }

    /// Whatever is under way goes on to its end, and nothing else begins.
    pub fn end_tasks(&mut self) -> Result<(), Violation> {
        for _ in 0..PATIENCE {
            for place in (0..self.tasks.len()).rev() {
                self.poll(place)?;
                self.observe()?;
            }
            if self.tasks.is_empty() {
                return Ok(());
            }
        }
        Err(Violation("I11: an invocation never ends".into()))
    }

    pub fn ask(&mut self, request: &str) {
        self.invoke(Function::Keep, What::Keep(request.into()), request.into());
    }

    /// In place of all that are there.
    fn start_keeper(&mut self, definition: usize) {
        self.environments.retain(|environment| environment.function != Function::Keep || environment.busy > 0);
        let deployed = self.deployments.len() - 1;
        let deployment = Deployment { definition, ..self.deployments[deployed] };
        self.started += 1;
        let name = format!("Keep-{}", self.started);
        let keeper = Environment::start(&self.world, Function::Keep, name, deployed, deployment);
        self.environments.push(keeper);
    }

    /// A schedule's invocation that ended in the calm has done all that was due.
    pub fn kept(&mut self, request: &str, calm: bool, said: Result<String, String>) -> Result<(), Violation> {
        // A person reads what the others answer.
        if calm && !request.contains("reconcile") {
            holds!(said.is_ok(), "{}", fails(said.err().unwrap_or_default()).0);
        }
        self.said = Some(said);
        Ok(())
    }
}

fn fails(error: String) -> Violation {
    Violation(format!("I11: log-keeper fails although nothing goes wrong: {error}"))
}
