//! What an event source mapping invokes: one execution environment of a function, in this process or a real binary.

use std::error::Error;
use std::fmt::{self, Debug};
use std::future::Future;

use async_trait::async_trait;
use bytes::Bytes;
use freshjoin_core::chain::Chain;
use freshjoin_core::time::Timestamp;

/// An invocation that gave no answer. The function's work may or may not have happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// The function answered with an error.
    #[error("{kind}: {message}")]
    Thrown {
        /// The error's type, as the runtime reports it.
        kind: String,
        /// The whole message.
        message: String,
    },
    /// It gave no answer by its deadline.
    #[error("timed out")]
    TimedOut,
    /// Its environment ended; Lambda's `Runtime.ExitError`.
    #[error("the environment ended: {0}")]
    Exited(String),
}

impl InvokeError {
    /// A handler's error with all its causes.
    #[must_use]
    pub fn thrown(error: &(dyn Error + 'static)) -> Self {
        Self::Thrown { kind: "Error".into(), message: Chain(error).to_string() }
    }
}

/// One execution environment.
#[async_trait]
pub trait Function: Send + Sync + Debug {
    /// Hands over an event and waits for the answer.
    ///
    /// # Errors
    /// [`InvokeError`] if there is no answer.
    async fn invoke(&self, event: Bytes, deadline: Timestamp) -> Result<Bytes, InvokeError>;
}

/// A handler in this process.
pub struct InProcess<F> {
    name: String,
    handler: F,
}

impl<F> InProcess<F> {
    /// Names a handler.
    pub fn new(name: impl Into<String>, handler: F) -> Self {
        Self { name: name.into(), handler }
    }
}

impl<F> Debug for InProcess<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcess").field("name", &self.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl<F, Answer> Function for InProcess<F>
where
    F: Fn(Bytes, Timestamp) -> Answer + Send + Sync,
    Answer: Future<Output = Result<Bytes, InvokeError>> + Send,
{
    async fn invoke(&self, event: Bytes, deadline: Timestamp) -> Result<Bytes, InvokeError> {
        (self.handler)(event, deadline).await
    }
}
