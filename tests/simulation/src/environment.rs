//! The places that everything happens in, and the execution environments that reach them: the real handlers over memory
//! ports, each environment with caches of its own, gone when it dies.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use freshjoin_change_capture::ChangeCapture;
use freshjoin_core::batch::{BatchReport, Consumer, ConsumerDeps, ConsumerSettings, IgnoredFlag, Observer};
use freshjoin_core::change::Version;
use freshjoin_core::join::Limits;
use freshjoin_core::location::Location;
use freshjoin_core::memory::{Gate, MemoryClock, MemoryStore, MemoryStores, MemoryStream, MemoryTables};
use freshjoin_core::pipeline::Definition;
use freshjoin_core::ports::Stream;
use freshjoin_core::reference::Refreshed;
use freshjoin_core::settings::{AsOf, DEFAULT_CONTENT_LIMIT};
use freshjoin_core::time::Timestamp;
use freshjoin_enricher::Enricher;
use freshjoin_flag_injector::{FlagInjector, InjectorDeps, InjectorResponse};
use freshjoin_log_keeper::{KeeperDeps, LogKeeper};

use crate::definitions;
use crate::events::{STATE_BUCKET, STATE_PREFIX, STREAM};
use crate::faults::Weather;
use crate::trace::Trace;

/// Everything that outlives environments.
#[derive(Debug)]
pub struct World {
    pub clock: MemoryClock,
    pub stores: MemoryStores,
    pub state: MemoryStore,
    pub tables: MemoryTables,
    pub stream: MemoryStream,
    pub weather: Weather,
    pub trace: Trace,
    pub reports: Reports,
    pub definitions: Vec<definitions::Definition>,
}

/// Where the state is.
pub fn state_location() -> Location {
    Location::new(format!("s3://{STATE_BUCKET}/{STATE_PREFIX}"))
}

/// What a deployment may choose anew.
#[derive(Clone, Copy, Debug)]
pub struct Deployment {
    /// Place in the list of definitions.
    pub definition: usize,
    /// The output's location.
    pub output: &'static str,
    pub as_of: AsOf,
    pub limits: Limits,
    /// Whether change-capture broadcasts flags itself.
    pub direct: bool,
}

/// Which function an environment runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Capture,
    Inject,
    Enrich,
    Keep,
}

impl Function {
    /// What it is called when its deadline comes.
    pub fn deadline(self) -> &'static str {
        match self {
            Self::Capture => "a deadline in change-capture",
            Self::Inject => "a deadline in flag-injector",
            Self::Enrich => "a deadline in the enricher",
            Self::Keep => "a deadline in log-keeper",
        }
    }
}

/// How an invocation ended.
#[derive(Debug)]
pub enum Answer {
    /// It answered; what it reported as failed.
    Done(Vec<String>),
    /// log-keeper answered; its summary.
    Kept(String),
    /// It answered with an error.
    Failed(String),
    /// Its environment died.
    Dead,
}

/// An invocation under way.
pub type Running = Pin<Box<dyn Future<Output = Answer>>>;

/// One execution environment.
#[derive(Debug)]
pub struct Environment {
    pub name: String,
    pub function: Function,
    /// The number of the deployment that it was started from.
    pub deployed: usize,
    /// Invocations under way.
    pub busy: usize,
    gate: Gate,
    deps: Deps,
}

#[derive(Clone, Debug)]
enum Deps {
    Capture(Arc<ChangeCapture>),
    Inject(Arc<FlagInjector>),
    Enrich(Arc<Enricher>),
    Keep(Arc<LogKeeper>),
}

