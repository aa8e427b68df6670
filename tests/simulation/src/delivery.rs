//! Deliveries: which batch or notice comes next, to which environment, and what its answer means.

use freshjoin_core::change::{Change, Version, change_key};
use freshjoin_core::ports::Clock;
use freshjoin_core::time::Timestamp;

use crate::archive::Kept;
use crate::environment::{Answer, Environment, Function};
use crate::events::{self, About, STATE_BUCKET, Wrapping};
use crate::folded::rank;
use crate::history::{Violation, holds};
use crate::known::order;
use crate::mapping::{Batch, Source};
use crate::model::honoured;
use crate::schedule::{Run, Task, What};
use crate::table::key_text;

impl Run {
    pub fn notice(&mut self, version: Version) {
        let mut about = vec![About::file(&change_key(version))];
        if self.rng.chance(100) {
            // Not of what may be gone.
            let floor = self.history.kept.floor.version;
            about.push(About::file(&change_key(floor + 1 + self.rng.below((version - floor) as usize) as Version)));
        }
        self.notify(&about);
    }

    pub fn notify(&mut self, about: &[About]) {
        let wrapping = *self.rng.pick(&[Wrapping::Direct, Wrapping::Queue, Wrapping::Topic, Wrapping::Bus]);
        self.notices.extend(events::notices(wrapping, about));
    }

    /// Takes note of what the order stream has taken since.
    pub fn refresh(&mut self) {
        if self.world.weather.take_streamed() {
            self.archive.refresh(&self.world.stream);
        }
    }

    pub fn length(&mut self, source: &Source) -> usize {
        match source {
            Source::Orders(key) => {
                self.refresh();
                self.archive.shelf(key).records.len()
            }
            Source::Table(table, shard) => self.references.streams[&(*table, *shard)].len(),
        }
    }

    /// So many records have left a shard.
    pub fn trimmed(&self, source: &Source) -> usize {
        match source {
            Source::Orders(key) => self.archive.shelf(key).trimmed,
            Source::Table(table, shard) => self.references.trimmed.get(&(*table, *shard)).copied().unwrap_or(0),
        }
    }

    /// Shards of the order stream whose parents are done, with something to do.
    pub fn due_orders(&mut self) -> Vec<Source> {
        self.refresh();
        // Parents come before their children.
        let (mut due, mut unfinished) = (Vec::new(), Vec::new());
        for shard in &self.shards {
            let source = Source::Orders(self.archive.key(&shard.id));
            let Source::Orders(key) = &source else { continue };
            let length = self.archive.shelf(key).records.len();
            let place = self.mappings.place(&source);
            let ready = shard.parents.iter().all(|parent| !unfinished.contains(&parent.as_str()));
            if !ready || place.busy || place.checkpoint < length {
                unfinished.push(shard.id.as_str());
            }
            if ready && !place.busy && place.checkpoint < length {
                due.push(source);
            }
        }
        due
    }

    pub fn due_changes(&mut self) -> Vec<Source> {
        let mut due = Vec::new();
        for ((table, shard), changes) in &self.references.streams {
            let source = Source::Table(table, *shard);
            let place = self.mappings.place(&source);
            if !place.busy && place.checkpoint < changes.len() {
                due.push(source);
            }
        }
        due
    }

    pub fn due_tables(&self) -> Vec<Source> {
        self.references.streams.keys().map(|(table, shard)| Source::Table(table, *shard)).collect()
    }

    pub fn deliver_orders(&mut self) {
        let due = self.due_orders();
        if !due.is_empty() {
            let source = self.rng.pick(&due).clone();
            self.deliver(source);
        }
    }

    pub fn deliver_changes(&mut self) {
        let due = self.due_changes();
        if !due.is_empty() {
            let source = self.rng.pick(&due).clone();
            self.deliver(source);
        }
    }

