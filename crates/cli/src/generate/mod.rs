//! tmp
use crate::failure::Failure;
use clap::Args;
/// tmp
#[derive(Debug, Args)]
pub(crate) struct Arguments {}
pub(crate) async fn generate(_a: Arguments) -> Result<(), Failure> {
    Ok(())
}
