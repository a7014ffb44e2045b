//! One line of Prometheus' text format. Knows nothing of how lines belong together.

use super::family::Label;

/// More labels than this on one line are no metrics: a line is read before it is counted.
const MOST_LABELS: usize = 128;

/// What a line is.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'a> {
    /// Empty, or a comment.
    Nothing,
    /// What a name stands for.
    Help { name: &'a str, help: String },
    /// What kind of metric a name is.
    Type { name: &'a str, kind: &'a str },
    /// A value.
    Sample(Sample<'a>),
}

/// A value with its name and labels.
#[derive(Debug, PartialEq)]
pub(super) struct Sample<'a> {
    pub(super) name: &'a str,
    pub(super) labels: Vec<Label>,
    /// As it was written: counts may be larger than `f64` is exact.
    pub(super) value: &'a str,
    pub(super) timestamp_ms: Option<i64>,
}

/// Reads a line. Says what is wrong with one that is none.
pub(super) fn read(line: &str) -> Result<Line<'_>, &'static str> {
    let line = line.trim_matches([' ', '\t', '\r']);
    if line.is_empty() {
        return Ok(Line::Nothing);
    }
    match line.strip_prefix('#') {
        Some(comment) => comment_of(comment),
        None => sample(line).map(Line::Sample),
    }
}

fn comment_of(comment: &str) -> Result<Line<'_>, &'static str> {
    let (word, rest) = split(comment.trim_start_matches([' ', '\t']));
    let (name, rest) = split(rest);
    match word {
        "HELP" if is_name(name) => Ok(Line::Help {
            name,
            help: unescaped(rest, false),
        }),
        "TYPE" if is_name(name) => Ok(Line::Type { name, kind: rest }),
        "HELP" | "TYPE" => Err("names no metric"),
        _ => Ok(Line::Nothing),
    }
}

/// The first word, and what follows the space behind it.
fn split(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (word, rest.trim_start_matches([' ', '\t']))
}

fn sample(line: &str) -> Result<Sample<'_>, &'static str> {
    let end = line.find([' ', '\t', '{']).ok_or("has no value")?;
    let (name, rest) = line.split_at(end);
    if !is_name(name) {
        return Err("does not begin with the name of a metric");
    }
    let rest = rest.trim_start_matches([' ', '\t']);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let mut words = rest.split_ascii_whitespace();
    let value = words.next().ok_or("has no value")?;
    let timestamp_ms = match words.next() {
        Some(time) => Some(time.parse().map_err(|_| "has a time that is no number")?),
        None => None,
    };
    if words.next().is_some() {
        return Err("has more than a value and a time");
    }
    Ok(Sample {
        name,
        labels,
        value,
        timestamp_ms,
    })
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Result<(Vec<Label>, &str), &'static str> {
    let mut labels: Vec<Label> = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (name, value) = rest.split_once('=').ok_or("has a label without a value")?;
        let name = name.trim_matches([' ', '\t']);
        if !is_label(name) {
            return Err("has a label whose name is none");
        }
        if labels.iter().any(|(known, _)| known == name) {
            return Err("has a label twice");
        }
        if labels.len() == MOST_LABELS {
            return Err("has too many labels");
        }
        let value = value.trim_start_matches([' ', '\t']);
        let value = value
            .strip_prefix('"')
            .ok_or("has a label without quotes")?;
        let end = closing_quote(value).ok_or("has a label that does not end")?;
        labels.push((name.to_owned(), unescaped(&value[..end], true)));
        rest = value[end + 1..].trim_start_matches([' ', '\t']);
        match rest.strip_prefix(',') {
            Some(behind) => rest = behind,
            None if rest.starts_with('}') => {}
            None => return Err("has something other than a comma between labels"),
        }
    }
}