    /// The next batch of a shard, cut at random.
    pub fn deliver(&mut self, source: Source) {
        let length = self.length(&source);
        let start = self.mappings.place(&source).checkpoint;
        let most = *self.rng.pick(&[1, 4, 12, 40]);
        let end = self.rng.between(start + 1, length.min(start + most));
        self.begin(Batch { source, start, end, again: false, calm: self.calm });
    }

    /// A batch that came before, or a part of it.
    pub fn deliver_again(&mut self) {
        let all = self.mappings.0.values().map(|place| place.delivered.len()).sum();
        if all == 0 {
            return;
        }
        let nth = self.rng.below(all);
        let each =
            self.mappings.0.iter().flat_map(|(source, place)| place.delivered.iter().map(move |at| (source, *at)));
        let Some((source, (start, end))) = each.clone().nth(nth) else { return };
        let source = source.clone();
        let part = self.rng.chance(300);
        let end = if part { self.rng.between(start + 1, end) } else { end };
        let event = if part { "a batch is cut anew" } else { "a batch comes twice" };
        let there = start >= self.trimmed(&source) && self.is_current(&source);
        if there && self.world.weather.allows(event) {
            self.world.weather.happened(event);
            if self.mappings.place(&source).busy {
                self.world.weather.happened("an invocation beside another one of its shard");
            }
            self.begin(Batch { source, start, end, again: true, calm: self.calm });
        }
    }

    /// Whether a stream is there that has the source.
    fn is_current(&self, source: &Source) -> bool {
        !matches!(source, Source::Orders(key) if key.stream != self.archive.stream)
    }

    /// Whether an invocation reads the order stream.
    pub fn is_of_orders(&self, task: &Task) -> bool {
        matches!(&task.what, What::Batch(Batch { source: Source::Orders(_), .. }))
    }

    pub fn begin(&mut self, batch: Batch) {
        let (function, event) = match &batch.source {
            Source::Orders(key) => {
                let records = &self.archive.shelf(key).records[batch.start..batch.end];
                (Function::Enrich, events::kinesis(&key.id, records.iter().map(Kept::record)))
            }
            Source::Table(table, shard) => {
                let changes = &self.references.streams[&(*table, *shard)][batch.start..batch.end];
                let records: Vec<_> = changes.iter().map(|change| change.event.clone()).collect();
                (Function::Capture, serde_json::json!({ "Records": records }).to_string())
            }
        };
        self.mappings.begin(&batch);
        self.invoke(function, What::Batch(batch), event);
    }

    pub fn invoke(&mut self, function: Function, what: What, event: String) {
        let place = self.environment(function);
        // A long-running process has all the time in the world; a function ends after a quarter of an hour.
        let most = if matches!(function, Function::Enrich | Function::Capture) { 400_000 } else { 900 };
        let seconds = if self.calm { 60 } else { *self.rng.pick(&[2, 30, 60, 60, most]) };
        let deadline = self.world.clock.now().plus_millis(seconds * 1000);
        let cut = self.rng.chance(self.features.cuts).then(|| self.rng.between(1, 120));
        let cut = cut.filter(|_| !self.calm && seconds <= 60 && self.world.weather.allows(function.deadline()));
        let environment = &mut self.environments[place];
        match &what {
            What::Batch(batch) => self.world.trace.note(format_args!("{} begins {batch:?}", environment.name)),
            What::Notice(notice) => {
                self.world.trace.note(format_args!("{} begins notice {}", environment.name, notice.event))
            }
            What::Keep(request) => self.world.trace.note(format_args!("{} begins {request}", environment.name)),
        }
        environment.busy += 1;
        if seconds > 3_600 {
            self.world.weather.patient(&environment.name);
        }
        let running = environment.invoke(event, deadline);
        let environment = environment.name.clone();
        self.tasks.push(Task {
            environment,
            what,
            running,
            frozen: 0,
            deadline,
            cut,
            late: 0,
            calm: self.calm,
            stream: self.archive.stream,
        });
    }

