//! What GPUs of each model answer as long as the script does not say otherwise.
//!
//! A model is a file of values in the script's own language. A value that is not in it is one
//! that the model's GPUs do not support.

use std::{collections::HashMap, sync::OnceLock};

use crate::{
    script,
    values::{Number, Value},
};

type Values = HashMap<String, Value>;

/// The models by name.
const MODELS: [(&str, &str); 8] = [
    ("a100", include_str!("models/a100.toml")),
    ("b200", include_str!("models/b200.toml")),
    ("h100", include_str!("models/h100.toml")),
    ("h200", include_str!("models/h200.toml")),
    ("l4", include_str!("models/l4.toml")),
    ("rtx4090", include_str!("models/rtx4090.toml")),
    ("t4", include_str!("models/t4.toml")),
    ("v100", include_str!("models/v100.toml")),
];

/// A MIG instance's part of its GPU, in eighths of the memory and sevenths of the rest.
const MIG_MEMORY_PARTS: i128 = 8;
const MIG_COMPUTE_PARTS: i128 = 7;

/// What GPUs of a model answer.
pub(crate) fn values(model: &str) -> Result<&'static Values, String> {
    static PARSED: [OnceLock<Result<Values, String>>; MODELS.len()] =
        [const { OnceLock::new() }; MODELS.len()];
    let Some(at) = MODELS.iter().position(|(name, _)| *name == model) else {
        let names = MODELS.map(|(name, _)| name).join(", ");
        return Err(format!("`{model}` is no model; known are {names}"));
    };
    let parsed = PARSED[at].get_or_init(|| {
        let table: toml::Table = MODELS[at].1.parse().map_err(|error| format!("{error}"))?;
        let mut values = Values::new();
        script::read(&table, &mut values)?;
        Ok(values)
    });
    parsed.as_ref().map_err(Clone::clone)
}

/// What tells GPUs of one model apart, from their place in the script.
pub(crate) fn identify(values: &mut Values, place: usize) {
    let mut text = |key: &str, text: String| {
        values.insert(key.into(), Value::Text(text.into_bytes()));
    };
    text(
        "uuid",
        format!("GPU-{place:08x}-5107-4a7e-8d1e-{place:012x}"),
    );
    // Two to a switch, as boards have them.
    let bus = 0x19 + place * 0x11 % 0xe0;
    text("pci_bus_id", format!("{:08X}:{bus:02X}:00.0", place / 16));
    if values.contains_key("serial") {
        let serial = format!("16524230{:05}", 10_000 + place);
        values.insert("serial".into(), Value::Text(serial.into_bytes()));
    }
    let number = Value::Integer(place as i128);
    values.insert("minor_number".into(), number);
}

/// What a MIG instance answers: its profile's part of the GPU.
pub(crate) fn mig(
    gpu: &Values,
    profile: Option<&str>,
    place: usize,
    index: usize,
) -> Result<Values, String> {
    let number = |key: &str| gpu.get(key).and_then(|value| value.number(0.0).ok());
    let memory = number("memory_total").map_or(0, Number::integer);
    let slices = match profile {
        Some(profile) => slices(profile)?,
        None => 1,
    };
    // Three sevenths come with half of the memory, seven with all of it.
    let eighths = match slices {
        3 => 4,
        7 => 8,
        other => other,
    };
    let memory = memory * eighths / MIG_MEMORY_PARTS;
    let gib = (memory + (1 << 29)) >> 30;
    let profile = profile.map_or_else(|| format!("{slices}g.{gib}gb"), str::to_owned);
    let mut name = match gpu.get("name") {
        Some(Value::Text(name)) => name.clone(),
        other => other.and_then(Value::bytes).unwrap_or_default(),
    };
    name.extend_from_slice(format!(" MIG {profile}").as_bytes());
    let uuid = format!("MIG-{place:08x}-5107-4a7e-8d1e-{index:012x}");
    let multiprocessors = number("multiprocessors").map_or(0, Number::integer);
    let mut values: Values = [
        ("name", Value::Text(name)),
        ("uuid", Value::Text(uuid.into_bytes())),
        ("memory_total", Value::Integer(memory)),
        ("memory_used", Value::Integer(0)),
        ("memory_reserved", Value::Integer(0)),
        (
            "multiprocessors",
            Value::Integer(multiprocessors * slices / MIG_COMPUTE_PARTS),
        ),
        ("gpu_instance_slices", Value::Integer(slices)),
        ("compute_instance_slices", Value::Integer(slices)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    // What a part of the chip was doing is known of the parts that an instance has to itself.
    for (key, value) in gpu {
        if key.starts_with("gpm_") && !key.contains("pcie") && !key.contains("nvlink") {
            values.insert(key.clone(), value.clone());
        }
    }
    Ok(values)
}

/// Of how many sevenths a profile such as `3g.40gb` is.
fn slices(profile: &str) -> Result<i128, String> {
    let (slices, _) = profile.split_once('g').unwrap_or_default();
    let slices = slices.parse().ok();
    let slices = slices.filter(|slices| (1..=MIG_COMPUTE_PARTS).contains(slices));
    slices.ok_or_else(|| format!("`{profile}` is no profile such as `1g.18gb`"))
}
