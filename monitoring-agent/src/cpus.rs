//! Tells when CPUs are switched on or off, at once and at no cost while none is.
//!
//! A perf event of a CPU is dead once the CPU was switched off, also when it comes back. Knows nothing
//! of what events are for.

use std::{
    collections::BTreeSet,
    io, mem,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use perf_event::Counter;

use crate::clock;

/// The group of messages that the kernel itself sends.
const KERNEL: u32 = 1;

/// Room for a message: the kernel makes none that is longer.
const MESSAGE_BYTES: usize = 4096;

/// How often it is looked whether the machine has slept: then CPUs were off, and nobody says so. Also
/// how often CPUs are checked one by one where the kernel's messages cannot be had.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// By how much the clock that runs on in sleep goes ahead of the one that does not, between two looks
/// at both: less is the time that the looks take.
const SLEPT: Duration = Duration::from_millis(100);

/// How often the two clocks are compared for one look.
const ATTEMPTS: usize = 4;

/// Where messages about CPUs are from, as they begin: `online@/devices/system/cpu/cpu1`.
const PLACE: &str = "@/devices/system/cpu/cpu";

/// What happened to CPUs since it was last asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// These were switched on or off, or both.
    Of(BTreeSet<u32>),
    /// Something may have happened to any.
    Any,
}

/// Listens for changes.
#[derive(Debug)]
pub struct CpuChanges {
    /// None where the kernel's messages cannot be had.
    messages: Option<OwnedFd>,
    looked: Instant,
    asleep: Duration,
}

impl CpuChanges {
    /// Hears of all changes from now on. Where the kernel's messages cannot be had, [`Self::take`] says
    /// [`Change::Any`] once a second.
    pub fn listen() -> Self {
        let messages = open();
        if let Err(error) = &messages {
            tracing::debug!(
                "CPUs are looked at each second, because the kernel tells nothing: {error}"
            );
        }
        Self {
            messages: messages.ok(),
            looked: Instant::now(),
            asleep: asleep(),
        }
    }

    /// Becomes readable when there may be a change; for waiting.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.messages.as_ref().map(AsFd::as_fd)
    }

    /// Whether the machine has slept since the last look, by how long it has in all.
    fn slept(&mut self, asleep: Duration) -> bool {
        asleep > mem::replace(&mut self.asleep, asleep) + SLEPT
    }

    /// What has happened since the last call. Never waits.
    pub fn take(&mut self) -> Change {
        self.take_at(Instant::now())
    }

    /// What has happened, at this moment.
    fn take_at(&mut self, now: Instant) -> Change {
        let (mut changed, mut any) = (BTreeSet::new(), false);
        if let Some(messages) = &self.messages {
            let mut buffer = [0; MESSAGE_BYTES];
            loop {
                match receive(messages, &mut buffer) {
                    Ok(message) => changed.extend(cpu(message)),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // Most likely there was no room for all messages.
                    Err(_) => {
                        any = true;
                        break;
                    }
                }
            }
        }
        if now.saturating_duration_since(self.looked) >= LOOK_INTERVAL {
            self.looked = now;
            any |= self.slept(asleep()) || self.messages.is_none();
        }
        if any {
            Change::Any
        } else if changed.is_empty() {
            Change::None
        } else {
            Change::Of(changed)
        }
    }
}

/// Whether a perf event is still alive: its time goes on, whether or not anything happens. One whose
/// CPU was switched off and on again stands still. Wakes the CPU up, if it idles. `ran` is what this
/// said the last time, at first 0.
pub fn is_alive(counter: &mut Counter, ran: &mut Duration) -> bool {
    let Ok(data) = counter.read_full() else {
        return false;
    };
    let runs = data.time_enabled().unwrap_or_default();
    runs > mem::replace(ran, runs)
}

/// How long the machine has slept since it was booted.
///
/// The clock that does not run in sleep is read last, so that an interruption between the two makes
/// it less and is never taken for a sleep; the most of several is one without an interruption.
fn asleep() -> Duration {
    let compared = (0..ATTEMPTS).map(|_| {
        let since_boot = clock::since_boot();
        since_boot.saturating_sub(Duration::from_nanos(clock::monotonic_ns()))
    });
    compared.max().unwrap_or_default()
}

fn open() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the call takes numbers only.
    let socket = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_KOBJECT_UEVENT) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // First, so that nothing else is ever in the queue.
    filter(&socket)?;
    // SAFETY: a plain structure of integers.
    let mut address: libc::sockaddr_nl = unsafe { mem::zeroed() };
    address.nl_family = libc::sa_family_t::try_from(libc::AF_NETLINK).unwrap_or_default();
    address.nl_groups = KERNEL;
    let length = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or_default();
    // SAFETY: the address is as long as is said, and lives across the call.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

