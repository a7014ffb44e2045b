//! Critical errors: what is said of each, and what stays of a GPU that they were the last of.

use std::time::SystemTime;

use monitoring::gpu::{XidCounts, XidEvent, XidEvents};

use super::{
    super::limit::{MOST_LINES, WINDOW},
    journal::logged,
    *,
};

fn event(xid: u64) -> XidEvent {
    XidEvent {
        device_id: 1,
        uuid: "B".to_owned(),
        xid,
        mig: None,
        at: SystemTime::UNIX_EPOCH,
        pid: None,
        process: None,
    }
}

fn events(events: impl IntoIterator<Item = XidEvent>, dropped: u64) -> XidEvents {
    XidEvents {
        events: events.into_iter().collect(),
        dropped,
    }
}

fn said(events: &XidEvents) -> Vec<String> {
    logged(|| super::super::xids::say(events, &mut Limit::default(), Instant::now()))
}

#[test]
fn each_error_is_said_with_what_is_known_of_it() {
    let plain = said(&events([event(79)], 0));
    let start = "WARN the driver reports a critical error (XID) device_id=1 uuid=\"B\" xid=79";
    assert_eq!(plain, [start]);
    let whole = XidEvent {
        mig: Some((9, Some(1))),
        pid: Some(7),
        process: Some("py\n\"thon\"".to_owned()),
        ..event(79)
    };
    let more = r#" gpu_instance_id=9 compute_instance_id=1 pid=7 process="py\\n\"thon\"""#;
    assert_eq!(said(&events([whole], 0)), [format!("{start}{more}")]);
    assert!(said(&events([], 0)).is_empty());
}

#[test]
fn a_flood_of_errors_does_not_flood_the_log() {
    let most = usize::try_from(MOST_LINES).unwrap();
    let mut lines = Limit::default();
    let begun = Instant::now();
    let mut say = |count: u64, dropped, now| {
        let events = events((0..count).map(event), dropped);
        logged(|| super::super::xids::say(&events, &mut lines, now))
    };
    assert_eq!(say(u64::from(MOST_LINES) + 5, 0, begun).len(), most);
    // However often it is asked.
    assert!(say(7, 3, begun + WINDOW / 2).is_empty());
    let said = say(1, 2, begun + WINDOW);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains(" 17 more critical errors"), "{said:?}");
    assert!(said[1].contains("xid=0"), "{said:?}");
    assert!(say(0, 0, begun + 2 * WINDOW).is_empty());
}

#[test]
fn every_gpu_has_its_errors_under_the_number_that_it_has_now() {
    let of = |uuid: &str, device_id, errors: &[(u64, u64)]| XidCounts {
        uuid: uuid.to_owned(),
        device_id,
        errors: errors.iter().copied().collect(),
    };
    let counts = [of("A", 1, &[(31, 2), (79, 1)]), of("B", 2, &[(79, 3)])];
    let mut sheet = Sheet::default();
    // B does not answer: the number of its last error is all there is.
    super::super::xids::put(&counts, &[("A".to_owned(), 0)].into(), &mut sheet);
    let text = TextEncoder::new().encode_to_string(&sheet.finish());
    let text = text.unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let want = [
        "gpu_xid_errors_total{device_id=\"0\",uuid=\"A\",xid=\"31\"} 2",
        "gpu_xid_errors_total{device_id=\"0\",uuid=\"A\",xid=\"79\"} 1",
        "gpu_xid_errors_total{device_id=\"2\",uuid=\"B\",xid=\"79\"} 3",
    ];
    assert_eq!(lines.collect::<Vec<_>>(), want);
}
