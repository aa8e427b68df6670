//! Reference data that is an object on S3, or all objects under a prefix.
//!
//! An object is replaced as a whole. What readers use is never the object itself, which may change under them, but its
//! copy in the state, `objects/<sha256>`: so every version stays readable. Of two changes to one object the greater
//! sequencer wins; where they are equal, the later version. Rows that two contents have in common stay as they are.

mod base;
mod copy;
mod held;
mod rows;
mod scan;

use std::cmp::Ordering;

use crate::bug::{Bug, planted};
use crate::content::ContentFormat;
use crate::location::Location;
use crate::pipeline::Source;

pub use base::ObjectLine;
pub(crate) use base::read_manifest;
pub(crate) use copy::has_rows;
pub(super) use copy::project_copy;
pub use copy::{CopyError, copy_key, put_copy};
pub(super) use held::HeldObject;
pub(super) use rows::ObjectRows;
pub use rows::{ContentProblem, validate};
pub use scan::objects_now;
pub(super) use scan::{load_lines, look};

/// Whether an object's rows are part of a reference. Under a prefix those are the objects of a known format, but for
/// hidden ones (`_SUCCESS`, `.part`), which tools leave beside their data.
#[must_use]
pub(crate) fn covers(source: &Source, object: &str) -> bool {
    match source {
        Source::Table(_) => false,
        Source::Object(prefix) if prefix.ends_with('/') => {
            let hidden = |part: &str| part.starts_with(['_', '.']);
            let below = object.strip_prefix(prefix.as_str());
            below.is_some_and(|below| !below.split('/').any(hidden)) && ContentFormat::of_name(object).is_some()
        }
        Source::Object(url) => url == object,
    }
}

/// The bucket and key of `s3://bucket/key`, the bucket as a location; `None` for any other text.
#[must_use]
pub fn split_url(url: &str) -> Option<(Location, &str)> {
    let (bucket, key) = url.strip_prefix("s3://")?.split_once('/')?;
    (!bucket.is_empty() && !key.is_empty()).then(|| (Location::new(format!("s3://{bucket}")), key))
}

/// Compares sequencers of one object as S3 defines them: hexadecimal, the shorter one padded with zeros on the right.
#[must_use]
pub fn compare_sequencers(a: &str, b: &str) -> Ordering {
    if planted(Bug::SequencersUnpadded) {
        return a.cmp(b);
    }
    let digits = a.len().max(b.len());
    let padded = |text: &str| -> Vec<u8> {
        let zeros = std::iter::repeat_n(b'0', digits.saturating_sub(text.len()));
        text.bytes().map(|byte| byte.to_ascii_lowercase()).chain(zeros).collect()
    };
    padded(a).cmp(&padded(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_sequencer_is_padded_on_the_right() {
        use Ordering::{Equal, Greater, Less};
        for (a, b, order) in [
            ("0055AED6DCD90281E5", "0055aed6dcd90281e5", Equal),
            ("0055AED6DCD90281E5", "0055AED6DCD90281E6", Less),
            ("0055AED6DCD9", "0055AED6DCD900", Equal),
            ("0055AED6DCD9", "0055AED6DCD901", Less),
            ("0055AED6DCE", "0055AED6DCD901", Greater),
            ("", "", Equal),
            ("", "00", Equal),
            ("", "01", Less),
        ] {
            assert_eq!(compare_sequencers(a, b), order, "{a} {b}");
            assert_eq!(compare_sequencers(b, a), order.reverse(), "{b} {a}");
        }
    }

    #[test]
    fn a_prefix_covers_what_has_a_known_format_and_is_not_hidden() {
        let prefix = Source::Object("s3://b/reference/".into());
        for (object, covered) in [
            ("s3://b/reference/a.jsonl", true),
            ("s3://b/reference/deep/a.CSV", true),
            ("s3://b/reference/a.parquet", true),
            ("s3://b/reference/", false),
            ("s3://b/reference/_SUCCESS", false),
            ("s3://b/reference/_temporary/a.csv", false),
            ("s3://b/reference/.a.csv", false),
            ("s3://b/reference/a.txt", false),
            ("s3://b/references/a.csv", false),
            ("s3://c/reference/a.csv", false),
        ] {
            assert_eq!(covers(&prefix, object), covered, "{object}");
        }
        let single = Source::Object("s3://b/_p.csv".into());
        assert!(covers(&single, "s3://b/_p.csv") && !covers(&single, "s3://b/p.csv"));
        assert!(!covers(&Source::Table("s3://b/p.csv".into()), "s3://b/p.csv"));
    }

    #[test]
    fn a_url_splits_into_its_bucket_and_key() {
        assert_eq!(split_url("s3://b/k/l.csv"), Some((Location::new("s3://b"), "k/l.csv")));
        assert_eq!(split_url("s3://b/"), None);
        assert_eq!(split_url("b/k"), None);
    }
}
