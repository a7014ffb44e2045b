//! What Rotel prints of spans, taken apart. Knows nothing of what was sent.

use std::collections::BTreeMap;

/// What is said of something: names, and values as they are printed, such as `Str(postgres)`.
pub(crate) type Tags = BTreeMap<String, String>;

/// A span, in the collector's words.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shown {
    /// What is said of its service.
    pub(crate) resource: Tags,
    /// The name and version of its instrumentation scope, as one text.
    pub(crate) scope: String,
    /// `Trace ID`, `Parent ID`, `ID`, `Name`, `Kind`, `TraceState`, `Start time`, `End time`,
    /// `Status code`, `Status message`.
    pub(crate) is: Tags,
    pub(crate) tags: Tags,
    pub(crate) events: Vec<Part>,
    pub(crate) links: Vec<Part>,
}

/// An event or a link.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Part {
    /// `Name` and `Timestamp`, or `Trace ID` and `ID`.
    pub(crate) is: Tags,
    pub(crate) tags: Tags,
}

impl Shown {
    /// One of the things that a span is.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.is.get(name).map_or("", String::as_str)
    }

    /// When it started and ended, in nanoseconds since 1970.
    pub(crate) fn times(&self) -> [u64; 2] {
        ["Start time", "End time"].map(|name| self.get(name).parse().unwrap())
    }
}

/// What the lines are about.
enum Place {
    Resource,
    Span,
    Tags,
    Event,
    Link,
}

/// How many spans there are.
pub(crate) fn count(printed: &str) -> usize {
    let lines = printed.lines();
    lines.filter(|line| line.starts_with("Span #")).count()
}

/// The spans.
pub(crate) fn spans(printed: &str) -> Vec<Shown> {
    let mut spans: Vec<Shown> = Vec::new();
    let (mut place, mut resource) = (Place::Resource, Tags::new());
    let mut scope = String::new();
    for line in printed.lines() {
        // Its own messages.
        if line.starts_with('{') || line.contains(" INFO ") {
            continue;
        }
        if line.starts_with("ResourceSpans #") {
            (place, resource) = (Place::Resource, Tags::new());
        } else if let Some(name) = line.strip_prefix("InstrumentationScope ") {
            name.trim().clone_into(&mut scope);
        } else if line.starts_with("Span #") {
            place = Place::Span;
            spans.push(Shown {
                resource: resource.clone(),
                scope: scope.clone(),
                ..Shown::default()
            });
        } else if let Place::Resource = place {
            resource.extend(tag(line));
        } else if let Some(span) = spans.last_mut() {
            put(span, &mut place, line);
        }
    }
    spans
}

fn put(span: &mut Shown, place: &mut Place, line: &str) {
    if line == "Attributes:" {
        *place = Place::Tags;
    } else if line.starts_with("SpanEvent #") {
        *place = Place::Event;
        span.events.push(Part::default());
    } else if line.starts_with("SpanLink #") {
        *place = Place::Link;
        span.links.push(Part::default());
    } else {
        match place {
            Place::Resource => {}
            Place::Span => span.is.extend(pair(line)),
            Place::Tags => span.tags.extend(tag(line)),
            Place::Event => put_part(span.events.last_mut(), line),
            Place::Link => put_part(span.links.last_mut(), line),
        }
    }
}

fn put_part(part: Option<&mut Part>, line: &str) {
    let Some(part) = part else { return };
    // Tags stand further to the right than what the part is.
    if line.starts_with("          -> ") {
        part.tags.extend(tag(line));
    } else {
        part.is.extend(tag(line));
    }
}

/// `     -> name: value`.
fn tag(line: &str) -> Option<(String, String)> {
    pair(line.trim_start().strip_prefix("-> ")?)
}

/// `name   : value`.
fn pair(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.trim().to_owned(), value.trim().to_owned()))
}
