//! A node that does something of everything that is watched: GPUs that work and fail, programs that
//! call CUDA, speak, crash, connect, read, and are told from each other.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    block::known_requests,
    cuda::{Program, WORKLOAD_AGENT, known_work_of, more_work, slow_work},
    golden::{SPEAKS, Speaker},
    gpu::{EVERYTHING, Node, is_complete, is_read_twice, without_errors},
    poll::poll_until,
    process::{Agent, known_calls},
};

/// The type of nodes that the alerts on GPUs ask about, and a collector for spans that does not listen.
const TRACED_GPU_NODE: &str =
    "[monitoring]\nnode_type = \"gpu\"\notlp_endpoint = \"http://127.0.0.1:9\"\n";

/// What is in the environment of programs that crash.
const CRASHES: &str = "MONITORING_TEST_CRASHES";

pub(super) struct World {
    pub(super) agent: Agent,
    speaker: Speaker,
    libraries: TempDir,
    _users: [Program; 2],
    _gpus: Node,
    _folder: TempDir,
}

impl World {
    pub(super) fn start() -> Self {
        let gpus = Node::new(&without_errors());
        let folder = tempfile::tempdir().unwrap();
        let agent = Agent::with_config(folder.path(), &configuration(&gpus));
        let (held, libraries) = known_work_of(&agent, "workload");
        let holder = slow_work(libraries.path());
        poll_until("the GPUs are read twice", || {
            is_read_twice(&agent.fresh_metrics()).then_some(())
        });
        gpus.rewrite(&with_all_errors(held.pid()));
        poll_until("GPUs tell what comes last", || {
            is_complete(&agent.fresh_metrics()).then_some(())
        });
        Self {
            agent,
            speaker: Speaker::start(),
            libraries,
            _users: [held, holder],
            _gpus: gpus,
            _folder: folder,
        }
    }

    /// A round of work: a moment of a busy node.
    pub(super) fn work(&mut self) {
        self.speaker.say_all();
        more_work(self.libraries.path());
        known_calls(10, 10);
        known_requests();
        crash();
        exchange();
        is_refused();
    }
}

fn configuration(gpus: &Node) -> String {
    let agents = [("speaker", SPEAKS), ("crasher", CRASHES)].map(|(name, variable)| {
        format!("[[agents]]\nname = \"{name}\"\nenvironment = [\"{variable}=*\"]\n")
    });
    let peers = "[[peers]]\nname = \"this node\"\naddresses = \"127.0.0.0/8\"\ntype = \"test\"\n";
    let more = "[sources.cuda]\noverhead_budget = 1.0\n";
    let node = gpus.config().replacen("[monitoring]\n", TRACED_GPU_NODE, 1);
    node + WORKLOAD_AGENT + &agents.concat() + peers + more
}

/// GPUs with a critical error of each class, of which the workload holds memory.
fn with_all_errors(pid: u32) -> String {
    let more = [48, 94, 999].map(|code| format!("[[gpus.xids]]\ncode = {code}\n"));
    let more = more.concat() + "[[gpus.processes]]";
    let script = EVERYTHING.replacen("[[gpus.processes]]", &more, 1);
    script.replace("pid = 4194304", &format!("pid = {pid}"))
}

/// A process of the agent `crasher` that a signal ends.
pub(super) fn crash() {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -c 0; kill -SEGV $$"])
        .env(CRASHES, "1");
    let status = shell.stdout(Stdio::null()).status().unwrap();
    assert!(!status.success());
}

/// The rule by which the agent knows programs that crash.
pub(super) fn crasher() -> String {
    format!("[[agents]]\nname = \"crasher\"\nenvironment = [\"{CRASHES}=*\"]\n")
}

/// A connection that is refused: to the near end of another one, where nobody listens.
fn is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let refused = TcpStream::connect(client.local_addr().unwrap());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

/// A TCP connection over loopback, with a byte in each direction.
fn exchange() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let mut byte = [0];
    client.write_all(&[1]).unwrap();
    server.read_exact(&mut byte).unwrap();
    server.write_all(&[2]).unwrap();
    client.read_exact(&mut byte).unwrap();
}
