//! Values whose `Debug` says something of the span that they are shown for.

use std::{fmt, sync::mpsc, thread};

use monitoring::trace::TagValue;
use tracing::{Span, field::Empty, info, info_span};

use super::{DEADLINE, find, text, traced};

struct Saying<'a>(&'a Span, &'static str);

impl fmt::Debug for Saying<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.record(self.1, true);
        f.write_str("shown")
    }
}

#[test]
fn a_value_may_say_something_of_its_span_itself() {
    // On another thread, so that one that waits for itself fails the test instead of stopping it.
    let (done, shown) = mpsc::channel();
    thread::spawn(move || {
        let spans = traced(1.0, |_| {
            let span = info_span!("work", late = Empty, in_field = Empty, in_event = Empty);
            span.record("late", tracing::field::debug(Saying(&span, "in_field")));
            info!(parent: &span, said = ?Saying(&span, "in_event"), "happened");
        });
        done.send(spans)
    });
    let spans = shown.recv_timeout(DEADLINE * 2).unwrap();
    let work = find(&spans, "work");
    assert_eq!(work.tag("late"), Some(&text("shown")));
    for key in ["in_field", "in_event"] {
        assert_eq!(work.tag(key), Some(&TagValue::Bool(true)), "{key}");
    }
    assert_eq!(work.events[0].1[0], ("said".to_owned(), text("shown")));
}
