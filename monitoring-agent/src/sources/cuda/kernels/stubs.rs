//! Which of a file's functions stand for which kernels, by the code that registers them when the
//! program starts: nvcc's and clang's compilers write a call of `__cudaRegisterFunction` for each
//! kernel, with the function and the name as constants. So the names are known where symbols were
//! stripped and nobody saw the calls. Knows nothing of processes.
//!
//! Only the code is read that the file has run at its start, and what that calls or names; the
//! file is a tenant's, and what is read and kept of it is bounded whatever it claims. Code of x86-64
//! only: that of other machines says nothing here.

mod callees;
mod code;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs::File,
};

use object::{elf, read::ReadCache};

use self::{
    callees::{Callee, Callees},
    code::{Code, Event, Target},
};
use super::elf::{Elf, Problem, Text, Use};

/// Most functions of one file that are remembered; the largest library has half as many.
pub(super) const MAX_STUBS: usize = 65_536;

/// Most bytes of code that are read to find registrations: some 60 for each of [`MAX_STUBS`], and
/// the beginnings of all else that happens at a start.
const START_BYTES: u64 = 32 << 20;

/// Most bytes of code that are read to find handles.
const HANDLES_BYTES: u64 = 32 << 20;

/// Most bytes of one stub that are read.
const STUB_BYTES: u64 = 8 << 10;

/// How many functions it takes from a stub to where it asks for its handle: itself, and two more for
/// a template.
const STUB_DEPTH: usize = 3;

/// Most functions of a stub that are looked at.
const MAX_PARTS: usize = 8;

/// Most functions that run at a start, or that their code calls or names.
const MAX_FOLLOWED: usize = 65_536;

/// The functions of a file that stand for kernels.
#[derive(Debug, Default)]
pub(super) struct Stubs {
    /// Addresses of functions and of their names, in order.
    names: Vec<(u64, u64)>,
    callees: Callees,
    /// Once they were looked for.
    handles: Option<Vec<Handle>>,
}

/// A variable that has the runtime's handle of a kernel, once a program has asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Handle {
    /// Addresses as the file has them.
    pub(super) variable: u64,
    pub(super) stub: u64,
}

