//! Attributes as OTLP has them: a key and a value. Knows no names of attributes.

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};

/// A text.
pub fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

/// Several texts in their order.
pub fn texts<T: Into<String>>(key: &str, values: impl IntoIterator<Item = T>) -> KeyValue {
    let values = values.into_iter().map(|value| AnyValue {
        value: Some(Value::StringValue(value.into())),
    });
    let values = values.collect();
    attribute(key, Value::ArrayValue(ArrayValue { values }))
}

/// A whole number. OTLP has signed ones only: one over 2^63 - 1 becomes that.
pub fn integer(key: &str, value: impl TryInto<i64>) -> KeyValue {
    attribute(key, Value::IntValue(value.try_into().unwrap_or(i64::MAX)))
}

/// A number.
pub fn float(key: &str, value: f64) -> KeyValue {
    attribute(key, Value::DoubleValue(value))
}

/// A yes or no.
pub fn flag(key: &str, value: bool) -> KeyValue {
    attribute(key, Value::BoolValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_stay_what_they_are_or_become_the_greatest() {
        let check = |attribute: KeyValue, want: i64| {
            let value = attribute.value.and_then(|value| value.value);
            assert_eq!(value, Some(Value::IntValue(want)));
        };
        check(integer("a", 7_u32), 7);
        check(integer("a", -7_i32), -7);
        check(integer("a", u64::MAX), i64::MAX);
    }
}
