//! `[sources.cuda]`: which libraries are probed, and which of their calls.

use glob::Pattern;
use toml::de::DeValue;

use super::{
    problem::Fault,
    values::{self, Value},
};
use crate::sources::cuda::is_call;

/// `[sources.cuda]`.
#[derive(Clone, Debug, PartialEq)]
pub struct CudaConfig {
    /// Whether the source runs. Default true.
    pub enabled: bool,
    /// Globs on file names of libraries and programs that are probed in addition to CUDA's own.
    pub libraries: Vec<Pattern>,
    /// Globs on names of calls: those that are counted. Default all.
    pub calls: Vec<Pattern>,
    /// Globs on names of calls: those that are not counted. Default none.
    pub exclude_calls: Vec<Pattern>,
    /// Share of one CPU that an agent's probes may take before calls of the driver whose result
    /// nobody needs are counted without durations. 0 to 1; 1 is no limit. Default 0.05.
    pub overhead_budget: f64,
}

impl Default for CudaConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            libraries: Vec::new(),
            calls: vec![Pattern::new("*").expect("it is a pattern")],
            exclude_calls: Vec::new(),
            overhead_budget: 0.05,
        }
    }
}

/// Globs on file names.
pub(super) fn libraries(value: Value<'_>) -> Result<Vec<Pattern>, Fault> {
    let cure = "use a list of globs on file names, for example [\"libtorch_cuda.so*\"]";
    let is_name = |pattern: &Pattern| {
        if pattern.as_str().contains('/') {
            let fault = format!("{:?} has a /, and no file name has", pattern.as_str());
            return Err(Fault::new(fault, cure));
        }
        Ok(())
    };
    globs(value, cure, is_name)
}

/// Globs on names of calls, each of which is that of one at least.
pub(super) fn calls(value: Value<'_>) -> Result<Vec<Pattern>, Fault> {
    let cure = "use a list of globs on names of calls as they are in the label call, for example \
                [\"cuLaunch*\", \"cudaMemcpyAsync\"]";
    let is_one = |pattern: &Pattern| {
        if is_call(pattern) {
            return Ok(());
        }
        let fault = format!("{:?} is no call that is counted", pattern.as_str());
        Err(Fault::new(fault, cure))
    };
    globs(value, cure, is_one)
}

fn globs(
    value: Value<'_>,
    cure: &str,
    check: impl Fn(&Pattern) -> Result<(), Fault>,
) -> Result<Vec<Pattern>, Fault> {
    let Value::Toml(DeValue::Array(globs)) = value else {
        return Err(value.wrong_type("a list of globs", cure));
    };
    let read = |glob: &DeValue<'_>| {
        let pattern = values::glob(Value::Toml(glob), cure)?;
        check(&pattern)?;
        Ok(pattern)
    };
    globs.iter().map(|glob| read(glob.get_ref())).collect()
}
