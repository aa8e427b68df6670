//! log-keeper's bootstrap on AWS Lambda.

use std::process::ExitCode;

use freshjoin_aws::bootstrap::{self, Function, StartError, load_text};
use freshjoin_core::settings::{KeeperSettings, STATE};
use freshjoin_log_keeper::{KeeperDeps, LogKeeper, handle};

fn main() -> ExitCode {
    bootstrap::main(KeeperSettings::read, async |settings: KeeperSettings, aws: Function| {
        let deps = KeeperDeps {
            state: aws.store(STATE, &settings.state)?,
            stores: aws.stores(),
            tables: aws.tables(),
            stream: aws.stream(&settings.stream),
            clock: aws.clock(),
            content_limit: settings.content_limit,
        };
        let text = load_text(&settings.pipeline, &*deps.stores).await?;
        let keeper = LogKeeper::new(&text, deps).map_err(|error| StartError::Pipeline(Box::new(error)))?;
        aws.serve(async |event: &str, deadline| handle(event, &keeper, deadline).await).await
    })
}
