//! What goes wrong, by seed: every call of every environment to a port may fail, lose its answer, be refused, hang, take
//! its time, or be the last that its environment makes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use freshjoin_core::memory::{Call, Fault, Faults, MemoryClock};

use crate::kinds::{Off, Tally};
use crate::rng::Rng;
use crate::trace::Trace;

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

/// The weather that all environments of a run share.
#[derive(Clone, Debug)]
pub struct Weather(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    rng: Rng,
    rates: Rates,
    off: Off,
    tally: Tally,
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
    /// Environments in which something has no deadline to speak of: there a call that hangs ends by its own time limit.
    patient: BTreeSet<String>,
    /// Environments between their listing of the shards and the end of what they listed them for.
    broadcasting: BTreeSet<String>,
    /// Whether log-keeper has looked at the cursors or the bases since this was asked last.
    looked: bool,
    /// Whether somebody has looked for the end of the log since this was asked last.
    sought: bool,
    /// Whether many writes land very late.
    drowsy: bool,
}

impl Weather {
    pub fn new(rng: Rng, rates: Rates, off: Off, clock: &MemoryClock, trace: &Trace) -> Self {
        let (clock, trace) = (clock.clone(), trace.clone());
        Self(Arc::new(Mutex::new(State {
            rng,
            rates,
            off,
            tally: Tally::default(),
            calm: false,
            clock,
            trace,
            written: BTreeSet::new(),
            late: BTreeMap::new(),
            streamed: false,
            generation: 0,
            listed: BTreeMap::new(),
            patient: BTreeSet::new(),
            broadcasting: BTreeSet::new(),
            looked: false,
            sought: false,
            drowsy: false,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nothing goes wrong.
    pub fn calm_down(&self) {
        self.state().calm = true;
    }

    /// Whether a kind of event may happen.
    pub fn allows(&self, event: &'static str) -> bool {
        self.state().off.allows(event)
    }

    /// An event happened.
    pub fn happened(&self, event: &'static str) {
        self.state().tally.event(event);
    }

    /// How often what happened.
    pub fn tally(&self) -> Tally {
        self.state().tally.clone()
    }

    /// The objects, with their buckets, that may have changed since this was asked last.
    pub fn take_written(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.state().written)
    }

    /// Whether the order stream may have changed since this was asked last.
    pub fn take_streamed(&self) -> bool {
        std::mem::take(&mut self.state().streamed)
    }

    /// Whether log-keeper has looked at the cursors or the bases since this was asked last.
    pub fn take_looked(&self) -> bool {
        std::mem::take(&mut self.state().looked)
    }

    /// Whether somebody has looked for the end of the log since this was asked last.
    pub fn take_sought(&self) -> bool {
        std::mem::take(&mut self.state().sought)
    }

    /// From now on many writes land very late, or do not any more.
    pub fn drowsy(&self, drowsy: bool) {
        self.state().drowsy = drowsy;
    }

    /// Records were put into the order stream.
    pub fn streamed(&self) {
        self.state().streamed = true;
    }

    /// The order stream has other shards from now on; whether somebody was broadcasting.
    pub fn resharded(&self) -> bool {
        let mut state = self.state();
        state.generation += 1;
        !state.broadcasting.is_empty()
    }

    /// After how many reshardings an environment listed the shards last.
    pub fn listed(&self, environment: &str) -> usize {
        self.state().listed.get(environment).copied().unwrap_or(0)
    }

    /// An environment has begun an invocation without a deadline to speak of.
    pub fn patient(&self, environment: &str) {
        self.state().patient.insert(environment.to_owned());
    }

    /// An environment has ended an invocation.
    pub fn ended(&self, environment: &str) {
        self.state().broadcasting.remove(environment);
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
        let mut fault = state.draw(call);
        if fault == Fault::Hang && state.patient.contains(&self.name) {
            fault = Fault::Fail;
        }
        if let Some(kind) = kind(&fault) {
            state.tally.fault(kind, call.operation);
        }
        state.streamed |= call.operation == "PutRecords";
        if call.operation == "LIST" {
            state.looked |= call.key.contains("/cursors/") || call.key.contains("/snapshots/_base/");
            state.sought |= call.key.contains("/changes/");
        }
        if call.operation == "ListShards" {
            state.listed.insert(self.name.clone(), state.generation);
            state.broadcasting.insert(self.name.clone());
        }
        if matches!(call.operation, "PUT" | "EXPIRE") {
            state.written.insert(call.key.to_owned());
        }
        // A late write counts the calls that take effect in the stores.
        let before =
            matches!(fault, Fault::Fail | Fault::Forbidden | Fault::Throttle | Fault::Hang | Fault::CrashBefore);
        if !state.late.is_empty() && !before && matches!(call.operation, "GET" | "PUT" | "LIST" | "EXPIRE") {
            state.written.extend(state.late.keys().cloned());
            state.late.retain(|_, calls| {
                *calls = calls.saturating_sub(1);
                *calls > 0
            });
        }
        if let Fault::LateWrite(calls) = fault {
            let left = state.late.entry(call.key.to_owned()).or_default();
            *left = (*left).max(calls + 2);
        }
        if !matches!(fault, Fault::None) || call.operation.starts_with("PUT") || call.operation == "EXPIRE" {
            state.trace.note(format_args!("  {} {} {} → {fault:?}", self.name, call.operation, call.key));
        }
        fault
    }

    fn refused(&self, call: &Call<'_>) {
        let state = &mut *self.weather.state();
        state.tally.fault("412 on", call.operation);
        state.trace.note(format_args!("  {} {} {} → 412", self.name, call.operation, call.key));
    }
}

/// What a fault is called.
fn kind(fault: &Fault) -> Option<&'static str> {
    Some(match fault {
        Fault::None => return None,
        Fault::Fail => "500 on",
        Fault::Forbidden => "403 on",
        Fault::LostAnswer => "lost answer",
        Fault::LateWrite(_) => "late write of",
        Fault::Throttle => "503 on",
        Fault::Busy => "409 on",
        Fault::Refuse(_) => "partial",
        Fault::Short(_) => "short",
        Fault::Hang => "hang in",
        Fault::CrashBefore => "crash before",
        Fault::CrashAfter => "crash after",
    })
}

impl State {
    fn draw(&mut self, call: &Call<'_>) -> Fault {
        let fault = self.any(call);
        let off = kind(&fault).is_some_and(|kind| !self.off.allows_fault(kind, call.operation));
        if off { Fault::None } else { fault }
    }

    fn any(&mut self, call: &Call<'_>) -> Fault {
        let Self { rng, rates, clock, off, tally, drowsy, .. } = self;
        if matches!(call.operation, "LIST" | "Scan" | "BatchGetItem" | "GetRecords") && rng.chance(100) {
            return Fault::Short(rng.below(4));
        }
        if self.calm {
            return Fault::None;
        }
        if *drowsy && call.operation == "PUT" && rng.chance(300) {
            return Fault::LateWrite(rng.between(100, 700));
        }
        let slow = rng.chance(rates.slow) && off.allows("a delay of a call");
        if slow {
            tally.event("a delay of a call");
        }
        let millis = if slow { rng.between(1_000, 25_000) } else { rng.below(4) };
        clock.advance(Duration::from_millis(millis as u64));
        let rare = !matches!(call.operation, "GET" | "PUT");
        if rng.chance(if rare { rates.hang * 4 } else { rates.hang }) {
            return Fault::Hang;
        }
        if rng.chance(rates.crash) {
            return if rng.chance(500) { Fault::CrashBefore } else { Fault::CrashAfter };
        }
        if !rng.chance(if rare { rates.fault * 2 } else { rates.fault }) {
            return Fault::None;
        }
        match (call.operation, rng.below(6)) {
            ("PutRecords", 0..=1) => Fault::Refuse((0..call.entries).filter(|_| rng.chance(500)).collect()),
            ("PUT", 0) => Fault::LateWrite(rng.below(60)),
            ("PUT", 1) => Fault::Busy,
            (_, 2) => Fault::LostAnswer,
            (_, 3) => Fault::Throttle,
            (_, 4) => Fault::Forbidden,
            _ => Fault::Fail,
        }
    }
}
