//! The ports of freshjoin over AWS: objects on [S3](s3), reference tables in [DynamoDB](dynamodb) and the record stream
//! in [Kinesis](kinesis); and what the Lambda functions' `main` share ([bootstrap]).
//!
//! Every client comes from one configuration ([config]). Faults carry the service's own code, message, status and
//! request id in their text.

pub mod bootstrap;
pub mod config;
pub mod definition;
pub mod dynamodb;
mod fault;
pub mod kinesis;
pub mod logging;
pub mod s3;
mod start;
#[cfg(test)]
mod tests;

pub use dynamodb::DynamoTables;
pub use kinesis::KinesisStream;
pub use s3::{S3Store, S3Stores};
