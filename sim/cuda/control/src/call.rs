//! One exported function: how often it was called, and what became of it.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    Calls, Library, clock,
    rules::{ErrorRule, Rules},
};

/// What a call returns: 0 is success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub u32);

/// What a call's body comes to.
pub type Outcome = Result<(), Code>;

/// An exported function and its counts. One exists for each, made by [`crate::exports!`].
#[derive(Debug)]
pub struct Call {
    name: &'static str,
    address: *const (),
    count: AtomicU64,
    errors: Mutex<BTreeMap<u32, u64>>,
    latency_ns: OnceLock<u64>,
    error: OnceLock<ErrorRule>,
}

// SAFETY: the address is one of code, and is not written through.
unsafe impl Sync for Call {}

impl Call {
    /// A function of this name, found at this address.
    pub const fn new(name: &'static str, address: *const ()) -> Self {
        Self {
            name,
            address,
            count: AtomicU64::new(0),
            errors: Mutex::new(BTreeMap::new()),
            latency_ns: OnceLock::new(),
            error: OnceLock::new(),
        }
    }

    /// The exported name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The exported function's address, as a symbol look-up finds it.
    pub fn address(&self) -> *const () {
        self.address
    }

    /// Counts a call, and makes it: with the latency and the error that were asked for. With an
    /// error, the body does not run.
    #[inline]
    pub fn run(&self, library: &'static Library, body: impl FnOnce() -> Outcome) -> u32 {
        let number = self.enter(library);
        let injected = self.error.get().and_then(|rule| rule.at(number));
        match injected.map_or_else(body, |code| Err(Code(code))) {
            Ok(()) => 0,
            Err(Code(code)) => {
                self.failed(code);
                library.tell(code);
                code
            }
        }
    }

    /// Counts a call that returns no code. Errors asked for do not concern it.
    #[inline]
    pub fn run_plain<T>(&self, library: &'static Library, body: impl FnOnce() -> T) -> T {
        self.enter(library);
        body()
    }

    #[inline]
    fn enter(&self, library: &'static Library) -> u64 {
        library.start();
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(latency_ns) = self.latency_ns.get() {
            clock::wait_until(clock::now_ns() + latency_ns);
        }
        number
    }

    #[cold]
    fn failed(&self, code: u32) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        *errors.entry(code).or_default() += 1;
    }

    /// Takes what the rules say of this call; once, before the first call.
    pub(crate) fn follow(&self, rules: &Rules) {
        if let Some(latency_ns) = rules.latency_ns(self.name) {
            self.latency_ns.get_or_init(|| latency_ns);
        }
        if let Some(error) = rules.error(self.name) {
            self.error.get_or_init(|| error);
        }
    }

    /// The counts until now; absent if there were no calls.
    pub(crate) fn counts(&self) -> Option<Calls> {
        let count = self.count.load(Ordering::Relaxed);
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        (count > 0).then(|| Calls {
            count,
            errors: errors.clone(),
        })
    }
}
