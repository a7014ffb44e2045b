//! The script: what its text means. Each part that is not understood is an error that names it.
//!
//! Knows nothing of calls; the names of calls come from `exports`, those of values from `keys`.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use crate::{abi::Code, exports, keys, models, values::Value};

/// Handles have room for no more.
const MAX_GPUS: usize = 256;
const MAX_MIG: usize = 255;

/// What a script says.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) driver_version: Value,
    pub(crate) nvml_version: Value,
    pub(crate) cuda_version: i32,
    pub(crate) driver_loaded: bool,
    pub(crate) errors: HashMap<String, Code>,
    pub(crate) gpus: Vec<Gpu>,
    pub(crate) hangs: Vec<Hang>,
}

/// A GPU of the script.
#[derive(Debug)]
pub(crate) struct Gpu {
    pub(crate) lost: bool,
    pub(crate) absent: bool,
    pub(crate) values: HashMap<String, Value>,
    pub(crate) errors: HashMap<String, Code>,
    pub(crate) mig: Vec<Mig>,
    pub(crate) processes: Vec<Process>,
    pub(crate) xids: Vec<Xid>,
}

/// A MIG instance of the script.
#[derive(Debug)]
pub(crate) struct Mig {
    pub(crate) gpu_instance_id: u32,
    pub(crate) compute_instance_id: u32,
    pub(crate) values: HashMap<String, Value>,
}

/// A process of the script.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) name: Option<Value>,
    pub(crate) memory_bytes: Value,
    pub(crate) graphics: bool,
    pub(crate) mps: bool,
    pub(crate) gpu_instance_id: u32,
    pub(crate) compute_instance_id: u32,
    /// SM, memory, encoder, decoder.
    pub(crate) percents: [Value; 4],
}

/// An error of the driver.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Xid {
    pub(crate) code: u64,
    #[serde(default = "all_ones")]
    pub(crate) gpu_instance_id: u32,
    #[serde(default = "all_ones")]
    pub(crate) compute_instance_id: u32,
    /// Not before so many seconds after the script was first read.
    #[serde(default)]
    pub(crate) after_seconds: f64,
    /// Again and again at this interval.
    pub(crate) every_seconds: Option<f64>,
}

