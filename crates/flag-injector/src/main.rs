//! flag-injector as Lambda starts it: settings in, ports wired, every event to [`handle`].

use std::process::ExitCode;

use freshjoin_aws::bootstrap;
use freshjoin_core::settings::{InjectorSettings, STATE};
use freshjoin_flag_injector::{FlagInjector, InjectorDeps, handle};

fn main() -> ExitCode {
    bootstrap::main(InjectorSettings::read, async |settings, aws| {
        let injector = FlagInjector::new(InjectorDeps {
            store: aws.store(STATE, &settings.state)?,
            state: settings.state,
            stores: aws.stores(),
            stream: aws.stream(&settings.stream),
            clock: aws.clock(),
            content_limit: settings.content_limit,
        });
        aws.serve(async |event, deadline| handle(event, &injector, deadline).await).await
    })
}
