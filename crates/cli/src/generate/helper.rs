//! The helpers: those that the Kinesis Data Generator documents, and what is usual of the library below it.

use freshjoin_core::time::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use serde_json::Value;

use super::{moment, words};

/// What fills a place in.
#[derive(Debug)]
pub(super) enum Helper {
    /// `min` to `max` in whole multiples of `10^-decimals`, both included.
    Number { min: i64, max: i64, decimals: u32 },
    /// One of these, each as likely as its share of the last sum.
    Weighted { sums: Vec<f64>, data: Vec<String> },
    /// One of these.
    Element(Vec<String>),
    /// One of a list of words.
    Word(&'static [&'static str]),
    /// Several words of a list.
    Words(&'static [&'static str], u64),
    /// The time now, by a format.
    Now(String),
    /// A time up to so many milliseconds away.
    Near { from: i64, to: i64 },
    /// Made of several others.
    Made(fn(&mut StdRng) -> String),
    /// So many letters and digits.
    AlphaNumeric(u64),
}

const DAY: i64 = 86_400_000;

impl Helper {
    /// A helper by name, or why there is none.
    pub(super) fn parse(name: &str, argument: Option<Value>) -> Result<Self, String> {
        let wrong = |expected: &str| format!("{{{{{name}}}}} with an argument that is not {expected}");
        Ok(match name {
            "random.number" | "datatype.number" => {
                number(argument, 0, 99_999.0).ok_or_else(|| wrong("a number or {\"min\":…,\"max\":…}"))?
            }
            "random.float" | "datatype.float" => {
                number(argument, 2, 99_999.0).ok_or_else(|| wrong("a number or {\"min\":…,\"max\":…}"))?
            }
            "random.arrayElement" => match argument {
                None => Self::Element(["a", "b", "c"].map(String::from).to_vec()),
                Some(Value::Array(elements)) if !elements.is_empty() => {
                    Self::Element(elements.into_iter().map(plain).collect())
                }
                Some(_) => return Err(wrong("an array with something in it")),
            },
            "random.weightedArrayElement" => weighted(argument.as_ref())
                .ok_or_else(|| wrong("{\"weights\":[…],\"data\":[…]}, as many weights as data and none negative"))?,
            "date.now" | "date.utc" => Self::Now(match argument {
                None => moment::DEFAULT.into(),
                Some(Value::String(format)) => format,
                Some(_) => return Err(wrong("a format")),
            }),
            "date.past" => Self::Near { from: -365 * DAY, to: 0 },
            "date.recent" => Self::Near { from: -DAY, to: 0 },
            "date.future" => Self::Near { from: 0, to: 365 * DAY },
            "random.alphaNumeric" => Self::AlphaNumeric(count(argument, 1).ok_or_else(|| wrong("a count"))?),
            "random.words" | "lorem.words" => {
                Self::Words(words::LOREM, count(argument, 3).ok_or_else(|| wrong("a count"))?)
            }
            "random.uuid" | "datatype.uuid" => Self::Made(uuid),
            "random.boolean" | "datatype.boolean" => Self::Word(&["true", "false"]),
            _ => fixed(name).ok_or_else(|| format!("{{{{{name}}}}}, which is no helper that freshjoin knows"))?,
        })
    }

    /// Appends a value.
    pub(super) fn render(&self, random: &mut StdRng, now: Timestamp, out: &mut String) {
        match self {
            Self::Number { min, max, decimals } => decimal(random.random_range(*min..=*max), *decimals, out),
            Self::Weighted { sums, data } => {
                let at = random.random_range(0.0..sums.last().copied().unwrap_or(1.0));
                let index = sums.partition_point(|sum| *sum <= at);
                out.push_str(data.get(index).or(data.last()).map_or("", String::as_str));
            }
            Self::Element(elements) => {
                let index = random.random_range(0..elements.len());
                out.push_str(elements.get(index).map_or("", String::as_str));
            }
            Self::Word(list) => out.push_str(pick(random, list)),
            Self::Words(list, count) => {
                let words: Vec<&str> = (0..*count).map(|_| pick(random, list)).collect();
                out.push_str(&words.join(" "));
            }
            Self::Now(format) => moment::format(now, format, out),
            Self::Near { from, to } => {
                moment::format(now.plus_millis(random.random_range(*from..=*to)), moment::DATE, out)
            }
            Self::Made(make) => out.push_str(&make(random)),
            Self::AlphaNumeric(count) => {
                out.extend((0..*count).filter_map(|_| char::from_digit(random.random_range(0..36), 36)));
            }
        }
    }
}