/// A call that does not come back for a while.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hang {
    pub(crate) call: String,
    pub(crate) seconds: f64,
    /// On this GPU only: its place in the script.
    pub(crate) gpu: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScript {
    #[serde(default = "driver_version")]
    driver_version: toml::Value,
    nvml_version: Option<toml::Value>,
    #[serde(default = "cuda_version")]
    cuda_version: i32,
    #[serde(default = "yes")]
    driver_loaded: bool,
    #[serde(default)]
    errors: BTreeMap<String, String>,
    #[serde(default)]
    gpus: Vec<RawGpu>,
    #[serde(default)]
    hangs: Vec<Hang>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGpu {
    model: String,
    uuid: Option<toml::Value>,
    #[serde(default)]
    lost: bool,
    #[serde(default)]
    absent: bool,
    #[serde(default)]
    values: toml::Table,
    #[serde(default)]
    errors: BTreeMap<String, String>,
    #[serde(default)]
    mig: Vec<RawMig>,
    #[serde(default)]
    processes: Vec<RawProcess>,
    #[serde(default)]
    xids: Vec<Xid>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMig {
    profile: Option<String>,
    uuid: Option<toml::Value>,
    gpu_instance_id: Option<u32>,
    #[serde(default)]
    compute_instance_id: u32,
    #[serde(default)]
    values: toml::Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProcess {
    pid: u32,
    name: Option<toml::Value>,
    memory_bytes: Option<toml::Value>,
    #[serde(default)]
    graphics: bool,
    #[serde(default)]
    mps: bool,
    #[serde(default = "all_ones")]
    gpu_instance_id: u32,
    #[serde(default = "all_ones")]
    compute_instance_id: u32,
    sm_percent: Option<toml::Value>,
    memory_percent: Option<toml::Value>,
    encoder_percent: Option<toml::Value>,
    decoder_percent: Option<toml::Value>,
}

fn driver_version() -> toml::Value {
    "570.124.06".into()
}

fn cuda_version() -> i32 {
    12080
}

fn yes() -> bool {
    true
}

fn all_ones() -> u32 {
    u32::MAX
}

impl Script {
    /// Reads a script; the error says what of it is not understood.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let raw: RawScript = toml::from_str(text).map_err(|error| error.to_string())?;
        if raw.gpus.len() > MAX_GPUS {
            return Err(format!("more than {MAX_GPUS} GPUs"));
        }
        for hang in &raw.hangs {
            known_call(&hang.call)?;
        }
        let driver_version = Value::parse(&raw.driver_version)?;
        let nvml_version = match &raw.nvml_version {
            Some(version) => Value::parse(version)?,
            // The library's own version begins with that of the CUDA it came with.
            None => with_prefix(raw.cuda_version / 1000, &driver_version),
        };
        let gpus = raw.gpus.into_iter().enumerate();
        let gpus = gpus.map(|(place, gpu)| {
            gpu.finish(place)
                .map_err(|error| format!("GPU {place}: {error}"))
        });
        Ok(Self {
            driver_version,
            nvml_version,
            cuda_version: raw.cuda_version,
            driver_loaded: raw.driver_loaded,
            errors: codes(raw.errors)?,
            gpus: gpus.collect::<Result<_, _>>()?,
            hangs: raw.hangs,
        })
    }
}

fn with_prefix(major: i32, driver_version: &Value) -> Value {
    match driver_version {
        Value::Text(text) => {
            let mut version = format!("{major}.").into_bytes();
            version.extend_from_slice(text);
            Value::Text(version)
        }
        other => other.clone(),
    }
}

impl RawGpu {
    fn finish(self, place: usize) -> Result<Gpu, String> {
        if self.mig.len() > MAX_MIG {
            return Err(format!("more than {MAX_MIG} MIG instances"));
        }
        let model = models::values(&self.model)?;
        let mut values = model.clone();
        models::identify(&mut values, place);
        if !self.mig.is_empty() {
            values.insert("mig_mode".into(), Value::Integer(1));
            values.insert("mig_mode_pending".into(), Value::Integer(1));
        }
        read(&self.values, &mut values)?;
        if let Some(uuid) = &self.uuid {
            values.insert("uuid".into(), Value::parse(uuid)?);
        }
        let mig = self.mig.into_iter().enumerate();
        let mig = mig.map(|(index, instance)| {
            instance
                .finish(&values, place, index)
                .map_err(|error| format!("MIG instance {index}: {error}"))
        });
        let mig = mig.collect::<Result<_, _>>()?;
        let processes = self.processes.into_iter().map(RawProcess::finish);
        Ok(Gpu {
            lost: self.lost,
            absent: self.absent,
            errors: codes(self.errors)?,
            mig,
            processes: processes.collect::<Result<_, _>>()?,
            xids: self.xids,
            values,
        })
    }
}

impl RawMig {
    fn finish(
        self,
        gpu: &HashMap<String, Value>,
        place: usize,
        index: usize,
    ) -> Result<Mig, String> {
        let mut values = models::mig(gpu, self.profile.as_deref(), place, index)?;
        read(&self.values, &mut values)?;
        if let Some(uuid) = &self.uuid {
            values.insert("uuid".into(), Value::parse(uuid)?);
        }
        // The smallest profile's instances are numbered from 7 on.
        let first = 7 + u32::try_from(index).unwrap_or_default();
        Ok(Mig {
            gpu_instance_id: self.gpu_instance_id.unwrap_or(first),
            compute_instance_id: self.compute_instance_id,
            values,
        })
    }
}

impl RawProcess {
    fn finish(self) -> Result<Process, String> {
        let value = |value: Option<toml::Value>| match value {
            Some(value) => keys::number("a process's value", &value),
            None => Ok(Value::Integer(0)),
        };
        let percents = [
            value(self.sm_percent)?,
            value(self.memory_percent)?,
            value(self.encoder_percent)?,
            value(self.decoder_percent)?,
        ];
        Ok(Process {
            pid: self.pid,
            name: self.name.as_ref().map(Value::parse).transpose()?,
            memory_bytes: match &self.memory_bytes {
                Some(toml::Value::String(text)) if text == "NOT_AVAILABLE" => Value::Integer(-1),
                _ => value(self.memory_bytes)?,
            },
            graphics: self.graphics,
            mps: self.mps,
            gpu_instance_id: self.gpu_instance_id,
            compute_instance_id: self.compute_instance_id,
            percents,
        })
    }
}

/// Puts a table of values over others.
pub(crate) fn read(table: &toml::Table, values: &mut HashMap<String, Value>) -> Result<(), String> {
    for (key, value) in table {
        values.insert(key.clone(), keys::parse(key, value)?);
    }
    Ok(())
}

fn codes(names: BTreeMap<String, String>) -> Result<HashMap<String, Code>, String> {
    let code = |(call, name): (String, String)| {
        known_call(&call)?;
        let code = Code::named(name.as_bytes());
        let code = code.ok_or_else(|| format!("`{name}` is no error of NVML's"))?;
        Ok((call, code))
    };
    names.into_iter().map(code).collect()
}

fn known_call(call: &str) -> Result<(), String> {
    if exports::all().any(|known| known == call) {
        return Ok(());
    }
    Err(format!("`{call}` is no call of this library"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_s_script_is_one() {
        let readme = include_str!("../README.md");
        let (_, script) = readme.split_once("```toml\n").unwrap();
        let (script, _) = script.split_once("```").unwrap();
        let script = Script::parse(script).unwrap();
        let gpu = &script.gpus[0];
        assert_eq!(
            (gpu.mig.len(), gpu.processes.len(), gpu.xids.len()),
            (1, 1, 1)
        );
        assert_eq!(
            (script.hangs.len(), script.errors.len(), gpu.errors.len()),
            (1, 1, 1)
        );
    }

    #[test]
    fn the_demonstration_is_eight_gpus() {
        let script = Script::parse(include_str!("../demo.toml")).unwrap();
        assert_eq!(script.gpus.len(), 8);
        assert!(script.gpus.iter().any(|gpu| gpu.mig.len() == 7));
    }
}
