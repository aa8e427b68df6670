//! Every adapter of every port, held to what the port promises: in memory, embedded, and on AWS's emulators.
//!
//! `cargo test --test conformance stream` runs the cases whose names contain `stream`. Servers are started when the
//! first case needs them, and are gone when the last one ends.

mod store;
mod stream;
mod table;

use std::sync::{Arc, OnceLock};

use freshjoin_clock::SystemClock;
use freshjoin_core::memory::MemoryClock;
use freshjoin_core::ports::Clock;
use freshjoin_tests::fixture::{Kinesis, Missing, Moto, S3Gateway};
use freshjoin_tests::{harness, suite};
use libtest_mimic::{Arguments, Trial};

/// The emulators that the cases share.
#[derive(Debug, Default)]
struct Servers {
    moto: OnceLock<Moto>,
    gateway: OnceLock<Result<S3Gateway, Missing>>,
    kinesis: OnceLock<Kinesis>,
}

impl Servers {
    fn moto(&self) -> &Moto {
        self.moto.get_or_init(Moto::start)
    }

    fn gateway(&self) -> Result<&S3Gateway, &Missing> {
        self.gateway.get_or_init(S3Gateway::start).as_ref()
    }

    fn kinesis(&self) -> &Kinesis {
        self.kinesis.get_or_init(|| Kinesis::start(false))
    }
}

fn main() {
    let arguments = Arguments::from_args();
    let servers = Arc::new(Servers::default());
    let mut trials = Vec::new();
    trials.extend(store::trials(&servers));
    trials.extend(stream::trials(&servers));
    trials.extend(table::trials(&servers));
    trials.extend(clocks());
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(servers);
    conclusion.exit();
}

fn clocks() -> Vec<Trial> {
    let of = |adapter: &str, clock: Arc<dyn Clock>| {
        let (adapter, clock) = (adapter.to_owned(), clock);
        suite::clock::cases().into_iter().map(move |case| {
            let clock = Arc::clone(&clock);
            harness::case(format!("clock::{adapter}::{}", case.name), move || (case.run)(clock))
        })
    };
    of("memory", Arc::new(MemoryClock::default())).chain(of("system", Arc::new(SystemClock))).collect()
}
