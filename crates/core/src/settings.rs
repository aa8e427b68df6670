//! The environment variables of the public interface as data, one struct a function: read once, at start, from an
//! injected source, and validated whole before anything else happens.
//!
//! A variable that is set to nothing counts as missing, as templates often leave one empty. On failure the function
//! must not start; the error names the variable, what it holds and what it should hold.

use crate::location::Location;

/// The pipeline's definition: TOML text itself, a file path, or `s3://…`.
pub const PIPELINE: &str = "FRESHJOIN_PIPELINE";
/// Where the log, the cursors and the dead letters live.
pub const STATE: &str = "FRESHJOIN_STATE";
/// Where the enriched data goes.
pub const OUTPUT: &str = "FRESHJOIN_OUTPUT";
/// The Kinesis stream.
pub const STREAM: &str = "FRESHJOIN_STREAM";
/// Whether change-capture broadcasts flags itself.
pub const DIRECT_FLAGS: &str = "FRESHJOIN_DIRECT_FLAGS";
/// Which version a record is joined with.
pub const AS_OF: &str = "FRESHJOIN_AS_OF";
/// The filter of the log.
pub const LOG: &str = "FRESHJOIN_LOG";

/// How much memory the function has, in MB; Lambda sets it.
const MEMORY: &str = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE";

/// Bytes of reference content that are held where nobody says how much memory there is.
pub const DEFAULT_CONTENT_LIMIT: u64 = 1 << 30;

/// Where variables come from: the environment, or a test's table.
pub type Source<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Why a function cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The variable is absent or empty.
    #[error("{variable} is not set; set it to {expected}")]
    Missing {
        /// Its name.
        variable: &'static str,
        /// What to set it to.
        expected: &'static str,
    },
    /// The variable holds something else.
    #[error("{variable} is {value:?}; set it to {expected}")]
    Wrong {
        /// Its name.
        variable: &'static str,
        /// What it holds.
        value: String,
        /// What to set it to.
        expected: &'static str,
    },
}

impl SettingsError {
    /// The variable to mend.
    #[must_use]
    pub fn variable(&self) -> &'static str {
        match self {
            Self::Missing { variable, .. } | Self::Wrong { variable, .. } => variable,
        }
    }
}

/// A Kinesis stream as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamName {
    /// Its name, without account or region.
    pub name: String,
    /// Where it was given by one.
    pub arn: Option<StreamArn>,
}

/// A stream's ARN, `arn:<partition>:kinesis:<region>:<account>:stream/<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamArn {
    /// The whole ARN.
    pub text: String,
    /// The region in it.
    pub region: String,
}

/// Which version of the reference a record is joined with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AsOf {
    /// That of the newest flag before the record in its shard.
    #[default]
    Flag,
    /// The head of the log at the start of the batch, or a newer flag inside it.
    Latest,
}

/// What change-capture needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureSettings {
    /// [`STATE`].
    pub state: Location,
    /// [`STREAM`], if [`DIRECT_FLAGS`] is on.
    pub direct_flags: Option<StreamName>,
}

/// What flag-injector needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectorSettings {
    /// [`STATE`].
    pub state: Location,
    /// [`STREAM`].
    pub stream: StreamName,
    /// Bytes that a reference object may take: a quarter of the function's memory.
    pub content_limit: u64,
}

/// What the enricher needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnricherSettings {
    /// [`PIPELINE`], as it was given.
    pub pipeline: String,
    /// [`STATE`].
    pub state: Location,
    /// [`OUTPUT`].
    pub output: Location,
    /// [`STREAM`].
    pub stream: StreamName,
    /// [`AS_OF`].
    pub as_of: AsOf,
    /// Bytes that a reference object, or the rows of all of them, may take: a quarter of the function's memory.
    pub content_limit: u64,
}

/// What log-keeper needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeeperSettings {
    /// [`PIPELINE`], as it was given: whose references are looked after.
    pub pipeline: String,
    /// [`STATE`].
    pub state: Location,
    /// [`STREAM`].
    pub stream: StreamName,
    /// Bytes that a reference object may take: a quarter of the function's memory.
    pub content_limit: u64,
}

impl CaptureSettings {
    /// Reads them.
    ///
    /// # Errors
    /// [`SettingsError`] for the first variable that is missing or wrong.
    pub fn read(source: &Source<'_>) -> Result<Self, SettingsError> {
        let direct = optional(source, DIRECT_FLAGS, "true or false", switch)?.unwrap_or(false);
        let direct_flags = direct.then(|| {
            required(source, STREAM, "the name or ARN of a Kinesis stream, as FRESHJOIN_DIRECT_FLAGS is true", stream)
        });
        Ok(Self { state: state(source)?, direct_flags: direct_flags.transpose()? })
    }
}

