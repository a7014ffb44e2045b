//! Source `block`: disk requests.

use aya::include_bytes_aligned;
use monitoring_common::block::lost;

use super::StartContext;
use crate::{
    kernel_state::{self, Losses},
    loader::{self, Attach, Family, Loaded},
    source::{Batch, Source, StartError},
};

const PROGRAMS: &[Attach] = &[Attach::RawTracepoint("block_rq_issue", "block_rq_issue")];

struct State {
    loaded: Loaded,
    losses: Losses,
}

/// Loads the family.
///
/// # Errors
///
/// See [`StartError`].
pub fn start(context: &mut StartContext<'_>) -> Result<Box<dyn Source>, StartError> {
    let family = Family {
        name: "block",
        object: include_bytes_aligned!(concat!(env!("OUT_DIR"), "/block")),
        globals: Vec::new(),
        map_sizes: Vec::new(),
        programs: PROGRAMS,
        debug: context.config.ebpf_debug,
    };
    let mut loaded = loader::load(&family, context.shared, context.offsets)?;
    context.labels.adopt(context.shared)?;
    Ok(Box::new(State {
        losses: Losses::new(&mut loaded, &lost::REASONS)?,
        loaded,
    }))
}

impl Source for State {
    fn collect(&mut self) -> anyhow::Result<Batch> {
        let (programs, recursions) = kernel_state::programs(&self.loaded);
        let mut lost = self.losses.read()?;
        lost.push(("recursion", recursions));
        Ok(Batch {
            families: Vec::new(),
            lost,
            programs,
            maps: Vec::new(),
        })
    }
}
