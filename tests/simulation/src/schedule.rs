//! One run: what happens next is drawn from the seed, one poll of one invocation at a time; first with everything going
//! wrong that can, then calmly until nothing is left to do.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use freshjoin_core::change::Version;
use freshjoin_core::join::Limits;
use freshjoin_core::memory::{MemoryClock, MemoryStores, MemoryStream, MemoryTables};
use freshjoin_core::ports::{ObjectStore, Shard, Stream};
use freshjoin_core::settings::AsOf;
use freshjoin_core::time::Timestamp;

use crate::bucket::Objects;
use crate::check::{Settled, Summary, outputs};
use crate::definitions;
use crate::environment::{Deployment, Environment, Function, Reports, Running, World, state_location};
use crate::events::{Notice, STATE_BUCKET, STATE_PREFIX, STREAM};
use crate::faults::{Rates, Trace, Weather};
use crate::history::{History, Violation, holds};
use crate::mapping::{Batch, Mappings, Source};
use crate::orders::Orders;
use crate::rng::Rng;
use crate::table::References;

/// An invocation under way.
pub struct Task {
    pub environment: String,
    pub what: What,
    pub running: Running,
    /// Until this step its environment is not given any time.
    pub frozen: usize,
}

/// What an invocation was given.
pub enum What {
    Batch(Batch),
    /// An event of S3.
    Notice(Notice),
}

impl What {
    /// Whether it is a notice of a reference object.
    fn is_of_object(&self) -> bool {
        matches!(self, Self::Notice(notice) if notice.about.iter().any(|about| about.bucket != STATE_BUCKET))
    }
}

/// A run.
pub struct Run {
    pub rng: Rng,
    pub world: World,
    pub references: References,
    pub objects: Objects,
    /// Which definitions may be deployed.
    pub choice: Range<usize>,
    pub orders: Orders,
    /// Of the order stream; asked for only when they change, as a call to the stream would hold up the clock.
    pub shards: Vec<Shard>,
    /// The open ones, after each resharding.
    pub open: Vec<Vec<String>>,
    /// How many records they hold, where nothing was put since.
    pub lengths: BTreeMap<String, usize>,
    pub mappings: Mappings,
    pub history: History,
    pub environments: Vec<Environment>,
    pub tasks: Vec<Task>,
    pub deployments: Vec<Deployment>,
    /// Events of S3 on their way.
    pub notices: Vec<Notice>,
    /// The newest version that S3 took note of.
    pub noticed: Version,
    pub started: usize,
    /// How many invocations an environment takes at once: one in Lambda, several in a worker.
    pub width: usize,
    /// From this step on the enricher's mapping is there.
    pub enriching_from: usize,
    pub calm: bool,
}

/// So many different records a run has at most, flags aside.
const MOST_RECORDS: usize = 160;
/// The longest that the calm may take, in rounds.
const PATIENCE: usize = 200_000;

