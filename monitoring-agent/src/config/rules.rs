//! Matches processes against `[[agents]]` rules.
//!
//! Knows neither where the facts about a process come from nor what an agent's number is. Matching
//! is run for each process of the node and allocates nothing, except for an environment entry that
//! is not UTF-8.

use glob::Pattern;

use super::AgentRule;

/// What the kernel appends to `/proc/PID/exe` once the file has been replaced, as each update of a
/// package does to the programs that run. Such a process is still the same agent.
const REPLACED: &str = " (deleted)";

/// What rules can ask about a process. A fact that is empty matches no pattern, so what could not
/// be read (a kernel thread has no executable) may be left empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity<'a> {
    /// Name of the main thread, `/proc/PID/comm` without its newline. At most 15 bytes for all but
    /// kernel threads.
    pub comm: &'a str,
    /// Path of the executable, the target of `/proc/PID/exe`, as it is there.
    pub exe: &'a str,
    /// Path of the process's cgroup, the part behind `0::` in `/proc/PID/cgroup`.
    pub cgroup: &'a str,
    /// Id of the innermost container the process is in. Left empty when no rule
    /// [needs](AgentRule::needs_containers) it, like the next.
    pub container: &'a str,
    /// Uid of the Kubernetes pod the process is in.
    pub pod: &'a str,
    /// `/proc/PID/environ` as it is: entries `NAME=value`, each ended by a zero byte. Left empty
    /// when no rule [needs](AgentRule::needs_environment) it.
    pub environment: &'a [u8],
}

impl<'a> Identity<'a> {
    /// The executable's path, also of a file that has been replaced.
    fn exe_path(&self) -> &'a str {
        self.exe.strip_suffix(REPLACED).unwrap_or(self.exe)
    }

    /// The executable's file name.
    pub fn exe_name(&self) -> &'a str {
        let path = self.exe_path();
        path.rsplit('/').next().unwrap_or(path)
    }
}

impl AgentRule {
    /// Whether the process belongs to this agent: any pattern of any list matches.
    ///
    /// Patterns are case-sensitive and must match the whole fact; `*` matches `/` too.
    ///
    /// # Example
    ///
    /// ```
    /// use monitoring_agent::config::{Config, Identity};
    ///
    /// let process = Identity { exe: "/usr/bin/gpu-agents-7", ..Identity::default() };
    /// let rules = Config::default().agents;
    /// let agent = rules.iter().find(|rule| rule.matches(&process));
    /// assert_eq!(agent.map(|rule| rule.name.as_str()), Some("gpu-agents"));
    /// ```
    pub fn matches(&self, process: &Identity<'_>) -> bool {
        self.matches_program(process) || self.matches_environment(process.environment)
    }

    /// As [`matches`](Self::matches), but for the environment: what the next process that executes
    /// the same program in the same cgroup has in common with this one.
    pub fn matches_program(&self, process: &Identity<'_>) -> bool {
        any(&self.comm, process.comm)
            || self.matches_exe(process)
            || any(&self.cgroup, process.cgroup)
            || any(&self.container, process.container)
            || any(&self.pod, process.pod)
    }

    /// Whether the answer can depend on the environment. It is the one fact that is dear to read,
    /// and needs `CAP_SYS_PTRACE` for other users' processes.
    pub fn needs_environment(&self) -> bool {
        !self.environment.is_empty()
    }

    /// Whether the answer can depend on the container or the pod.
    pub fn needs_containers(&self) -> bool {
        !(self.container.is_empty() && self.pod.is_empty())
    }

    /// Whether the answer can depend on the cgroup, its container and pod included.
    pub fn needs_cgroup(&self) -> bool {
        self.needs_containers() || !self.cgroup.is_empty()
    }

    fn matches_exe(&self, process: &Identity<'_>) -> bool {
        let (path, name) = (process.exe_path(), process.exe_name());
        self.exe.iter().any(|pattern| {
            let fact = if pattern.as_str().contains('/') {
                path
            } else {
                name
            };
            !fact.is_empty() && pattern.matches(fact)
        })
    }

    /// Whether an entry of the environment matches.
    pub fn matches_environment(&self, environment: &[u8]) -> bool {
        self.needs_environment()
            && environment
                .split(|byte| *byte == 0)
                .any(|entry| any(&self.environment, &String::from_utf8_lossy(entry)))
    }
}

