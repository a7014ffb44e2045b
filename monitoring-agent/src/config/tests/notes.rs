//! What is allowed, but said in the log because it may not be meant.

use super::*;

#[test]
fn what_may_not_be_meant_is_noted() {
    let check = |file: &str, environment: &[(&str, &str)], want: &[&str]| {
        let notes = load_all(file, environment, &Flags::default())
            .unwrap()
            .notes;
        assert_eq!(notes.len(), want.len(), "{notes:?}");
        for (note, want) in notes.iter().zip(want) {
            assert!(note.contains(want), "{note:?} lacks {want:?}");
        }
    };
    let jaeger = "[monitoring]\njaeger_endpoint = 'http://j:14268/api/traces'\n";
    let both =
        "[monitoring]\njaeger_endpoint = 'http://j:14268'\notlp_endpoint = 'http://o:4318'\n";
    check("", &[], &[]);
    check(
        "[monitoring]\notlp_endpoint = 'http://localhost:4318/v1/traces'",
        &[],
        &[],
    );
    check(jaeger, &[], &["OTLP endpoint http://j:4318"]);
    check(both, &[], &["otlp_endpoint, http://o:4318, wins"]);
    check(
        jaeger,
        &[("MONITORING_OTLP_ENDPOINT", "http://localhost:4318")],
        &["otlp_endpoint, http://localhost:4318, wins"],
    );
    check("", &[("HOME", "/"), ("MONITORINGX", "1")], &[]);
    let comm = |glob: &str| format!("[[agents]]\nname = 'a'\ncomm = '{glob}'");
    check(
        &comm("stratoswarm-worker"),
        &[],
        &["m.toml:3: agents[0].comm = 'stratoswarm-worker': the kernel keeps 15 bytes"],
    );
    check(&comm("stratoswarm-wor*"), &[], &[]);
    check(
        "[[agents]]\nname = 'a'\nenvironment = 'ROLE'",
        &[],
        &["use \"ROLE=*\""],
    );
    check(
        "[[agents]]\nname = 'a'\ncontainer = 'c0ffee'",
        &[],
        &["use \"c0ffee*\""],
    );
}

/// What stands in the environment of every container beside a service named monitoring, or
/// monitoring-metric.
#[test]
fn variables_of_kubernetes_are_no_slips() {
    let check = |name: &str, value: &str| {
        let notes = load_all("", &[(name, value)], &Flags::default())
            .unwrap_or_else(|error| panic!("{error}"))
            .notes;
        let want = format!("environment: {name} is not a setting of the agent");
        assert_eq!(notes, [want]);
    };
    check("MONITORING_FOO_SERVICE_HOST", "10.0.0.1");
    check("MONITORING_SERVICE_HOST", "10.0.0.1");
    check("MONITORING_SERVICE_PORT", "9090");
    check("MONITORING_SERVICE_PORT_HTTP", "9090");
    check("MONITORING_PORT", "tcp://10.0.0.1:9090");
    check("MONITORING_PORT_9090_TCP", "tcp://10.0.0.1:9090");
    check("MONITORING_PORT_9090_TCP_ADDR", "10.0.0.1");
    check("MONITORING_METRIC_PORT", "tcp://10.0.0.1:9090");
    check("MONITORING_METRIC_PORT_9090_TCP_PORT", "9090");
    check("MONITORING_NODE_SERVICE_HOST", "10.0.0.1");
    check("MONITORING_STACK", "blue");
}
