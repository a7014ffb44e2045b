//! The traffic's ends as programs of their own: the test's executable, told by its environment what
//! to be. A test speaks with them over their standard input and output.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use super::{Namespace, Plan, Role};

/// The variable that makes the executable a program, with the plan. Its name begins differently for
/// each role, so that the agent's rules can tell them apart.
const VARIABLES: [(Role, &str); 2] = [(Role::Client, "RIG_CLIENT"), (Role::Server, "RIG_SERVER")];

/// What a program says begins so, to tell it from what the test harness prints.
const SAYS: &str = "rig: ";

/// How often a program that waits for its start makes a system call, in milliseconds.
const LOOK_MS: libc::c_int = 5;

/// A running end of the traffic. It is killed when it is dropped.
pub(crate) struct Program {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Program {
    /// Starts one end. It does nothing with sockets until it is told to [begin](Self::begin).
    pub(crate) fn start(node: &Namespace, role: Role, plan: &Plan) -> Self {
        let executable = env::current_exe().unwrap();
        let mut command = node.command(executable.to_str().unwrap());
        let mut child = as_program(&mut command)
            .env(variable(role), plan.to_text())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let said = line.split_once(SAYS).map(|(_, said)| said.to_owned());
                if said.is_some_and(|said| sender.send(said).is_err()) {
                    return;
                }
            }
        });
        Self {
            child,
            input,
            lines,
        }
    }

    /// The glob on an environment entry that tells this role's programs.
    pub(crate) fn environment(role: Role) -> String {
        format!("{}=*", variable(role))
    }

    /// Lets it begin. A server is listening when this returns.
    pub(crate) fn begin(&mut self) {
        self.tell();
        self.wait_for("begun", Duration::from_secs(10));
    }

    /// Waits until all bytes are exchanged and verified. The last connection of each lane is open.
    pub(crate) fn wait_until_exchanged(&self, patience: Duration) {
        self.wait_for("exchanged", patience);
    }

    /// Whether all bytes are exchanged and verified, without waiting. True once.
    pub(crate) fn has_exchanged(&self) -> bool {
        match self.lines.try_recv() {
            Ok(said) => said == "exchanged",
            Err(mpsc::TryRecvError::Empty) => false,
            Err(mpsc::TryRecvError::Disconnected) => panic!("the program ended early; see above"),
        }
    }

    /// Lets it close its last connections and end.
    pub(crate) fn end(mut self) {
        self.tell();
        self.wait_for("ended", Duration::from_secs(10));
        assert!(self.child.wait().unwrap().success());
    }

    fn tell(&mut self) {
        self.input.write_all(b"\n").expect("the program listens");
    }

    fn wait_for(&self, word: &str, patience: Duration) {
        let deadline = Instant::now() + patience;
        match self.lines.recv_timeout(patience) {
            Ok(said) => assert_eq!(said, word),
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("not {word} within {patience:?}"),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let left = deadline.saturating_duration_since(Instant::now());
                panic!("the program ended before it had {word}, with {left:?} left; see above");
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn variable(role: Role) -> &'static str {
    let [(_, client), (_, server)] = VARIABLES;
    match role {
        Role::Client => client,
        Role::Server => server,
    }
}

/// Makes the command run nothing but [`the_traffic_is_exchanged_and_verified`].
fn as_program(command: &mut Command) -> &mut Command {
    let (_, module) = module_path!().split_once("::").unwrap();
    let test = format!("{module}::the_traffic_is_exchanged_and_verified");
    command.args([&test, "--exact", "--nocapture", "--test-threads=1"])
}

/// One end, as a program.
fn run(role: Role, plan: &Plan) {
    poll_for_start();
    plan.run(
        role,
        || say("begun"),
        || {
            say("exchanged");
            hear();
        },
    );
    say("ended");
}

/// Makes a system call every few milliseconds until there is a line, by which an agent's label for
/// this program can be seen from outside before it matters.
fn poll_for_start() {
    let mut input = libc::pollfd {
        fd: libc::STDIN_FILENO,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: `input` is one entry, as the call is told, and lives across it.
    while unsafe { libc::poll(&raw mut input, 1, LOOK_MS) } == 0 {}
    hear();
}

/// Waits for a line. Ends the program where the test is gone.
fn hear() {
    let mut line = String::new();
    let length = std::io::stdin().read_line(&mut line).unwrap();
    assert_ne!(length, 0, "the test has ended");
}

fn say(word: &str) {
    println!("\n{SAYS}{word}");
}

/// In an ordinary run, both ends on threads; in a program, the one that it is told to be.
#[test]
fn the_traffic_is_exchanged_and_verified() {
    for (role, variable) in VARIABLES {
        if let Some(plan) = Plan::from_variable(variable) {
            return run(role, &plan);
        }
    }
    let plan = Plan {
        addresses: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        connections: 20,
        lanes: 4,
        rounds: 3,
        message_size: 100_000,
    };
    let node = Namespace::new();
    let (sender, listening) = mpsc::channel();
    let ready = || sender.send(()).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| node.within(|| plan.run(Role::Server, ready, || {})));
        listening.recv().unwrap();
        node.within(|| plan.run(Role::Client, || {}, || {}));
    });
}
