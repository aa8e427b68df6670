//! How a test that needs servers is run: as a named case of a program that prints what `cargo test` prints.

use std::future::Future;
use std::time::Duration;

use libtest_mimic::Trial;

/// Far more than a case takes on two busy cores: one that never ends fails alone, not the whole run.
const PATIENCE: Duration = Duration::from_secs(240);

/// A test that runs on a runtime of its own with several threads, so that what it spawns really runs at once.
pub fn case<F, Fut>(name: impl Into<String>, test: F) -> Trial
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = ()>,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let mut test = std::pin::pin!(test());
            if tokio::time::timeout(PATIENCE, test.as_mut()).await.is_err() {
                // While it still is: what it holds keeps its logs when it goes by a panic.
                panic!("it has not ended after {} s", PATIENCE.as_secs());
            }
        });
        // A test that failed may have left tasks that never end.
        runtime.shutdown_background();
        Ok(())
    })
}
