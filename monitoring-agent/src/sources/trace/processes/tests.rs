//! Resources of processes that are there, that change, and that are gone.

use opentelemetry_proto::tonic::common::v1::any_value::Value;

use super::*;
use crate::sources::trace::testing::header;

const SECOND: u64 = 1_000_000_000;

struct Rig {
    processes: Processes,
    ids: Ids,
    timeline: Timeline,
    host: Host,
}

impl Rig {
    fn new() -> Self {
        Self {
            processes: Processes::default(),
            ids: Ids::of_machine(),
            timeline: Timeline::default(),
            host: Host {
                attributes: vec![text("host.name", "node-1")],
            },
        }
    }

    fn resource(&mut self, header: &Header, agent: &str) -> Arc<Resource> {
        let making = Making {
            ids: &self.ids,
            timeline: &self.timeline,
            host: &self.host,
        };
        let process = ProcessKey::of(header);
        let agent = (header.agent, agent);
        self.processes
            .resource(process, agent, header.comm, &making)
    }
}

fn facts(executable: &str) -> Facts {
    Facts {
        comm: "main".to_owned(),
        executable: executable.to_owned(),
        container: "c0ffee".to_owned(),
        parent_pid: Some(1),
        user: Some(1000),
        ..Facts::default()
    }
}

