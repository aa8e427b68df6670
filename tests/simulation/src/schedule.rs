//! One run: what happens next is drawn from the seed, one poll of one invocation at a time; first with everything going
//! wrong that can, then calmly until nothing is left to do.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use freshjoin_core::change::Version;
use freshjoin_core::join::Limits;
use freshjoin_core::memory::{MemoryClock, MemoryStores, MemoryStream, MemoryTables};
use freshjoin_core::ports::{Clock, Shard, Stream};
use freshjoin_core::settings::AsOf;
use freshjoin_core::time::Timestamp;

use crate::Settings;
use crate::archive::{Archive, ShardKey};
use crate::bucket::Objects;
use crate::check::Summary;
use crate::definitions;
use crate::environment::{Deployment, Environment, Reports, Running, World, state_location};
use crate::events::{Notice, STATE_BUCKET, STATE_PREFIX, STREAM};
use crate::faults::{Rates, Weather};
use crate::features::Features;
use crate::history::{History, Violation};
use crate::kinds::Tally;
use crate::mapping::{Batch, Mappings};
use crate::orders::Orders;
use crate::rng::Rng;
use crate::table::References;
use crate::trace::Trace;

/// An invocation under way.
pub struct Task {
    pub environment: String,
    pub what: What,
    pub running: Running,
    /// Until this step its environment is not given any time.
    pub frozen: usize,
    pub deadline: Timestamp,
    /// After so many polls its deadline comes.
    pub cut: Option<usize>,
    /// Whether it began when nothing went wrong any more.
    pub calm: bool,
    /// How often it was polled after that.
    pub late: usize,
    /// The order stream when it began.
    pub stream: Timestamp,
}

/// What an invocation was given.
pub enum What {
    Batch(Batch),
    /// An event of S3.
    Notice(Notice),
    /// What log-keeper is to do.
    Keep(String),
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
    pub features: Features,
    pub world: World,
    pub references: References,
    pub objects: Objects,
    /// Which definitions may be deployed.
    pub choice: Range<usize>,
    pub orders: Orders,
    /// Of the order stream; asked for only when they change, as a call to the stream would hold up the clock.
    pub shards: Vec<Shard>,
    /// What each of them ever held, those of earlier streams too.
    pub archive: Archive,
    /// The open ones, after each resharding.
    pub open: Vec<Vec<ShardKey>>,
    pub mappings: Mappings,
    pub history: History,
    pub environments: Vec<Environment>,
    pub tasks: Vec<Task>,
    pub deployments: Vec<Deployment>,
    /// Events of S3 on their way.
    pub notices: Vec<Notice>,
    /// The newest version that S3 took note of.
    pub noticed: Version,
    /// What has rotted, by key: what it was, and what it is.
    pub rotten: BTreeMap<String, (Bytes, Bytes)>,
    pub started: usize,
    /// How many invocations an environment takes at once: one in Lambda, several in a worker.
    pub width: usize,
    /// How many steps there were.
    pub step_now: usize,
    /// From this step on the enricher's mapping is there.
    pub enriching_from: usize,
    pub calm: bool,
    /// What log-keeper answered last, its error where it failed.
    pub said: Option<Result<String, String>>,
}

/// So many different records a run has at most, flags aside.
const MOST_RECORDS: usize = 160;
/// So many polls after its deadline an invocation has ended, whatever it was doing.
const AFTER_DEADLINE: usize = 4;

/// Runs a seed to its end and checks everything. What happened is counted also where something does not hold.
pub fn run(seed: u64, settings: &Settings, trace: &Trace, tally: &mut Tally) -> Result<Summary, Violation> {
    let mut run = Run::new(seed, settings, trace);
    let outcome = run.live(settings);
    *tally += &run.world.weather.tally();
    outcome
}

