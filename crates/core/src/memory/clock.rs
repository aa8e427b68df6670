//! A clock that moves by itself, and only where nothing else can happen.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;

use super::lock;
use crate::ports::Clock;
use crate::time::Timestamp;

/// So often must the earliest sleeper be polled, with no memory port called in between, before time moves to its end.
const PATIENCE: u32 = 16;

/// Virtual time. It stands still while memory ports are being called; when all that is left is waiting, it jumps to
/// the end of the shortest wait. So a limit in time never strikes a call that is under way, and a call that hangs
/// runs into its limit without anybody waiting for real. Clones share their time.
#[derive(Clone, Debug, Default)]
pub struct MemoryClock {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    now: i64,
    activity: u64,
    sleepers: BTreeSet<(i64, u64)>,
    next_sleeper: u64,
}

impl MemoryClock {
    /// A clock that shows this time.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        let clock = Self::default();
        clock.set(now);
        clock
    }

    /// Moves to this time, backwards too, as wall clocks do.
    pub fn set(&self, now: Timestamp) {
        lock(&self.state).now = now.millis();
    }

    /// Moves on.
    pub fn advance(&self, duration: Duration) {
        let mut state = lock(&self.state);
        state.now = state.now.saturating_add(millis(duration));
    }

    /// Somebody is still at work: time stands still.
    pub(super) fn touch(&self) {
        let mut state = lock(&self.state);
        state.activity = state.activity.wrapping_add(1);
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A sleeper's place in the queue, given up when its future is dropped.
struct Place<'a> {
    clock: &'a MemoryClock,
    entry: (i64, u64),
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(&self.clock.state).sleepers.remove(&self.entry);
    }
}

#[async_trait]
impl Clock for MemoryClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(lock(&self.state).now)
    }

    async fn sleep(&self, duration: Duration) {
        let place = {
            let mut state = lock(&self.state);
            let entry = (state.now.saturating_add(millis(duration)), state.next_sleeper);
            state.next_sleeper = state.next_sleeper.wrapping_add(1);
            state.sleepers.insert(entry);
            Place { clock: self, entry }
        };
        let (mut seen, mut quiet) = (None, 0);
        poll_fn(|context| {
            let mut state = lock(&self.state);
            if state.now >= place.entry.0 {
                return Poll::Ready(());
            }
            if seen.replace(state.activity) == Some(state.activity) {
                quiet += 1;
            } else {
                quiet = 0;
            }
            if quiet >= PATIENCE && state.sleepers.first() == Some(&place.entry) {
                state.now = place.entry.0;
                state.activity = state.activity.wrapping_add(1);
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::{join, select};
    use std::pin::pin;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn sleepers_end_in_the_order_of_their_times() {
        let clock = MemoryClock::at(Timestamp::from_millis(1000));
        let ended = Mutex::new(Vec::new());
        let nap = async |duration: Duration| {
            clock.sleep(duration).await;
            lock(&ended).push(clock.now().millis());
        };
        join(nap(HOUR), nap(Duration::from_secs(1))).await;
        assert_eq!(*lock(&ended), [2000, 3_601_000]);
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_moves_nothing() {
        let clock = MemoryClock::default();
        let work = async {
            for _ in 0..1000 {
                clock.touch();
                super::super::give_way().await;
            }
        };
        select(pin!(work), clock.sleep(HOUR)).await;
        assert_eq!(clock.now().millis(), 0);
        clock.sleep(Duration::from_millis(5)).await;
        assert_eq!(clock.now().millis(), 5);
    }
}
