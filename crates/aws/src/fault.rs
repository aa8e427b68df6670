//! What a failed call to a service says in a log: the service's own code and message, the HTTP status, and the request
//! id that AWS support asks for; or, where no answer came, the whole chain of causes down to the socket.
//!
//! The SDK's own `Display` says only "service error"; its `Debug` prints the whole response.

use std::error::Error;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;
use freshjoin_core::chain::Chain;

/// A failed call in one line of text.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct ServiceFault {
    text: String,
}

impl ServiceFault {
    /// A fault that no call reported: an answer that lacks what it must have.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// What the SDK knows of a failed call.
    pub(crate) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let Some(service) = error.as_service_error() else {
            return Self::new(Chain(error).to_string());
        };
        let text = match (service.code(), service.message()) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code.to_owned(),
            (None, Some(message)) => message.to_owned(),
            (None, None) => Chain(error).to_string(),
        };
        let status = status(error).map_or(String::new(), |status| format!("status {status}, "));
        Self::new(format!("{text} ({status}request id {})", error.request_id().unwrap_or("unknown")))
    }

    /// The same with a sentence that says what to do.
    pub(crate) fn with_mend(mut self, mend: &str) -> Self {
        self.text.push_str("; ");
        self.text.push_str(mend);
        self
    }
}

/// The HTTP status, where an answer came.
pub(crate) fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}
