//! `[sources.trace]`.

use super::*;

#[test]
fn what_becomes_a_span_is_chosen() {
    let file = "[sources.trace]\nagents = 'all'\nslow_system_call = '5us'\n\
                slow_disk_request = 'never'\nslow_connect = '0s'\nconnection = '1h'\n\
                off_cpu = '1s 500ms'\noff_cpu_reasons = ['lock', 'sleep']\nprocess = 'never'\n\
                cuda_wait = '2ms'\njoined_minimum = '0s'\nerrors = ['ENOENT', 'EHWPOISON']\n\
                exclude_system_calls = ['read', '_newselect']\nspans_per_second = 1";
    let want = TraceConfig {
        enabled: true,
        agents: TraceAgents::All,
        slow_system_call: Some(Duration::from_micros(5)),
        slow_disk_request: None,
        slow_connect: Some(Duration::ZERO),
        connection: Some(Duration::from_hours(1)),
        off_cpu: Some(Duration::from_millis(1_500)),
        off_cpu_reasons: vec![1, 2],
        process: None,
        cuda_wait: Some(Duration::from_millis(2)),
        joined_minimum: Duration::ZERO,
        errors: vec![2, 133],
        exclude_system_calls: vec!["read".to_owned(), "_newselect".to_owned()],
        spans_per_second: 1,
    };
    assert_eq!(load_file(file).unwrap().config.sources.trace, want);
}

#[test]
fn all_errors_that_are_meant_have_numbers() {
    let errors = TraceConfig::default().errors;
    assert_eq!(errors.len(), 13);
    for errno in [libc::EIO, libc::ENOSPC, libc::ECONNREFUSED, libc::ETIMEDOUT] {
        assert!(errors.contains(&errno.unsigned_abs()), "{errno}");
    }
}

#[test]
fn what_cannot_be_meant_is_an_error() {
    let check = |line: &str, parts: &[&str]| {
        let error = load_file(&format!("[sources.trace]\n{line}")).unwrap_err();
        let message = error.to_string();
        for part in parts {
            assert!(message.contains(part), "{part}: {message}");
        }
    };
    let duration = "use a number with a unit from \"0s\" to \"1h\"";
    for (value, fault) in [
        ("'10'", "not a duration"),
        ("'2h'", "longer than one hour"),
        ("10", "a whole number where a duration belongs"),
        ("'12345678901234ns'", "too many digits"),
    ] {
        check(&format!("off_cpu = {value}"), &[fault, duration]);
    }
    check("joined_minimum = 'never'", &["not a duration", duration]);
    check("errors = ['EOI']", &["\"EOI\" is no error's name"]);
    check("errors = 5", &["where a list of names of errors belongs"]);
    check(
        "off_cpu_reasons = ['io']",
        &["\"io\" is no reason", "io_wait"],
    );
    check(
        "exclude_system_calls = ['futexx']",
        &["\"futexx\" is no system call", "did you mean \"futex\"?"],
    );
    check("exclude_system_calls = [7]", &["where a name belongs"]);
    check("agents = 'some'", &["neither of the two"]);
    check("spans_per_second = 0", &["from 1 to 100000"]);
    check("slow_syscall = '1ms'", &["slow_system_call"]);
}

#[test]
fn nothing_is_traced_until_somebody_says_where_to() {
    let is_tracing = |file: &str, variables: &[(&str, &str)]| {
        let loaded = load_all(file, variables, &Flags::default()).unwrap();
        loaded.config.is_tracing()
    };
    assert!(!is_tracing("", &[]));
    assert!(!is_tracing("[sources.trace]\nenabled = true", &[]));
    let endpoint = "[monitoring]\notlp_endpoint = 'http://o:4318'\n";
    assert!(is_tracing(endpoint, &[]));
    assert!(is_tracing(
        "[monitoring]\njaeger_endpoint = 'http://j:14268'",
        &[]
    ));
    assert!(is_tracing(
        "",
        &[("MONITORING_OTLP_ENDPOINT", "http://localhost:4318")]
    ));
    assert!(!is_tracing(
        &format!("{endpoint}tracing_enabled = false"),
        &[]
    ));
    assert!(!is_tracing(
        &format!("{endpoint}[sources.trace]\nenabled = false"),
        &[]
    ));
}
