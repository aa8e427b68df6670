//! One SDK configuration for every client: region, credentials and endpoints from the SDK's own chain, and timeouts
//! under which a store that hangs becomes an error well before a Lambda function's deadline.
//!
//! Loading it makes no call to a service, but may read files and, outside Lambda, ask the instance's metadata address.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_types::service_config::ServiceConfigKey;

/// How long one attempt of a call may take, until its answer's headers are there.
pub(crate) const ATTEMPT: Duration = Duration::from_secs(5);

/// How long a call may take with all its attempts.
pub(crate) const OPERATION: Duration = Duration::from_secs(12);

const CONNECT: Duration = Duration::from_secs(2);

/// How long a body, either way, may stand still before the attempt is given up.
const STALLED: Duration = Duration::from_secs(5);

/// The configuration that every client of this crate expects.
pub async fn load() -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(timeouts(Duration::ZERO))
        .retry_config(RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(200)))
        .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(STALLED).build())
        .load()
        .await
}

/// The timeouts of a call whose body takes `extra` to send.
pub(crate) fn timeouts(extra: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT + extra)
        .operation_timeout(OPERATION + extra * 2)
        .build()
}

/// Whether calls to a service go to an endpoint URL of one's own, set for it or for all services.
pub(crate) fn has_endpoint(config: &SdkConfig, service: &str) -> bool {
    let of_service = || {
        let key = ServiceConfigKey::builder().service_id(service).env("AWS_ENDPOINT_URL").profile("endpoint_url");
        config.service_config()?.load_config(key.build().ok()?)
    };
    config.endpoint_url().is_some() || of_service().is_some()
}
