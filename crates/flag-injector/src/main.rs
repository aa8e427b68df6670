//! flag-injector as Lambda starts it: settings in, ports wired, every event to [`handle`].

use std::process::ExitCode;

use freshjoin_aws::bootstrap;
use freshjoin_core::settings::{InjectorSettings, STATE};
use freshjoin_flag_injector::{FlagInjector, handle};

fn main() -> ExitCode {
    bootstrap::main(InjectorSettings::read, async |settings, aws| {
        let store = aws.store(STATE, &settings.state)?;
        let injector = FlagInjector::new(settings.state, store, aws.stream(&settings.stream), aws.clock());
        aws.serve(async |event, deadline| handle(event, &injector, deadline).await).await
    })
}
