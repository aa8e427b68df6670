//! What the Lambda functions' `main` share: settings from the environment, one set of clients, and the loop that hands
//! each event's own text to a handler together with its deadline.
//!
//! On failure: a function that cannot start says why in one JSON line on standard error, which names the variable to
//! mend, and exits with 1. A handler's error becomes the invocation's error, with its whole chain of causes in
//! the message, so that Lambda or the event source mapping tries again.

use std::any::type_name;
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use aws_config::SdkConfig;
use freshjoin_clock::SystemClock;
use freshjoin_core::chain::Chain;
use freshjoin_core::location::Location;
use freshjoin_core::ports::{Clock, ObjectStore, Stores, Stream, Tables};
use freshjoin_core::settings::{self, SettingsError, Source, StreamName};
use freshjoin_core::time::Timestamp;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::Serialize;
use serde_json::value::RawValue;

pub use crate::definition::load_text;
pub use crate::start::StartError;
use crate::{DynamoTables, KinesisStream, S3Stores, config, logging};

/// The system's allocator gives an event's megabytes back after each invocation and has them faulted in again by the
/// next: a sixth of a warm invocation's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the Lambda runtime cannot do without; it would panic.
const RUNTIME: [&str; 4] = [
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
];

/// The outside world of one function: every port over one configuration.
#[derive(Debug)]
pub struct Function {
    config: SdkConfig,
    stores: Arc<S3Stores>,
}

/// The whole of a function's `main`: reads its settings, starts the log and the clients, and runs `start`, which builds
/// the handler's dependencies and ends in [`Function::serve`].
pub fn main<S>(
    read: impl FnOnce(&Source<'_>) -> Result<S, SettingsError>,
    start: impl AsyncFnOnce(S, Function) -> Result<(), StartError>,
) -> ExitCode {
    let run = || {
        let settings = read(&environment)?;
        logging::init(&settings::log_filter(&environment))?;
        check_runtime(&environment)?;
        // One invocation at a time is what Lambda gives; what waits inside it waits on the network.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { start(settings, Function::connect().await?).await })
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

impl Function {
    async fn connect() -> Result<Self, StartError> {
        let config = config::load().await;
        if config.region().is_none() {
            let expected = "the AWS region of the bucket, the table and the stream";
            return Err(SettingsError::Missing { variable: "AWS_REGION", expected }.into());
        }
        let stores = Arc::new(S3Stores::new(&config));
        Ok(Self { config, stores })
    }

    /// The store below a location.
    ///
    /// # Errors
    /// [`StartError::Location`] with the variable that the location came from, if it is not on S3.
    pub fn store(&self, variable: &'static str, location: &Location) -> Result<Arc<dyn ObjectStore>, StartError> {
        self.stores.open(location).map_err(|source| StartError::Location { variable, source })
    }

    /// S3, for locations that are found later.
    #[must_use]
    pub fn stores(&self) -> Arc<dyn Stores> {
        Arc::clone(&self.stores) as _
    }

    /// A Kinesis stream.
    #[must_use]
    pub fn stream(&self, stream: &StreamName) -> Arc<dyn Stream> {
        Arc::new(KinesisStream::open(&self.config, stream))
    }

    /// DynamoDB.
    #[must_use]
    pub fn tables(&self) -> Arc<dyn Tables> {
        Arc::new(DynamoTables::new(&self.config, self.clock()))
    }

    /// The system's clock.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SystemClock)
    }

    /// Hands every event to the handler, as the text that it came in, with the time by which it must have answered.
    /// Returns only when the environment is taken down.
    ///
    /// # Errors
    /// [`StartError::Runtime`] if the Lambda runtime's own interface fails.
    pub async fn serve<T, E>(&self, handler: impl AsyncFn(&str, Timestamp) -> Result<T, E>) -> Result<(), StartError>
    where
        T: Serialize,
        E: Error + 'static,
    {
        let handler = &handler;
        let invoke = |event: LambdaEvent<Box<RawValue>>| async move {
            let (payload, context) = event.into_parts();
            let deadline = Timestamp::from_millis(i64::try_from(context.deadline).unwrap_or(i64::MAX));
            handler(payload.get(), deadline).await.map_err(|error| {
                // The runtime logs it.
                Diagnostic { error_type: short_type_name::<E>().into(), error_message: Chain(&error).to_string() }
            })
        };
        lambda_runtime::run(service_fn(invoke)).await.map_err(StartError::Runtime)
    }
}

fn check_runtime(source: &Source<'_>) -> Result<(), SettingsError> {
    let expected = "what Lambda sets it to: this program is a Lambda function's bootstrap";
    for variable in RUNTIME {
        let Some(value) = source(variable) else {
            return Err(SettingsError::Missing { variable, expected });
        };
        if variable.ends_with("MEMORY_SIZE") && value.parse::<i32>().is_err() {
            return Err(SettingsError::Wrong { variable, value, expected });
        }
    }
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "the source that freshjoin_core::settings is injected with")]
fn environment(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

fn report(error: &StartError) {
    let line = start_failure(error, SystemClock.now());
    // Nobody is left to tell if standard error is gone.
    drop(writeln!(std::io::stderr(), "{line}"));
}

fn start_failure(error: &StartError, at: Timestamp) -> serde_json::Value {
    serde_json::json!({
        "timestamp": at,
        "level": "ERROR",
        "message": format!("the function cannot start: {}", Chain(error)),
        "variable": error.variable(),
    })
}

/// `InjectError` of `freshjoin_flag_injector::InjectError`.
fn short_type_name<T>() -> &'static str {
    let name = type_name::<T>();
    name.rsplit("::").next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_start_is_one_json_line_that_names_the_variable() {
        let error = StartError::from(SettingsError::Wrong {
            variable: settings::STATE,
            value: "two\nlines".into(),
            expected: "s3://bucket",
        });
        let line = start_failure(&error, Timestamp::from_millis(0)).to_string();
        assert!(!line.contains('\n'), "{line}");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["variable"], settings::STATE);
        assert!(line["message"].as_str().unwrap().contains(settings::STATE), "{line}");
    }

    #[test]
    fn what_the_lambda_runtime_would_panic_without_is_named() {
        let read = |wrong: &'static str, value: Option<&'static str>| {
            check_runtime(&move |name| if name == wrong { value } else { Some("128") }.map(Into::into))
        };
        assert_eq!(read("", None), Ok(()));
        for variable in RUNTIME {
            assert_eq!(read(variable, None).unwrap_err().variable(), variable);
        }
        assert!(read("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", Some("much")).is_err());
    }

    #[test]
    fn an_error_s_type_is_its_last_name() {
        assert_eq!(short_type_name::<SettingsError>(), "SettingsError");
    }
}
