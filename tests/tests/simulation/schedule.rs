//! One run: what happens next is drawn from the seed, one poll of one invocation at a time; first with everything going
//! wrong that can, then calmly until nothing is left to do.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use freshjoin_core::change::{Flag, Version, change_key};
use freshjoin_core::join::Limits;
use freshjoin_core::memory::{MemoryClock, MemoryStores, MemoryStream, MemoryTables};
use freshjoin_core::ports::{Clock, ObjectStore, PutEntry, Shard, Stream};
use freshjoin_core::settings::AsOf;
use freshjoin_core::time::Timestamp;

use crate::check::{Settled, Summary, outputs};
use crate::definitions::{self, CUSTOMERS, PRIORITIES};
use crate::environment::{Answer, Deployment, Environment, Function, Reports, Running, World, state_location};
use crate::events::{self, STATE_BUCKET, STATE_PREFIX, STREAM, Wrapping};
use crate::faults::{Rates, Trace, Weather};
use crate::history::{History, Violation, holds};
use crate::mapping::{Batch, Mappings, Source};
use crate::orders::Orders;
use crate::rng::Rng;
use crate::table::{References, STREAM_SHARDS};

/// An invocation under way.
struct Task {
    environment: String,
    what: What,
    running: Running,
}

enum What {
    Batch(Batch),
    /// An event of S3, and how often it has failed.
    Notice(String, u32),
}

/// A run.
pub struct Run {
    rng: Rng,
    world: World,
    references: References,
    orders: Orders,
    /// Of the order stream; asked for only when they change, as a call to the stream would hold up the clock.
    shards: Vec<Shard>,
    /// How many records they hold, where nothing was put since.
    lengths: BTreeMap<String, usize>,
    mappings: Mappings,
    history: History,
    environments: Vec<Environment>,
    tasks: Vec<Task>,
    deployments: Vec<Deployment>,
    /// Events of S3 on their way, with how often they failed.
    notices: Vec<(String, u32)>,
    /// The newest version that S3 took note of.
    noticed: Version,
    started: usize,
    /// How many invocations an environment takes at once: one in Lambda, several in a worker.
    width: usize,
    /// From this step on the enricher's mapping is there.
    enriching_from: usize,
    calm: bool,
}

/// So many different records a run has at most, flags aside.
const MOST_RECORDS: usize = 160;
/// The longest that the calm may take, in rounds.
const PATIENCE: usize = 200_000;

/// Runs a seed to its end and checks everything.
pub fn run(seed: u64, trace: &Trace) -> Result<Summary, Violation> {
    let mut run = Run::new(seed, trace);
    let steps = run.rng.between(600, 3_000);
    for step in 0..steps {
        run.step(step)?;
    }
    run.settle()?;
    let summary = run.check()?;
    run.redeliver()?;
    Ok(summary)
}

impl Run {
    fn new(seed: u64, trace: &Trace) -> Self {
        let mut rng = Rng::new(seed);
        let clock = MemoryClock::at(Timestamp::from_millis(1_790_000_000_000 + rng.below(1_000_000) as i64));
        let rates = Rates::draw(&mut rng);
        let stores = MemoryStores::new(&clock);
        let tables = MemoryTables::new(&clock);
        let world = World {
            state: stores.store(&state_location()).expect("it is a location"),
            stream: MemoryStream::new(STREAM, rng.between(1, 4) as u32, &clock),
            weather: Weather::new(rng.fork(), rates, &clock, trace),
            trace: trace.clone(),
            reports: Reports::default(),
            definitions: definitions::all(),
            clock,
            stores,
            tables,
        };
        let references = References::new(&world.tables, &world.clock, &mut rng);
        let deployment = Deployment {
            definition: rng.below(3),
            output: "s3://out/a",
            as_of: if rng.chance(150) { AsOf::Latest } else { AsOf::Flag },
            limits: limits(&mut rng),
            direct: rng.chance(400),
        };
        trace.note(format_args!("{rates:?} {deployment:?}"));
        Self {
            references,
            orders: Orders::default(),
            shards: shards(&world),
            lengths: BTreeMap::new(),
            world,
            mappings: Mappings::default(),
            history: History::default(),
            environments: Vec::new(),
            tasks: Vec::new(),
            deployments: vec![deployment],
            notices: Vec::new(),
            noticed: 0,
            started: 0,
            width: if rng.chance(250) { 4 } else { 1 },
            enriching_from: rng.below(800),
            calm: false,
            rng,
        }
    }

