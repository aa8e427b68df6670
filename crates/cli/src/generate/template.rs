//! A template: text, and helpers between double braces, whose argument is JSON over as many lines as it likes.

use freshjoin_core::time::Timestamp;
use rand::rngs::StdRng;
use serde_json::Value;

use super::helper::Helper;

#[derive(Debug)]
enum Part {
    Text(String),
    Helper(Helper),
}

/// A template that is known to be sound.
#[derive(Debug)]
pub(super) struct Template(Vec<Part>);

impl Template {
    /// Reads a template, or says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            let (helper, after) = placeholder(after)?;
            parts.push(Part::Helper(helper));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Self(parts))
    }

    /// Appends one record.
    pub(super) fn render(&self, random: &mut StdRng, now: Timestamp, record: &mut String) {
        for part in &self.0 {
            match part {
                Part::Text(text) => record.push_str(text),
                Part::Helper(helper) => helper.render(random, now, record),
            }
        }
    }
}

/// What follows `{{`: the helper, and what comes after its `}}`.
fn placeholder(text: &str) -> Result<(Helper, &str), String> {
    let shown = || text.chars().take(40).collect::<String>();
    let name_end = text.find(['(', '}']).ok_or_else(|| format!("an unclosed {{{{{}", shown()))?;
    let (name, rest) = text.split_at(name_end);
    let name = name.trim();
    let Some(arguments) = rest.strip_prefix('(') else {
        let after = rest.strip_prefix("}}").ok_or_else(|| format!("an unclosed {{{{{}", shown()))?;
        return Ok((Helper::parse(name, None)?, after));
    };
    // The argument's own text says where it ends, as it may hold brackets and braces.
    let mut values = serde_json::Deserializer::from_str(arguments).into_iter::<Value>();
    if let Some(Ok(value)) = values.next()
        && let Some(after) = arguments.get(values.byte_offset()..).and_then(closed)
    {
        return Ok((Helper::parse(name, Some(value))?, after));
    }
    // Not JSON: nothing, or plain text as it stands.
    let end = arguments.find(")}}").ok_or_else(|| format!("an unclosed {{{{{}", shown()))?;
    let (plain, after) = arguments.split_at(end);
    let argument = (!plain.trim().is_empty()).then(|| Value::String(plain.trim().into()));
    Ok((Helper::parse(name, argument)?, after.strip_prefix(")}}").unwrap_or_default()))
}

/// What comes after `)` and `}}`, with white space before each.
fn closed(text: &str) -> Option<&str> {
    text.trim_start().strip_prefix(')')?.trim_start().strip_prefix("}}")
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn render(template: &str) -> String {
        let mut record = String::new();
        let now = Timestamp::from_millis(1_545_084_650_987);
        Template::parse(template).unwrap().render(&mut StdRng::seed_from_u64(7), now, &mut record);
        record
    }

    #[test]
    fn arguments_are_json_over_any_lines_with_any_brackets() {
        assert_eq!(render("plain"), "plain");
        assert_eq!(render("a{{ random.number({\"min\":5,\n\"max\":5} ) }}b"), "a5b");
        assert_eq!(render("{{random.arrayElement(\n [\"a)}}b\"]\n)}}"), "a)}}b");
        assert_eq!(render("{{random.arrayElement([{\"x\":{\"y\":1}}])}}!"), "{\"x\":{\"y\":1}}!");
        assert_eq!(render("{\"at\":\"{{date.utc}}\"}"), "{\"at\":\"2018-12-17T22:10:50+00:00\"}");
        assert_eq!(render("{{date.now(\"DD/MMM/YYYY:HH:mm:ss ZZ\")}}"), "17/Dec/2018:22:10:50 +0000");
        assert_eq!(render("{{date.now(YYYY)}}{{date.now()}}"), "20182018-12-17T22:10:50+00:00");
    }

    #[test]
    fn what_cannot_be_filled_in_is_named() {
        for (template, named) in [
            ("{{random.nmber(3)}}", "random.nmber"),
            ("{{random.number(3)", "unclosed"),
            ("x{{internet.ip", "unclosed"),
            ("{{random.arrayElement([])}}", "random.arrayElement"),
            ("{{random.weightedArrayElement({\"weights\":[1],\"data\":[]})}}", "weights"),
        ] {
            let problem = Template::parse(template).unwrap_err();
            assert!(problem.contains(named), "{template}: {problem}");
        }
    }
}
