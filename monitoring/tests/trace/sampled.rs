//! Which spans are recorded.

use monitoring::Tracer;

use crate::collected::Collected;

#[test]
fn a_share_of_the_roots_is_recorded_with_all_of_its_children() {
    const ROOTS: u32 = 20_000;
    const RATE: f64 = 0.1;
    let collected = Collected::at_rate(RATE);
    for number in 0..ROOTS {
        if number % 1000 == 0 {
            // So that nothing is dropped where the thread that sends does not get to run.
            collected.spans();
        }
        let root = collected.tracer.start_span("root");
        let _root = root.enter();
        collected.tracer.start_span("child").end();
        collected.tracer.start_span("child").end();
    }
    let spans = collected.spans();
    let roots = spans.iter().filter(|span| span.parent_id.is_none()).count();
    assert_eq!(spans.len(), roots * 3, "a trace is recorded as a whole");
    let expected = f64::from(ROOTS) * RATE;
    let deviation = (expected * (1.0 - RATE)).sqrt();
    let off = (roots as f64 - expected).abs() / deviation;
    assert!(
        off < 6.0,
        "{roots} of {ROOTS}, {off} standard deviations off"
    );
    let stats = collected.tracer.stats();
    assert_eq!(stats.dropped_buffer_full, 0);
    assert_eq!(stats.recorded, spans.len() as u64);
    assert_eq!(stats.recorded + stats.sampled_out, u64::from(ROOTS) * 3);
}

#[test]
fn a_parent_decides_even_if_it_is_given_late() {
    let (all, none) = (Collected::all(), Collected::at_rate(0.0));
    let (sampled, unsampled) = (all.tracer.start_span("a"), none.tracer.start_span("b"));
    // A span that was not to be recorded becomes one that is, with its name.
    let span = none.tracer.start_span(String::from("late"));
    assert!(!span.is_recording());
    let span = span
        .with_tag("lost", 1)
        .with_parent(&sampled)
        .with_tag("kept", "yes");
    assert!(span.is_recording());
    span.end();
    // One that was to be recorded is not.
    let span = all
        .tracer
        .start_span(String::from("forgotten"))
        .with_tag("key", "value");
    let span = span.with_parent(&unsampled);
    assert!(!span.is_recording());
    span.end();
    // And one that is, is again, with its name.
    let span = all.tracer.start_span("to and fro").with_parent(&unsampled);
    span.with_parent(&sampled).end();
    drop((sampled, unsampled));
    let parent = all.span("a");
    let late = none.span("late");
    assert!(late.is_child_of(&parent));
    assert_eq!(late.tags, [("kept".to_owned(), "yes".to_owned())]);
    assert_eq!(late.dropped_tags, 1);
    assert!(all.span("to and fro").is_child_of(&parent));
    assert_eq!(all.spans().len(), 2);
    assert_eq!(
        (none.spans().len(), none.tracer.stats().sampled_out),
        (1, 1)
    );
}

#[test]
fn a_rate_that_is_no_share_is_refused() {
    for rate in [-0.01, 1.01, f64::NAN] {
        let error = Tracer::builder("test")
            .sample_rate(rate)
            .build()
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&rate.to_string()) && text.contains("from 0"),
            "{text}"
        );
    }
}