    /// The place of an environment that can take an invocation, warm or cold.
    pub fn environment(&mut self, function: Function) -> usize {
        let warm: Vec<usize> = (0..self.environments.len())
            .filter(|place| {
                let environment = &self.environments[*place];
                environment.function == function && environment.busy < self.width && !environment.is_dead()
            })
            .collect();
        let asked = self.calm && function == Function::Keep;
        if !warm.is_empty() && (asked || !self.rng.chance(100)) {
            return *self.rng.pick(&warm);
        }
        self.started += 1;
        let deployed = self.deployments.len() - 1;
        let name = format!("{function:?}-{}", self.started);
        let deployment = self.deployments[deployed];
        self.environments.push(Environment::start(&self.world, function, name, deployed, deployment));
        self.environments.len() - 1
    }

    /// An invocation has ended.
    pub fn answered(&mut self, place: usize, answer: Answer) -> Result<(), Violation> {
        let task = self.tasks.swap_remove(place);
        self.world.weather.ended(&task.environment);
        self.world.trace.note(format_args!("{} ends: {answer:?}", task.environment));
        if let Some(environment) = self.environments.iter_mut().find(|known| known.name == task.environment) {
            environment.busy -= 1;
        }
        self.environments.retain(|environment| environment.busy > 0 || !environment.is_dead());
        if self.calm {
            self.give_up_lost_ranges();
        }
        match task.what {
            What::Batch(batch) => {
                let done = self.done(&batch, &answer)?;
                self.captured(&batch, done)?;
                self.mappings.end(&batch, done);
            }
            What::Keep(request) => match answer {
                Answer::Kept(summary) => self.kept(&request, task.calm, Ok(summary))?,
                Answer::Failed(error) => self.kept(&request, task.calm, Err(error))?,
                Answer::Dead | Answer::Done(_) => {}
            },
            What::Notice(mut notice) => {
                let whole = matches!(&answer, Answer::Done(failures) if failures.is_empty());
                notice.failed += 1;
                // An asynchronous invocation is tried three times, a queue's until it works; of a reference object, the
                // failure destination keeps the event until somebody sends it again.
                let kept = notice.about.iter().any(|about| about.bucket != STATE_BUCKET);
                if whole {
                    self.observe()?;
                    self.announced(&task.environment, task.stream, &notice.about)?;
                } else if kept || notice.event.contains("aws:sqs") || notice.failed < 3 {
                    self.notices.push(notice);
                }
            }
        }
        Ok(())
    }

    /// What is acknowledged is in the log and has been announced: each shard that was open when the shards were listed
    /// last has the flag of the event's newest version or of a later one.
    fn announced(&mut self, environment: &str, stream: Timestamp, about: &[About]) -> Result<(), Violation> {
        let mut newest = None;
        for about in about {
            newest = newest.max(self.due_version(about)?);
        }
        // Where several invocations share an environment, nobody knows whose listing was the last.
        // Nor what happened where the stream was made again meanwhile, with shards of the same names.
        let known = self.width == 1 && stream == self.archive.stream;
        // What has expired was read by everybody before.
        let known = known && newest > Some(self.history.kept.floor.version);
        let Some(newest) = newest.filter(|_| known) else { return Ok(()) };
        self.refresh();
        for shard in &self.open[self.world.weather.listed(environment)] {
            let records = &self.archive.shelf(shard).records;
            let reached = records.iter().filter_map(|record| honoured(&self.history, &record.data)).max();
            holds!(reached >= Some(newest), "{shard:?} has not taken the flag of version {newest}, but {reached:?}");
        }
        Ok(())
    }

