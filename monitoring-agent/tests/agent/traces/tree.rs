//! What a collector got, by traces and parents. Knows no kind of span.

use std::{collections::HashMap, time::Duration};

use crate::rotel::shown::Shown;

/// By how much a clock that is being set right meanwhile may put two moments out of their order.
const SLACK: Duration = Duration::from_micros(100);

/// All spans that there were.
pub(super) struct Tree {
    spans: Vec<Shown>,
    by_id: HashMap<String, usize>,
}

impl Tree {
    /// Each of them came once.
    pub(super) fn new(spans: Vec<Shown>) -> Self {
        let ids = spans.iter().map(|span| span.get("ID").to_owned());
        let by_id: HashMap<_, _> = ids.zip(0..).collect();
        assert_eq!(by_id.len(), spans.len(), "an id came twice");
        Self { spans, by_id }
    }

    /// The spans of an agent that a family saw.
    pub(super) fn of<'a>(
        &'a self,
        service: &str,
        family: &str,
    ) -> impl Iterator<Item = &'a Shown> + use<'a> {
        let (service, scope) = (format!("Str({service})"), format!("stratoswarm.{family} "));
        let spans = self.spans.iter();
        spans.filter(move |span| {
            span.resource.get("service.name") == Some(&service)
                && format!("{} ", span.scope).starts_with(&scope)
        })
    }

    /// The only one of a name.
    pub(super) fn one(&self, service: &str, family: &str, name: &str) -> &Shown {
        let mut named = self
            .of(service, family)
            .filter(|span| span.get("Name") == name);
        let (Some(span), None) = (named.next(), named.next()) else {
            panic!("one {name} of {service}: {:#?}", self.of_service(service));
        };
        span
    }

    /// All of an agent, for who wonders what there is instead.
    pub(super) fn of_service(&self, service: &str) -> Vec<(&str, &str, &str)> {
        let service = format!("Str({service})");
        let spans = self.spans.iter();
        let spans = spans.filter(|span| span.resource.get("service.name") == Some(&service));
        spans
            .map(|span| (&*span.scope, span.get("Name"), span.get("Parent ID")))
            .collect()
    }

    /// The span that one was begun within.
    pub(super) fn parent(&self, span: &Shown) -> &Shown {
        let parent = self.by_id.get(span.get("Parent ID"));
        &self.spans[*parent.unwrap_or_else(|| panic!("no parent of {span:?}"))]
    }

    /// What was begun within a span, in the order of its times.
    pub(super) fn children(&self, span: &Shown) -> Vec<&Shown> {
        let id = span.get("ID");
        let spans = self.spans.iter();
        let mut children: Vec<_> = spans.filter(|span| span.get("Parent ID") == id).collect();
        children.sort_by_key(|span| span.times());
        children
    }

    /// What holds for all of them: whom they belong to, if they are the agent's, and that no parent is
    /// missing, of another trace or later.
    pub(super) fn check_all(&self) {
        for span in &self.spans {
            if span.scope.starts_with("stratoswarm.") {
                is_whose(span);
            }
            let [start, end] = span.times();
            assert!(start <= end, "{span:?}");
            if span.get("Parent ID").is_empty() {
                continue;
            }
            let parent = self.parent(span);
            assert_eq!(span.get("Trace ID"), parent.get("Trace ID"), "{span:?}");
            let slack = u64::try_from(SLACK.as_nanos()).unwrap();
            let [parents, _] = parent.times();
            assert!(parents <= start + slack, "{span:?} is in {parent:?}");
        }
    }
}

/// Asserts that it is known whose a span of the agent's is.
fn is_whose(span: &Shown) {
    for name in ["process.pid", "process.executable.name", "host.name"] {
        assert!(span.resource.contains_key(name), "no {name}: {span:?}");
    }
    assert_eq!(span.resource["os.type"], "Str(linux)");
    let is_root = span.scope.starts_with("stratoswarm.trace ");
    assert!(is_root || integer(span, "thread.id") > 0, "{span:?}");
}

/// A number that is said of a span.
pub(super) fn integer(span: &Shown, name: &str) -> i64 {
    let value = span.tags.get(name).and_then(|tag| tag.strip_prefix("Int("));
    let value = value.and_then(|value| value.strip_suffix(')')?.parse().ok());
    value.unwrap_or_else(|| panic!("no number {name}: {span:?}"))
}

/// Asserts that texts are said of a span.
pub(super) fn says(span: &Shown, texts: &[(&str, &str)]) {
    for (name, text) in texts {
        let want = format!("Str({text})");
        assert_eq!(span.tags.get(*name), Some(&want), "{name} of {span:?}");
    }
}

/// Asserts that a span is of a process.
pub(super) fn is_of(span: &Shown, pid: u32) {
    assert_eq!(span.resource["process.pid"], format!("Int({pid})"));
}

/// How long it lasted.
pub(super) fn lasted(span: &Shown) -> Duration {
    let [start, end] = span.times();
    Duration::from_nanos(end - start)
}

/// Whether a length is what a program's own clock said, within 5 % and 50 µs.
pub(super) fn agrees(lasted: Duration, measured: Duration) -> bool {
    lasted.abs_diff(measured) <= measured.mul_f64(0.05) + Duration::from_micros(50)
}

/// Asserts that it lasted as long as a program's own clock said.
pub(super) fn assert_lasted(span: &Shown, measured: Duration) {
    let lasted = lasted(span);
    assert!(
        agrees(lasted, measured),
        "{} lasted {lasted:?}, by the program's clock {measured:?}",
        span.get("Name")
    );
}

/// Asserts that one lies within another.
pub(super) fn is_within(inner: &Shown, outer: &Shown) {
    let ([start, end], [from, to]) = (inner.times(), outer.times());
    let slack = u64::try_from(SLACK.as_nanos()).unwrap();
    let inside = from <= start + slack && end <= to + slack;
    assert!(inside, "{inner:?} is not within {outer:?}");
}