impl Run {
    fn new(seed: u64, settings: &Settings, trace: &Trace) -> Self {
        let mut rng = Rng::new(seed);
        let clock = MemoryClock::at(Timestamp::from_millis(1_790_000_000_000 + rng.below(1_000_000) as i64));
        let rates = Rates::draw(&mut rng);
        let features = Features::draw(&mut rng, &settings.off);
        let stores = MemoryStores::new(&clock);
        let tables = MemoryTables::new(&clock);
        let world = World {
            state: stores.store(&state_location()).expect("it is a location"),
            stream: MemoryStream::new(STREAM, rng.between(1, 4) as u32, &clock),
            weather: Weather::new(rng.fork(), rates, settings.off.clone(), &clock, trace),
            trace: trace.clone(),
            reports: Reports::default(),
            definitions: definitions::all(features.guarded),
            clock,
            stores,
            tables,
        };
        let references = References::new(&world.tables, &world.clock, &mut rng);
        let objects = Objects::new(&world.stores, features.objects, &mut rng);
        let (first, choice) = definitions::choices(features.objects);
        let latest = rng.chance(150) || !features.guarded;
        let deployment = Deployment {
            definition: rng.between(first.start, first.end - 1),
            output: "s3://out/a",
            as_of: if latest { AsOf::Latest } else { AsOf::Flag },
            limits: limits(&mut rng),
            direct: rng.chance(400),
        };
        trace.note(format_args!("{rates:?} {features:?} {deployment:?} {:?}", references.views));
        let mut run = Self {
            features,
            references,
            objects,
            choice,
            orders: Orders::default(),
            shards: shards(&world),
            archive: Archive::new(world.clock.now()),
            open: Vec::new(),
            world,
            mappings: Mappings::default(),
            history: History::default(),
            environments: Vec::new(),
            tasks: Vec::new(),
            deployments: vec![deployment],
            notices: Vec::new(),
            noticed: 0,
            rotten: BTreeMap::new(),
            started: 0,
            width: if rng.chance(250) { 4 } else { 1 },
            enriching_from: if features.objects { rng.below(500) } else { rng.below(1_000) },
            calm: false,
            said: None,
            step_now: 0,
            rng,
        };
        run.list_shards();
        if run.features.keeper {
            run.world.stores.keep_given_up();
        }
        for (there, event) in [
            (features.objects, "a reference on S3"),
            (features.keeper, "log-keeper"),
            (!features.guarded, "delivery at least once"),
            (features.day_old, "a day-old stream at the first deployment"),
        ] {
            if there {
                run.world.weather.happened(event);
            }
        }
        run
    }

    fn live(&mut self, settings: &Settings) -> Result<Summary, Violation> {
        if self.features.day_old {
            self.day_before();
        }
        let steps = self.rng.between(800, 2_800);
        for step in 0..settings.steps.unwrap_or(steps).min(steps) {
            self.step(step)?;
        }
        self.end()
    }

    /// One thing happens.
    fn step(&mut self, step: usize) -> Result<(), Violation> {
        self.step_now = step;
        self.world.clock.advance(Duration::from_millis(self.rng.below(4) as u64));
        let on = |there: bool, weight| if there { weight } else { 0 };
        let features = self.features;
        let weights = [
            780,
            on(self.orders.known.len() < MOST_RECORDS, 25),
            12,
            on(step >= self.enriching_from, 50),
            25,
            30,
            6,
            3,
            3,
            on(features.redeployments, 3),
            3,
            3,
            1,
            8,
            on(features.objects, 12),
            on(features.objects, 4),
            on(features.recreated_tables, 1),
            on(features.recreated_stream, 1),
            on(features.days, if features.keeper { 7 } else { 2 }),
            on(features.rot, 3),
            on(features.rot, 6),
            on(features.keeper, 16),
            on(features.keeper, 10),
            on(features.gaps, 4),
            on(features.gaps && features.days, 4),
        ];
        match self.rng.weighted(&weights) {
            0 => self.go_on(step)?,
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
            15 => self.repeat_notice(),
            16 => self.recreate_table(),
            17 => self.recreate_stream(),
            18 => self.pass_days(),
            19 => self.rot(),
            20 => self.mend_rot(),
            21 => self.keep(),
            22 => self.vanish(),
            23 => self.lose_changes(),
            _ => self.sleep_for_days()?,
        }
        self.observe()
    }

    /// Some invocation goes on for a while.
    fn go_on(&mut self, step: usize) -> Result<(), Violation> {
        if self.tasks.is_empty() {
            return Ok(());
        }
        let place = self.rng.below(self.tasks.len());
        if self.tasks[place].frozen <= step {
            let times = self.rng.between(1, 8);
            self.poll_times(place, times)?;
        }
        // Notices above all overtake each other where one that is being dealt with stands still.
        let notice = self.tasks.get(place).is_some_and(|task| task.what.is_of_object());
        let keeper = self.tasks.get(place).is_some_and(|task| matches!(task.what, What::Keep(_)));
        let often = if notice { 80 } else { 5 };
        if self.rng.chance(if keeper { 20 } else { often }) && self.world.weather.allows("a stalled environment") {
            let place = if notice || keeper { place } else { self.rng.below(self.tasks.len().max(1)) };
            let frozen = step + self.rng.below(800);
            if let Some(task) = self.tasks.get_mut(place) {
                self.world.weather.happened("a stalled environment");
                task.frozen = frozen;
            }
        }
        Ok(())
    }

