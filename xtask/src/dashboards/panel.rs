//! A panel: what it asks, and how it shows the answer.
//!
//! Owns the kinds of panels and their form in Grafana's JSON. Knows no dashboard.

use serde_json::{Value, json};

use super::{board::uid, variables::source};

/// Height of a panel with one number, and of all others, in Grafana's units.
const LOW: u32 = 4;
const HIGH: u32 = 8;

/// A panel.
pub(super) struct Panel {
    kind: Kind,
    pub(super) title: &'static str,
    description: &'static str,
    unit: &'static str,
    queries: Vec<Query>,
    /// Values from which on it is coloured otherwise.
    steps: Vec<(f64, &'static str)>,
    /// Whether more is better: then what is below the first step is the bad end.
    rising: bool,
    stacked: bool,
    exemplars: bool,
    least: Option<f64>,
    most: Option<f64>,
    /// What numbers stand for.
    words: Vec<(f64, &'static str, &'static str)>,
    /// The dashboard that tells more.
    more: Option<&'static str>,
    pub(super) width: u32,
    pub(super) height: u32,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// The newest number, with its course behind it.
    Stat,
    /// Lines over time.
    Series,
    /// Buckets of a histogram over time.
    Heatmap,
    /// The newest samples, a row for each.
    Table,
    /// States over time, a line for each.
    States,
}

struct Query {
    expression: String,
    /// What the lines are called; in a table, the column of the values.
    legend: &'static str,
}

impl Panel {
    fn new(kind: Kind, title: &'static str, unit: &'static str, description: &'static str) -> Self {
        let (width, height) = match kind {
            Kind::Stat => (4, LOW),
            Kind::Table => (24, HIGH),
            _ => (12, HIGH),
        };
        Self {
            kind,
            title,
            description,
            unit,
            queries: Vec::new(),
            steps: Vec::new(),
            rising: false,
            stacked: false,
            exemplars: false,
            least: None,
            most: None,
            words: Vec::new(),
            more: None,
            width,
            height,
        }
    }

    /// One number.
    pub(super) fn stat(
        title: &'static str,
        unit: &'static str,
        description: &'static str,
        expression: &str,
    ) -> Self {
        Self::new(Kind::Stat, title, unit, description).query("", expression)
    }

    /// Lines over time.
    pub(super) fn series(
        title: &'static str,
        unit: &'static str,
        description: &'static str,
    ) -> Self {
        Self::new(Kind::Series, title, unit, description)
    }

    /// A histogram over time: how many events a second had which duration.
    pub(super) fn heatmap(title: &'static str, description: &'static str, histogram: &str) -> Self {
        let expression = format!("sum by (le) (rate({histogram}[$__rate_interval]))");
        let panel = Self::new(Kind::Heatmap, title, "s", description);
        panel.query("{{le}}", &expression).exemplars()
    }

