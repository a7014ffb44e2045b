//! What a function's code does, as far as constants go: what it calls with which, and which
//! addresses it takes. One pass over the instructions in their order; what a register has is known
//! only where no other way leads to. Knows nothing of what is called.

use std::{collections::BTreeSet, fs::File, os::unix::fs::FileExt as _};

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register,
};

use super::super::elf::{Elf, Use};

/// Longest instruction.
const INSTRUCTION_BYTES: usize = 15;

/// Code read first: most functions are no longer.
const FIRST_BYTES: u64 = 256;

/// Most code read at a time.
const PIECE_BYTES: u64 = 64 << 10;

/// How far ahead a branch leads within a function. What is further is another function, or a part
/// that hardly ever runs.
const BRANCH_BYTES: u64 = 64 << 10;

/// Most branches ahead that are remembered; a function with more is left.
const MAX_JOINS: usize = 4_096;

/// Of the linker's table of jumps: a mark that it may be jumped to, and the jump.
const JUMP_BYTES: usize = 4 + INSTRUCTION_BYTES;

/// The first four arguments, as far as they are constants.
pub(super) type Arguments = [Option<u64>; 4];

/// Where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Code(u64),
    /// To the address that is stored there.
    Slot(u64),
}

/// What happens in a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Call {
        at: u64,
        target: Target,
        arguments: Arguments,
    },
    /// An address is taken.
    Names(u64),
    /// Code from there on is run again.
    Back(u64),
}

/// A file's code.
pub(super) struct Code<'a> {
    elf: &'a Elf<'a>,
    file: &'a File,
    read: u64,
    most: u64,
    bytes: Vec<u8>,
    info: InstructionInfoFactory,
}

/// What the general registers have, by number.
#[derive(Default)]
struct Constants([Option<u64>; 16]);

/// The part of a function that is not yet seen.
struct Walk {
    start: u64,
    /// Where branches ahead lead to.
    joins: BTreeSet<u64>,
    constants: Constants,
}

impl<'a> Code<'a> {
    /// Of which no more than `most` bytes are read.
    pub(super) fn new(elf: &'a Elf<'a>, file: &'a File, most: u64) -> Self {
        Self {
            elf,
            file,
            read: 0,
            most,
            bytes: Vec::new(),
            info: InstructionInfoFactory::new(),
        }
    }

    /// How much was read.
    pub(super) fn read(&self) -> u64 {
        self.read
    }

    /// Tells what happens in the function that begins at an address, in no more than `most` bytes.
    pub(super) fn walk(&mut self, start: u64, most: u64, tell: &mut impl FnMut(Event)) {
        let mut walk = Walk {
            start,
            joins: BTreeSet::new(),
            constants: Constants::default(),
        };
        let end = start.saturating_add(most);
        let (mut next, mut size) = (start, FIRST_BYTES);
        while next < end {
            let is_rest = self.fill(next, size.min(end - next));
            let bytes = std::mem::take(&mut self.bytes);
            let mut decoder = Decoder::with_ip(64, &bytes, next, DecoderOptions::NONE);
            // An instruction at the end may go on behind it.
            let enough = |decoder: &Decoder<'_>| {
                let left = bytes.len() - decoder.position();
                left >= INSTRUCTION_BYTES || is_rest && left > 0
            };
            let mut goes_on = enough(&decoder);
            while goes_on && enough(&decoder) {
                let instruction = decoder.decode();
                next = decoder.ip();
                goes_on = walk.step(&instruction, &mut self.info, tell);
            }
            self.bytes = bytes;
            if !goes_on || is_rest {
                break;
            }
            size = (2 * size).min(PIECE_BYTES);
        }
    }

    /// Where the address is stored that the code at an address jumps to, if it does nothing else.
    pub(super) fn jump_through(&mut self, address: u64) -> Option<u64> {
        self.fill(address, JUMP_BYTES as u64);
        let mut decoder = Decoder::with_ip(64, &self.bytes, address, DecoderOptions::NONE);
        let mut instruction = decoder.iter().next()?;
        if instruction.mnemonic() == Mnemonic::Endbr64 {
            instruction = decoder.iter().next()?;
        }
        let jumps = instruction.flow_control() == FlowControl::IndirectBranch;
        slot(&instruction).filter(|_| jumps)
    }

    /// Reads code into `bytes`, and whether there is no more behind it.
    fn fill(&mut self, address: u64, wanted: u64) -> bool {
        self.bytes.clear();
        let Some((Use::Code, part)) = self.elf.loaded(address) else {
            return true;
        };
        let left = part.size.min(self.most - self.read);
        let size = left.min(wanted);
        self.read += size;
        self.bytes
            .resize(usize::try_from(size).expect("a piece fits into memory"), 0);
        if self
            .file
            .read_exact_at(&mut self.bytes, part.offset)
            .is_err()
        {
            self.bytes.clear();
            return true;
        }
        size == left
    }
}