impl InjectorSettings {
    /// Reads them.
    ///
    /// # Errors
    /// [`SettingsError`] for the first variable that is missing or wrong.
    pub fn read(source: &Source<'_>) -> Result<Self, SettingsError> {
        Ok(Self {
            state: state(source)?,
            stream: required(source, STREAM, STREAM_FORM, stream)?,
            content_limit: content_limit(source)?,
        })
    }
}

impl EnricherSettings {
    /// Reads them.
    ///
    /// # Errors
    /// [`SettingsError`] for the first variable that is missing or wrong.
    pub fn read(source: &Source<'_>) -> Result<Self, SettingsError> {
        Ok(Self {
            pipeline: pipeline(source)?,
            state: state(source)?,
            output: required(source, OUTPUT, LOCATION_FORM, location)?,
            stream: required(source, STREAM, STREAM_FORM, stream)?,
            as_of: optional(source, AS_OF, "flag or latest", as_of)?.unwrap_or_default(),
            content_limit: content_limit(source)?,
        })
    }
}

impl KeeperSettings {
    /// Reads them.
    ///
    /// # Errors
    /// [`SettingsError`] for the first variable that is missing or wrong.
    pub fn read(source: &Source<'_>) -> Result<Self, SettingsError> {
        Ok(Self {
            pipeline: pipeline(source)?,
            state: state(source)?,
            stream: required(source, STREAM, STREAM_FORM, stream)?,
            content_limit: content_limit(source)?,
        })
    }
}

/// The filter of the log, `info` where none is set; whether it is one is for the logger to say.
#[must_use]
pub fn log_filter(source: &Source<'_>) -> String {
    value(source, LOG).unwrap_or_else(|| "info".into())
}

impl StreamName {
    /// A stream by its name or its ARN; `None` if it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Some(rest) = text.strip_prefix("arn:") else {
            return is_stream_name(text).then(|| Self { name: text.into(), arn: None });
        };
        let [_partition, "kinesis", region, account, resource] = rest.split(':').collect::<Vec<_>>()[..] else {
            return None;
        };
        let name = resource.strip_prefix("stream/")?;
        (is_stream_name(name) && !region.is_empty() && !account.is_empty())
            .then(|| Self { name: name.into(), arn: Some(StreamArn { text: text.into(), region: region.into() }) })
    }
}

const STREAM_FORM: &str = "the name or ARN of a Kinesis stream";
const LOCATION_FORM: &str = "s3://bucket or s3://bucket/prefix";

fn state(source: &Source<'_>) -> Result<Location, SettingsError> {
    required(source, STATE, LOCATION_FORM, location)
}

/// Not trimmed: an error in it names its line.
fn pipeline(source: &Source<'_>) -> Result<String, SettingsError> {
    let expected = "the definition: TOML text, a file path or s3://…";
    value(source, PIPELINE).ok_or(SettingsError::Missing { variable: PIPELINE, expected })
}

fn value(source: &Source<'_>, variable: &str) -> Option<String> {
    source(variable).filter(|value| !value.trim().is_empty())
}