impl Environment {
    /// A cold one.
    pub fn start(world: &World, function: Function, name: String, deployed: usize, deployment: Deployment) -> Self {
        let gate = Gate::new(world.weather.over(name.clone()));
        let clock = Arc::new(world.clock.clone());
        let state = Arc::new(world.state.through(&gate));
        let tables = Arc::new(world.tables.through(&gate));
        let stream = Arc::new(world.stream.through(&gate));
        let deps = match function {
            Function::Capture => {
                let direct = deployment.direct.then_some(stream as Arc<dyn Stream>);
                Deps::Capture(Arc::new(ChangeCapture::new(state, tables, clock, direct)))
            }
            Function::Inject => Deps::Inject(Arc::new(FlagInjector::new(InjectorDeps {
                state: state_location(),
                store: state,
                stores: Arc::new(world.stores.through(&gate)),
                stream,
                clock,
                content_limit: DEFAULT_CONTENT_LIMIT,
            }))),
            Function::Enrich => {
                let definition =
                    Definition::parse(&world.definitions[deployment.definition].toml).expect("it is sound");
                let deps = ConsumerDeps {
                    state,
                    stores: Arc::new(world.stores.through(&gate)),
                    tables,
                    stream,
                    clock,
                    observer: Arc::new(world.reports.clone()),
                };
                let settings = ConsumerSettings {
                    limits: deployment.limits,
                    ..ConsumerSettings::new(Location::new(deployment.output), deployment.as_of)
                };
                let consumer = Consumer::new(definition, deps, settings);
                Deps::Enrich(Arc::new(Enricher { consumer, stream: STREAM.into() }))
            }
            Function::Keep => {
                let stores = Arc::new(world.stores.through(&gate));
                let deps = KeeperDeps { state, stores, tables, stream, clock, content_limit: DEFAULT_CONTENT_LIMIT };
                let toml = &world.definitions[deployment.definition].toml;
                Deps::Keep(Arc::new(LogKeeper::new(toml, deps).expect("it is sound")))
            }
        };
        Self { name, function, deployed, busy: 0, gate, deps }
    }

    /// The environment's death, wherever its invocations stand.
    pub fn kill(&self) {
        self.gate.crash().strike();
    }

    pub fn is_dead(&self) -> bool {
        self.gate.crash().has_struck()
    }

    /// Begins an invocation.
    pub fn invoke(&self, event: String, deadline: Timestamp) -> Running {
        let (deps, crash) = (self.deps.clone(), self.gate.crash().clone());
        Box::pin(async move {
            let answer = crash.guard(async move {
                match &deps {
                    Deps::Capture(deps) => match freshjoin_change_capture::handle(&event, deps, deadline).await {
                        Ok(response) => Answer::Done(response.identifiers().map(str::to_owned).collect()),
                        Err(error) => Answer::Failed(error.to_string()),
                    },
                    Deps::Inject(deps) => match freshjoin_flag_injector::handle(&event, deps, deadline).await {
                        Ok(InjectorResponse::Queue(response)) => {
                            Answer::Done(response.identifiers().map(str::to_owned).collect())
                        }
                        Ok(InjectorResponse::Done { .. }) => Answer::Done(Vec::new()),
                        Err(error) => Answer::Failed(error.to_string()),
                    },
                    Deps::Keep(deps) => match freshjoin_log_keeper::handle(&event, deps, deadline).await {
                        Ok(summary) => Answer::Kept(serde_json::to_string(&summary).expect("it is plain")),
                        Err(error) => Answer::Failed(error.to_string()),
                    },
                    Deps::Enrich(deps) => match freshjoin_enricher::handle(&event, deps, deadline).await {
                        Ok(response) => Answer::Done(response.identifiers().map(str::to_owned).collect()),
                        Err(error) => Answer::Failed(error.to_string()),
                    },
                }
            });
            answer.await.unwrap_or(Answer::Dead)
        })
    }
}

/// What consumers said they committed.
#[derive(Clone, Debug, Default)]
pub struct Reports(Arc<Mutex<Vec<BatchReport>>>);

impl Reports {
    pub fn all(&self) -> Vec<BatchReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Observer for Reports {
    fn committed(&self, report: &BatchReport) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(report.clone());
    }

    fn refreshed(&self, _: Version, _: Refreshed) {}

    fn ignored(&self, _: &str, _: &str, _: IgnoredFlag) {}
}
