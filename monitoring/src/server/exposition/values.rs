//! The values of counters and gauges.
//!
//! The crate has them by one name or by the other, depending on which of its features an application
//! asks for. What it has itself goes before what is here, so that each of these methods is only
//! called where it finds the other one there.

use ::prometheus::proto::{Counter, Gauge};

#[allow(dead_code, reason = "which is used is the crate's to say")]
trait Value {
    fn value(&self) -> f64;
    fn get_value(&self) -> f64;
}

impl Value for Counter {
    fn value(&self) -> f64 {
        self.get_value()
    }

    fn get_value(&self) -> f64 {
        self.value()
    }
}

impl Value for Gauge {
    fn value(&self) -> f64 {
        self.get_value()
    }

    fn get_value(&self) -> f64 {
        self.value()
    }
}

pub(super) fn counter(counter: &Counter) -> f64 {
    counter.value()
}

pub(super) fn gauge(gauge: &Gauge) -> f64 {
    gauge.value()
}
