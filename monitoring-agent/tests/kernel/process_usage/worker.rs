//! A process of its own that uses what it is told to: this suite's binary, started once more.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Write as _},
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    process::{Child, ChildStdin, Command, Stdio},
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{self, Receiver},
    },
    thread,
};

use monitoring_agent::config::AgentRule;

use crate::{
    node::Node,
    poll::{PATIENCE, poll_until},
};

/// The agent that workers belong to.
pub(crate) const AGENT: &str = "worker";

/// What tells a worker from the suite itself, in its environment.
const MARK: &str = "MONITORING_TEST_WORKER";

/// Begins each answer of a worker, among what the test harness prints.
const ANSWER: &str = "worker: ";

/// The rule that matches workers.
pub(crate) fn rule(agent: &str) -> AgentRule {
    AgentRule {
        name: agent.to_owned(),
        environment: vec![glob::Pattern::new(&format!("{MARK}=1")).unwrap()],
        ..AgentRule::default()
    }
}

/// A running worker; it ends with the test.
pub(crate) struct Worker {
    child: Child,
    orders: ChildStdin,
    answers: Receiver<String>,
}

impl Worker {
    /// Starts a worker and waits until it is labelled.
    pub(crate) fn start(node: &Node) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "process_usage::worker::works", "--ignored"]);
        command.args(["--nocapture", "--test-threads=1"]);
        command.env(MARK, "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (words, answers) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        // Ends with the worker, or when nobody listens any more.
        thread::spawn(move || {
            let lines = output.lines().map_while(Result::ok);
            for line in lines {
                // The harness's own words may stand before it on the line.
                if let Some((_, answer)) = line.split_once(ANSWER)
                    && words.send(answer.trim().to_owned()).is_err()
                {
                    break;
                }
            }
        });
        let mut worker = Self {
            orders: child.stdin.take().unwrap(),
            answers,
            child,
        };
        worker.order("nothing");
        poll_until("the worker's label", || {
            (node.labels.agent_of(worker.pid())? == AGENT).then_some(())
        });
        worker
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has the worker do something and gives its answer when that is done.
    pub(crate) fn order(&mut self, order: &str) -> String {
        self.begin(order);
        self.answer()
    }

    /// Has the worker do something.
    pub(crate) fn begin(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    /// The answer to the order before.
    pub(crate) fn answer(&mut self) -> String {
        let answer = self.answers.recv_timeout(PATIENCE);
        answer.expect("the worker lives and answers in time")
    }

    /// CPU time of the worker and of its children that it waited for, in nanoseconds.
    pub(crate) fn used_ns(&mut self) -> f64 {
        self.used_modes_ns().iter().sum()
    }

    /// The same by mode: user, system.
    pub(crate) fn used_modes_ns(&mut self) -> [f64; 2] {
        self.begin("used");
        self.answer_ns()
    }

    /// The answer to the order `used`.
    pub(crate) fn answer_ns(&mut self) -> [f64; 2] {
        let answer = self.answer();
        let (user, system) = answer.split_once(' ').unwrap();
        [user, system].map(|us| us.parse::<f64>().unwrap() * 1e3)
    }

    /// Ends the worker, and waits for its end; gives all CPU time that it ever used, its end and
    /// the children that it waited for included, in nanoseconds.
    pub(crate) fn end(mut self) -> f64 {
        let before = times_us(libc::RUSAGE_CHILDREN);
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let after = times_us(libc::RUSAGE_CHILDREN);
        (after.iter().sum::<i64>() - before.iter().sum::<i64>()) as f64 * 1e3
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Ends the process that `start` made; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "the process that other tests start"]
fn works() {
    assert!(
        std::env::var_os(MARK).is_some(),
        "only other tests run this"
    );
    let mut held = Held::default();
    for order in io::stdin().lines() {
        let order = order.unwrap();
        let words: Vec<_> = order.split(' ').collect();
        let answer = obey(&words, &mut held);
        println!("{ANSWER}{answer}");
    }
}

/// What a worker holds until its end.
#[derive(Default)]
struct Held {
    files: Vec<File>,
    spinning: Arc<AtomicBool>,
    spinners: Vec<thread::JoinHandle<()>>,
    thread: Option<mpsc::Sender<()>>,
}

fn obey(words: &[&str], held: &mut Held) -> String {
    let number = |at: usize| words[at].parse::<usize>().unwrap();
    match words[0] {
        "nothing" => {}
        "burn" => burn_in_threads(number(1), number(2)),
        "forks" => (0..number(1)).for_each(|_| fork_and_wait(number(2))),
        "spin" => held.spin(number(1)),
        "calm" => held.calm(),
        "burn-in-a-thread" => held.burn_in_a_thread(number(1)),
        "execute-in-that-thread" => held.execute(),
        "used" => {
            let [user, system] = used_us();
            return format!("{user} {system}");
        }
        "children" => (0..number(1)).for_each(|_| pause_in_child()),
        "zombie" => leave_zombie(),
        "threads" => (0..number(1)).for_each(|_| {
            thread::spawn(thread::park);
        }),
        "files" => {
            let files = (0..number(1)).map(|_| File::open("/dev/null").unwrap());
            held.files.extend(files);
        }
        "heap" => grow_heap(number(1)),
        "anon" => map(number(1), libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, None),
        "shmem" => map(number(1), libc::MAP_SHARED | libc::MAP_ANONYMOUS, None),
        "file" => {
            let program = File::open("/proc/self/exe").unwrap();
            map(number(1), libc::MAP_PRIVATE, Some(&program));
        }
        other => panic!("no order {other}"),
    }
    String::new()
}

impl Held {
    /// Burns in a thread that goes on to exist.
    fn burn_in_a_thread(&mut self, ms: usize) {
        let (burnt, is_burnt) = mpsc::channel();
        let (go, gone) = mpsc::channel();
        thread::spawn(move || {
            burn(ms);
            burnt.send(()).unwrap();
            gone.recv().unwrap();
            let arguments = std::env::args_os().skip(1);
            let error = Command::new("/proc/self/exe").args(arguments).exec();
            panic!("{error}");
        });
        is_burnt.recv().unwrap();
        self.thread = Some(go);
    }

    /// Has that thread execute this program anew, in the place of all threads.
    fn execute(&self) {
        self.thread.as_ref().unwrap().send(()).unwrap();
        // The program that follows takes the next order.
        thread::park();
    }

    fn spin(&mut self, threads: usize) {
        self.spinning.store(true, Relaxed);
        for _ in 0..threads {
            let spinning = Arc::clone(&self.spinning);
            let spin = move || while spinning.load(Relaxed) {};
            self.spinners.push(thread::spawn(spin));
        }
    }

    fn calm(&mut self) {
        self.spinning.store(false, Relaxed);
        for spinner in self.spinners.drain(..) {
            spinner.join().unwrap();
        }
    }
}

/// Uses that much CPU time in the calling thread.
pub(crate) fn burn(ms: usize) {
    let used_ms = || {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: fills the time.
        unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
    };
    let end = used_ms() + i64::try_from(ms).unwrap();
    while used_ms() < end {}
}

fn burn_in_threads(threads: usize, ms: usize) {
    let threads: Vec<_> = (0..threads)
        .map(|_| thread::spawn(move || burn(ms)))
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

fn fork_and_wait(ms: usize) {
    assert_eq!(crate::work::in_fork(|| burn(ms)), 0);
}

fn pause_in_child() {
    // SAFETY: the child makes system calls only; it ends with its parent.
    unsafe {
        if libc::fork() == 0 {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::pause();
            libc::_exit(0);
        }
    }
}

fn leave_zombie() {
    // SAFETY: the child makes system calls only. Waiting with WNOWAIT leaves it a zombie.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(0);
        }
        let mut info = std::mem::zeroed();
        let child = libc::id_t::try_from(child).unwrap();
        let options = libc::WEXITED | libc::WNOWAIT;
        libc::waitid(libc::P_PID, child, &raw mut info, options);
    }
}

/// CPU time of the calling process and of its children that it waited for: user, system.
pub(crate) fn used_us() -> [i64; 2] {
    let own = times_us(libc::RUSAGE_SELF);
    let children = times_us(libc::RUSAGE_CHILDREN);
    [own[0] + children[0], own[1] + children[1]]
}

fn times_us(of: libc::c_int) -> [i64; 2] {
    // SAFETY: fills the usage, for which zeros are valid.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(of, &raw mut usage);
        usage
    };
    [usage.ru_utime, usage.ru_stime].map(|time| time.tv_sec * 1_000_000 + time.tv_usec)
}

fn grow_heap(mebibytes: usize) {
    let bytes = mebibytes << 20;
    // SAFETY: moves the end of the heap, beyond which nothing is; the new part is written to.
    unsafe {
        let start = libc::sbrk(isize::try_from(bytes).unwrap()).cast::<u8>();
        assert_ne!(start.addr(), usize::MAX, "{}", io::Error::last_os_error());
        ptr::write_bytes(start, 1, bytes);
    }
}

/// Maps and touches memory, for good.
fn map(mebibytes: usize, flags: libc::c_int, file: Option<&File>) {
    let bytes = mebibytes << 20;
    let descriptor = file.map_or(-1, File::as_raw_fd);
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping. Of a file it is only read, and the file is longer.
    unsafe {
        let start = libc::mmap(ptr::null_mut(), bytes, protection, flags, descriptor, 0);
        assert_ne!(start, libc::MAP_FAILED, "{}", io::Error::last_os_error());
        let start = start.cast::<u8>();
        for offset in (0..bytes).step_by(4096) {
            if file.is_some() {
                start.add(offset).read_volatile();
            } else {
                start.add(offset).write_volatile(1);
            }
        }
    }
}
