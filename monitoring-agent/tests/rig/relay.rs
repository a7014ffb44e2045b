//! A wire with a known delay: packets go from one node's TUN device to the other's, in order, each
//! at a fixed time after it came. Not every kernel has netem, which would do the same.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{Namespace, namespace::check, wire::DEVICE};

/// `TUNSETIFF`: `_IOW('T', 202, int)`.
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;

/// More than a packet of the device has, which by default are at most 1,500 bytes.
const PACKET_SIZE: usize = 2048;

/// How often a waiting thread looks whether it is to end, in milliseconds.
const LOOK_MS: libc::c_int = 50;

/// Ends, and with it both devices, when it is dropped.
pub(super) struct Relay {
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Makes a device on both nodes and relays between them.
    pub(super) fn start(nodes: [&Namespace; 2], delay: Duration) -> Self {
        let [one, other] = nodes.map(|node| Arc::new(node.within(device)));
        let ended = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (from, to) in [(Arc::clone(&one), Arc::clone(&other)), (other, one)] {
            let (sender, receiver) = mpsc::channel();
            let ended = Arc::clone(&ended);
            threads.push(thread::spawn(move || take(&from, &ended, delay, &sender)));
            threads.push(thread::spawn(move || give(&to, &receiver)));
        }
        Self { ended, threads }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that panicked has said so; a second panic would hide why the test ends.
            let _ = thread.join();
        }
    }
}

/// A packet, and when it is due.
type Due = (Instant, Vec<u8>);

fn take(device: &File, ended: &AtomicBool, delay: Duration, packets: &mpsc::Sender<Due>) {
    let mut buffer = [0; PACKET_SIZE];
    while !ended.load(Ordering::Relaxed) {
        let mut ready = libc::pollfd {
            fd: device.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: `ready` is one entry, as the call is told, and lives across it.
        if unsafe { libc::poll(&raw mut ready, 1, LOOK_MS) } == 1 {
            let mut device = device;
            let length = device.read(&mut buffer).expect("a packet from the device");
            let due = Instant::now() + delay;
            if packets.send((due, buffer[..length].to_vec())).is_err() {
                return;
            }
        }
    }
}

fn give(mut device: &File, packets: &mpsc::Receiver<Due>) {
    for (due, packet) in packets {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        match device.write(&packet) {
            Ok(given) => assert_eq!(given, packet.len()),
            // A node that is not up yet takes nothing, as on any wire.
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}"),
        }
    }
}

/// A TUN device in the calling thread's namespace, which ends with its descriptor.
fn device() -> File {
    let tun = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun");
    let tun = tun.expect("the tests need root, and a kernel with CONFIG_TUN");
    // SAFETY: all zeroes is a valid request.
    let mut request = unsafe { std::mem::zeroed::<libc::ifreq>() };
    for (to, from) in request.ifr_name.iter_mut().zip(DEVICE.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = flags.try_into().unwrap();
    // SAFETY: `request` is what the call wants and lives across it.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETIFF, &raw mut request) }).unwrap();
    tun
}