    /// An invocation is polled so often, or to its end.
    pub fn poll_times(&mut self, place: usize, times: usize) -> Result<(), Violation> {
        let all = self.tasks.len();
        for _ in 0..times {
            if self.tasks.len() == all {
                self.poll(place)?;
                self.observe()?;
            }
        }
        Ok(())
    }

    /// An invocation is given some time.
    pub fn poll(&mut self, place: usize) -> Result<(), Violation> {
        let task = &mut self.tasks[place];
        if let Some(left) = task.cut.as_mut().filter(|_| !self.calm) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                task.cut = None;
                let now = self.world.clock.now();
                if now < task.deadline {
                    self.world.clock.advance(Duration::from_millis((task.deadline.millis() - now.millis()) as u64));
                }
                let place = self.environments.iter().find(|known| known.name == task.environment);
                self.world.trace.note(format_args!("the deadline of {} comes", task.environment));
                place.into_iter().for_each(|known| self.world.weather.happened(known.function.deadline()));
            }
        }
        if self.world.clock.now() >= task.deadline {
            task.late += 1;
            crate::history::holds!(
                task.late <= AFTER_DEADLINE || self.environment_is_dead(place),
                "I12: {} goes on after its deadline",
                self.tasks[place].environment
            );
        }
        let mut context = Context::from_waker(Waker::noop());
        let task = &mut self.tasks[place];
        let Poll::Ready(answer) = task.running.as_mut().poll(&mut context) else { return Ok(()) };
        self.answered(place, answer)
    }

    /// Looks which shards the order stream has now.
    pub fn list_shards(&mut self) {
        self.shards = shards(&self.world);
        self.archive.list(&self.shards);
        let open = self.shards.iter().filter(|shard| shard.open);
        self.open.push(open.map(|shard| self.archive.key(&shard.id)).collect());
        self.history.open = self.shards.iter().map(|shard| self.archive.key(&shard.id)).collect();
    }

    fn environment_is_dead(&self, place: usize) -> bool {
        let name = &self.tasks[place].environment;
        self.environments.iter().all(|known| known.name != *name || known.is_dead())
    }

    /// Looks at the state if something may have been written; new change files give notice.
    pub fn observe(&mut self) -> Result<(), Violation> {
        let written = self.world.weather.take_written();
        if written.is_empty() {
            return Ok(());
        }
        let (floor, strays) = (self.history.kept.floor.version, self.history.kept.strays.len());
        let root = format!("{STATE_BUCKET}/{STATE_PREFIX}/");
        let mut keys: Vec<&str> = written.iter().filter_map(|path| path.strip_prefix(&root)).collect();
        copies_first(&mut keys);
        for key in keys {
            if let Some(object) = self.world.state.peek(key)
                && self.rotten.get(key).is_none_or(|(_, rot)| *rot != object.bytes)
            {
                self.history.observe(key, &object, &self.objects, self.world.clock.now())?;
            }
        }
        self.observe_given_up()?;
        let after = self.history.kept.floor.version;
        if after > floor {
            self.world.weather.happened("a floor that rises");
            if self.tasks.iter().any(|task| task.frozen > self.step_now) {
                self.world.weather.happened("a floor that rises while somebody is stalled");
            }
        }
        if self.history.kept.strays.len() > strays {
            self.world.weather.happened("a change file under the floor");
        }
        while self.noticed < self.history.head() {
            self.noticed += 1;
            let event = ["a lost notice", "", "a notice that comes twice"];
            let copies = self.rng.weighted(&[if self.calm { 0 } else { 150 }, 750, 100]);
            let copies = if self.world.weather.allows(event[copies]) { copies } else { 1 };
            if copies != 1 {
                self.world.weather.happened(event[copies]);
            }
            for _ in 0..copies {
                self.notice(self.noticed);
            }
        }
        Ok(())
    }
}

/// Copies of objects before the change files that name them, where both may be new.
pub fn copies_first(keys: &mut [&str]) {
    keys.sort_by_key(|key| !key.starts_with("objects/"));
}

pub fn limits(rng: &mut Rng) -> Limits {
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
pub fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}
