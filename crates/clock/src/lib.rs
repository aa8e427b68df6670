//! The [`Clock`] port over the system clock and tokio's timer: the one place that asks the machine for the time or
//! waits. It cannot fail; a system clock before 1970 reads as 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use freshjoin_core::ports::Clock;
use freshjoin_core::time::Timestamp;

/// The machine's own clock. Waiting needs a tokio runtime with its timer enabled.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the adapter of the Clock port is where the system is asked")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    #[allow(clippy::disallowed_methods, reason = "the adapter of the Clock port is where waiting happens")]
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_waits_as_long_as_asked_and_knows_the_year() {
        let started = tokio::time::Instant::now();
        SystemClock.sleep(Duration::from_millis(1500)).await;
        assert!(started.elapsed() >= Duration::from_millis(1500));
        assert!(SystemClock.now() > "2025-01-01T00:00:00Z".parse().unwrap());
    }
}
