//! What goes wrong, by seed: every call of every environment to a port may fail, lose its answer, be refused, hang, take
//! its time, or be the last that its environment makes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use freshjoin_core::memory::{Call, Fault, Faults, MemoryClock};

use crate::rng::Rng;

/// How often what goes wrong, in a thousand calls.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Failures, lost answers, refusals, late writes.
    pub fault: usize,
    /// Deaths right before or after a call takes effect.
    pub crash: usize,
    /// Calls without an answer.
    pub hang: usize,
    /// Calls that take seconds.
    pub slow: usize,
}

impl Rates {
    /// From a quiet day to a terrible one.
    pub fn draw(rng: &mut Rng) -> Self {
        Self {
            fault: *rng.pick(&[0, 10, 30, 80]),
            crash: *rng.pick(&[0, 5, 15, 40]),
            hang: *rng.pick(&[0, 0, 1, 3]),
            slow: *rng.pick(&[0, 0, 3, 15]),
        }
    }
}

/// What happened, one line each.
#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    pub fn note(&self, line: impl fmt::Display) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_string());
    }

    /// All lines in order.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The weather that all environments of a run share.
#[derive(Clone, Debug)]
pub struct Weather(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    rng: Rng,
    rates: Rates,
    calm: bool,
    clock: MemoryClock,
    trace: Trace,
    /// What may have been written since the last look.
    written: BTreeSet<String>,
    /// What may be written late, and for how many further calls.
    late: BTreeMap<String, usize>,
    /// Whether records may have been put since the last look.
    streamed: bool,
    /// How often the order stream was resharded, and at which such time each environment listed its shards last.
    generation: usize,
    listed: BTreeMap<String, usize>,
}

impl Weather {
    pub fn new(rng: Rng, rates: Rates, clock: &MemoryClock, trace: &Trace) -> Self {
        let (clock, trace) = (clock.clone(), trace.clone());
        Self(Arc::new(Mutex::new(State {
            rng,
            rates,
            calm: false,
            clock,
            trace,
            written: BTreeSet::new(),
            late: BTreeMap::new(),
            streamed: false,
            generation: 0,
            listed: BTreeMap::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nothing goes wrong.
    pub fn calm_down(&self) {
        self.state().calm = true;
    }

    /// The objects, with their buckets, that may have changed since this was asked last.
    pub fn take_written(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.state().written)
    }

    /// Whether the order stream may have changed since this was asked last.
    pub fn take_streamed(&self) -> bool {
        std::mem::take(&mut self.state().streamed)
    }

    /// The order stream has other shards from now on.
    pub fn resharded(&self) {
        self.state().generation += 1;
    }

    /// After how many reshardings an environment listed the shards last.
    pub fn listed(&self, environment: &str) -> usize {
        self.state().listed.get(environment).copied().unwrap_or(0)
    }

    /// What an environment of this name meets.
    pub fn over(&self, name: String) -> Arc<dyn Faults> {
        Arc::new(Sky { weather: self.clone(), name })
    }
}

#[derive(Debug)]
struct Sky {
    weather: Weather,
    name: String,
}

impl Faults for Sky {
    fn next(&self, call: &Call<'_>) -> Fault {
        let state = &mut *self.weather.state();
        let fault = state.draw(call);
        state.streamed |= call.operation == "PutRecords";
        if call.operation == "ListShards" {
            state.listed.insert(self.name.clone(), state.generation);
        }
        if call.operation == "PUT" {
            state.written.insert(call.key.to_owned());
        }
        state.written.extend(state.late.keys().cloned());
        state.late.retain(|_, calls| {
            *calls = calls.saturating_sub(1);
            *calls > 0
        });
        if let Fault::LateWrite(calls) = fault {
            let left = state.late.entry(call.key.to_owned()).or_default();
            *left = (*left).max(calls + 2);
        }
        if !matches!(fault, Fault::None) || call.operation.starts_with("PUT") {
            state.trace.note(format_args!("  {} {} {} → {fault:?}", self.name, call.operation, call.key));
        }
        fault
    }
}

impl State {
    fn draw(&mut self, call: &Call<'_>) -> Fault {
        let Self { rng, rates, clock, .. } = self;
        if rng.chance(100) && matches!(call.operation, "LIST" | "Scan" | "BatchGetItem" | "GetRecords") {
            return Fault::Short(rng.below(4));
        }
        if self.calm {
            return Fault::None;
        }
        let slow = if rng.chance(rates.slow) { rng.between(1_000, 25_000) } else { rng.below(4) };
        clock.advance(Duration::from_millis(slow as u64));
        if rng.chance(rates.hang) {
            return Fault::Hang;
        }
        if rng.chance(rates.crash) {
            return if rng.chance(500) { Fault::CrashBefore } else { Fault::CrashAfter };
        }
        if !rng.chance(rates.fault) {
            return Fault::None;
        }
        match (call.operation, rng.below(5)) {
            ("PutRecords", 0..=2) => Fault::Refuse((0..call.entries).filter(|_| rng.chance(500)).collect()),
            ("PUT", 0) => Fault::LateWrite(rng.below(60)),
            ("PUT", 1) => Fault::Busy,
            (_, 2) => Fault::LostAnswer,
            (_, 3) => Fault::Throttle,
            _ => Fault::Fail,
        }
    }
}
