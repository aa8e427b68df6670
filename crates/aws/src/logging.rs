//! Logs as JSON lines on standard output, where Lambda takes them from: whatever a field holds, an event is one line.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Why the log cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is none.
    #[error("{filter:?} is no log filter; set it to a level such as info, or to target=level,…")]
    Filter {
        /// As it was given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// Another subscriber is there, which would be a bug.
    #[error("logging is already set up")]
    Twice,
}

/// Starts the log for the whole process. Call it once.
///
/// # Errors
/// [`LoggingError`] if the filter cannot be read or a log was started before.
pub fn init(filter: &str) -> Result<(), LoggingError> {
    let parsed = EnvFilter::try_new(filter).map_err(|source| LoggingError::Filter { filter: filter.into(), source })?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_env_filter(parsed)
        .with_writer(std::io::stdout)
        .try_init()
        .map_err(|_| LoggingError::Twice)
}