fn any(patterns: &[Pattern], fact: &str) -> bool {
    !fact.is_empty() && patterns.iter().any(|pattern| pattern.matches(fact))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule() -> AgentRule {
        AgentRule {
            name: "agent".to_owned(),
            ..AgentRule::default()
        }
    }

    fn patterns(pattern: &str) -> Vec<Pattern> {
        vec![Pattern::new(pattern).unwrap()]
    }

    #[test]
    fn comm_is_matched_whole() {
        let check = |pattern: &str, comm: &str, want: bool| {
            let rule = AgentRule {
                comm: patterns(pattern),
                ..rule()
            };
            let process = Identity {
                comm,
                exe: "swarmlet",
                cgroup: "swarmlet",
                environment: b"swarmlet",
                ..Identity::default()
            };
            assert_eq!(rule.matches(&process), want, "{pattern} {comm}");
        };
        check("swarmlet", "swarmlet", true);
        check("swarmlet", "swarmlet2", false);
        check("swarmlet", "Swarmlet", false);
        check("swarmlet*", "swarmlet2", true);
        check("worker-?", "worker-7", true);
        check("worker-[0-4]", "worker-7", false);
        check("*", "a/b", true);
        check("*", "", false);
    }

    #[test]
    fn exe_is_matched_by_name_or_path() {
        let check = |pattern: &str, exe: &str, want: bool| {
            let rule = AgentRule {
                exe: patterns(pattern),
                ..rule()
            };
            let process = Identity {
                exe,
                ..Identity::default()
            };
            assert_eq!(rule.matches(&process), want, "{pattern} {exe}");
        };
        check("swarmlet", "/usr/bin/swarmlet", true);
        check("swarmlet", "swarmlet", true);
        check("swarmlet", "/opt/swarmlet/bin/sh", false);
        check("swarmlet", "/usr/bin/swarmlet (deleted)", true);
        check("/opt/*", "/opt/stratoswarm/bin/gpu-agents", true);
        check("/opt/*", "/usr/bin/opt", false);
        check("/opt/**/gpu-agents", "/opt/a/b/gpu-agents", true);
        check(
            "*/bin/gpu-agents",
            "/opt/stratoswarm/bin/gpu-agents (deleted)",
            true,
        );
        check("/usr/bin/swarmlet", "/opt/usr/bin/swarmlet", false);
        check("*", "", false);
        check("*", "/", false);
    }

    #[test]
    fn cgroup_stars_match_slashes() {
        let check = |pattern: &str, cgroup: &str, want: bool| {
            let rule = AgentRule {
                cgroup: patterns(pattern),
                ..rule()
            };
            let process = Identity {
                cgroup,
                ..Identity::default()
            };
            assert_eq!(rule.matches(&process), want, "{pattern} {cgroup}");
        };
        check(
            "*stratoswarm*",
            "/system.slice/stratoswarm.service/job/7",
            true,
        );
        check(
            "/kubepods*/pod42/*",
            "/kubepods.slice/burstable/pod42/c0ffee",
            true,
        );
        check("/kubepods*", "/system.slice/kubepods", false);
        check("/", "/", true);
        check("*", "", false);
    }

    #[test]
    fn containers_and_pods_are_matched_whole() {
        let rule = AgentRule {
            container: patterns("c0ffee*"),
            pod: patterns("0f1e-*"),
            ..rule()
        };
        assert!(rule.needs_containers() && rule.needs_cgroup());
        assert!(!self::rule().needs_cgroup());
        let check = |container: &str, pod: &str, want: bool| {
            let process = Identity {
                container,
                pod,
                cgroup: "c0ffee",
                ..Identity::default()
            };
            assert_eq!(rule.matches(&process), want, "{container} {pod}");
            assert_eq!(rule.matches_program(&process), want, "{container} {pod}");
        };
        check("c0ffee42", "", true);
        check("0c0ffee42", "", false);
        check("", "0f1e-42", true);
        check("", "0f1e", false);
        check("", "", false);
    }

    #[test]
    fn environment_is_matched_by_entry() {
        let check = |pattern: &str, environment: &[u8], want: bool| {
            let rule = AgentRule {
                environment: patterns(pattern),
                ..rule()
            };
            assert!(rule.needs_environment());
            let process = Identity {
                environment,
                ..Identity::default()
            };
            assert_eq!(rule.matches(&process), want, "{pattern} {environment:?}");
            assert!(!rule.matches_program(&process));
        };
        check("SWARM_ROLE=*", b"HOME=/\0SWARM_ROLE=worker\0", true);
        check("SWARM_ROLE=*", b"SWARM_ROLE=worker", true);
        check("SWARM_ROLE=*", b"X_SWARM_ROLE=worker\0", false);
        check("SWARM_ROLE=worker", b"SWARM_ROLE=workers\0", false);
        check("B=*", b"A=\xff\0B=\xff\xfe\0", true);
        check("*", b"", false);
        check("*", b"\0\0", false);
        assert!(!rule().needs_environment());
    }

    proptest! {
        #[test]
        fn no_pattern_and_no_process_panics(
            pattern in "[a-z/*?!\\[\\]\\-. ]{0,12}", fact in "[a-z/. ]{0,24}", environment: Vec<u8>,
        ) {
            if let Ok(pattern) = Pattern::new(&pattern) {
                let list = vec![pattern];
                let rule = AgentRule {
                    name: String::new(),
                    comm: list.clone(), exe: list.clone(), cgroup: list.clone(),
                    container: list.clone(), pod: list.clone(), environment: list,
                };
                rule.matches(&Identity {
                    comm: &fact, exe: &fact, cgroup: &fact, container: &fact, pod: &fact,
                    environment: &environment,
                });
            }
        }

        #[test]
        fn an_escaped_path_matches_itself(path in "(/[a-z*?\\[\\]]{1,6}){1,4}") {
            let rule = AgentRule { exe: patterns(&Pattern::escape(&path)), ..rule() };
            prop_assert!(rule.matches(&Identity { exe: &path, ..Identity::default() }), "{path}");
        }
    }
}