/// Helpers without an argument.
fn fixed(name: &str) -> Option<Helper> {
    Some(match name {
        "name.firstName" => Helper::Word(words::FIRST_NAMES),
        "name.lastName" => Helper::Word(words::LAST_NAMES),
        "name.findName" => Helper::Made(|r| format!("{} {}", pick(r, words::FIRST_NAMES), pick(r, words::LAST_NAMES))),
        "internet.ip" => Helper::Made(|r| {
            let [a, b, c, d]: [u8; 4] = r.random();
            format!("{a}.{b}.{c}.{d}")
        }),
        "internet.ipv6" => Helper::Made(|r| {
            let parts: [u16; 8] = r.random();
            parts.map(|part| format!("{part:04x}")).join(":")
        }),
        "internet.mac" => Helper::Made(|r| {
            let parts: [u8; 6] = r.random();
            parts.map(|part| format!("{part:02x}")).join(":")
        }),
        "internet.userName" => Helper::Made(user_name),
        "internet.email" | "internet.exampleEmail" => Helper::Made(|r| format!("{}@example.com", user_name(r))),
        "internet.domainName" => Helper::Made(|r| format!("{}.example.com", pick(r, words::LOREM))),
        "internet.url" => Helper::Made(|r| format!("https://{}.example.com", pick(r, words::LOREM))),
        "internet.protocol" => Helper::Word(&["http", "https"]),
        "internet.userAgent" => Helper::Word(words::USER_AGENTS),
        "address.city" => Helper::Word(words::CITIES),
        "address.state" => Helper::Word(words::STATES),
        "address.stateAbbr" => Helper::Word(words::STATE_CODES),
        "address.country" => Helper::Word(words::COUNTRIES),
        "address.countryCode" => Helper::Word(words::COUNTRY_CODES),
        "address.zipCode" => Helper::Number { min: 10_000, max: 99_999, decimals: 0 },
        "address.streetAddress" => {
            Helper::Made(|r| format!("{} {} Street", r.random_range(1..1000), pick(r, words::LAST_NAMES)))
        }
        "address.latitude" => Helper::Number { min: -900_000, max: 900_000, decimals: 4 },
        "address.longitude" => Helper::Number { min: -1_800_000, max: 1_800_000, decimals: 4 },
        "phone.phoneNumber" => {
            Helper::Made(|r| format!("555-{:03}-{:04}", r.random_range(0..1000), r.random_range(0..10_000)))
        }
        "commerce.department" => Helper::Word(words::DEPARTMENTS),
        "commerce.product" => Helper::Word(words::PRODUCTS),
        "commerce.productName" => Helper::Made(|r| format!("{} {}", pick(r, words::COLORS), pick(r, words::PRODUCTS))),
        "commerce.color" | "internet.color" => Helper::Word(words::COLORS),
        "commerce.price" | "finance.amount" => Helper::Number { min: 0, max: 100_000, decimals: 2 },
        "finance.account" => Helper::Number { min: 10_000_000, max: 99_999_999, decimals: 0 },
        "finance.currencyCode" => Helper::Word(words::CURRENCIES),
        "finance.transactionType" => Helper::Word(&["deposit", "invoice", "payment", "withdrawal"]),
        "company.companyName" => Helper::Made(|r| format!("{} Ltd", pick(r, words::LAST_NAMES))),
        "lorem.word" | "random.word" => Helper::Word(words::LOREM),
        "lorem.sentence" => Helper::Words(words::LOREM, 6),
        _ => return None,
    })
}

