//! End to end: the real function binaries under a Runtime API and under event source mappings that fail as AWS's do, over
//! Kinesis, S3 and DynamoDB served on loopback. What is asserted is read from the objects written.
//!
//! It runs the binaries beside it in the target folder: `cargo build --workspace --all-features` first (`scripts/test` does).
//! `cargo test --test e2e poison` runs the cases whose names contain `poison`.

mod capture;
mod chaos;
mod faults;
mod flags;
mod generate;
mod join;
mod keeper;
mod kill;
mod log;
mod objects;
mod oracle;
mod output;
mod parquet;
mod rebase;
mod reconcile;
mod records;
mod redeploy;
mod reshard;
mod start;
mod table;
mod views;
mod walkthrough;
mod world;
mod wrapped;
mod zombie;

use std::sync::Arc;

use freshjoin_tests::harness;
use libtest_mimic::{Arguments, Trial};
use world::Servers;

fn main() {
    let arguments = Arguments::from_args();
    let servers = Arc::new(Servers::default());
    let trials = [
        walkthrough::trials(&servers),
        capture::trials(&servers),
        views::trials(&servers),
        flags::trials(&servers),
        log::trials(&servers),
        join::trials(&servers),
        objects::trials(&servers),
        records::trials(&servers),
        wrapped::trials(&servers),
        parquet::trials(&servers),
        faults::trials(&servers),
        kill::trials(&servers),
        zombie::trials(&servers),
        chaos::trials(&servers),
        redeploy::trials(&servers),
        generate::trials(&servers),
        reshard::trials(&servers),
        reconcile::trials(&servers),
        rebase::trials(&servers),
        keeper::trials(&servers),
        start::trials(&servers),
    ];
    let conclusion = libtest_mimic::run(&arguments, trials.into_iter().flatten().collect());
    drop(servers);
    conclusion.exit();
}

/// A case that gets the servers, named by its module and function.
macro_rules! trials {
    ($module:literal: $($name:ident),+ $(,)?) => {
        pub(crate) fn trials(servers: &std::sync::Arc<$crate::world::Servers>) -> Vec<libtest_mimic::Trial> {
            vec![$($crate::trial(concat!($module, "::", stringify!($name)), servers, $name)),+]
        }
    };
}
pub(crate) use trials;

fn trial<F, Fut>(name: &str, servers: &Arc<Servers>, test: F) -> Trial
where
    F: FnOnce(Arc<Servers>) -> Fut + Send + 'static,
    Fut: Future<Output = ()>,
{
    let servers = Arc::clone(servers);
    harness::case(name, move || test(servers))
}
