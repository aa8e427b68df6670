//! The enricher's bootstrap on AWS Lambda.

use std::process::ExitCode;
use std::sync::Arc;

use freshjoin_aws::bootstrap::{self, Function, StartError, load_text};
use freshjoin_core::batch::{ConsumerDeps, LogObserver};
use freshjoin_core::settings::{self, EnricherSettings};
use freshjoin_enricher::{Enricher, handle};

fn main() -> ExitCode {
    bootstrap::main(EnricherSettings::read, async |settings: EnricherSettings, function: Function| {
        let deps = ConsumerDeps {
            state: function.store(settings::STATE, &settings.state)?,
            stores: function.stores(),
            tables: function.tables(),
            stream: function.stream(&settings.stream),
            clock: function.clock(),
            observer: Arc::new(LogObserver),
        };
        function.store(settings::OUTPUT, &settings.output)?;
        let text = load_text(&settings.pipeline, &*deps.stores).await?;
        let enricher = Enricher::new(&text, &settings, deps).map_err(|error| StartError::Pipeline(Box::new(error)))?;
        function.serve(async |event: &str, deadline| handle(event, &enricher, deadline).await).await
    })
}