    /// One thing happens.
    fn step(&mut self, step: usize) -> Result<(), Violation> {
        self.world.clock.advance(Duration::from_millis(self.rng.below(4) as u64));
        let enrich = if step >= self.enriching_from { 50 } else { 0 };
        let put = if self.orders.known.len() < MOST_RECORDS { 25 } else { 0 };
        let weights = [780, put, 12, enrich, 25, 30, 5, 3, 3, 2, 3, 2, 1, 8];
        match self.rng.weighted(&weights) {
            0 if !self.tasks.is_empty() => {
                let place = self.rng.below(self.tasks.len());
                self.poll(place)?;
            }
            0 => {}
            1 => self.put_orders(),
            2 => {
                let told = self.references.change(&mut self.rng);
                self.world.trace.note(format_args!("changed{told}"));
            }
            3 => self.deliver_orders(),
            4 => self.deliver_changes(),
            5 => self.deliver_notice(),
            6 => self.deliver_again(),
            7 => self.forge(),
            8 => self.kill(),
            9 => self.redeploy(),
            10 => self.retire(),
            11 => self.reshard(),
            12 => {
                let seconds = self.rng.between(60, 1_200) as u64;
                self.world.trace.note(format_args!("{seconds} seconds pass"));
                self.world.clock.advance(Duration::from_secs(seconds));
            }
            _ => self.world.clock.advance(Duration::from_millis(self.rng.below(2_000) as u64)),
        }
        self.observe()
    }

    /// Looks at the state if something may have been written; new change files give notice.
    fn observe(&mut self) -> Result<(), Violation> {
        let written = self.world.weather.take_written();
        if written.is_empty() {
            return Ok(());
        }
        for path in written {
            let Some(key) = path.strip_prefix(&format!("{STATE_BUCKET}/{STATE_PREFIX}/")) else { continue };
            let found = now(self.world.state.get(key)).expect("nothing fails here");
            if let Some(object) = found {
                self.history.observe(key, &object.bytes)?;
            }
        }
        while self.noticed < self.history.head() {
            self.noticed += 1;
            // Lost, once, or twice.
            let copies = self.rng.weighted(&[if self.calm { 0 } else { 150 }, 750, 100]);
            for _ in 0..copies {
                self.notice(self.noticed);
            }
        }
        Ok(())
    }

    fn notice(&mut self, version: Version) {
        let wrapping = *self.rng.pick(&[Wrapping::Direct, Wrapping::Queue, Wrapping::Topic, Wrapping::Bus]);
        let mut keys = vec![change_key(version)];
        if self.rng.chance(100) {
            keys.push(change_key(1 + self.rng.below(version as usize) as Version));
        }
        self.notices.extend(events::notices(wrapping, &keys).into_iter().map(|event| (event, 0)));
    }

