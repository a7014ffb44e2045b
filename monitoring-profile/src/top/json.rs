//! Lists as JSON, for programs. Numbers are exact, in the profile's own units.

use serde_json::{Value, json};

use super::{
    calls::{Call, Calls},
    lists::{Row, Top},
};
use crate::ValueType;

impl Top {
    /// The list as JSON:
    /// `{"type": …, "unit": …, "by": …, "total": …, "whole": …, "all_rows": …, "rows": [{"name": …, "flat": …, "cumulative": …}]}`.
    pub fn to_json(&self) -> Value {
        let ValueType { kind, unit } = &self.value_type;
        let rows: Vec<Value> = self.rows.iter().map(row).collect();
        json!({
            "type": kind, "unit": unit, "by": self.by, "total": self.total, "whole": self.whole,
            "all_rows": self.all_rows, "rows": rows,
        })
    }
}

impl Calls {
    /// The calls as JSON:
    /// `{"type": …, "unit": …, "whole": …, "function": {"name": …, "flat": …, "cumulative": …}, "callers": [{"name": …, "value": …}], "callees": […]}`.
    pub fn to_json(&self) -> Value {
        let ValueType { kind, unit } = &self.value_type;
        json!({
            "type": kind, "unit": unit, "whole": self.whole, "function": row(&self.function),
            "callers": calls(&self.callers), "callees": calls(&self.callees),
        })
    }
}

fn row(row: &Row) -> Value {
    json!({"name": row.name, "flat": row.flat, "cumulative": row.cumulative})
}

fn calls(calls: &[Call]) -> Value {
    let calls = calls
        .iter()
        .map(|call| json!({"name": call.name, "value": call.value}));
    calls.collect()
}
