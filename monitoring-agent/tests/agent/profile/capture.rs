//! Asks the agent for profiles, as a client does, and reads them.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use monitoring_agent::sources::SOURCES;
use monitoring_profile::{LabelValueRef, Profile, SampleRef, pprof};

use crate::{
    poll::{PATIENCE, poll_until},
    process::Agent,
};

/// Where pprof files come from.
pub(super) const PPROF: &str = "/debug/pprof/profile";

/// A capture's hooks are attached one soon after the other: all are, once none has come for so long.
const SETTLED: Duration = Duration::from_millis(500);

/// Sources that run beside the profiler: the one that labels processes.
const BESIDE: [&str; 2] = ["process", "profile"];

/// Stacks, root first, by the names of their functions, and how much each has.
pub(super) type Stacks = BTreeMap<Vec<String>, i64>;

/// What the agent answers.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The body as text, for people.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The profile that it is.
    pub(super) fn profile(&self) -> Profile {
        assert_eq!(self.status, 200, "{}\n{}", self.head, self.text());
        pprof::read(&self.body, pprof::Limits::default()).expect("a whole profile")
    }
}

/// An agent that profiles without keeping a history, with more keys of `[sources.profile]` and
/// whatever is to follow.
pub(super) fn agent(folder: &Path, more: &str) -> Agent {
    agent_with(folder, &format!("history = false\n{more}"))
}

/// An agent that profiles, with these keys of `[sources.profile]` and whatever is to follow. No
/// other source runs but the one that labels processes, so that the agent starts quickly.
pub(crate) fn agent_with(folder: &Path, profile: &str) -> Agent {
    let others = SOURCES.iter().map(|source| source.name);
    let others = others.filter(|name| !BESIDE.contains(name));
    let others = others.map(|name| format!("[sources.{name}]\nenabled = false"));
    let mut sections: Vec<_> = others.collect();
    sections.push(format!("[sources.profile]\n{profile}"));
    Agent::with_config(folder, &sections.join("\n"))
}

/// A GET request whose answer may take so much longer than an ordinary one.
pub(super) fn fetch(address: &str, path: &str, longer: Duration) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE + longer)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.expect("a head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let body = bytes.split_off(end + 4);
    assert!(
        !head.to_lowercase().contains("transfer-encoding"),
        "the length is known: {head}"
    );
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body }
}

/// A capture that runs while the test does something.
pub(super) struct Capture(JoinHandle<Answer>);

impl Capture {
    /// Begins a capture, in the form that `path` gives, and waits until it samples.
    pub(super) fn begin(agent: &Agent, path: &str, seconds: u32, query: &str) -> Self {
        let pid = agent.process.child.id();
        let before = hooks(pid);
        let path = format!("{path}?seconds={seconds}&{query}");
        let path = path.trim_end_matches('&').to_owned();
        let address = agent.address.clone();
        let longer = Duration::from_secs(seconds.into());
        let capture = Self(thread::spawn(move || fetch(&address, &path, longer)));
        capture.wait_until_sampling(pid, before);
        capture
    }

    /// Fails the test if the capture is over already, and so may have missed something.
    pub(super) fn must_still_run(&self) {
        assert!(
            !self.0.is_finished(),
            "the machine is too slow: the capture is over"
        );
    }

    /// The answer, once the time is over.
    pub(super) fn answer(self) -> Answer {
        self.0.join().unwrap()
    }

    /// The profile, once the time is over.
    pub(super) fn profile(self) -> Profile {
        self.answer().profile()
    }

    fn wait_until_sampling(&self, agent: u32, before: usize) {
        wait_until_settled_while(agent, before, || {
            assert!(!self.0.is_finished(), "the capture has ended too early");
        });
    }
}

/// Waits until a process has more hooks than before, and gets no more.
pub(super) fn wait_until_settled(pid: u32, before: usize) {
    wait_until_settled_while(pid, before, || {});
}

fn wait_until_settled_while(pid: u32, before: usize, check: impl Fn()) {
    let (mut count, mut since) = (before, Instant::now());
    poll_until("all hooks are attached", || {
        check();
        let now = hooks(pid);
        if now != count {
            (count, since) = (now, Instant::now());
        }
        (count > before && since.elapsed() > SETTLED).then_some(())
    });
}

/// Events and links of kernel programs that a process holds.
pub(super) fn hooks(pid: u32) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let targets = descriptors.map_while(Result::ok);
    let targets = targets.filter_map(|entry| fs::read_link(entry.path()).ok());
    let names = targets.map(|target| target.display().to_string());
    let is_hook = |name: &String| {
        ["perf_event", "bpf_link", "bpf-raw-tracepoint"]
            .iter()
            .any(|kind| name.contains(kind))
    };
    names.filter(is_hook).count()
}

/// The number of a profile's value of this name.
pub(super) fn type_named(profile: &Profile, kind: &str) -> usize {
    let found = profile.type_named(kind);
    found.unwrap_or_else(|| panic!("no {kind} in {:?}", profile.sample_types()))
}

/// A sample's label as text; empty where it has none.
pub(super) fn label(sample: &SampleRef<'_>, key: &str) -> String {
    let label = sample.label(key);
    label.map_or_else(String::new, |label| label.value.to_string())
}

/// Whether a sample is of this process.
pub(super) fn is_of(sample: &SampleRef<'_>, pid: u32) -> bool {
    let label = sample.label("pid").map(|label| label.value);
    matches!(label, Some(LabelValueRef::Number { value, .. }) if value == i64::from(pid))
}

/// Names of a sample's functions, root first.
pub(super) fn names(profile: &Profile, sample: &SampleRef<'_>) -> Vec<String> {
    let locations = sample.stack.iter().map(|id| profile.location_at(*id));
    let lines = locations.flat_map(|location| location.lines.iter());
    let names = lines.map(|line| profile.function_at(line.function).name.to_owned());
    let mut names: Vec<String> = names.collect();
    names.reverse();
    names
}

/// The stacks of the samples that are wanted, by a value of this name.
pub(super) fn stacks(
    profile: &Profile,
    kind: &str,
    wanted: impl Fn(&SampleRef<'_>) -> bool,
) -> Stacks {
    let value = type_named(profile, kind);
    let mut stacks = Stacks::new();
    for sample in profile.samples().filter(wanted) {
        *stacks.entry(names(profile, &sample)).or_default() += sample.values[value];
    }
    stacks
}

/// How much the stacks have that this is true of.
pub(super) fn sum_of(stacks: &Stacks, wanted: impl Fn(&[String]) -> bool) -> i64 {
    let wanted = stacks.iter().filter(|(stack, _)| wanted(stack));
    wanted.map(|(_, value)| value).sum()
}

/// Whether a stack has these functions one after the other.
pub(super) fn has_chain(stack: &[String], chain: &[&str]) -> bool {
    stack.windows(chain.len()).any(|part| part == chain)
}

/// The stacks as text, largest first, for a test that fails.
pub(super) fn shown(stacks: &Stacks) -> String {
    let mut sorted: Vec<_> = stacks.iter().collect();
    sorted.sort_by_key(|(_, value)| std::cmp::Reverse(**value));
    let lines = sorted.iter().take(40);
    let lines = lines.map(|(stack, value)| format!("{value:>14} {}", stack.join(";")));
    lines.collect::<Vec<_>>().join("\n")
}
