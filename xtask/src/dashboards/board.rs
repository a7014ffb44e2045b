//! A dashboard: its rows from top to bottom, what it can be narrowed down to, and what it marks in
//! time. Knows the form of Grafana's JSON, and nothing of what any dashboard shows.

use serde_json::{Value, json};

use super::{
    panel::Panel,
    variables::{self, Devices},
};
use crate::catalogue::Catalogue;

/// Version of the form of a dashboard: that of Grafana 10.4. Later ones convert it.
const SCHEMA: u32 = 39;

/// Width of a dashboard in Grafana's units.
const WIDTH: u32 = 24;

/// What tells of the agent itself, beside any other metric: when it was there, and since when.
const OF_THE_AGENT: [&str; 2] = ["monitoring_agent_build_info", "process_start_time_seconds"];

/// The tag by which dashboards find each other.
const TAG: &str = "stratoswarm";

/// A dashboard.
pub(super) struct Board {
    /// Its file's name, without the ending.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// What question it answers.
    pub(super) description: &'static str,
    pub(super) devices: Devices,
    /// The series that tell which agents there are to choose from.
    pub(super) agents: Option<&'static str>,
    pub(super) marks: Vec<Mark>,
    pub(super) rows: Vec<Row>,
}

/// Panels about one question.
pub(super) struct Row {
    pub(super) title: &'static str,
    pub(super) panels: Vec<Panel>,
}

/// Moments that are marked in all panels: those in which the expression has a sample.
pub(super) struct Mark {
    name: &'static str,
    expression: String,
    text: &'static str,
    color: &'static str,
}

impl Board {
    /// Its name in addresses, which never changes.
    fn uid(&self) -> String {
        uid(self.name)
    }

    /// The dashboard in Grafana's form.
    pub(super) fn json(&self, catalogue: &Catalogue) -> Result<Value, String> {
        let narrow = |expression: &str| self.narrowed(expression, catalogue);
        let mut annotations = vec![variables::own_annotations()];
        for mark in &self.marks {
            annotations.push(mark.json(&narrow)?);
        }
        Ok(json!({
            "uid": self.uid(),
            "title": self.title,
            "description": self.description,
            "tags": [TAG],
            "schemaVersion": SCHEMA,
            "version": 1,
            "editable": false,
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": "30s",
            "time": { "from": "now-1h", "to": "now" },
            "links": [links()],
            "annotations": { "list": annotations },
            "templating": { "list": variables::list(&self.devices, self.agents) },
            "panels": self.panels(&narrow)?,
        }))
    }

    /// Rows and panels, placed: from left to right, and below each other where there is no room.
    fn panels(
        &self,
        narrow: &impl Fn(&str) -> Result<String, String>,
    ) -> Result<Vec<Value>, String> {
        let mut placed = Vec::new();
        let mut y = 0;
        for row in &self.rows {
            placed.push(json!({
                "id": id(row.title, ""), "type": "row", "title": row.title, "collapsed": false, "panels": [],
                "gridPos": { "x": 0, "y": y, "w": WIDTH, "h": 1 },
            }));
            y += 1;
            let (mut x, mut highest) = (0, 0);
            for panel in &row.panels {
                if x + panel.width > WIDTH {
                    (x, y, highest) = (0, y + highest, 0);
                }
                let place = json!({ "x": x, "y": y, "w": panel.width, "h": panel.height });
                placed.push(panel.json(id(row.title, panel.title), &place, narrow)?);
                x += panel.width;
                highest = highest.max(panel.height);
            }
            y += highest;
        }
        Ok(placed)
    }

    /// An expression that is narrowed down by all of this dashboard's variables that all its metrics
    /// have a label for. To narrow down a part of it would compare what one chose with everything.
    fn narrowed(&self, expression: &str, catalogue: &Catalogue) -> Result<String, String> {
        let parsed =
            crate::promql::parse(expression).map_err(|why| format!("{expression}: {why}"))?;
        let labels = |metric: &str| catalogue.labels(metric).unwrap_or_default();
        let counted: Vec<_> = crate::promql::metrics(&parsed)
            .iter()
            .filter(|metric| !OF_THE_AGENT.contains(&metric.as_str()))
            .map(|metric| labels(metric))
            .collect();
        let by_agent = self.agents.is_some() && counted.iter().all(|of| of.contains("agent"));
        let by_device = counted.iter().all(|of| self.devices.label_of(of).is_some());
        crate::promql::narrowed(expression, |metric| {
            let is_counted = !OF_THE_AGENT.contains(&metric);
            let mut by = vec![("job", "$job"), ("instance", "$instance")];
            if by_agent && is_counted {
                by.push(("agent", "$agent"));
            }
            let device = self.devices.label_of(&labels(metric));
            if let Some(label) = device.filter(|_| by_device && is_counted) {
                by.push((label, "$device"));
            }
            let owned = |(label, value): (&str, &str)| (label.to_owned(), value.to_owned());
            by.into_iter().map(owned).collect()
        })
    }
}

