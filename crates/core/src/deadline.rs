//! Ending in time: what must be over before a function's deadline is dropped there.
//!
//! Everything in freshjoin may be dropped at any point, as a crash does the same; so a limit in time around a whole
//! piece of work is enough.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use crate::ports::Clock;
use crate::time::Timestamp;

/// The work was dropped. Whether its last call took effect is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of time: not done by {0}")]
pub struct OutOfTime(pub Timestamp);

/// Does the work, or drops it at the deadline by this clock.
///
/// # Errors
/// [`OutOfTime`] where the deadline has come; at once, without beginning, if it has passed already.
pub async fn within<T>(clock: &dyn Clock, deadline: Timestamp, work: impl Future<Output = T>) -> Result<T, OutOfTime> {
    let left = deadline.millis().saturating_sub(clock.now().millis());
    let left = u64::try_from(left).ok().filter(|left| *left > 0).ok_or(OutOfTime(deadline))?;
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = clock.sleep(Duration::from_millis(left)) => Err(OutOfTime(deadline)),
    }
}

/// Gives way once, under any executor, so that a deadline is kept in the middle of long work.
pub async fn give_way() {
    let mut given = false;
    poll_fn(|context| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryClock;

    #[tokio::test]
    async fn what_hangs_is_dropped_and_what_is_late_does_not_begin() {
        let clock = MemoryClock::at(Timestamp::from_millis(1000));
        let deadline = Timestamp::from_millis(3000);
        assert_eq!(within(&clock, deadline, async { 1 }).await, Ok(1));
        assert_eq!(clock.now().millis(), 1000);
        assert_eq!(within(&clock, deadline, std::future::pending::<()>()).await, Err(OutOfTime(deadline)));
        assert_eq!(clock.now(), deadline);
        assert_eq!(within(&clock, deadline, async { 1 }).await, Err(OutOfTime(deadline)));
    }
}
