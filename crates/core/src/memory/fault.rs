//! Faults on request: each call to a memory port first asks what shall become of it.
//!
//! Nothing here is random: a simulation brings its own seeded [`Faults`].

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::{Future, pending};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::{MemoryClock, give_way, lock};

/// One call to a port, before it takes effect.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// `GET`, `PUT`, `LIST`, `EXPIRE` on a store; `DescribeStream`, `ListShards`, `GetRecords`, `PutRecords` on a stream;
    /// `DescribeTable`, `Scan`, `BatchGetItem` on a table.
    pub operation: &'static str,
    /// The key or prefix with its bucket, the shard, the stream or the table.
    pub key: &'a str,
    /// How many records a `PutRecords` carries; 1 elsewhere.
    pub entries: usize,
}

/// What becomes of a call. What makes no sense for an operation does nothing to it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Fault {
    /// It takes effect and is answered.
    #[default]
    None,
    /// It fails (500), and nothing happened.
    Fail,
    /// It is forbidden (403), and nothing happened: never the same as "there is none".
    Forbidden,
    /// It fails, but took effect.
    LostAnswer,
    /// It fails; a write takes effect (its precondition being judged) only after so many further calls to the store,
    /// as a request does that outlives its sender's patience. Where nothing is written: as `Fail`.
    LateWrite(usize),
    /// It is refused for now: a fault, or for `PutRecords` every single record refused.
    Throttle,
    /// A conditional write meets another one (409): [`PutOutcome::Busy`](crate::ports::PutOutcome::Busy).
    Busy,
    /// `PutRecords` refuses the records at these places and takes the others.
    Refuse(Vec<usize>),
    /// A page (of a listing, a shard, a scan) holds at most so many entries, although more follow. A listing has at
    /// least one, as an empty one would mean its end; so has the answer for a table's keys.
    Short(usize),
    /// It is never answered, and nothing happens.
    Hang,
    /// The environment dies before the call takes effect.
    CrashBefore,
    /// The environment dies after it took effect, before the answer.
    CrashAfter,
}

/// Decides about each call, in the order in which they take effect.
pub trait Faults: Send + Sync {
    /// What becomes of this call.
    fn next(&self, call: &Call<'_>) -> Fault;

    /// A conditional write was refused (412).
    fn refused(&self, _: &Call<'_>) {}
}

impl<F: Fn(&Call<'_>) -> Fault + Send + Sync> Faults for F {
    fn next(&self, call: &Call<'_>) -> Fault {
        self(call)
    }
}

/// None, ever.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFaults;

impl Faults for NoFaults {
    fn next(&self, _: &Call<'_>) -> Fault {
        Fault::None
    }
}

/// Faults written down beforehand: for each operation what becomes of its calls, one after the other; none afterwards.
#[derive(Debug, Default)]
pub struct Script(Mutex<BTreeMap<&'static str, VecDeque<Fault>>>);

impl Script {
    /// Appends what becomes of further calls of an operation.
    pub fn add(&self, operation: &'static str, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.0).entry(operation).or_default().extend(faults);
    }
}

impl Faults for Script {
    fn next(&self, call: &Call<'_>) -> Fault {
        lock(&self.0).get_mut(call.operation).and_then(VecDeque::pop_front).unwrap_or_default()
    }
}

impl<T: Faults + ?Sized> Faults for Arc<T> {
    fn next(&self, call: &Call<'_>) -> Fault {
        (**self).next(call)
    }

    fn refused(&self, call: &Call<'_>) {
        (**self).refused(call);
    }
}

/// The death of one environment: from then on none of its calls returns, and whoever runs it drops it there.
#[derive(Clone, Debug)]
pub struct Crash(Arc<watch::Sender<bool>>);

impl Default for Crash {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Crash {
    /// Kills it.
    pub fn strike(&self) {
        self.0.send_replace(true);
    }

    /// Whether it is dead.
    #[must_use]
    pub fn has_struck(&self) -> bool {
        *self.0.borrow()
    }

    /// Runs what the environment does, until its end or its death (`None`); the future is dropped where it stood.
    pub async fn guard<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut receiver = self.0.subscribe();
        tokio::select! {
            biased;
            _ = receiver.wait_for(|dead| *dead) => None,
            done = work => Some(done),
        }
    }
}

/// One environment's way to the memory ports. Clones share all of it.
#[derive(Clone)]
pub struct Gate {
    faults: Arc<dyn Faults>,
    crash: Crash,
    calls: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("crash", &self.crash).field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new(Arc::new(NoFaults))
    }
}

/// Why a call failed that was made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Injected {
    #[error("injected fault: the call had no effect")]
    Failed,
    #[error("injected fault: 403 AccessDenied")]
    Forbidden,
    #[error("injected fault: the answer was lost")]
    Lost,
    #[error("injected fault: slow down")]
    Throttled,
}

impl Gate {
    /// A new environment with these faults.
    #[must_use]
    pub fn new(faults: Arc<dyn Faults>) -> Self {
        Self { faults, crash: Crash::default(), calls: Arc::default() }
    }

    /// Its death.
    #[must_use]
    pub fn crash(&self) -> &Crash {
        &self.crash
    }

    /// How many calls of an operation it has made since the last [`reset`](Self::reset), failed ones included.
    #[must_use]
    pub fn count(&self, operation: &str) -> u64 {
        lock(&self.calls).get(operation).copied().unwrap_or(0)
    }

    /// All counts by operation.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.calls).clone()
    }

    /// Counts from zero again.
    pub fn reset(&self) {
        lock(&self.calls).clear();
    }

    /// Before a call takes effect: gives way, counts, and says what shall become of it. Does not return for the dead.
    pub(super) async fn enter(&self, clock: &MemoryClock, call: Call<'_>) -> Result<Fault, Injected> {
        clock.touch();
        give_way().await;
        clock.touch();
        self.halt_if_dead().await;
        *lock(&self.calls).entry(call.operation).or_default() += 1;
        match self.faults.next(&call) {
            Fault::Fail => Err(Injected::Failed),
            Fault::Forbidden => Err(Injected::Forbidden),
            Fault::Throttle if call.operation != "PutRecords" => Err(Injected::Throttled),
            Fault::LateWrite(_) if call.operation != "PUT" => Err(Injected::Failed),
            Fault::Hang => pending().await,
            Fault::CrashBefore => {
                self.crash.strike();
                pending().await
            }
            fault => Ok(fault),
        }
    }

    /// A conditional write was refused.
    pub(super) fn refused(&self, call: &Call<'_>) {
        self.faults.refused(call);
    }

    /// After a call took effect: gives way and says whether its answer arrives.
    pub(super) async fn leave(&self, clock: &MemoryClock, fault: &Fault) -> Result<(), Injected> {
        if *fault == Fault::CrashAfter {
            self.crash.strike();
        }
        self.halt_if_dead().await;
        give_way().await;
        clock.touch();
        self.halt_if_dead().await;
        if *fault == Fault::LostAnswer { Err(Injected::Lost) } else { Ok(()) }
    }

    async fn halt_if_dead(&self) {
        if self.crash.has_struck() {
            pending().await
        }
    }
}