/// Where the quote is that no backslash stands before.
fn closing_quote(value: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

/// `\\` and `\n`, and in labels `\"`, stand for what they escape; a backslash before anything else
/// is one, as Prometheus takes it.
fn unescaped(text: &str, quotes: bool) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => plain.push('\n'),
            Some('\\') | None => plain.push('\\'),
            Some('"') if quotes => plain.push('"'),
            Some(other) => plain.extend(['\\', other]),
        }
    }
    plain
}

/// Whether it may be the name of a metric.
fn is_name(name: &str) -> bool {
    is_word(name, |byte| byte == b':')
}

/// Whether it may be the name of a label.
fn is_label(name: &str) -> bool {
    is_word(name, |_| false)
}

fn is_word(name: &str, also: fn(u8) -> bool) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || also(byte);
    name.bytes().next().is_some_and(letter)
        && name
            .bytes()
            .all(|byte| letter(byte) || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, name: &str, labels: &[(&str, &str)], value: &str, time: Option<i64>) {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let want = Sample {
            name,
            labels: labels.collect(),
            value,
            timestamp_ms: time,
        };
        assert_eq!(read(line), Ok(Line::Sample(want)), "{line:?}");
    }

    #[test]
    fn samples() {
        check("a 1", "a", &[], "1", None);
        check(" \ta\t1  17 \r", "a", &[], "1", Some(17));
        check("a:b{} -0.5 -3", "a:b", &[], "-0.5", Some(-3));
        check("a{b=\"c\"}1", "a", &[("b", "c")], "1", None);
        check(
            "a { b = \"c\" , d = \"\" , } NaN",
            "a",
            &[("b", "c"), ("d", "")],
            "NaN",
            None,
        );
        check(
            r#"a{b="\\n \n \" \x }, \\"} +Inf"#,
            "a",
            &[("b", "\\n \n \" \\x }, \\")],
            "+Inf",
            None,
        );
        check(
            "a{b=\"größe\u{1b}\"} 1",
            "a",
            &[("b", "größe\u{1b}")],
            "1",
            None,
        );
    }

    #[test]
    fn comments() {
        let help = |line, name, help: &str| {
            let help = help.to_owned();
            assert_eq!(read(line), Ok(Line::Help { name, help }));
        };
        help(
            r#"# HELP a One \"line\".\n\\"#,
            "a",
            "One \\\"line\\\".\n\\",
        );
        help("#HELP a", "a", "");
        let kind = |line, name, kind| assert_eq!(read(line), Ok(Line::Type { name, kind }));
        kind("# TYPE a counter", "a", "counter");
        kind("#\tTYPE \t a\tcounter ", "a", "counter");
        for line in ["", " ", "#", "# EOF", "# HELPER a", "# whatever { \""] {
            assert_eq!(read(line), Ok(Line::Nothing), "{line:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let check = |line: &str, want: &str| {
            let got = read(line).unwrap_err();
            assert!(got.contains(want), "{line:?}: {got}");
        };
        check("a", "no value");
        check("a{}", "no value");
        check("<html>", "no value");
        check("<html> 1", "name of a metric");
        check("1a 1", "name of a metric");
        check("{\"a\"} 1", "name of a metric");
        check("a 1 x", "time");
        check("a 1 2 3", "more than");
        check("a{b} 1", "without a value");
        check("a{b=c} 1", "without quotes");
        check("a{b=\"c} 1", "does not end");
        check("a{b=\"c\\\"} 1", "does not end");
        check("a{b=\"c\" d=\"e\"} 1", "comma");
        check("a{b=\"c\",b=\"d\"} 1", "twice");
        check("a{=\"c\"} 1", "name is none");
        check("a{b:c=\"c\"} 1", "name is none");
        check("# TYPE", "names no metric");
        check("# HELP 1", "names no metric");
        let many: Vec<String> = (0..=MOST_LABELS).map(|n| format!("l{n}=\"\",")).collect();
        let many = many.concat();
        check(&format!("a{{{many}}} 1"), "too many");
    }
}