/// A dashboard's name in addresses.
pub(super) fn uid(name: &str) -> String {
    format!("stratoswarm-{}", name.replace('_', "-"))
}

/// A panel's number, by which links lead to it: made of its names, so that it stays the same when
/// others come and go. That no two have the same is checked with the rest.
fn id(row: &str, title: &str) -> u32 {
    // FNV-1a.
    let bytes = row.bytes().chain([0]).chain(title.bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash % 1_000_000 + 1
}

/// Links to all other dashboards, which keep the time and what is chosen.
fn links() -> Value {
    json!({
        "type": "dashboards", "title": "StratoSwarm", "tags": [TAG], "asDropdown": false,
        "icon": "external link", "includeVars": true, "keepTime": true, "targetBlank": false,
        "tooltip": "", "url": "",
    })
}

impl Mark {
    pub(super) fn new(
        name: &'static str,
        expression: impl Into<String>,
        text: &'static str,
        color: &'static str,
    ) -> Self {
        let expression = expression.into();
        Self {
            name,
            expression,
            text,
            color,
        }
    }

    /// Critical errors of GPUs.
    pub(super) fn xids() -> Self {
        let expression = counted(
            "gpu_xid_errors_total",
            "instance, device_id, xid",
            Time::Step,
        );
        let text = "GPU {{device_id}} of {{instance}}: XID {{xid}}";
        Self::new("XID errors", expression, text, "red")
    }

    /// Ends of processes by a signal.
    pub(super) fn crashes() -> Self {
        let expression = counted("agent_crashes_total", "instance, agent, signal", Time::Step);
        let text = "{{agent}} on {{instance}}: {{signal}}";
        Self::new("Crashes", expression, text, "orange")
    }

    /// GPUs that are slowed down to protect them.
    pub(super) fn throttling() -> Self {
        let reasons = "hw_slowdown|sw_thermal_slowdown|hw_thermal_slowdown|hw_power_brake_slowdown";
        let expression = format!(
            "max by (instance, device_id, reason) (gpu_throttle_active{{reason=~\"{reasons}\"}}) == 1"
        );
        let text = "GPU {{device_id}} of {{instance}}: {{reason}}";
        Self::new("Throttling", expression, text, "yellow")
    }

    fn json(&self, narrow: &impl Fn(&str) -> Result<String, String>) -> Result<Value, String> {
        Ok(json!({
            "name": self.name, "enable": true, "hide": false, "iconColor": self.color,
            "datasource": variables::source(), "expr": narrow(&self.expression)?,
            "titleFormat": self.name, "textFormat": self.text, "step": "", "tagKeys": "",
            "useValueForTime": false,
        }))
    }
}

/// A variable of Grafana for a length of time.
#[derive(Clone, Copy)]
pub(super) enum Time {
    /// All that is shown.
    Shown,
    /// A step of a graph, and as long as rates need.
    Step,
}

/// What a counter has counted in a time. One that begins with its first event has no increase then:
/// all of it counts if the agent is younger than that, or if there was a scrape without it. A scrape
/// that failed, and a Prometheus that has just begun, are without all series of the agent.
pub(super) fn counted(counter: &str, by: &str, time: Time) -> String {
    let (time, seconds) = match time {
        Time::Shown => ("$__range", "$__range_s"),
        Time::Step => ("$__rate_interval", "$__rate_interval_ms / 1000"),
    };
    format!(
        "sum by ({by}) (increase({counter}[{time}]) > 0 \
         or {counter} and on (job, instance) (process_start_time_seconds > time() - {seconds}) \
         or {counter} and (count_over_time({counter}[{time}]) < on (job, instance) group_left () \
         max by (job, instance) (count_over_time(monitoring_agent_build_info[{time}]))))"
    )
}
