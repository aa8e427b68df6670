//! Asynchronous invocations, as S3 makes them with its notices: at least once, in no promised order, and twice again
//! after an error.
//!
//! On failure of all attempts the event is dropped and logged, as Lambda does where there is no destination.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use freshjoin_core::ports::Clock;
use futures_util::future::{Either, join_all, select};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use tokio::sync::{mpsc, watch};

use crate::function::Function;
use crate::store::Notice;

/// How events travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncSettings {
    /// Attempts after the first.
    pub retries: u32,
    /// The wait before the first retry; the second waits twice as long.
    pub backoff: Duration,
    /// The function's `Timeout`.
    pub timeout: Duration,
    /// Shuffles the events that are under way together and sends some twice, by this seed.
    pub chaos: Option<u64>,
}

impl Default for AsyncSettings {
    /// As Lambda does, without its minutes of waiting.
    fn default() -> Self {
        Self { retries: 2, backoff: Duration::from_millis(500), timeout: Duration::from_secs(30), chaos: None }
    }
}

/// A queue of events before one function.
#[derive(Debug)]
pub struct AsyncInvoker {
    function: Arc<dyn Function>,
    clock: Arc<dyn Clock>,
    settings: AsyncSettings,
    random: Mutex<StdRng>,
}

impl AsyncInvoker {
    /// Invokes `function`.
    pub fn new(function: Arc<dyn Function>, clock: Arc<dyn Clock>, settings: AsyncSettings) -> Self {
        let random = Mutex::new(StdRng::seed_from_u64(settings.chaos.unwrap_or_default()));
        Self { function, clock, settings, random }
    }

    /// Sends events that are under way together. Answers how many never succeeded.
    pub async fn deliver(&self, mut events: Vec<Bytes>) -> usize {
        if self.settings.chaos.is_some() {
            let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
            let twice: Vec<Bytes> = events.iter().filter(|_| random.random_range(0..4) == 0).cloned().collect();
            events.extend(twice);
            events.shuffle(&mut *random);
        }
        join_all(events.into_iter().map(|event| self.attempt(event))).await.into_iter().filter(|done| !done).count()
    }

    /// Sends the notices of a bucket, all that are there at once, until `stop` becomes true or nothing can come any more.
    pub async fn run(&self, mut notices: mpsc::UnboundedReceiver<Notice>, mut stop: watch::Receiver<bool>) {
        loop {
            let mut together = Vec::new();
            let received = {
                let more = std::pin::pin!(notices.recv_many(&mut together, 100));
                let stopped = std::pin::pin!(stop.wait_for(|stop| *stop));
                matches!(select(more, stopped).await, Either::Left((count, _)) if count > 0)
            };
            self.deliver(together.iter().map(|notice| notice.event().into()).collect()).await;
            if !received {
                return;
            }
        }
    }

    async fn attempt(&self, event: Bytes) -> bool {
        for attempt in 0..=self.settings.retries {
            let timeout = i64::try_from(self.settings.timeout.as_millis()).unwrap_or(i64::MAX);
            let deadline = self.clock.now().plus_millis(timeout);
            match self.function.invoke(event.clone(), deadline).await {
                Ok(_) => return true,
                Err(error) => tracing::warn!(%error, attempt, "an asynchronous invocation failed"),
            }
            if attempt < self.settings.retries {
                self.clock.sleep(self.settings.backoff.saturating_mul(1 << attempt.min(16))).await;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::{InProcess, InvokeError};
    use crate::testing::StillClock;

    fn invoker(fails: usize, chaos: Option<u64>) -> (AsyncInvoker, Arc<Mutex<Vec<Bytes>>>) {
        let seen: Arc<Mutex<Vec<Bytes>>> = Arc::default();
        let function = {
            let seen = seen.clone();
            InProcess::new("f", move |event: Bytes, _| {
                let mut seen = seen.lock().unwrap();
                seen.push(event);
                let answer = if seen.len() <= fails { Err(InvokeError::TimedOut) } else { Ok(Bytes::new()) };
                async { answer }
            })
        };
        let settings = AsyncSettings { chaos, ..AsyncSettings::default() };
        (AsyncInvoker::new(Arc::new(function), Arc::new(StillClock::default()), settings), seen)
    }

    #[tokio::test]
    async fn an_event_is_tried_three_times() {
        let event = Bytes::from_static(b"{}");
        let (two_failures, seen) = invoker(2, None);
        assert_eq!(two_failures.deliver(vec![event.clone()]).await, 0);
        assert_eq!(seen.lock().unwrap().len(), 3);
        let (always, seen) = invoker(usize::MAX, None);
        assert_eq!(always.deliver(vec![event]).await, 1);
        assert_eq!(seen.lock().unwrap().len(), 3);
    }

    #[tokio::test]
    async fn chaos_reorders_and_repeats_but_loses_nothing() {
        let events: Vec<Bytes> = (0..50).map(|number| Bytes::from(format!("{number:02}"))).collect();
        let (invoker, seen) = invoker(0, Some(7));
        assert_eq!(invoker.deliver(events.clone()).await, 0);
        let seen = seen.lock().unwrap();
        assert!(seen.len() > 50 && !seen.is_sorted());
        assert!(events.iter().all(|event| seen.contains(event)));
    }
}