    /// Quantiles of a histogram over time, by labels.
    pub(super) fn quantiles(
        title: &'static str,
        description: &'static str,
        histogram: &str,
        by: &str,
        legends: [&'static str; 2],
    ) -> Self {
        let [half, most] = ["0.5", "0.99"].map(|quantile| {
            format!(
                "histogram_quantile({quantile}, sum by ({by}, le) \
                 (rate({histogram}[$__rate_interval])))"
            )
        });
        let panel = Self::new(Kind::Series, title, "s", description);
        let panel = panel.query(legends[0], &half).query(legends[1], &most);
        panel.exemplars()
    }

    /// The newest samples, a row for each.
    pub(super) fn table(
        title: &'static str,
        unit: &'static str,
        description: &'static str,
    ) -> Self {
        Self::new(Kind::Table, title, unit, description)
    }

    /// States over time, a line for each.
    pub(super) fn states(
        title: &'static str,
        description: &'static str,
        legend: &'static str,
        expression: &str,
    ) -> Self {
        Self::new(Kind::States, title, "none", description).query(legend, expression)
    }

    /// Asks one more thing.
    pub(super) fn query(mut self, legend: &'static str, expression: &str) -> Self {
        let expression = expression.to_owned();
        self.queries.push(Query { expression, legend });
        self
    }

    /// Colours values from these on.
    pub(super) fn from(mut self, steps: &[(f64, &'static str)]) -> Self {
        self.steps = steps.to_vec();
        self
    }

    /// Colours values below the first step red, and from these on otherwise.
    pub(super) fn good_from(mut self, steps: &[(f64, &'static str)]) -> Self {
        self.steps = steps.to_vec();
        self.rising = true;
        self
    }

    /// Says what numbers stand for.
    pub(super) fn means(mut self, words: &[(f64, &'static str, &'static str)]) -> Self {
        self.words = words.to_vec();
        self
    }

    /// Puts lines on top of each other: they are parts of a whole.
    pub(super) fn stacked(mut self) -> Self {
        self.stacked = true;
        self
    }

    /// Shows traces of single events.
    pub(super) fn exemplars(mut self) -> Self {
        self.exemplars = true;
        self
    }

    /// Shows values from 0 to 1 in full.
    pub(super) fn ratio(mut self) -> Self {
        (self.least, self.most) = (Some(0.0), Some(1.0));
        self
    }

    /// Leads to another dashboard.
    pub(super) fn more(mut self, board: &'static str) -> Self {
        self.more = Some(board);
        self
    }

    /// Takes another width, of 24.
    pub(super) fn wide(mut self, width: u32) -> Self {
        self.width = width;
        self
    }

    /// The panel in Grafana's form.
    pub(super) fn json(
        &self,
        id: u32,
        place: &Value,
        narrow: &impl Fn(&str) -> Result<String, String>,
    ) -> Result<Value, String> {
        let mut targets = Vec::new();
        for (query, letter) in self.queries.iter().zip('A'..='Z') {
            targets.push(self.target(query, letter, narrow)?);
        }
        let mut panel = json!({
            "id": id, "type": self.kind.name(), "title": self.title,
            "description": self.description, "datasource": source(), "gridPos": place,
            "fieldConfig": { "defaults": self.defaults(), "overrides": self.overrides() },
            "options": self.options(), "targets": targets,
        });
        if self.kind == Kind::Table {
            panel["transformations"] = self.columns();
        }
        if let Some(board) = self.more {
            let variables = "${__url_time_range}&${datasource:queryparam}&${job:queryparam}\
                             &${instance:queryparam}";
            let url = format!("/d/{}?{variables}", uid(board));
            panel["links"] = json!([{ "title": "More", "url": url, "targetBlank": false }]);
        }
        Ok(panel)
    }

    fn target(
        &self,
        query: &Query,
        letter: char,
        narrow: &impl Fn(&str) -> Result<String, String>,
    ) -> Result<Value, String> {
        let table = self.kind == Kind::Table;
        // What is counted over all of the time shown is one number, and dear to ask for at each step.
        let instant = table || query.expression.contains("$__range");
        let format = match self.kind {
            Kind::Table => "table",
            Kind::Heatmap => "heatmap",
            _ => "time_series",
        };
        let legend = if table || query.legend.is_empty() {
            "__auto"
        } else {
            query.legend
        };
        Ok(json!({
            "refId": letter.to_string(), "datasource": source(), "editorMode": "code",
            "expr": narrow(&query.expression)?, "legendFormat": legend, "format": format,
            "instant": instant, "range": !instant, "exemplar": self.exemplars,
        }))
    }

    fn defaults(&self) -> Value {
        let lowest = if self.rising { "red" } else { "green" };
        let mut steps = vec![json!({ "color": lowest, "value": null })];
        let further = self.steps.iter();
        steps.extend(further.map(|(value, color)| json!({ "color": color, "value": value })));
        let mut defaults = json!({
            "unit": self.unit,
            "thresholds": { "mode": "absolute", "steps": steps },
            "color": { "mode": "palette-classic" },
        });
        if matches!(self.kind, Kind::Stat | Kind::States | Kind::Table) {
            defaults["color"]["mode"] = "thresholds".into();
        }
        if let Some(least) = self.least {
            defaults["min"] = least.into();
        }
        if let Some(most) = self.most {
            defaults["max"] = most.into();
        }
        if !self.words.is_empty() {
            let word = |(value, text, color): &(f64, &str, &str)| {
                (value.to_string(), json!({ "text": text, "color": color }))
            };
            let options: serde_json::Map<_, _> = self.words.iter().map(word).collect();
            defaults["mappings"] = json!([{ "type": "value", "options": options }]);
        }
        if self.kind == Kind::Series {
            defaults["custom"] = self.lines();
        }
        defaults
    }

    /// Numbers of a table are coloured; labels are not.
    fn overrides(&self) -> Value {
        if self.kind != Kind::Table || self.steps.is_empty() {
            return json!([]);
        }
        json!([{
            "matcher": { "id": "byType", "options": "number" },
            "properties": [{ "id": "custom.cellOptions", "value": { "type": "color-text" } }],
        }])
    }

    /// How lines are drawn.
    fn lines(&self) -> Value {
        let limits = if self.steps.is_empty() {
            "off"
        } else {
            "dashed"
        };
        let (stacking, opacity) = if self.stacked {
            ("normal", 30)
        } else {
            ("none", 5)
        };
        json!({
            "drawStyle": "line", "lineWidth": 1, "fillOpacity": opacity, "showPoints": "auto",
            "pointSize": 4, "spanNulls": false, "axisSoftMin": 0,
            "stacking": { "mode": stacking, "group": "A" },
            "thresholdsStyle": { "mode": limits },
        })
    }

    fn options(&self) -> Value {
        match self.kind {
            Kind::Stat => json!({
                "colorMode": "value", "graphMode": "area", "justifyMode": "auto",
                "orientation": "auto", "textMode": "auto", "wideLayout": true,
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
            }),
            Kind::Series => json!({
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
            Kind::Heatmap => json!({
                "calculate": false, "cellGap": 1, "showValue": "never",
                "color": { "mode": "scheme", "scheme": "Turbo", "steps": 64, "exponent": 0.5 },
                "cellValues": { "unit": "ops" }, "filterValues": { "le": 1e-9 },
                "rowsFrame": { "layout": "auto" }, "yAxis": { "axisPlacement": "left", "unit": "s" },
                "legend": { "show": true }, "exemplars": { "color": "rgba(255,0,255,0.7)" },
                "tooltip": {
                    "mode": "single", "show": true, "showColorScale": true, "yHistogram": true,
                },
            }),
            Kind::Table => json!({ "cellHeight": "sm", "showHeader": true }),
            Kind::States => json!({
                "mergeValues": true, "rowHeight": 0.8, "showValue": "never", "alignValue": "left",
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
                "tooltip": { "mode": "single", "sort": "none" },
            }),
        }
    }

    /// A table has a column for each label and each query, and none for the time.
    fn columns(&self) -> Value {
        let value = |(query, letter): (&Query, char)| {
            let name = match self.queries.len() {
                1 => "Value".to_owned(),
                _ => format!("Value #{letter}"),
            };
            (name, Value::from(query.legend))
        };
        let names: serde_json::Map<_, _> = self.queries.iter().zip('A'..='Z').map(value).collect();
        json!([
            { "id": "merge", "options": {} },
            { "id": "organize", "options": {
                "excludeByName": { "Time": true }, "indexByName": {}, "renameByName": names,
            } },
        ])
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Stat => "stat",
            Self::Series => "timeseries",
            Self::Heatmap => "heatmap",
            Self::Table => "table",
            Self::States => "state-timeline",
        }
    }
}
