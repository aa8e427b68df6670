//! How a test that needs servers is run: as a named case of a program that prints what `cargo test` prints.

use std::future::Future;

use libtest_mimic::Trial;

/// A test that runs on a runtime of its own with several threads, so that what it spawns really runs at once.
pub fn case<F, Fut>(name: impl Into<String>, test: F) -> Trial
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = ()>,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(test());
        // A test that failed may have left tasks that never end.
        runtime.shutdown_background();
        Ok(())
    })
}