/// Runs a seed to its end and checks everything.
pub fn run(seed: u64, trace: &Trace) -> Result<Summary, Violation> {
    let mut run = Run::new(seed, trace);
    let steps = run.rng.between(1_000, 4_000);
    for step in 0..steps {
        run.step(step)?;
    }
    run.settle()?;
    // What all this came to is looked at once more, row by row.
    run.put_every_order();
    run.quiet()?;
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
        let active = rng.chance(350);
        let objects = Objects::new(&world.stores, active, &mut rng);
        let (first, choice) = definitions::choices(active, world.definitions.len());
        let deployment = Deployment {
            definition: rng.between(first.start, first.end - 1),
            output: "s3://out/a",
            as_of: if rng.chance(150) { AsOf::Latest } else { AsOf::Flag },
            limits: limits(&mut rng),
            direct: rng.chance(400),
        };
        trace.note(format_args!("{rates:?} {deployment:?} {:?}", references.views));
        Self {
            references,
            objects,
            choice,
            orders: Orders::default(),
            shards: shards(&world),
            open: vec![open(&shards(&world))],
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
            enriching_from: if active { rng.below(500) } else { rng.below(1_000) },
            calm: false,
            rng,
        }
    }

    /// One thing happens.
    fn step(&mut self, step: usize) -> Result<(), Violation> {
        self.world.clock.advance(Duration::from_millis(self.rng.below(4) as u64));
        let enrich = if step >= self.enriching_from { 50 } else { 0 };
        let put = if self.orders.known.len() < MOST_RECORDS { 25 } else { 0 };
        let (replace, repeat) = if self.objects.active { (12, 4) } else { (0, 0) };
        let weights = [780, put, 12, enrich, 25, 30, 6, 3, 3, 2, 3, 3, 1, 8, replace, repeat];
        match self.rng.weighted(&weights) {
            0 if !self.tasks.is_empty() => {
                let place = self.rng.below(self.tasks.len());
                let (all, frozen) = (self.tasks.len(), self.tasks[place].frozen);
                for _ in 0..if frozen <= step { self.rng.between(1, 8) } else { 0 } {
                    if self.tasks.len() == all {
                        self.poll(place)?;
                        self.observe()?;
                    }
                }
                // Notices above all overtake each other where one that is being dealt with stands still.
                let notice = self.tasks.get(place).is_some_and(|task| task.what.is_of_object());
                if self.rng.chance(if notice { 80 } else { 5 }) {
                    let place = if notice { place } else { self.rng.below(self.tasks.len().max(1)) };
                    let frozen = step + self.rng.below(800);
                    self.tasks.iter_mut().skip(place).take(1).for_each(|task| task.frozen = frozen);
                }
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
            13 => self.world.clock.advance(Duration::from_millis(self.rng.below(2_000) as u64)),
            14 => self.change_objects(),
            _ => self.repeat_notice(),
        }
        self.observe()
    }

    /// Looks at the state if something may have been written; new change files give notice.
    pub fn observe(&mut self) -> Result<(), Violation> {
        let written = self.world.weather.take_written();
        if written.is_empty() {
            return Ok(());
        }
        let root = format!("{STATE_BUCKET}/{STATE_PREFIX}/");
        let mut keys: Vec<&str> = written.iter().filter_map(|path| path.strip_prefix(&root)).collect();
        copies_first(&mut keys);
        for key in keys {
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

    /// Nothing goes wrong any more; old events come once more, and all is done.
    fn settle(&mut self) -> Result<(), Violation> {
        self.world.trace.note("calm");
        self.calm = true;
        self.world.weather.calm_down();
        // What is left is done in few ranges: all that matters happened before.
        let last = self.deployments[self.deployments.len() - 1];
        self.deployments
            .push(Deployment { limits: Limits { records: 10_000, objects: 1_000, bytes: 64 << 20 }, ..last });
        if self.rng.chance(500) {
            // A few records of the tables' streams come once more, without what followed: old changes do no harm.
            for source in self.due_tables() {
                let done = self.mappings.place(&source).checkpoint;
                for _ in 0..if done > 0 { 3 } else { 0 } {
                    let start = self.rng.below(done);
                    let end = done.min(start + self.rng.between(1, 2));
                    self.begin(Batch { source: source.clone(), start, end, again: true, calm: true });
                }
            }
        } else if self.rng.chance(300) {
            // All that they still hold does.
            for source in self.due_tables() {
                let end = self.mappings.place(&source).checkpoint;
                if end > 0 {
                    self.begin(Batch { source, start: 0, end, again: true, calm: self.calm });
                }
            }
        }
        self.mend_objects();
        self.quiet()
    }

    /// Runs on until nothing is left to do.
    fn quiet(&mut self) -> Result<(), Violation> {
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

    fn check(&mut self) -> Result<Summary, Violation> {
        let objects = self.world.state.objects();
        let mut keys: Vec<&str> = objects.keys().map(String::as_str).collect();
        copies_first(&mut keys);
        keys.into_iter().try_for_each(|key| self.history.observe(key, &objects[key]))?;
        self.history.complete(&objects)?;
        let settled = Settled {
            world: &self.world,
            history: &self.history,
            orders: &self.orders,
            references: &self.references,
            objects: &self.objects,
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

/// Copies of objects before the change files that name them, where both may be new.
fn copies_first(keys: &mut [&str]) {
    keys.sort_by_key(|key| !key.starts_with("objects/"));
}

pub fn limits(rng: &mut Rng) -> Limits {
    Limits {
        records: *rng.pick(&[1, 3, 10, 10_000]),
        objects: *rng.pick(&[1, 4, 1_000]),
        bytes: *rng.pick(&[200, 64 << 20]),
    }
}

/// The names of those that take records.
pub fn open(shards: &[Shard]) -> Vec<String> {
    shards.iter().filter(|shard| shard.open).map(|shard| shard.id.clone()).collect()
}

pub fn shards(world: &World) -> Vec<Shard> {
    now(world.stream.shards()).expect("nothing fails here")
}

/// The outcome of what never waits for anybody.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}
