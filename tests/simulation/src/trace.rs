//! What happened in a run, one line each, where somebody wants to read it; what the functions log is part of it.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, Once, PoisonError};

use tracing_subscriber::filter::LevelFilter;

thread_local! {
    /// The run on this thread, for what is logged in it.
    static CURRENT: RefCell<Trace> = RefCell::default();
}

/// Lines, or nothing at all.
#[derive(Clone, Debug, Default)]
pub struct Trace(Option<Arc<Mutex<Vec<String>>>>);

impl Trace {
    /// One that is kept, with all that is logged on this thread from now on.
    pub fn kept() -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(LevelFilter::INFO)
                .without_time()
                .with_ansi(false)
                .with_writer(|| Log)
                .finish();
            // Where somebody else listens already, there is less to read, and nothing else.
            drop(tracing::subscriber::set_global_default(subscriber));
        });
        let trace = Self(Some(Arc::default()));
        CURRENT.replace(trace.clone());
        trace
    }

    /// The end of what is kept: what is logged on this thread from now on is not part of it.
    pub fn lines(&self) -> Vec<String> {
        CURRENT.replace(Self::default());
        let lines = self.0.as_ref().map(|lines| lines.lock().unwrap_or_else(PoisonError::into_inner).clone());
        lines.unwrap_or_default()
    }

    pub fn note(&self, line: impl fmt::Display) {
        if let Some(lines) = &self.0 {
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_string());
        }
    }
}

/// Whatever is logged on a thread goes to its run.
struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        CURRENT.with_borrow(|trace| trace.note(format_args!("  {}", String::from_utf8_lossy(bytes).trim_end())));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
