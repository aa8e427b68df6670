//! The Lambda functions' own handlers as functions of embedded event source mappings.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use freshjoin_change_capture::ChangeCapture;
use freshjoin_core::sequence::SequenceNumber;
use freshjoin_enricher::Enricher;
use freshjoin_flag_injector::FlagInjector;
use freshjoin_local::{EmbeddedStream, Function, InProcess, InvokeError, MappingObserver};
use serde::Serialize;

/// `change-capture`, in this process.
pub(crate) fn change_capture(deps: Arc<ChangeCapture>) -> Arc<dyn Function> {
    Arc::new(InProcess::new("change-capture", move |event: Bytes, deadline| {
        let deps = deps.clone();
        async move { answer(freshjoin_change_capture::handle(text(&event)?, &deps, deadline).await) }
    }))
}

/// `flag-injector`, in this process.
pub(crate) fn flag_injector(deps: Arc<FlagInjector>) -> Arc<dyn Function> {
    Arc::new(InProcess::new("flag-injector", move |event: Bytes, deadline| {
        let deps = deps.clone();
        async move { answer(freshjoin_flag_injector::handle(text(&event)?, &deps, deadline).await) }
    }))
}

/// One environment of `enricher`, in this process. It runs as a task of its own, so that environments use all cores.
pub(crate) fn enricher(deps: Arc<Enricher>) -> Arc<dyn Function> {
    Arc::new(InProcess::new("enricher", move |event: Bytes, deadline| {
        let deps = deps.clone();
        async move {
            let handled =
                tokio::spawn(async move { answer(freshjoin_enricher::handle(text(&event)?, &deps, deadline).await) });
            handled.await.unwrap_or_else(|error| Err(InvokeError::Exited(error.to_string())))
        }
    }))
}

fn text(event: &[u8]) -> Result<&str, InvokeError> {
    std::str::from_utf8(event).map_err(|error| InvokeError::thrown(&error))
}

fn answer(handled: Result<impl Serialize, impl Error + 'static>) -> Result<Bytes, InvokeError> {
    let response = handled.map_err(|error| InvokeError::thrown(&error))?;
    serde_json::to_vec(&response).map(Bytes::from).map_err(|error| InvokeError::thrown(&error))
}

/// Forgets a stream's records once a mapping is done with them.
#[derive(Debug)]
pub(crate) struct Trim(pub(crate) Arc<EmbeddedStream>);

impl MappingObserver for Trim {
    fn invoked(&self, shard: &str, _records: usize, answer: &Result<Bytes, InvokeError>) {
        if let Err(error) = answer {
            tracing::warn!(shard, %error, "an invocation failed; its batch comes again");
        }
    }

    fn checkpoint(&self, shard: &str, through: &SequenceNumber) {
        if let Err(error) = self.0.trim(shard, through) {
            tracing::warn!(shard, %error, "records could not be forgotten");
        }
    }
}
