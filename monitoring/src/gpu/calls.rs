//! Which call into NVML is being made, and since when, so that anybody can see that one hangs.
//!
//! Knows nothing of what the calls are for.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::GpuError;

/// The call that is being made, if any.
#[derive(Debug, Default)]
pub(super) struct Calls(Mutex<Option<(&'static str, Instant)>>);

/// Lasts as long as the call.
#[derive(Debug)]
pub(super) struct InCall<'a>(&'a Calls);

impl Calls {
    /// Says that a call begins. It ends when the answer is dropped.
    pub(super) fn enter(&self, call: &'static str) -> InCall<'_> {
        self.set(Some((call, Instant::now())));
        InCall(self)
    }

    /// The call that is being made, and for how long it has been.
    pub(super) fn current(&self) -> Option<(&'static str, Duration)> {
        let current = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        current.map(|(call, since)| (call, since.elapsed()))
    }

    /// The error for a call that has been made for longer than `deadline`.
    pub(super) fn hanging(&self, deadline: Duration) -> Option<GpuError> {
        let (call, for_) = self.current()?;
        (for_ >= deadline).then_some(GpuError::Hanging { call, for_ })
    }

    fn set(&self, call: Option<(&'static str, Instant)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = call;
    }
}

impl Drop for InCall<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_hangs_from_its_deadline_to_its_end() {
        let calls = Calls::default();
        assert!(calls.hanging(Duration::ZERO).is_none());
        let call = calls.enter("nvmlInit_v2");
        assert!(calls.hanging(Duration::from_hours(1)).is_none());
        let hanging = calls.hanging(Duration::ZERO);
        assert!(matches!(
            hanging,
            Some(GpuError::Hanging {
                call: "nvmlInit_v2",
                ..
            })
        ));
        drop(call);
        assert!(calls.hanging(Duration::ZERO).is_none());
    }
}
