//! Brings the debug messages of kernel programs into the agent's log. For their developers.

use std::io;

use anyhow::Context as _;
use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::{
    io::{Interest, unix::AsyncFd},
    task::AbortHandle,
};

/// Forwards an object's messages until it is dropped.
#[derive(Debug)]
pub struct Forwarding(AbortHandle);

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts to read an object's log, on the current tokio runtime.
///
/// # Errors
///
/// When the object logs nothing at all, or its log cannot be polled.
pub fn forward(ebpf: &mut Ebpf) -> anyhow::Result<Forwarding> {
    let logger = EbpfLogger::init(ebpf).context("open the kernel programs' log")?;
    // SAFETY: the logger owns its ring's descriptor and keeps it open until it is dropped.
    let logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    let mut logger = logger
        .map_err(io::Error::from)
        .context("poll the programs' log")?;
    let task = tokio::spawn(async move {
        while let Ok(mut guard) = logger.readable_mut().await {
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    });
    Ok(Forwarding(task.abort_handle()))
}
