//! What the kernel programs' `switch` and `reason` read to tell who leaves a CPU and why it sleeps: where
//! this kernel keeps it, and the numbers of the calls that wait for a futex. Knows no family.

use anyhow::Context as _;
use tracing::warn;

use crate::{
    loader,
    offsets::{ABSENT, Offsets},
    source::StartError,
    system_calls::{Compat, NUMBER_FIELD, Native},
};

/// Fields of `task_struct` without which nothing can be told of a task, by the global that they go to.
const TASK: [(&str, &str); 4] = [
    ("PID_OFFSET", "pid"),
    ("TGID_OFFSET", "tgid"),
    ("STATE_OFFSET", "__state"),
    ("ON_CPU_OFFSET", "on_cpu"),
];

/// `sched_switch` has a fourth argument, the state of the task that leaves, since 5.18.
const ARGUMENTS_WITH_STATE: u32 = 4;

/// The stack pointer, which tells workers that the kernel makes in a process: x86-64 gives them a
/// copy of their maker's registers without it. arm64 gives them zeros.
#[cfg(target_arch = "x86_64")]
const STACK_FIELD: Option<&str> = Some("sp");
#[cfg(target_arch = "aarch64")]
const STACK_FIELD: Option<&str> = None;

/// Room for futex calls in the kernel object.
const FUTEX_CALLS: usize = 8;

/// Values of the globals of `switch` and `reason` on this kernel.
pub(crate) fn globals(offsets: &mut Offsets) -> Result<Vec<(&'static str, Vec<u32>)>, StartError> {
    let mut globals = reasons(offsets)?;
    for (global, name) in TASK {
        globals.push((
            global,
            vec![loader::needed_field(offsets, "task_struct", name)?],
        ));
    }
    let arguments = offsets.tracepoint_arguments("sched_switch");
    let arguments = arguments.context("count the arguments of sched_switch")?;
    let has_state = arguments.is_some_and(|arguments| arguments >= ARGUMENTS_WITH_STATE);
    globals.push(("HAS_PREV_STATE", vec![has_state.into()]));
    Ok(globals)
}

fn reasons(offsets: &mut Offsets) -> Result<Vec<(&'static str, Vec<u32>)>, StartError> {
    let iowait = "in_iowait";
    let (offset, mask) = bit(offsets, iowait)?.ok_or_else(|| missing(iowait))?;
    // Both are in one word of flags, which is read once.
    let frozen = bit(offsets, "frozen")?.filter(|(word, _)| *word == offset);
    let frozen = frozen.map_or(0, |(_, mask)| mask);
    let call = loader::field(offsets, "pt_regs", NUMBER_FIELD)?;
    if call == ABSENT {
        warn!(
            "this kernel does not say where pt_regs.{NUMBER_FIELD} is: waits for a futex count as sleep"
        );
    }
    let stack = match STACK_FIELD {
        Some(name) => loader::field(offsets, "pt_regs", name)?,
        None => ABSENT,
    };
    Ok(vec![
        ("IOWAIT_OFFSET", vec![offset]),
        ("IOWAIT_MASK", vec![mask]),
        ("FROZEN_MASK", vec![frozen]),
        ("CALL_OFFSET", vec![call]),
        ("STACK_OFFSET", vec![stack]),
        ("FUTEX_CALLS", futex_calls()),
    ])
}

/// The word with a field of one bit, and the bit in it; `None` where the task has no such field.
fn bit(offsets: &mut Offsets, name: &str) -> Result<Option<(u32, u32)>, StartError> {
    let field = offsets
        .field("task_struct", name)
        .with_context(|| format!("find task_struct.{name} in this kernel"))?;
    Ok(field.and_then(|field| {
        let bits = field.bits.filter(|bits| bits.width == 1)?;
        (field.size == 4).then_some((field.offset, 1_u32.checked_shl(bits.shift.into())?))
    }))
}

fn missing(name: &str) -> StartError {
    StartError::Unsupported(format!("task_struct.{name} is not in this kernel's BTF"))
}

/// Numbers of both tables in one list. What such a number means in the other table is no call in
/// which a task sleeps interruptibly, so that the table need not be known.
fn futex_calls() -> Vec<u32> {
    let native = [Native::futex, Native::futex_waitv, Native::futex_wait].map(|call| call.id());
    let compat = [Compat::futex, Compat::futex_time64].map(|call| call.id());
    let numbers = native.into_iter().chain(compat).map(i32::unsigned_abs);
    let rest = std::iter::repeat(ABSENT);
    numbers.chain(rest).take(FUTEX_CALLS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn futex_calls_fit_and_have_the_running_c_librarys_number() {
        let calls = futex_calls();
        let number = u32::try_from(libc::SYS_futex).unwrap();
        assert_eq!(calls.len(), FUTEX_CALLS);
        assert!(calls.contains(&number), "{calls:?}");
        assert_eq!(calls.last(), Some(&ABSENT), "all of them had room");
    }
}
