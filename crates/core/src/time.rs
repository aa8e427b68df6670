//! Points in time, in whole milliseconds since the Unix epoch: the resolution of Kinesis arrivals.
//!
//! Values come from outside (events, object stores, the [`Clock`](crate::ports::Clock) port), never from here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time in milliseconds since the Unix epoch; shown and parsed as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// From seconds and nanoseconds since the Unix epoch, rounded to the nearest millisecond: fractional seconds
    /// travel as floating point in several AWS protocols, so truncation would lose one.
    #[must_use]
    pub const fn from_seconds_and_nanos(seconds: i64, nanos: u32) -> Self {
        Self(seconds.saturating_mul(1000).saturating_add((nanos as i64 + 500_000) / 1_000_000))
    }

    /// From decimal text in seconds since the epoch, as Kinesis and DynamoDB Streams events carry it, rounded to the
    /// nearest millisecond. `None` if it is not such a number.
    #[must_use]
    pub fn from_epoch_seconds(text: &str) -> Option<Self> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        // Seconds and four digits after the point are one whole number of tenths of milliseconds.
        let (mut tenths, mut whole_digits, mut fraction_digits) = (0_i64, 0, None);
        for byte in digits.bytes() {
            match (byte, &mut fraction_digits) {
                (b'0'..=b'9', Some(4..)) => {}
                (b'0'..=b'9', fraction) => {
                    tenths = tenths.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
                    match fraction {
                        Some(count) => *count += 1,
                        None => whole_digits += 1,
                    }
                }
                (b'.', None) => fraction_digits = Some(0),
                (b'e' | b'E', _) => return Self::from_float(text),
                _ => return None,
            }
        }
        if whole_digits == 0 {
            return None;
        }
        for _ in fraction_digits.unwrap_or(0)..4 {
            tenths = tenths.checked_mul(10)?;
        }
        let millis = (tenths + 5) / 10;
        Some(Self(if negative { -millis } else { millis }))
    }

    fn from_float(text: &str) -> Option<Self> {
        let seconds: f64 = text.parse().ok()?;
        let micros = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?.as_micros();
        i64::try_from((micros + 500).div_euclid(1000)).ok().map(Self)
    }

    /// This point moved by a number of milliseconds, saturating.
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<jiff::Timestamp>().map(|at| Self(at.as_millisecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_with_a_fraction_round_to_the_nearest_millisecond() {
        for (text, millis) in [
            ("1545084650.987", 1_545_084_650_987),
            ("23.5", 23_500),
            ("23", 23_000),
            ("23.0005", 23_001),
            ("23.0004", 23_000),
            ("1.7640e9", 1_764_000_000_000),
            ("1.767225600123E9", 1_767_225_600_123),
            ("0.123000001", 123),
        ] {
            assert_eq!(Timestamp::from_epoch_seconds(text), Some(Timestamp(millis)), "{text}");
        }
        for text in ["", "x", "1.2.3", "1.-5", "--1"] {
            assert_eq!(Timestamp::from_epoch_seconds(text), None, "{text}");
        }
        assert_eq!(Timestamp::from_seconds_and_nanos(1, 122_999_906), Timestamp(1123));
    }

    #[test]
    fn the_text_form_is_rfc_3339_and_comes_back() {
        let at = Timestamp::from_millis(1_545_084_650_987);
        assert_eq!(at.to_string(), "2018-12-17T22:10:50.987Z");
        assert_eq!("2018-12-17T22:10:50.987Z".parse::<Timestamp>().unwrap(), at);
    }
}
