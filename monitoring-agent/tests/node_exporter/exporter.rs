//! The real `node_exporter`: its process, and the text that it answers with. Knows nothing of ours.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
};

use crate::{DEADLINE, FAMILIES, Look};

/// A running `node_exporter`, ended when dropped.
pub(crate) struct Exporter {
    child: Child,
    address: SocketAddr,
}

impl Exporter {
    pub(crate) fn start() -> Self {
        let mut child = Command::new("prometheus-node-exporter")
            // What the host source leaves out: the defaults of the project's 1.5, some of which
            // Debian and later versions change.
            .arg("--collector.netdev.device-exclude=^$")
            .arg(
                "--collector.filesystem.mount-points-exclude=^/(dev|proc|run/credentials/.+|sys|\
                 var/lib/docker/.+|var/lib/containers/storage/.+)($|/)",
            )
            .arg(
                "--collector.filesystem.fs-types-exclude=^(autofs|binfmt_misc|bpf|cgroup2?|\
                 configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay|\
                 proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|sysfs|tracefs)$",
            )
            .arg(
                "--collector.diskstats.device-exclude=^(ram|loop|fd|(h|s|v|xv)d[a-z]|\
                 nvme\\d+n\\d+p)\\d+$",
            )
            .args([
                "--web.listen-address=127.0.0.1:0",
                "--log.level=info",
                "--log.format=logfmt",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("prometheus-node-exporter: {error}; `cargo xtask setup` installs it")
            });
        let mut log = BufReader::new(child.stderr.take().expect("it is piped"));
        let (mut line, mut lines) = (String::new(), String::new());
        while log.read_line(&mut line).unwrap() > 0 {
            let address = line
                .split_once("msg=\"Listening on\" address=")
                .map(|(_, after)| after);
            if let Some(address) = address.and_then(|address| address.trim().parse().ok()) {
                // Its pipe must not fill up.
                thread::spawn(move || log.read_to_end(&mut Vec::new()));
                return Self { child, address };
            }
            lines.push_str(&line);
            line.clear();
        }
        panic!("node_exporter ended, status {:?}:\n{lines}", child.wait());
    }

    pub(crate) fn scrape(&self) -> Look {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, text) = answer
            .split_once("\r\n\r\n")
            .expect("an HTTP answer has a head");
        assert!(head.contains(" 200 "), "{head}");
        parse_exposition(text)
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The families of `FAMILIES` in the text format.
fn parse_exposition(text: &str) -> Look {
    let is_ours = |name: &str| FAMILIES.iter().any(|(family, _)| *family == name);
    let mut look = Look::default();
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind
                .split_once(' ')
                .expect("a type line has a name and a type");
            if is_ours(name) && kind == "counter" {
                look.counters.insert(name.to_owned());
            }
            continue;
        }
        let end = line.find(['{', ' ']).unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        if is_ours(name) {
            let (labels, value) = parse_labels(rest);
            let value = value.trim().parse().expect("a sample ends with a number");
            look.samples.insert((name.to_owned(), labels), value);
        }
    }
    look
}

/// Labels in braces, and what comes after them.
fn parse_labels(text: &str) -> (BTreeSet<String>, &str) {
    let mut labels = BTreeSet::new();
    let Some(mut rest) = text.strip_prefix('{') else {
        return (labels, text);
    };
    while let Some((name, quoted)) = rest.trim_start_matches(',').split_once("=\"") {
        let (mut label, mut escaped) = (format!("{name}="), false);
        let end = quoted.find(|character| {
            let ends = character == '"' && !escaped;
            match (escaped, character) {
                (false, '"' | '\\') => {}
                (true, 'n') => label.push('\n'),
                _ => label.push(character),
            }
            escaped = character == '\\' && !escaped;
            ends
        });
        labels.insert(label);
        rest = &quoted[end.expect("a label ends with a quote") + 1..];
        if let Some(value) = rest.strip_prefix('}') {
            return (labels, value);
        }
    }
    panic!("labels without an end: {text}");
}
