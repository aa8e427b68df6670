//! Why a function does not start, or stops.

use freshjoin_core::ports::{BoxError, LocationError};
use freshjoin_core::settings::{self, SettingsError};

use crate::definition::DefinitionError;
use crate::logging::LoggingError;

/// Why a function does not start, or stops. Nothing has been read or written for an event.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A variable is missing or wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A location that this function cannot open.
    #[error("{variable}: {source}")]
    Location {
        /// Where it was configured.
        variable: &'static str,
        /// What is wrong with it.
        #[source]
        source: LocationError,
    },
    /// The pipeline's definition cannot be had.
    #[error("FRESHJOIN_PIPELINE: {0}")]
    Definition(#[from] DefinitionError),
    /// The pipeline's definition, or what follows from it, is refused.
    #[error("FRESHJOIN_PIPELINE: {0}")]
    Pipeline(#[source] BoxError),
    /// The log cannot start.
    #[error("FRESHJOIN_LOG: {0}")]
    Logging(#[from] LoggingError),
    /// The operating system gives no threads or timers.
    #[error("the asynchronous runtime cannot start")]
    System(#[from] std::io::Error),
    /// The interface of the Lambda runtime failed.
    #[error("the Lambda runtime interface failed")]
    Runtime(#[source] BoxError),
}

impl StartError {
    /// The variable to mend, where there is one.
    #[must_use]
    pub fn variable(&self) -> Option<&'static str> {
        match self {
            Self::Settings(error) => Some(error.variable()),
            Self::Location { variable, .. } => Some(variable),
            Self::Definition(_) | Self::Pipeline(_) => Some(settings::PIPELINE),
            Self::Logging(_) => Some(settings::LOG),
            Self::System(_) | Self::Runtime(_) => None,
        }
    }
}