fn value(resource: &Resource, key: &str) -> Option<String> {
    let mut attributes = resource.proto.attributes.iter();
    let found = attributes.find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

#[test]
fn a_process_that_is_there_is_described_by_what_was_found() {
    let mut rig = Rig::new();
    let header = header(7, "worker");
    rig.processes.heard(&header, SECOND);
    let process = ProcessKey::of(&header);
    assert!(!rig.processes.is_settled(process));
    assert_eq!(rig.processes.take_wanted(), [process]);
    rig.processes
        .found(process, Some(facts("/opt/bin/planner")));
    assert!(rig.processes.is_settled(process));
    let resource = rig.resource(&header, "other");
    let check = |key, want: Option<&str>| assert_eq!(value(&resource, key).as_deref(), want);
    check("service.name", Some("planner"));
    check("process.pid", Some("7"));
    check("process.executable.name", Some("planner"));
    check("process.executable.path", Some("/opt/bin/planner"));
    check("process.parent_pid", Some("1"));
    check("process.user.id", Some("1000"));
    check("process.creation.time", Some("1970-01-01T00:00:00.007Z"));
    check("container.id", Some("c0ffee"));
    check("k8s.pod.uid", None);
    check("host.name", Some("node-1"));
    let id = value(&resource, "service.instance.id").unwrap();
    assert_eq!((id.len(), &id[14..15]), (36, "8"));
    assert!(Arc::ptr_eq(&resource, &rig.resource(&header, "other")));
}

#[test]
fn an_agents_name_is_the_services() {
    let mut rig = Rig::new();
    let watched = Header {
        agent: 3,
        ..header(7, "worker")
    };
    rig.processes.heard(&watched, SECOND);
    let resource = rig.resource(&watched, "trainer");
    assert_eq!(value(&resource, "service.name").as_deref(), Some("trainer"));
    // Labelled otherwise in between.
    let other = rig.resource(&header(7, "worker"), "other");
    assert_eq!(value(&other, "service.name").as_deref(), Some("worker"));
    let instance = |resource| value(resource, "service.instance.id");
    assert_eq!(instance(&resource), instance(&other));
}

#[test]
fn one_that_is_gone_is_called_what_its_events_say() {
    let mut rig = Rig::new();
    let header = header(7, "da\u{1b}te");
    rig.processes.heard(&header, SECOND);
    let process = ProcessKey::of(&header);
    rig.processes.found(process, None);
    assert!(rig.processes.is_settled(process));
    let resource = rig.resource(&header, "other");
    let name = value(&resource, "process.executable.name");
    assert_eq!(name.as_deref(), Some(r"da\u{1b}te"));
    assert_eq!(value(&resource, "process.executable.path"), None);
}

#[test]
fn the_next_process_of_a_number_is_another_one() {
    let mut rig = Rig::new();
    let first = header(7, "first");
    let next = Header {
        process_start_ns: 9 * SECOND,
        ..header(7, "next")
    };
    for (header, file) in [(&first, "/bin/first"), (&next, "/bin/next")] {
        rig.processes.heard(header, SECOND);
        rig.processes
            .found(ProcessKey::of(header), Some(facts(file)));
    }
    let [one, two] = [&first, &next].map(|header| rig.resource(header, "other"));
    assert_eq!(value(&one, "service.name").as_deref(), Some("first"));
    assert_eq!(value(&two, "service.name").as_deref(), Some("next"));
    let instance = |resource| value(resource, "service.instance.id");
    assert_ne!(instance(&one), instance(&two));
}

#[test]
fn one_that_runs_another_program_is_looked_at_again() {
    let mut rig = Rig::new();
    let shell = header(7, "sh");
    let process = ProcessKey::of(&shell);
    rig.processes.heard(&shell, SECOND);
    rig.processes.take_wanted();
    rig.processes.found(process, Some(facts("/bin/sh")));
    let other_thread = Header {
        tid: 8,
        ..header(7, "helper")
    };
    rig.processes.heard(&other_thread, 5 * SECOND);
    assert!(rig.processes.take_wanted().is_empty());
    rig.processes.heard(&header(7, "planner"), 5 * SECOND);
    assert_eq!(rig.processes.take_wanted(), [process]);
    // Its spans need not wait for that.
    assert!(rig.processes.is_settled(process));
    rig.processes.found(process, Some(facts("/bin/planner")));
    let resource = rig.resource(&shell, "other");
    assert_eq!(value(&resource, "service.name").as_deref(), Some("planner"));
    // Gone by then: what was known stays.
    rig.processes.heard(&header(7, "late"), 9 * SECOND);
    rig.processes.found(process, None);
    let resource = rig.resource(&shell, "other");
    assert_eq!(value(&resource, "service.name").as_deref(), Some("planner"));
}

#[test]
fn a_shell_that_becomes_a_program_at_once_is_that_program() {
    const MILLISECOND: u64 = 1_000_000;
    let mut rig = Rig::new();
    let shell = header(7, "sh");
    let process = ProcessKey::of(&shell);
    rig.processes.heard(&shell, SECOND);
    rig.processes.take_wanted();
    rig.processes.found(process, Some(facts("/bin/sh")));
    let mut hears = |name, milliseconds| {
        let now_ns = SECOND + milliseconds * MILLISECOND;
        rig.processes.heard(&header(7, name), now_ns);
        rig.processes.take_wanted().len()
    };
    assert_eq!(hears("planner", 5), 1);
    // One that goes on like that is not looked at each time.
    assert_eq!(hears("other", 6), 0);
    assert_eq!(hears("planner", 7), 0);
    assert_eq!(hears("other", 1_006), 1);
    assert_eq!(hears("planner", 1_007), 1);
    assert_eq!(hears("other", 1_008), 0);
    let planner = Some(facts("/bin/planner"));
    rig.processes.found(process, planner);
    let resource = rig.resource(&shell, "other");
    assert_eq!(value(&resource, "service.name").as_deref(), Some("planner"));
}

#[test]
fn there_are_not_more_than_fit() {
    let mut rig = Rig::new();
    for pid in 0..20_000 {
        rig.processes
            .heard(&header(pid, "x"), SECOND + u64::from(pid));
        assert!(rig.processes.known.len() <= MAX_PROCESSES);
        assert!(rig.processes.wanted.len() <= MAX_PROCESSES);
    }
    assert!(
        !rig.processes
            .is_settled(ProcessKey::of(&header(19_999, "x")))
    );
    assert!(rig.processes.is_settled(ProcessKey::of(&header(0, "x"))));
}

#[test]
fn the_node_is_what_its_configuration_calls_it() {
    let resource = Resource::new(Host::of_machine("node-1", "gpu").attributes);
    let check = |key: &str, want: &str| assert_eq!(value(&resource, key).as_deref(), Some(want));
    check("host.name", "node-1");
    check("stratoswarm.node.name", "node-1");
    check("stratoswarm.node.type", "gpu");
    check("os.type", "linux");
}