impl Stubs {
    /// Reads what a file registers, no more than `budget` bytes, and takes from it what it reads.
    pub(super) fn read(file: &File, budget: &mut u64) -> Result<Self, Problem> {
        let cache = ReadCache::new(file);
        let elf = Elf::parse(&cache).ok_or(Problem::Malformed)?;
        if elf.machine != elf::EM_X86_64 {
            return Ok(Self::default());
        }
        let Some((callees, first)) = Callees::read(&elf, file, budget)? else {
            return Ok(Self::default());
        };
        if *budget < START_BYTES {
            return Err(Problem::TooMuch);
        }
        let mut code = Code::new(&elf, file, START_BYTES);
        let mut names = registered(&elf, &callees, &mut code, first);
        *budget -= code.read();
        names.sort_unstable();
        names.dedup();
        names.shrink_to_fit();
        Ok(Self {
            names,
            callees,
            handles: None,
        })
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether its functions ask for their kernels' handles.
    pub(super) fn asks_for_handles(&self) -> bool {
        !self.names.is_empty() && self.callees.has(Callee::GetKernel)
    }

    /// The kernels' symbols for functions at offsets in the file, of those that have one.
    pub(super) fn symbols(&self, file: &File, offsets: &[u64]) -> HashMap<u64, Text> {
        let cache = ReadCache::new(file);
        let Some(elf) = Elf::parse(&cache).filter(|_| !self.names.is_empty()) else {
            return HashMap::new();
        };
        let symbol = |offset: &u64| {
            let text = self.symbol(&elf, file, elf.address(*offset)?)?;
            Some((*offset, text))
        };
        offsets.iter().filter_map(symbol).collect()
    }

    /// The symbol that a function at an address was registered with, each time.
    fn symbol(&self, elf: &Elf<'_>, file: &File, stub: u64) -> Option<Text> {
        let first = self.names.partition_point(|(each, _)| *each < stub);
        let same = self.names[first..].iter();
        let mut texts = same
            .take_while(|(each, _)| *each == stub)
            .map(|(_, name)| text(elf, file, *name));
        let text = texts.next()??;
        texts
            .all(|other| other.as_ref() == Some(&text))
            .then_some(text)
    }

    /// The symbol of a handle's kernel.
    pub(super) fn symbol_of(&self, file: &File, handle: Handle) -> Option<Text> {
        let cache = ReadCache::new(file);
        self.symbol(&Elf::parse(&cache)?, file, handle.stub)
    }

    /// The variables in which the functions keep their kernels' handles: programs of CUDA 13 ask
    /// for a handle at a kernel's first launch, and launch by it from then on.
    pub(super) fn handles(&mut self, file: &File, budget: &mut u64) -> Result<&[Handle], Problem> {
        if !self.asks_for_handles() {
            return Ok(&[]);
        }
        if self.handles.is_none() {
            let cache = ReadCache::new(file);
            let elf = Elf::parse(&cache).ok_or(Problem::Malformed)?;
            let most = HANDLES_BYTES.min(self.names.len() as u64 * 2 * STUB_BYTES);
            if *budget < most {
                return Err(Problem::TooMuch);
            }
            let mut code = Code::new(&elf, file, most);
            let handles = self.asked_for(&elf, &mut code);
            *budget -= code.read();
            self.handles = Some(handles);
        }
        Ok(self.handles.as_deref().unwrap_or_default())
    }

    fn asked_for(&self, elf: &Elf<'_>, code: &mut Code<'_>) -> Vec<Handle> {
        let mut handles = BTreeSet::new();
        let mut stubs: Vec<u64> = self.names.iter().map(|(stub, _)| *stub).collect();
        stubs.dedup();
        for stub in stubs {
            let mut found = Vec::new();
            let mut functions = vec![stub];
            // Without optimization a function of its own does it, which another one calls.
            for _ in 0..STUB_DEPTH {
                let mut called = Vec::new();
                for function in functions {
                    found.extend(self.asks(elf, code, function, &mut called));
                }
                found.retain(|handle| handle.stub == stub);
                if !found.is_empty() {
                    break;
                }
                functions = called;
                functions.truncate(MAX_PARTS);
            }
            if handles.len() + found.len() > MAX_STUBS {
                break;
            }
            handles.extend(found);
        }
        handles.into_iter().collect()
    }

    /// The handles that a function asks for, and which functions of the file it calls.
    fn asks(
        &self,
        elf: &Elf<'_>,
        code: &mut Code<'_>,
        function: u64,
        called: &mut Vec<u64>,
    ) -> Vec<Handle> {
        let mut found = Vec::new();
        let mut calls = Vec::new();
        code.walk(function, STUB_BYTES, &mut |event| {
            if let Event::Call {
                target, arguments, ..
            } = event
            {
                calls.push((target, arguments));
            }
        });
        for (target, arguments) in calls {
            match (self.callees.of(target, code), arguments) {
                (Some(Callee::GetKernel), [Some(variable), Some(stub), ..])
                    if is(elf, variable, Use::Variables) =>
                {
                    found.push(Handle { variable, stub });
                }
                (None, _) => {
                    if let Target::Code(address) = target {
                        called.push(address);
                    }
                }
                _ => {}
            }
        }
        found
    }
}

/// What code registers that begins at these addresses: functions and names by address.
fn registered(
    elf: &Elf<'_>,
    callees: &Callees,
    code: &mut Code<'_>,
    first: Vec<u64>,
) -> Vec<(u64, u64)> {
    let mut names = Vec::new();
    let mut followed = HashSet::new();
    let mut functions = first;
    // What runs at the start, and what that calls or passes on to be called.
    for last in [false, true] {
        let mut next = BTreeSet::new();
        for function in functions {
            if followed.len() == MAX_FOLLOWED || !followed.insert(function) {
                continue;
            }
            let mut calls = Calls::default();
            code.walk(function, START_BYTES, &mut |event| calls.take(event));
            for Call {
                target, arguments, ..
            } in calls.calls
            {
                if callees.of(target, code) == Some(Callee::Register) {
                    let [_, stub, _, name] = arguments;
                    let pair = stub.zip(name).filter(|(stub, name)| {
                        is(elf, *stub, Use::Code) && !is(elf, *name, Use::Variables)
                    });
                    names.extend(pair.filter(|_| names.len() < MAX_STUBS));
                } else if let Target::Code(address) = target {
                    calls.named.insert(address);
                }
            }
            if !last && next.len() < MAX_FOLLOWED {
                next.extend(calls.named);
            }
        }
        functions = next.into_iter().collect();
    }
    names
}

/// What a function calls and names.
#[derive(Default)]
struct Calls {
    calls: Vec<Call>,
    named: BTreeSet<u64>,
}

struct Call {
    at: u64,
    target: Target,
    arguments: code::Arguments,
}

impl Calls {
    fn take(&mut self, event: Event) {
        match event {
            Event::Call {
                at,
                target,
                arguments,
            } if self.calls.len() < 2 * MAX_STUBS => self.calls.push(Call {
                at,
                target,
                arguments,
            }),
            Event::Names(address) if self.named.len() < MAX_FOLLOWED => {
                self.named.insert(address);
            }
            // In a loop a call may have other arguments the second time.
            Event::Back(start) => {
                let within = self.calls.iter_mut().rev();
                for call in within.take_while(|call| call.at >= start) {
                    call.arguments = [None; 4];
                }
            }
            Event::Call { .. } | Event::Names(_) => {}
        }
    }
}

fn is(elf: &Elf<'_>, address: u64, what: Use) -> bool {
    elf.loaded(address).is_some_and(|(use_, _)| use_ == what)
}

/// The text of a name at an address, if it is one that a kernel may have.
fn text(elf: &Elf<'_>, file: &File, address: u64) -> Option<Text> {
    let (what, part) = elf.loaded(address)?;
    let text = part.text(file, 0).filter(|_| what != Use::Variables)?;
    let harmless = |byte: &u8| byte.is_ascii_graphic() || !byte.is_ascii();
    text.text.iter().all(harmless).then_some(text)
}

#[cfg(test)]
mod tests;
