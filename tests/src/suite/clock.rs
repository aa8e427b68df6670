//! What the `Clock` port promises.

use std::sync::Arc;
use std::time::Duration;

use freshjoin_core::ports::Clock;

use super::cases;

cases!(Arc<dyn Clock>: sleeps_at_least_as_long_as_asked, sleeps_at_the_same_time);

async fn sleeps_at_least_as_long_as_asked(clock: Arc<dyn Clock>) {
    for millis in [0, 1, 30] {
        let before = clock.now();
        clock.sleep(Duration::from_millis(millis)).await;
        let passed = clock.now().millis() - before.millis();
        assert!(passed >= i64::try_from(millis).unwrap(), "slept {passed} of {millis} ms");
    }
}

async fn sleeps_at_the_same_time(clock: Arc<dyn Clock>) {
    let sleepers = (0..10).map(|_| clock.sleep(Duration::from_millis(20)));
    futures_util::future::join_all(sleepers).await;
}
