//! Times by the formats of moment.js, in UTC.

use freshjoin_core::time::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// What a time looks like without a format.
pub(super) const DEFAULT: &str = "YYYY-MM-DDTHH:mm:ssZ";
/// How JavaScript shows a date.
pub(super) const DATE: &str = "ddd MMM DD YYYY HH:mm:ss [GMT]ZZ [(Coordinated Universal Time)]";

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
/// Of those that begin alike, the longest first.
const TOKENS: [&str; 34] = [
    "YYYY", "YY", "MMMM", "MMM", "MM", "Mo", "M", "DDDD", "DDD", "DD", "Do", "D", "dddd", "ddd", "dd", "d", "E", "HH",
    "H", "hh", "h", "mm", "m", "ss", "s", "SSS", "SS", "S", "A", "a", "ZZ", "Z", "X", "x",
];

/// Appends a time.
pub(super) fn format(at: Timestamp, format: &str, out: &mut String) {
    let millis = at.millis();
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
    let time = Offset::UTC.to_datetime(time);
    let mut rest = format;
    while !rest.is_empty() {
        if let Some((escaped, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            out.push_str(escaped);
            rest = after;
        } else if let Some((token, after)) = TOKENS.iter().find_map(|token| Some((*token, rest.strip_prefix(token)?))) {
            out.push_str(&value(token, time, millis));
            rest = after;
        } else {
            let mut characters = rest.chars();
            out.extend(characters.next());
            rest = characters.as_str();
        }
    }
}

fn value(token: &str, time: DateTime, millis: i64) -> String {
    let weekday = usize::try_from(time.weekday().to_sunday_zero_offset()).unwrap_or_default();
    let month = MONTHS.get(usize::try_from(time.month() - 1).unwrap_or_default()).copied().unwrap_or_default();
    let day = DAYS.get(weekday).copied().unwrap_or_default();
    let hour = (time.hour() + 11) % 12 + 1;
    let head = |name: &str, count: usize| name.get(..count).unwrap_or_default().to_owned();
    match token {
        "YYYY" => format!("{:04}", time.year()),
        "YY" => format!("{:02}", time.year() % 100),
        "MMMM" => month.to_owned(),
        "MMM" => head(month, 3),
        "MM" => format!("{:02}", time.month()),
        "Mo" => ordinal(time.month()),
        "M" => time.month().to_string(),
        "DDDD" => format!("{:03}", time.day_of_year()),
        "DDD" => time.day_of_year().to_string(),
        "DD" => format!("{:02}", time.day()),
        "Do" => ordinal(time.day()),
        "D" => time.day().to_string(),
        "dddd" => day.to_owned(),
        "ddd" => head(day, 3),
        "dd" => head(day, 2),
        "d" => weekday.to_string(),
        "E" => time.weekday().to_monday_one_offset().to_string(),
        "HH" => format!("{:02}", time.hour()),
        "H" => time.hour().to_string(),
        "hh" => format!("{hour:02}"),
        "h" => hour.to_string(),
        "mm" => format!("{:02}", time.minute()),
        "m" => time.minute().to_string(),
        "ss" => format!("{:02}", time.second()),
        "s" => time.second().to_string(),
        "SSS" => format!("{:03}", millis.rem_euclid(1000)),
        "SS" => format!("{:02}", millis.rem_euclid(1000) / 10),
        "S" => (millis.rem_euclid(1000) / 100).to_string(),
        "A" => if time.hour() < 12 { "AM" } else { "PM" }.to_owned(),
        "a" => if time.hour() < 12 { "am" } else { "pm" }.to_owned(),
        "ZZ" => "+0000".to_owned(),
        "Z" => "+00:00".to_owned(),
        "X" => millis.div_euclid(1000).to_string(),
        _ => millis.to_string(),
    }
}

fn ordinal(number: i8) -> String {
    let ending = match (number % 10, number) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_formats_look_as_documented() {
        let shown = |text: &str, pattern: &str| {
            let mut out = String::new();
            format(text.parse().unwrap(), pattern, &mut out);
            out
        };
        let at = "2010-02-14T15:25:50.125Z";
        assert_eq!(shown(at, "dddd, MMMM Do YYYY, h:mm:ss a"), "Sunday, February 14th 2010, 3:25:50 pm");
        assert_eq!(shown(at, "ddd, hA"), "Sun, 3PM");
        assert_eq!(shown(at, "DD/MMM/YYYY:HH:mm:ss ZZ"), "14/Feb/2010:15:25:50 +0000");
        assert_eq!(shown(at, DEFAULT), "2010-02-14T15:25:50+00:00");
        assert_eq!(shown(at, "x X SSS DDD [at] é"), "1266161150125 1266161150 125 45 at é");
        assert_eq!(shown("2010-02-01T00:00:00Z", "hh a, Do"), "12 am, 1st");
    }
}
