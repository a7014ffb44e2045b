//! What a dashboard can be narrowed down to, in Grafana's form.
//!
//! Owns the variables and which label each stands for. Knows nothing of panels.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// The devices that a dashboard is about.
pub(super) enum Devices {
    /// GPUs, by the driver's number.
    Gpus,
    /// Network interfaces.
    Interfaces,
    /// Disks and network interfaces.
    DisksAndInterfaces,
}

impl Devices {
    /// The label by which a metric with these labels is narrowed down to chosen devices.
    pub(super) fn label_of(&self, labels: &BTreeSet<String>) -> Option<&'static str> {
        match self {
            // Without a UUID, it is a number of the process's own.
            Self::Gpus => labels.contains("uuid").then_some("device_id"),
            Self::Interfaces | Self::DisksAndInterfaces => {
                labels.contains("device").then_some("device")
            }
        }
    }

    /// Where the devices that there are can be read.
    fn query(&self) -> String {
        let chosen = "job=~\"$job\",instance=~\"$instance\"";
        match self {
            Self::Gpus => format!("label_values(gpu_lost{{{chosen}}}, device_id)"),
            Self::Interfaces => {
                format!("label_values(node_network_receive_bytes_total{{{chosen}}}, device)")
            }
            Self::DisksAndInterfaces => format!(
                "label_values({{__name__=~\"block_io_bytes_total|node_disk_io_time_seconds_total|\
                 node_filesystem_avail_bytes|node_network_receive_bytes_total\",{chosen}}}, device)"
            ),
        }
    }
}

/// All variables of a dashboard.
pub(super) fn list(devices: &Devices, agents: Option<&str>) -> Vec<Value> {
    let mut list = vec![json!({
        "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
        "current": {}, "hide": 0, "includeAll": false, "multi": false, "options": [], "refresh": 1,
        "regex": "", "skipUrlSync": false,
    })];
    let info = "monitoring_agent_build_info";
    let jobs = format!("label_values({info}, job)");
    list.push(variable("job", "Job", &jobs, ALL_KNOWN));
    let instances = format!("label_values({info}{{job=~\"$job\"}}, instance)");
    list.push(variable("instance", "Instance", &instances, ALL_KNOWN));
    if let Some(series) = agents {
        let chosen = "job=~\"$job\",instance=~\"$instance\"";
        let query = format!("label_values({{__name__=~\"{series}\",{chosen}}}, agent)");
        list.push(variable("agent", "Agent", &query, ANY));
    }
    list.push(variable("device", "Device", &devices.query(), ANY));
    list
}

/// All stands for the values that were found, and no others. `up`, `process_…` and `node_…` are also of
/// targets that are no agents: they are left out by this alone.
const ALL_KNOWN: Option<&str> = None;

/// All stands for any value, so that queries stay short.
const ANY: Option<&str> = Some(".+");

/// A variable of which several values, and all, may be chosen.
fn variable(name: &str, label: &str, query: &str, all: Option<&str>) -> Value {
    json!({
        "name": name, "label": label, "type": "query", "datasource": source(),
        "definition": query,
        "query": { "qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery" },
        "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
        "allValue": all, "hide": 0, "includeAll": true, "multi": true, "options": [],
        // When the time changes: who was there then may be chosen.
        "refresh": 2,
        "regex": "", "skipUrlSync": false, "sort": 3,
    })
}

/// The data source that is chosen.
pub(super) fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// What people have written into Grafana themselves.
pub(super) fn own_annotations() -> Value {
    json!({
        "name": "Annotations & Alerts", "builtIn": 1, "type": "dashboard", "enable": true,
        "hide": true, "iconColor": "rgba(0, 211, 255, 1)",
        "datasource": { "type": "grafana", "uid": "-- Grafana --" },
    })
}
