//! Kernels of CUDA on the page: what was launched, by whom, how often.

use std::collections::BTreeMap;

use serde_json::json;

use super::{browser::Browser, cells};
use crate::{
    cuda::{Program, agent_of_cuda, libraries},
    process::Agent,
};

/// So few that the page writes their numbers out.
const LAUNCHES: u32 = 300;

/// How often each kernel was launched by the workload, by name.
fn launched(agent: &Agent) -> BTreeMap<String, f64> {
    let metrics = agent.fresh_metrics();
    let of_workload = metrics.lines().filter(|line| {
        line.starts_with("gpu_kernel_launches_total{") && line.contains("agent=\"workload\"")
    });
    let named = of_workload.map(|line| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (_, rest) = series.split_once("kernel_type=\"").unwrap();
        let name = rest.split('"').next().unwrap().to_owned();
        (name, value.parse().unwrap())
    });
    named.filter(|(_, launches)| *launches > 0.0).collect()
}

#[test]
fn kernels_stand_with_their_names_and_counts() {
    let folder = libraries();
    let agent = agent_of_cuda(folder.path());
    let _first = Program::forerunner(folder.path(), &agent, "--api driver");
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", agent.address), 1280);
    browser.wait_until("document.body.dataset.state === 'live'");
    browser.value("document.querySelector('#every').value = '1'");
    let arguments = format!("--api driver --threads 2 --launches {LAUNCHES} --wait end");
    let mut program = Program::known_workload(folder.path(), &agent, &arguments);
    program.report();
    let kernels = launched(&agent);
    assert!(!kernels.is_empty(), "{}", agent.fresh_metrics());
    for (name, launches) in &kernels {
        let total = launches.to_string();
        browser.wait_until(&format!(
            "[...document.querySelectorAll('#kernels-table tbody tr')].some(row => \
             row.children[0].textContent === {} && row.children[5].textContent === {})",
            json!(name),
            json!(total)
        ));
        let row = cells(&mut browser, "#kernels-table", name);
        assert_eq!(row[1], "workload", "{row:?}");
    }
    browser.picture("kernels-1280.png");
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
    program.go_on();
}
