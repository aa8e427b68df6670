//! Deliveries: which batch or notice comes next, to which environment, and what its answer means.

use std::task::{Context, Poll, Waker};

use freshjoin_core::change::{Change, Version, change_key};
use freshjoin_core::ports::{Clock, Shard};

use crate::definitions::{CUSTOMERS, PRIORITIES};
use crate::environment::{Answer, Environment, Function};
use crate::events::{self, About, STATE_BUCKET, Wrapping};
use crate::folded::rank;
use crate::history::{Violation, holds};
use crate::mapping::{Batch, Source};
use crate::model::honoured;
use crate::schedule::{Run, Task, What};
use crate::table::STREAM_SHARDS;

impl Run {
    pub fn notice(&mut self, version: Version) {
        let mut about = vec![About::file(&change_key(version))];
        if self.rng.chance(100) {
            about.push(About::file(&change_key(1 + self.rng.below(version as usize) as Version)));
        }
        self.notify(&about);
    }

    pub fn notify(&mut self, about: &[About]) {
        let wrapping = *self.rng.pick(&[Wrapping::Direct, Wrapping::Queue, Wrapping::Topic, Wrapping::Bus]);
        self.notices.extend(events::notices(wrapping, about));
    }

    pub fn length(&mut self, source: &Source) -> usize {
        match source {
            Source::Orders(shard) => {
                if self.world.weather.take_streamed() {
                    self.lengths.clear();
                }
                let stream = &self.world.stream;
                *self.lengths.entry(shard.clone()).or_insert_with(|| stream.records(shard).len())
            }
            Source::Table(table, shard) => self.references.streams[&(*table, *shard)].len(),
        }
    }

    /// Shards of the order stream whose parents are done, with something to do.
    pub fn due_orders(&mut self) -> Vec<Source> {
        let shards = self.shards.clone();
        let mut due = Vec::new();
        for shard in &shards {
            let known = |id: &&String| shards.iter().any(|shard| shard.id == **id);
            let mut ready = true;
            for parent in shard.parents.iter().filter(known) {
                let source = Source::Orders(parent.clone());
                let length = self.length(&source);
                let place = self.mappings.place(&source);
                ready &= !place.busy && place.checkpoint == length && self.ancestors_done(&shards, parent);
            }
            let source = Source::Orders(shard.id.clone());
            let length = self.length(&source);
            let place = self.mappings.place(&source);
            if ready && !place.busy && place.checkpoint < length {
                due.push(source);
            }
        }
        due
    }

    pub fn ancestors_done(&mut self, shards: &[Shard], id: &str) -> bool {
        let parents = shards.iter().find(|shard| shard.id == id).map(|shard| shard.parents.clone()).unwrap_or_default();
        parents.iter().all(|parent| {
            let source = Source::Orders(parent.clone());
            self.length(&source) == self.mappings.place(&source).checkpoint && self.ancestors_done(shards, parent)
        })
    }

