//! Critical errors: what is said of each, and what stays of a GPU that they were the last of.

use std::time::SystemTime;

use monitoring::gpu::{XidErrors, XidEvent, XidEvents};

use super::{super::xids::MOST_LINES, journal::logged, *};

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
    logged(|| Xids::default().take(events))
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
    let many = (0..MOST_LINES as u64 + 5).map(event);
    let said = said(&events(many, 3));
    assert_eq!(said.len(), MOST_LINES + 1);
    assert!(
        said[MOST_LINES].contains(" 8 more critical errors"),
        "{said:?}"
    );
}

#[test]
fn the_errors_of_a_lost_gpu_stay() {
    let mut xids = Xids::default();
    let with_errors = |errors: &[(u64, u64)]| GpuMetrics {
        xid_errors: errors.iter().copied().collect::<XidErrors>(),
        ..silent(1, "B")
    };
    let of_it = |poll: &Poll, xids: &Xids| {
        let text = TextEncoder::new().encode_to_string(&families(poll, xids, trainer));
        let text = text.unwrap();
        let lines = text.lines().filter(|line| line.contains("uuid=\"B\""));
        let ours = lines.filter(|line| line.starts_with("gpu_xid_errors_total{"));
        let short = |line: &str| line.split_once("xid=").unwrap().1.to_owned();
        ours.map(short).collect::<Vec<_>>()
    };
    let lost = poll([silent(0, "A")]);
    let present = poll([silent(0, "A"), with_errors(&[(31, 2), (79, 1)])]);
    xids.look_at(&present);
    assert_eq!(of_it(&present, &xids), ["\"31\"} 2", "\"79\"} 1"]);
    // The events of what the poll counted come late, and the last one after the loss.
    xids.look_at(&lost);
    logged(|| xids.take(&events([event(31), event(79)], 0)));
    assert_eq!(of_it(&lost, &xids), ["\"31\"} 2", "\"79\"} 1"]);
    logged(|| xids.take(&events([event(31), event(79)], 0)));
    assert_eq!(of_it(&lost, &xids), ["\"31\"} 2", "\"79\"} 2"]);
    // When it is back, its own word counts.
    let back = poll([with_errors(&[(31, 2), (79, 2)])]);
    xids.look_at(&back);
    assert_eq!(of_it(&back, &xids), ["\"31\"} 2", "\"79\"} 2"]);
}