impl Walk {
    /// Looks at the next instruction; whether the function goes on behind it.
    fn step(
        &mut self,
        instruction: &Instruction,
        info: &mut InstructionInfoFactory,
        tell: &mut impl FnMut(Event),
    ) -> bool {
        let at = instruction.ip();
        while let Some(join) = self.joins.first().filter(|join| **join <= at) {
            self.constants = Constants::default();
            let join = *join;
            self.joins.remove(&join);
        }
        let arguments = self.constants.arguments();
        let call = |target| Event::Call {
            at,
            target,
            arguments,
        };
        match instruction.flow_control() {
            FlowControl::Next => self.constants.step(instruction, info, tell),
            FlowControl::Call => {
                tell(call(Target::Code(instruction.near_branch_target())));
                self.constants.called();
            }
            FlowControl::IndirectCall => {
                if let Some(slot) = slot(instruction) {
                    tell(call(Target::Slot(slot)));
                }
                self.constants.called();
            }
            FlowControl::ConditionalBranch => self.branch(instruction, tell),
            FlowControl::UnconditionalBranch => {
                // The last thing that a function does may be a call.
                tell(call(Target::Code(instruction.near_branch_target())));
                self.branch(instruction, tell);
                return self.leave();
            }
            FlowControl::IndirectBranch => {
                let Some(slot) = slot(instruction) else {
                    // One of several ways, which are not known.
                    return false;
                };
                tell(call(Target::Slot(slot)));
                return self.leave();
            }
            FlowControl::Return | FlowControl::Interrupt | FlowControl::Exception => {
                return self.leave();
            }
            FlowControl::XbeginXabortXend => return false,
        }
        self.joins.len() < MAX_JOINS
    }

    fn branch(&mut self, instruction: &Instruction, tell: &mut impl FnMut(Event)) {
        let target = instruction.near_branch_target();
        let next = instruction.next_ip();
        if (next..next.saturating_add(BRANCH_BYTES)).contains(&target) {
            self.joins.insert(target);
        } else if (self.start..next).contains(&target) {
            tell(Event::Back(target));
        }
    }

    /// Behind this instruction code is reached by branches only.
    fn leave(&mut self) -> bool {
        self.constants = Constants::default();
        !self.joins.is_empty() && self.joins.len() < MAX_JOINS
    }
}

impl Constants {
    fn arguments(&self) -> Arguments {
        [Register::RDI, Register::RSI, Register::RDX, Register::RCX].map(|each| self.get(each))
    }

    fn get(&self, register: Register) -> Option<u64> {
        let full = register.full_register();
        let value = self.0[full.is_gpr64().then(|| full.number())?]?;
        match register.size() {
            8 => Some(value),
            4 => Some(value & u64::from(u32::MAX)),
            _ => None,
        }
    }

    fn forget(&mut self, register: Register) {
        let full = register.full_register();
        if full.is_gpr64() {
            self.0[full.number()] = None;
        }
    }

    /// A function may have changed all that is not its caller's.
    fn called(&mut self) {
        for register in [
            Register::RAX,
            Register::RCX,
            Register::RDX,
            Register::RSI,
            Register::RDI,
            Register::R8,
            Register::R9,
            Register::R10,
            Register::R11,
        ] {
            self.forget(register);
        }
    }

    fn step(
        &mut self,
        instruction: &Instruction,
        info: &mut InstructionInfoFactory,
        tell: &mut impl FnMut(Event),
    ) {
        let value = self.value(instruction);
        for used in info.info(instruction).used_registers() {
            let writes = !matches!(
                used.access(),
                OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess
            );
            if writes {
                self.forget(used.register());
            }
        }
        if let Some(value) = value {
            let register = instruction.op0_register().full_register();
            self.0[register.number()] = Some(value);
            let is_copy = instruction.op1_kind() == OpKind::Register;
            if !is_copy && value != 0 {
                tell(Event::Names(value));
            }
        }
    }

    /// The constant that an instruction puts into its first operand, a register of 8 bytes or 4,
    /// which clears the others.
    fn value(&self, instruction: &Instruction) -> Option<u64> {
        let register = instruction.op0_register();
        if instruction.op0_kind() != OpKind::Register || !register.is_gpr() || register.size() < 4 {
            return None;
        }
        let mask = if register.size() == 4 {
            u64::from(u32::MAX)
        } else {
            u64::MAX
        };
        let kind = instruction.op1_kind();
        let value = match instruction.mnemonic() {
            Mnemonic::Lea => {
                let base = instruction.memory_base();
                let plain = base == Register::None && instruction.memory_index() == Register::None;
                let known = plain || base == Register::RIP;
                known.then(|| instruction.memory_displacement64())
            }
            Mnemonic::Mov if kind == OpKind::Register => self.get(instruction.op1_register()),
            Mnemonic::Mov if is_immediate(kind) => Some(instruction.immediate(1)),
            Mnemonic::Xor if kind == OpKind::Register => {
                (register == instruction.op1_register()).then_some(0)
            }
            _ => None,
        };
        value.map(|value| value & mask)
    }
}

fn is_immediate(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Immediate32 | OpKind::Immediate32to64 | OpKind::Immediate64
    )
}

/// The place in memory that an instruction uses, if it is a constant.
fn slot(instruction: &Instruction) -> Option<u64> {
    let base = instruction.memory_base();
    let is_place = instruction.op0_kind() == OpKind::Memory
        && instruction.memory_index() == Register::None
        && matches!(base, Register::RIP | Register::None)
        && instruction.segment_prefix() == Register::None;
    is_place.then(|| instruction.memory_displacement64())
}