    pub fn due_changes(&mut self) -> Vec<Source> {
        let mut due = Vec::new();
        for table in [PRIORITIES, CUSTOMERS] {
            for shard in 0..STREAM_SHARDS {
                let source = Source::Table(table, shard);
                let length = self.length(&source);
                let place = self.mappings.place(&source);
                if !place.busy && place.checkpoint < length {
                    due.push(source);
                }
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
        let all: Vec<(Source, (usize, usize))> = self
            .mappings
            .0
            .iter()
            .flat_map(|(source, place)| place.delivered.iter().map(move |batch| (source.clone(), *batch)))
            .collect();
        if !all.is_empty() {
            let (source, (start, end)) = self.rng.pick(&all).clone();
            let end = if self.rng.chance(300) { self.rng.between(start + 1, end) } else { end };
            self.begin(Batch { source, start, end, again: true, calm: self.calm });
        }
    }

    pub fn begin(&mut self, batch: Batch) {
        let (function, event) = match &batch.source {
            Source::Orders(shard) => {
                let records = self.world.stream.records(shard);
                let records = (batch.start..batch.end).filter_map(|place| records.get(place));
                (Function::Enrich, events::kinesis(shard, records))
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
        let seconds = if self.calm { 60 } else { *self.rng.pick(&[2, 30, 60]) };
        let deadline = self.world.clock.now().plus_millis(seconds * 1000);
        let environment = &mut self.environments[place];
        let told = match &what {
            What::Batch(batch) => format!("{batch:?}"),
            What::Notice(notice) => format!("notice {}", notice.event),
        };
        self.world.trace.note(format_args!("{} begins {told}", environment.name));
        environment.busy += 1;
        let running = environment.invoke(event, deadline);
        self.tasks.push(Task { environment: environment.name.clone(), what, running, frozen: 0 });
    }

    /// The place of an environment that can take an invocation, warm or cold.
    pub fn environment(&mut self, function: Function) -> usize {
        let warm: Vec<usize> = (0..self.environments.len())
            .filter(|place| {
                let environment = &self.environments[*place];
                environment.function == function && environment.busy < self.width && !environment.is_dead()
            })
            .collect();
        if !warm.is_empty() && !self.rng.chance(100) {
            return *self.rng.pick(&warm);
        }
        self.started += 1;
        let deployed = self.deployments.len() - 1;
        let name = format!("{function:?}-{}", self.started);
        let deployment = self.deployments[deployed];
        self.environments.push(Environment::start(&self.world, function, name, deployed, deployment));
        self.environments.len() - 1
    }

    pub fn poll(&mut self, place: usize) -> Result<(), Violation> {
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(answer) = self.tasks[place].running.as_mut().poll(&mut context) else { return Ok(()) };
        let task = self.tasks.swap_remove(place);
        self.world.trace.note(format_args!("{} ends: {answer:?}", task.environment));
        if let Some(environment) = self.environments.iter_mut().find(|known| known.name == task.environment) {
            environment.busy -= 1;
        }
        self.environments.retain(|environment| environment.busy > 0 || !environment.is_dead());
        match task.what {
            What::Batch(batch) => {
                let done = self.done(&batch, &answer)?;
                self.mappings.end(&batch, done);
            }
            What::Notice(mut notice) => {
                let whole = matches!(&answer, Answer::Done(failures) if failures.is_empty());
                notice.failed += 1;
                // An asynchronous invocation is tried three times, a queue's until it works; of a reference object, the
                // failure destination keeps the event until somebody sends it again.
                let kept = notice.about.iter().any(|about| about.bucket != STATE_BUCKET);
                if whole {
                    self.observe()?;
                    self.announced(&task.environment, &notice.about)?;
                } else if kept || notice.event.contains("aws:sqs") || notice.failed < 3 {
                    self.notices.push(notice);
                }
            }
        }
        Ok(())
    }

    /// What is acknowledged is in the log and has been announced: each shard that was open when the shards were listed
    /// last has the flag of the event's newest version or of a later one.
    fn announced(&self, environment: &str, about: &[About]) -> Result<(), Violation> {
        let mut newest = None;
        for about in about {
            newest = newest.max(self.due_version(about)?);
        }
        // Where several invocations share an environment, nobody knows whose listing was the last.
        let Some(newest) = newest.filter(|_| self.width == 1) else { return Ok(()) };
        for shard in &self.open[self.world.weather.listed(environment)] {
            let records = self.world.stream.records(shard);
            let reached = records.iter().filter_map(|record| honoured(&self.history, record.data)).max();
            holds!(reached >= Some(newest), "{shard} has not taken the flag of version {newest}, but {reached:?}");
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

    /// Up to before which place a batch is done.
    pub fn done(&self, batch: &Batch, answer: &Answer) -> Result<usize, Violation> {
        let failures = match answer {
            Answer::Done(failures) if failures.is_empty() => return Ok(batch.end),
            Answer::Done(failures) => failures,
            Answer::Dead => return Ok(batch.start),
            Answer::Failed(error) => {
                let capture = matches!(batch.source, Source::Table(..)) && !batch.calm;
                holds!(capture, "{batch:?} is refused: {error}");
                return Ok(batch.start);
            }
        };
        holds!(!batch.calm, "I11: {batch:?} fails although nothing goes wrong");
        let records = match &batch.source {
            Source::Orders(shard) => {
                let records = self.world.stream.records(shard);
                records.iter().map(|record| record.sequence.to_owned()).collect::<Vec<_>>()
            }
            Source::Table(table, shard) => {
                let changes = &self.references.streams[&(*table, *shard)];
                changes.iter().map(|change| change.sequence.clone()).collect()
            }
        };
        let mut lowest = batch.end;
        for failure in failures {
            let place = (batch.start..batch.end).find(|place| records.get(*place) == Some(failure));
            let place = place.ok_or_else(|| Violation(format!("{batch:?}: {failure} is not in the batch")))?;
            lowest = lowest.min(place);
        }
        Ok(lowest)
    }

    pub fn deliver_notice(&mut self) {
        if !self.notices.is_empty() {
            let place = self.rng.below(self.notices.len());
            let notice = self.notices.swap_remove(place);
            let event = notice.event.clone();
            self.invoke(Function::Inject, What::Notice(notice), event);
        }
    }
}