    /// The version that an acknowledged notice must have been announced by: of an object, the first change that is not
    /// older than the notice.
    fn due_version(&self, about: &About) -> Result<Option<Version>, Violation> {
        if about.bucket == STATE_BUCKET {
            return Ok(freshjoin_core::log::version_of(about.key.split_once('/').map_or("", |(_, key)| key)));
        }
        if about.key.ends_with(".txt") {
            return Ok(None);
        }
        let url = about.url();
        let due = |change: &Change| match change {
            Change::Object(change) => change.object == url && rank(&change.sequencer) >= rank(&about.sequencer),
            Change::Row(_) => false,
        };
        let found = self.history.files.iter().find(|(_, (_, file))| file.changes.iter().any(due));
        holds!(found.is_some(), "I3: the notice of {url} ({}) is acknowledged, and not in the log", about.sequencer);
        Ok(found.map(|(version, _)| *version))
    }

    /// What is acknowledged of a table is in the log, or something newer of its key.
    fn captured(&mut self, batch: &Batch, done: usize) -> Result<(), Violation> {
        let Source::Table(table, shard) = &batch.source else { return Ok(()) };
        self.observe()?;
        for change in &self.references.streams[&(*table, *shard)][batch.start..done] {
            let (key, own) = change.names(table);
            let newer = |logged: &Change| match logged {
                Change::Row(row) if row.table == *table && row.unless_after.is_none() => {
                    let same = serde_json::from_str(row.key.get()).is_ok_and(|logged| key_text(table, &logged) == key);
                    same && order(&row.label, row.sequence.as_str()) >= own
                }
                _ => false,
            };
            // One of two changes to a key is enough, also where that one is to come again.
            if self.references.streams[&(*table, *shard)][done..batch.end]
                .iter()
                .any(|later| later.names(table).0 == key)
            {
                continue;
            }
            let there = self.history.files.values().rev().any(|(_, file)| file.changes.iter().any(newer));
            holds!(there, "I3: change {} of {table} is acknowledged, and not in the log", change.sequence);
        }
        Ok(())
    }

    /// Up to before which place a batch is done.
    pub fn done(&self, batch: &Batch, answer: &Answer) -> Result<usize, Violation> {
        let failures = match answer {
            Answer::Done(failures) if failures.is_empty() => return Ok(batch.end),
            Answer::Done(failures) => failures,
            Answer::Dead | Answer::Kept(_) => return Ok(batch.start),
            Answer::Failed(error) => {
                let capture = matches!(batch.source, Source::Table(..)) && !batch.calm;
                holds!(capture, "{batch:?} is refused: {error}");
                return Ok(batch.start);
            }
        };
        // What began before may be in the way still, or hold up its whole environment until its deadline.
        let alone = self.tasks.iter().all(|task| task.calm);
        // Nor can anybody finish a range that has left the stream: a person gives it up.
        let given_up = matches!(&batch.source, Source::Orders(key)
            if self.history.shards.get(key).is_some_and(|known| !known.given_up.is_empty()));
        holds!(!batch.calm || !alone || given_up, "I11: {batch:?} fails although nothing goes wrong");
        let records: Vec<&str> = match &batch.source {
            Source::Orders(key) => {
                self.archive.shelf(key).records.iter().map(|record| record.sequence.as_str()).collect()
            }
            Source::Table(table, shard) => {
                let changes = &self.references.streams[&(*table, *shard)];
                changes.iter().map(|change| change.sequence.as_str()).collect()
            }
        };
        let mut lowest = batch.end;
        for failure in failures {
            let place = (batch.start..batch.end).find(|place| records.get(*place).copied() == Some(failure.as_str()));
            let place = place.ok_or_else(|| Violation(format!("{batch:?}: {failure} is not in the batch")))?;
            lowest = lowest.min(place);
        }
        Ok(lowest)
    }

    pub fn deliver_notice(&mut self) {
        if !self.notices.is_empty() {
            let place = self.rng.below(self.notices.len());
            let notice = self.notices.swap_remove(place);
            if place + 1 < self.notices.len() {
                self.world.weather.happened("a late notice");
            }
            let event = notice.event.clone();
            self.invoke(Function::Inject, What::Notice(notice), event);
        }
    }
}