fn optional<T>(
    source: &Source<'_>,
    variable: &'static str,
    expected: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, SettingsError> {
    let Some(value) = value(source, variable) else { return Ok(None) };
    match parse(value.trim()) {
        Some(parsed) => Ok(Some(parsed)),
        None => Err(SettingsError::Wrong { variable, value, expected }),
    }
}

fn required<T>(
    source: &Source<'_>,
    variable: &'static str,
    expected: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, SettingsError> {
    optional(source, variable, expected, parse)?.ok_or(SettingsError::Missing { variable, expected })
}

/// A replaced object is in memory as bytes, as new rows, as old rows, and as what older versions still see; and there are
/// the records in hand.
fn content_limit(source: &Source<'_>) -> Result<u64, SettingsError> {
    let megabytes = optional(source, MEMORY, "the function's memory in MB, as Lambda does", |text| text.parse().ok())?;
    Ok(megabytes.map_or(DEFAULT_CONTENT_LIMIT, |megabytes: u64| (megabytes << 20) / 4))
}

fn switch(text: &str) -> Option<bool> {
    text.parse().ok()
}

fn as_of(text: &str) -> Option<AsOf> {
    match text {
        "flag" => Some(AsOf::Flag),
        "latest" => Some(AsOf::Latest),
        _ => None,
    }
}

fn stream(text: &str) -> Option<StreamName> {
    StreamName::parse(text)
}

fn is_stream_name(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// An S3 URL, or a directory for the embedded stack. What looks like another URL is a mistake, and so is an S3 prefix
/// with an empty part, which the keys made from it would not find again.
fn location(text: &str) -> Option<Location> {
    let location = Location::new(text);
    match location.s3() {
        Some((bucket, prefix)) => {
            let bucket_fits = (3..=63).contains(&bucket.len())
                && bucket.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b));
            (bucket_fits && !prefix.contains("//")).then_some(location)
        }
        None => (!text.contains(":/")).then_some(location),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";

    fn enricher(change: (&str, &str)) -> Result<EnricherSettings, SettingsError> {
        let table = [
            (PIPELINE, "name = \"orders\""),
            (STATE, "s3://bucket/state/"),
            (OUTPUT, "s3://bucket/enriched"),
            (STREAM, "orders"),
        ];
        EnricherSettings::read(&|name| {
            let entry = table.iter().find(|(variable, _)| *variable == name);
            (name == change.0).then_some(change.1).or(entry.map(|entry| entry.1)).map(Into::into)
        })
    }

    #[test]
    fn a_whole_environment_is_read_with_its_defaults() {
        let settings = enricher(("", "")).unwrap();
        assert_eq!(settings.state.s3(), Some(("bucket", "state")));
        assert_eq!((settings.as_of, settings.stream.arn), (AsOf::Flag, None));
        assert_eq!(enricher((AS_OF, "latest")).unwrap().as_of, AsOf::Latest);
        let stream = enricher((STREAM, ARN)).unwrap().stream;
        assert_eq!((stream.name.as_str(), stream.arn.unwrap().region.as_str()), ("orders", "eu-west-1"));
    }

    #[test]
    fn a_missing_or_empty_variable_is_named() {
        for variable in [PIPELINE, STATE, OUTPUT, STREAM] {
            let error = enricher((variable, " ")).unwrap_err();
            assert_eq!(error.variable(), variable);
            assert!(error.to_string().starts_with(&format!("{variable} is not set; set it to ")), "{error}");
        }
    }

    #[test]
    fn a_wrong_variable_is_named_with_what_it_holds_and_the_mend() {
        for (variable, value) in [
            (STATE, "https://bucket/state"),
            (STATE, "s3:/bucket"),
            (STATE, "s3://"),
            (STATE, "S3://bucket"),
            (STATE, "s3://Bucket"),
            (STATE, "s3://bucket/a//b"),
            (OUTPUT, "gs://bucket"),
            (STREAM, "arn:aws:kinesis:eu-west-1:1:stream/"),
            (STREAM, "arn:aws:kinesis:eu-west-1:1:stream/orders/consumer/c:1"),
            (STREAM, "arn:aws:sqs:eu-west-1:1:orders"),
            (STREAM, "or ders"),
            (AS_OF, "newest"),
        ] {
            let error = enricher((variable, value)).unwrap_err();
            assert_eq!(error.variable(), variable, "{value}");
            let text = error.to_string();
            assert!(text.contains(value) && text.contains("set it to "), "{text}");
        }
    }

    #[test]
    fn log_keeper_needs_no_output() {
        let read = |missing: &'static str| {
            let table = [(PIPELINE, "name = \"orders\""), (STATE, "s3://bucket"), (STREAM, ARN)];
            KeeperSettings::read(&move |name| {
                let entry = table.iter().find(|(variable, _)| *variable == name && name != missing);
                entry.map(|(_, value)| (*value).into())
            })
        };
        assert_eq!(read("").unwrap().stream.name, "orders");
        for variable in [PIPELINE, STATE, STREAM] {
            assert_eq!(read(variable).unwrap_err().variable(), variable);
        }
    }

    #[test]
    fn direct_flags_need_the_stream() {
        let read = |direct: &'static str, stream: Option<&'static str>| {
            CaptureSettings::read(&move |name| match name {
                STATE => Some("/tmp/state".into()),
                DIRECT_FLAGS => Some(direct.into()),
                STREAM => stream.map(Into::into),
                _ => None,
            })
        };
        assert_eq!(read("", Some("orders")).unwrap().direct_flags, None);
        assert_eq!(read("false", None).unwrap().direct_flags, None);
        assert_eq!(read("true", Some("orders")).unwrap().direct_flags, StreamName::parse("orders"));
        let error = read("true", None).unwrap_err();
        assert_eq!(error.variable(), STREAM);
        assert!(error.to_string().contains(DIRECT_FLAGS), "{error}");
        assert_eq!(read("yes", Some("orders")).unwrap_err().variable(), DIRECT_FLAGS);
    }
}