    fn length(&mut self, source: &Source) -> usize {
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
    fn due_orders(&mut self) -> Vec<Source> {
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

    fn ancestors_done(&mut self, shards: &[Shard], id: &str) -> bool {
        let parents = shards.iter().find(|shard| shard.id == id).map(|shard| shard.parents.clone()).unwrap_or_default();
        parents.iter().all(|parent| {
            let source = Source::Orders(parent.clone());
            self.length(&source) == self.mappings.place(&source).checkpoint && self.ancestors_done(shards, parent)
        })
    }

    fn due_changes(&mut self) -> Vec<Source> {
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

    fn deliver_orders(&mut self) {
        let due = self.due_orders();
        if !due.is_empty() {
            let source = self.rng.pick(&due).clone();
            self.deliver(source);
        }
    }

    fn deliver_changes(&mut self) {
        let due = self.due_changes();
        if !due.is_empty() {
            let source = self.rng.pick(&due).clone();
            self.deliver(source);
        }
    }

    /// The next batch of a shard, cut at random.
    fn deliver(&mut self, source: Source) {
        let length = self.length(&source);
        let start = self.mappings.place(&source).checkpoint;
        let most = *self.rng.pick(&[1, 4, 12, 40]);
        let end = self.rng.between(start + 1, length.min(start + most));
        self.begin(Batch { source, start, end, again: false, calm: self.calm });
    }

    /// A batch that came before, or a part of it.
    fn deliver_again(&mut self) {
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

    fn begin(&mut self, batch: Batch) {
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

    fn invoke(&mut self, function: Function, what: What, event: String) {
        let place = self.environment(function);
        let seconds = if self.calm { 60 } else { *self.rng.pick(&[2, 30, 60]) };
        let deadline = self.world.clock.now().plus_millis(seconds * 1000);
        let environment = &mut self.environments[place];
        let told = match &what {
            What::Batch(batch) => format!("{batch:?}"),
            What::Notice(event, _) => format!("notice {event}"),
        };
        self.world.trace.note(format_args!("{} begins {told}", environment.name));
        environment.busy += 1;
        let running = environment.invoke(event, deadline);
        self.tasks.push(Task { environment: environment.name.clone(), what, running });
    }

    /// The place of an environment that can take an invocation, warm or cold.
    fn environment(&mut self, function: Function) -> usize {
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

    fn poll(&mut self, place: usize) -> Result<(), Violation> {
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
            What::Notice(event, failed) => {
                // An asynchronous invocation is tried three times, a queue's until it works.
                let whole = matches!(&answer, Answer::Done(failures) if failures.is_empty());
                let queue = event.contains("aws:sqs");
                if !whole && (queue || failed < 2) {
                    self.notices.push((event, failed + 1));
                }
            }
        }
        Ok(())
    }

    /// Up to before which place a batch is done.
    fn done(&self, batch: &Batch, answer: &Answer) -> Result<usize, Violation> {
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

    fn deliver_notice(&mut self) {
        if !self.notices.is_empty() {
            let place = self.rng.below(self.notices.len());
            let (event, failed) = self.notices.swap_remove(place);
            self.invoke(Function::Inject, What::Notice(event.clone(), failed), event);
        }
    }

    fn put_orders(&mut self) {
        for _ in 0..self.rng.between(1, 4) {
            let data = self.orders.draw(&mut self.rng);
            self.put(data);
            if self.rng.chance(20) {
                // A producer that did not hear the answer.
                let (data, _) = self.orders.known.iter().next_back().expect("there is one");
                self.put(data.clone());
            }
        }
    }

    fn put(&mut self, data: Vec<u8>) {
        let partition_key = self.rng.below(1_000_000).to_string();
        let entry = PutEntry { data: data.into(), partition_key, explicit_hash_key: None };
        let answers = now(self.world.stream.put(&[entry])).expect("nothing fails here");
        assert!(answers.iter().all(Result::is_ok));
        self.lengths.clear();
    }

    /// Flags that nobody of ours wrote: some true, most not.
    fn forge(&mut self) {
        let head = self.history.head();
        let version = self.rng.below(head as usize + 4) as Version;
        let bytes = self.history.files.get(&version).map(|(bytes, _)| bytes.clone()).unwrap_or_default();
        let data = match self.rng.below(8) {
            0 => br#"{"freshjoin":"change-flag/1"}"#.to_vec(),
            1 => br#"{"freshjoin":"change-flag/2","version":1,"digest":"sha256:00"}"#.to_vec(),
            2 => br#"{"freshjoin":"change-flag/1","version":-1,"digest":"sha256:00"}"#.to_vec(),
            3 => Flag::of(Version::MAX, b"x").encode().expect("it encodes"),
            4 | 5 => Flag::of(version, b"forged").encode().expect("it encodes"),
            _ => Flag::of(version, &bytes).encode().expect("it encodes"),
        };
        self.world.trace.note(format_args!("forged {}", String::from_utf8_lossy(&data)));
        self.put(data);
    }

    fn kill(&mut self) {
        if !self.environments.is_empty() {
            let environment = self.rng.pick(&self.environments);
            self.world.trace.note(format_args!("{} is killed", environment.name));
            environment.kill();
        }
        self.environments.retain(|environment| environment.busy > 0 || !environment.is_dead());
    }

    fn redeploy(&mut self) {
        let last = self.deployments[self.deployments.len() - 1];
        let deployment = Deployment {
            definition: self.rng.below(self.world.definitions.len()),
            output: if self.rng.chance(500) { "s3://out/a" } else { "s3://out/b" },
            limits: limits(&mut self.rng),
            ..last
        };
        self.world.trace.note(format_args!("deployed {}: {deployment:?}", self.deployments.len()));
        self.deployments.push(deployment);
    }

    /// Environments of older deployments go away.
    fn retire(&mut self) {
        let newest = self.deployments.len() - 1;
        self.environments.retain(|environment| environment.busy > 0 || environment.deployed == newest);
    }

    fn reshard(&mut self) {
        let mut open: Vec<Shard> = self.shards.iter().filter(|shard| shard.open).cloned().collect();
        open.sort_by_key(|shard| shard.starting_hash_key.parse::<u128>().unwrap_or_default());
        if open.len() < 5 && self.rng.chance(500) {
            let parent = self.rng.pick(&open).id.clone();
            let children = self.world.stream.split(&parent).expect("it is open");
            self.world.trace.note(format_args!("{parent} splits into {children:?}"));
        } else if open.len() > 1 {
            let place = self.rng.below(open.len() - 1);
            let (lower, upper) = (&open[place].id, &open[place + 1].id);
            let child = self.world.stream.merge(lower, upper).expect("they are neighbours");
            self.world.trace.note(format_args!("{lower} and {upper} merge into {child}"));
        }
        self.shards = shards(&self.world);
    }

    /// Nothing goes wrong any more; runs until nothing is left to do.
    fn settle(&mut self) -> Result<(), Violation> {
        self.world.trace.note("calm");
        self.calm = true;
        self.world.weather.calm_down();
        if self.rng.chance(300) {
            // All that the tables' streams still hold comes once more: old changes do no harm.
            for source in self.due_tables() {
                let end = self.mappings.place(&source).checkpoint;
                if end > 0 {
                    self.begin(Batch { source, start: 0, end, again: true, calm: self.calm });
                }
            }
        }
        let mut announced = None;
        for _ in 0..PATIENCE {
            self.retire();
            for place in (0..self.tasks.len()).rev() {
                self.poll(place)?;
                self.observe()?;
            }
            for source in [self.due_changes(), self.due_orders()].concat() {
                self.deliver(source);
            }
            if !self.notices.is_empty() {
                self.deliver_notice();
            }
            if self.tasks.is_empty() {
                let head = self.history.head();
                if announced == Some(head) {
                    return Ok(());
                }
                // What log-keeper does on a schedule.
                announced = Some(head);
                if head > 0 {
                    self.notice(head);
                }
            }
        }
        Err(Violation("I11: it never settles".into()))
    }

    fn due_tables(&self) -> Vec<Source> {
        self.references.streams.keys().map(|(table, shard)| Source::Table(table, *shard)).collect()
    }

    fn check(&mut self) -> Result<Summary, Violation> {
        let objects = self.world.state.objects();
        objects.iter().try_for_each(|(key, bytes)| self.history.observe(key, bytes))?;
        self.history.complete(&objects)?;
        let settled = Settled {
            world: &self.world,
            history: &self.history,
            orders: &self.orders,
            references: &self.references,
            shards: &self.shards,
            as_of: self.deployments[0].as_of,
        };
        settled.check()
    }

    /// I4: everything that was ever in the stream comes again, to whoever is there and to nobody who remembers.
    fn redeliver(&mut self) -> Result<(), Violation> {
        self.world.trace.note("redelivery");
        let before = (self.world.state.objects(), outputs(&self.world).objects());
        let warm = self.rng.chance(300);
        self.environments.retain(|environment| warm || environment.function != Function::Enrich);
        for shard in self.shards.clone() {
            let source = Source::Orders(shard.id);
            let length = self.length(&source);
            let mut start = 0;
            while start < length {
                let end = self.rng.between(start + 1, length);
                self.begin(Batch { source: source.clone(), start, end, again: true, calm: self.calm });
                start = end;
            }
        }
        for _ in 0..PATIENCE {
            for place in (0..self.tasks.len()).rev() {
                self.poll(place)?;
            }
            if self.tasks.is_empty() {
                let after = (self.world.state.objects(), outputs(&self.world).objects());
                let keys = crate::model::difference(&before.1, &after.1);
                holds!(keys.is_empty(), "I4: a redelivery alters the output: {keys:#?}");
                let mut keys = crate::model::difference(&before.0, &after.0);
                keys.retain(|key| !key.starts_with("pipelines/"));
                holds!(keys.is_empty(), "I4: a redelivery alters the state: {keys:#?}");
                return Ok(());
            }
        }
        Err(Violation("I4: a redelivery never ends".into()))
    }
}

fn limits(rng: &mut Rng) -> Limits {
    Limits {
        records: *rng.pick(&[1, 3, 10, 10_000]),
        objects: *rng.pick(&[1, 4, 1_000]),
        bytes: *rng.pick(&[200, 64 << 20]),
    }
}

fn shards(world: &World) -> Vec<Shard> {
    now(world.stream.shards()).expect("nothing fails here")
}

/// The outcome of what never waits for anybody.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}