/// Has the kernel keep back what is not about CPUs: a container that starts makes dozens of messages,
/// and each would wake whoever waits.
fn filter(socket: &OwnedFd) -> io::Result<()> {
    /// `online` and `offline`, after which messages are equal.
    const ACTIONS: [u32; 2] = [6, 7];
    let load = |offset| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0);
    let give = |bytes| step(libc::BPF_RET | libc::BPF_K, bytes, 0, 0);
    // A message that is too short for a load is kept back.
    let word = |from: usize| {
        let bytes: [u8; 4] = std::array::from_fn(|at| PLACE.as_bytes()[from + at]);
        u32::from_be_bytes(bytes)
    };
    let mut program = Vec::new();
    for length in ACTIONS {
        // The place is six words long; what is not equal goes on behind the six comparisons and the end.
        for number in 0..6_u8 {
            program.push(load(length + 4 * u32::from(number)));
            let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
            let behind = 2 * (5 - number) + 1;
            program.push(step(equal, word(4 * usize::from(number)), 0, behind));
        }
        program.push(give(u32::MAX));
    }
    program.push(give(0));
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap_or_default(),
        filter: program.as_mut_ptr(),
    };
    let length = libc::socklen_t::try_from(size_of_val(&program)).unwrap_or_default();
    // SAFETY: the program has as many steps as it says, which live across the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            length,
        )
    };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn step(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    let code = u16::try_from(code).unwrap_or_default();
    libc::sock_filter { code, jt, jf, k }
}

fn receive<'a>(socket: &OwnedFd, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    // SAFETY: the buffer is as long as is said, and lives across the call.
    let length = unsafe {
        let to = buffer.as_mut_ptr().cast();
        libc::recv(socket.as_raw_fd(), to, buffer.len(), 0)
    };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    Ok(&buffer[..length])
}

/// The CPU that a message is about.
fn cpu(message: &[u8]) -> Option<u32> {
    let head = message.split(|byte| *byte == 0).next()?;
    let head = std::str::from_utf8(head).ok()?;
    let number = head
        .strip_prefix("online")
        .or_else(|| head.strip_prefix("offline"))?;
    number.strip_prefix(PLACE)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_cpus() {
        let check = |message: &str, want| assert_eq!(cpu(message.as_bytes()), want, "{message}");
        check("online@/devices/system/cpu/cpu1\0ACTION=online\0", Some(1));
        check("offline@/devices/system/cpu/cpu127", Some(127));
        check("change@/devices/system/cpu/cpu1\0", None);
        check("online@/devices/system/cpu/cpuidle\0", None);
        check("online@/devices/system/memory/memory1\0", None);
        check("", None);
        assert_eq!(cpu(b"online@/devices/system/cpu/cpu\xff"), None);
    }

    #[test]
    fn nothing_changes_while_nothing_is_switched() {
        let mut changes = CpuChanges::listen();
        assert!(changes.descriptor().is_some(), "the kernel's messages");
        assert_eq!(changes.take(), Change::None);
    }

    #[test]
    fn where_the_kernel_tells_nothing_all_are_looked_at_now_and_then() {
        let mut changes = CpuChanges {
            messages: None,
            looked: Instant::now(),
            asleep: asleep(),
        };
        let begun = changes.looked;
        let check = |changes: &mut CpuChanges, after: Duration, want| {
            assert_eq!(changes.take_at(begun + after), want, "after {after:?}");
        };
        let just_before = LOOK_INTERVAL.saturating_sub(Duration::from_millis(1));
        check(&mut changes, Duration::ZERO, Change::None);
        check(&mut changes, just_before, Change::None);
        check(&mut changes, LOOK_INTERVAL, Change::Any);
        check(&mut changes, LOOK_INTERVAL + just_before, Change::None);
        check(&mut changes, LOOK_INTERVAL * 2, Change::Any);
    }

    #[test]
    fn after_a_sleep_any_may_have_been_off() {
        let mut changes = CpuChanges::listen();
        let before = asleep();
        let check = |changes: &mut CpuChanges, later: u64, want| {
            let asleep = before + Duration::from_millis(later);
            assert_eq!(changes.slept(asleep), want, "{later} ms later");
        };
        check(&mut changes, 1, false);
        check(&mut changes, 1_000, true);
        check(&mut changes, 1_001, false);
    }
}
