//! What a call is about: a GPU or a MIG instance, at one moment.

use std::{
    ffi::{c_char, c_uint, c_ulonglong},
    sync::Arc,
};

use crate::{
    abi::{Answer, Code, Out},
    handle::Handle,
    library,
    script::{Gpu, Mig, Script},
    values::{Number, Value},
};

/// A GPU or a MIG instance, at one moment.
pub(crate) struct Unit {
    pub(crate) script: Arc<Script>,
    pub(crate) handle: Handle,
    /// Since the script was first read.
    pub(crate) seconds: f64,
}

impl Unit {
    /// The device of a handle, if it answers.
    pub(crate) fn find(handle: Handle) -> Answer<Self> {
        let script = library::script()?;
        let gpu = script.gpus.get(handle.gpu);
        // One that the script no longer has is one that was pulled out.
        let gpu = gpu.filter(|gpu| !gpu.absent).ok_or(Code::GPU_IS_LOST)?;
        if gpu.lost {
            return Err(Code::GPU_IS_LOST);
        }
        if handle.mig.is_some_and(|mig| mig >= gpu.mig.len()) {
            return Err(Code::INVALID_ARGUMENT);
        }
        let seconds = library::seconds();
        Ok(Self {
            script,
            handle,
            seconds,
        })
    }

    pub(crate) fn gpu(&self) -> &Gpu {
        &self.script.gpus[self.handle.gpu]
    }

    /// The MIG instance, if it is one.
    pub(crate) fn mig(&self) -> Option<&Mig> {
        self.handle.mig.map(|mig| &self.gpu().mig[mig])
    }

    /// Refuses MIG instances.
    pub(crate) fn whole(&self) -> Answer {
        match self.handle.mig {
            Some(_) => Err(Code::INVALID_ARGUMENT),
            None => Ok(()),
        }
    }

    /// A value of the script or of the model. One that neither has is not supported.
    pub(crate) fn value(&self, key: &str) -> Answer<&Value> {
        let values = self
            .mig()
            .map_or(&self.gpu().values, |instance| &instance.values);
        values.get(key).ok_or(Code::NOT_SUPPORTED)
    }

    pub(crate) fn number(&self, key: &str) -> Answer<Number> {
        self.value(key)?.number(self.seconds)
    }

    pub(crate) fn u32(&self, key: &str) -> Answer<u32> {
        Ok(self.number(key)?.u32())
    }

    pub(crate) fn u64(&self, key: &str) -> Answer<u64> {
        Ok(self.number(key)?.u64())
    }

    /// One of a list of numbers.
    pub(crate) fn nth(&self, key: &str, index: usize) -> Answer<Number> {
        self.value(key)?.nth(index)?.number(self.seconds)
    }

    pub(crate) fn put_u32(&self, out: Out<c_uint>, key: &str) -> Answer {
        out.check()?;
        out.put(self.u32(key)?)
    }

    pub(crate) fn put_u64(&self, out: Out<c_ulonglong>, key: &str) -> Answer {
        out.check()?;
        out.put(self.u64(key)?)
    }

    pub(crate) fn put_text(&self, out: Out<c_char>, room: c_uint, key: &str) -> Answer {
        out.check()?;
        match self.value(key)? {
            Value::Text(text) => match Code::named(text) {
                Some(code) => Err(code),
                None => out.put_text(room, text),
            },
            value => match value.bytes() {
                Some(bytes) => out.put_bytes(room, &bytes),
                None => Err(Code::UNKNOWN),
            },
        }
    }

    /// The bytes of a text.
    pub(crate) fn text(&self, key: &str) -> Answer<Vec<u8>> {
        match self.value(key)? {
            Value::Text(text) => Code::named(text).map_or_else(|| Ok(text.clone()), Err),
            value => value.bytes().ok_or(Code::UNKNOWN),
        }
    }

    /// Whether it is divided into MIG instances.
    pub(crate) fn is_divided(&self) -> bool {
        self.u32("mig_mode").is_ok_and(|mode| mode == 1)
    }
}
