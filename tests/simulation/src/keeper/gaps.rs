//! Changes that nobody ever hears of, and the reconcile that finds them: streams that lost records, notices that never came,
//! tables that were emptied or restored behind everybody's back.

use freshjoin_core::change::Version;
use serde_json::Value;

use crate::definitions::{CUSTOMERS, Definition, PRIORITIES, is_object};
use crate::history::{Violation, holds};
use crate::known::Start;
use crate::mapping::{Batch, Source};
use crate::schedule::Run;

/// Definitions that have every reference between them: tables only, and with objects.
const ALL_TABLES: &[usize] = &[3];
const WITH_OBJECTS: &[usize] = &[3, 9, 7];

impl Run {
    /// Records leave a table's stream before anybody has read them, or a table changes without any record.
    pub fn lose_changes(&mut self) {
        if self.rng.chance(250) {
            if self.world.weather.allows("a table that is emptied or restored") {
                let told = self.references.restore(&mut self.rng);
                self.world.weather.happened("a table that is emptied or restored");
                self.world.trace.note(format_args!("{told}"));
            }
            return;
        }
        let due = self.due_changes();
        if due.is_empty() || !self.world.weather.allows("a gap in a table's stream") {
            return;
        }
        let source = self.rng.pick(&due).clone();
        let (Source::Table(table, shard), length) = (&source, self.length(&source)) else { return };
        let place = self.mappings.place(&source);
        place.checkpoint = self.rng.between(place.checkpoint + 1, length);
        let through = place.checkpoint;
        self.references.trimmed.insert((table, *shard), through);
        self.world.weather.happened("a gap in a table's stream");
        self.world.trace.note(format_args!("{table}/{shard} has lost all before place {through}"));
    }

    /// A few records that a table's stream still holds come once more.
    pub fn stale_changes(&mut self) {
        for source in self.due_tables() {
            let (start, done) = (self.trimmed(&source), self.mappings.place(&source).checkpoint);
            let stale = "a stale change around a reconcile";
            if done > start && self.rng.chance(600) && self.world.weather.allows(stale) {
                self.world.weather.happened(stale);
                let start = self.rng.between(start, done - 1);
                let end = done.min(start + self.rng.between(1, 3));
                self.begin(Batch { source, start, end, again: true, calm: self.calm });
            }
        }
    }

    /// In the calm: whatever was lost is found, by hand, for every reference; twice where too much would be deleted.
    pub fn reconcile(&mut self) -> Result<(), Violation> {
        if !self.features.gaps {
            return Ok(());
        }
        let definitions = if self.objects.active { WITH_OBJECTS } else { ALL_TABLES };
        for definition in definitions.iter().copied() {
            // Nobody else may write meanwhile, so that what is refused is known.
            let refused = self.due_to_be_refused(definition)?;
            let said = self.keep_alone(r#"{"task":"reconcile"}"#, definition)?;
            let guarded = said.as_ref().is_err_and(|error| error.contains("would be deleted"));
            holds!(
                guarded || refused.is_none(),
                "a reconcile deletes more than half: {refused:?} of {definition}: {said:?}"
            );
            if !guarded {
                settled(said)?;
                continue;
            }
            let of_object = said.as_ref().is_err_and(|error| error.contains("s3://"));
            holds!(refused.is_some() || of_object, "a reconcile refuses to delete less than half: {said:?}");
            self.world.weather.happened("a mass deletion that is refused");
            if self.rng.chance(500) {
                self.stale_changes();
            }
            settled(self.keep_alone(r#"{"task":"reconcile","force":true}"#, definition)?)?;
        }
        Ok(())
    }

    /// A table of which more than half would be deleted.
    fn due_to_be_refused(&self, definition: usize) -> Result<Option<String>, Violation> {
        let definition: &Definition = &self.world.definitions[definition];
        let tables = definition.references();
        for table in [PRIORITIES, CUSTOMERS].into_iter().filter(|table| tables.contains(table) && !is_object(table)) {
            let Some(start) = Start::base(&self.history, table)? else { continue };
            let keys = start.follow(&self.history, table, Version::MAX, |_, _| {})?;
            let rows = self.references.rows(table);
            let logged: Vec<&String> =
                keys.iter().filter(|(_, known)| known.row.is_some()).map(|(key, _)| key).collect();
            let deletes = logged.iter().filter(|key| !rows.contains_key(**key)).count();
            if deletes * 2 > logged.len() {
                return Ok(Some(format!("{deletes} of {} of {table}", logged.len())));
            }
        }
        Ok(None)
    }
}

/// Everything was compared until it was equal.
fn settled(said: Result<Value, String>) -> Result<(), Violation> {
    let said =
        said.map_err(|error| Violation(format!("I5: a reconcile fails although nothing goes wrong: {error}")))?;
    let all = said["reconcile"].as_array().is_some_and(|all| all.iter().all(|one| one["settled"] == true));
    holds!(all, "I5: a reconcile ends before nothing differs: {said}");
    Ok(())
}