fn pick(random: &mut StdRng, list: &[&'static str]) -> &'static str {
    let index = random.random_range(0..list.len().max(1));
    list.get(index).copied().unwrap_or_default()
}

fn user_name(random: &mut StdRng) -> String {
    format!("{}{}", pick(random, words::FIRST_NAMES).to_lowercase(), random.random_range(1..1000))
}

fn uuid(random: &mut StdRng) -> String {
    let bits = random.next_u64() as u128 | (random.next_u64() as u128) << 64;
    // Version 4, variant 1.
    let bits = bits & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default().to_owned();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// A number's bounds: nothing, a maximum, or an object.
fn number(argument: Option<Value>, decimals: u32, default: f64) -> Option<Helper> {
    let bounds = match argument.unwrap_or(Value::Null) {
        Value::Null => (0.0, default, None),
        Value::Number(max) => (0.0, max.as_f64()?, None),
        Value::String(max) => (0.0, max.parse().ok()?, None),
        Value::Object(members) => {
            let member = |name: &str| members.get(name).map(|value| value.as_f64().ok_or(()));
            let (min, max) = (member("min").transpose().ok()?, member("max").transpose().ok()?);
            (min.unwrap_or(0.0), max.unwrap_or(default), member("precision").transpose().ok()?)
        }
        _ => return None,
    };
    let (min, max, precision) = bounds;
    let decimals = match precision {
        None => decimals,
        Some(precision) if precision > 0.0 => {
            (0..10).find(|digits| precision * 10_f64.powi(*digits) >= 0.999)?.try_into().ok()?
        }
        Some(_) => return None,
    };
    let scaled = |value: f64| {
        let scaled = (value * 10_f64.powi(i32::try_from(decimals).ok()?)).round();
        // Beyond this a double no longer counts in ones.
        #[allow(clippy::cast_possible_truncation, reason = "whole and small enough")]
        (scaled.abs() < 9e15).then_some(scaled as i64)
    };
    let (min, max) = (scaled(min)?, scaled(max)?);
    // As the original does, a maximum below the minimum gives the minimum.
    Some(Helper::Number { min, max: max.max(min), decimals })
}

fn weighted(argument: Option<&Value>) -> Option<Helper> {
    let argument = argument?;
    let weights = argument.get("weights")?.as_array()?;
    let data: Vec<String> = argument.get("data")?.as_array()?.iter().cloned().map(plain).collect();
    let mut sum = 0.0;
    let sums = weights.iter().map(|weight| {
        sum += weight.as_f64().filter(|weight| *weight >= 0.0)?;
        Some(sum)
    });
    let sums = sums.collect::<Option<Vec<f64>>>()?;
    (sums.len() == data.len() && sum > 0.0).then_some(Helper::Weighted { sums, data })
}

fn count(argument: Option<Value>, default: u64) -> Option<u64> {
    match argument {
        None => Some(default),
        Some(value) => value.as_u64().or_else(|| value.as_str()?.parse().ok()),
    }
}

/// Text as it is, anything else as JSON.
fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn decimal(value: i64, decimals: u32, out: &mut String) {
    if decimals == 0 {
        out.push_str(&value.to_string());
        return;
    }
    let unit = 10_u64.pow(decimals);
    let sign = if value < 0 { "-" } else { "" };
    let (whole, part) = (value.unsigned_abs() / unit, value.unsigned_abs() % unit);
    out.push_str(&format!("{sign}{whole}.{part:0width$}", width = decimals as usize));
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use serde_json::json;

    use super::*;

    fn many(name: &str, argument: Option<Value>) -> Vec<String> {
        let helper = Helper::parse(name, argument).unwrap();
        let mut random = StdRng::seed_from_u64(3);
        let one = |_| {
            let mut out = String::new();
            helper.render(&mut random, Timestamp::from_millis(0), &mut out);
            out
        };
        (0..2000).map(one).collect()
    }

    #[test]
    fn numbers_keep_their_bounds_and_reach_them() {
        let numbers: Vec<i64> =
            many("random.number", Some(json!({"min": 10, "max": 15}))).iter().map(|n| n.parse().unwrap()).collect();
        assert_eq!((numbers.iter().min(), numbers.iter().max()), (Some(&10), Some(&15)));
        assert!(many("random.number", Some(json!(3))).contains(&"0".to_owned()));
        let prices = many("random.number", Some(json!({"min": -1, "max": 1, "precision": 0.01})));
        assert!(prices.iter().all(|price| price.rsplit('.').next().unwrap().len() == 2 && price.parse::<f64>().unwrap().abs() <= 1.0));
        assert!(Helper::parse("random.number", Some(json!({"min": "x"}))).is_err());
    }

    #[test]
    fn weights_are_shares() {
        let animals =
            many("random.weightedArrayElement", Some(json!({"weights": [0.3, 0.0, 0.7], "data": ["cat", "fish", 5]})));
        let cats = animals.iter().filter(|animal| *animal == "cat").count();
        assert!((500..700).contains(&cats), "{cats}");
        assert!(!animals.contains(&"fish".into()) && animals.contains(&"5".into()));
    }

    #[test]
    fn every_fixed_helper_gives_something_that_needs_no_escaping() {
        for name in [
            "random.uuid",
            "internet.ip",
            "internet.email",
            "name.findName",
            "lorem.sentence",
            "internet.userAgent",
            "address.latitude",
        ] {
            let values = many(name, None);
            assert!(values.iter().all(|value| !value.is_empty() && !value.contains(['"', '\\', '\n'])), "{name}");
        }
        let uuid = &many("random.uuid", None)[0];
        assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"));
    }
}
