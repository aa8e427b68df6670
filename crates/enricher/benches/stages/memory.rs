//! What a row of a loaded table takes of the process's memory, which criterion cannot measure.

#![allow(clippy::print_stdout, reason = "the figure is what this is run for")]

use crate::fixture::{self, PRODUCTS, PRODUCTS_PIPELINE, product};

/// On the command line: measure this and nothing else, in a process that has no other memory to use again.
pub(crate) const ARGUMENT: &str = "--memory";

const ROWS: u64 = 1_000_000;

/// Prints the bytes of a row; nothing where the system does not say.
pub(crate) fn print() {
    let before = resident();
    let (_, reference) = fixture::joined(PRODUCTS_PIPELINE, PRODUCTS.1, (0..ROWS).map(product));
    if let Some((before, after)) = before.zip(resident()) {
        println!("{}", after.saturating_sub(before) / reference.len() as u64);
    }
}

/// Resident bytes of this process.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}
