//! What programs attach to, by name: tracepoints and iterators, and how many arguments they have.

use super::{Btf, BtfError, raw::kind};

/// A kind of type that programs attach to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A typedef, as which tracepoints are known: `btf_trace_sched_switch`.
    Typedef,
    /// A function, as which iterators are known: `bpf_iter_task`.
    Function,
}

impl Named {
    /// The format's number for it.
    pub fn kind(self) -> u32 {
        match self {
            Self::Typedef => kind::TYPEDEF,
            Self::Function => kind::FUNC,
        }
        .into()
    }
}

impl<D: AsRef<[u8]>> Btf<D> {
    /// The number of the first type of this kind and name, `None` if there is none.
    pub fn number_of(&self, named: Named, name: &str) -> Result<Option<u32>, BtfError> {
        let mut types = self.0.types();
        let found =
            types.find(|ty| u32::from(ty.kind) == named.kind() && self.0.is_named(ty.name, name));
        if found.is_none() {
            self.0.seen_all()?;
        }
        Ok(found.map(|ty| ty.id))
    }

    /// How many arguments a tracepoint hands to its programs, `None` if there is no such one.
    ///
    /// Kernels append arguments. A program that reads one which this kernel does not have is
    /// refused, so the loader has to know.
    pub fn tracepoint_arguments(&self, name: &str) -> Result<Option<u32>, BtfError> {
        let Some(number) = self.number_of(Named::Typedef, &format!("btf_trace_{name}"))? else {
            return Ok(None);
        };
        // typedef void (*btf_trace_NAME)(void *, …): what the program gets follows the first.
        let pointer = self.resolve(number, 0)?;
        let function = self.resolve(pointer.size_or_id, 0)?;
        if (pointer.kind, function.kind) != (kind::PTR, kind::FUNC_PROTO) {
            return Err(BtfError::Malformed {
                at: 0,
                what: "a tracepoint that is no pointer to a function",
            });
        }
        Ok(Some(function.vlen.saturating_sub(1)))
    }
}
