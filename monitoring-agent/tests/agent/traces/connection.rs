//! A TCP connection between two programs: the call that makes it, its handshake, and its two ends in one
//! trace.

use std::time::{Duration, Instant};

use super::{
    program::{End, Role, SENT_BYTES},
    tree::{Tree, agrees, assert_lasted, integer, is_of, is_within, lasted, says},
};
use crate::{cuda::known_as, poll::poll_until, process::Agent, rotel::shown::Shown};

/// How long the connection is held: long beside what it takes to open and to close it.
const HELD: Duration = Duration::from_millis(400);

/// A connection over loopback is made within the time in which somebody else may run.
pub(super) const CONNECT_SLACK: Duration = Duration::from_millis(50);

/// The agent's name for an end.
pub(super) fn service(role: Role) -> &'static str {
    match role {
        Role::Client => "fetcher",
        Role::Server => "keeper",
    }
}

pub(super) fn rule(role: Role) -> String {
    let (name, variable) = (service(role), role.variable());
    format!("[[agents]]\nname = '{name}'\nenvironment = '{variable}=*'\n")
}

/// What an end says of itself.
struct Said {
    pid: u32,
    tid: u64,
    port: u64,
    lasted: Duration,
}

/// What both say.
pub(super) struct Work {
    client: Said,
    server: Said,
    connected: Duration,
}

/// An end that the agent knows, and that has done nothing yet.
pub(super) fn known_end(role: Role, agent: &Agent, address: &str) -> End {
    let end = End::start(role, address);
    known_as(agent, service(role));
    end
}

impl Work {
    /// Both ends, of which the agent knows.
    pub(super) fn run(agent: &Agent, address: &str) -> Self {
        let client = known_end(Role::Client, agent, address);
        let server = known_end(Role::Server, agent, address);
        Self::between(client, server)
    }

    /// A connection between them.
    pub(super) fn between(mut client: End, mut server: End) -> Self {
        server.tell("begin");
        let [port] = server.hears();
        client.tell(&port.to_string());
        let [clients_port] = client.hears();
        let begun = Instant::now();
        poll_until("the connection was held", || {
            (begun.elapsed() >= HELD).then_some(())
        });
        client.tell("close");
        let [tid, connected, lasted] = client.hears();
        let clients = Said {
            pid: client.pid(),
            tid,
            port: clients_port,
            lasted: Duration::from_nanos(lasted),
        };
        let [tid, lasted, bytes] = server.hears();
        assert_eq!(usize::try_from(bytes).unwrap(), SENT_BYTES);
        let servers = Said {
            pid: server.pid(),
            tid,
            port,
            lasted: Duration::from_nanos(lasted),
        };
        client.ends_well();
        server.ends_well();
        Self {
            client: clients,
            server: servers,
            connected: Duration::from_nanos(connected),
        }
    }

    /// Both ends, of one agent.
    pub(super) fn check(&self, spans: &Tree, slack: Duration) {
        let client = self.check_client(spans, slack);
        let server = self.check_server(spans);
        assert_lasted(server, self.server.lasted);
        assert_eq!(spans.parent(server), client);
        are_one_trace(client, server);
    }

    /// The client's end, and how it came about. It may have been slower by `slack` than the kernel.
    pub(super) fn check_client<'a>(&self, spans: &'a Tree, slack: Duration) -> &'a Shown {
        let name = service(Role::Client);
        let handshake = spans.one(name, "net", "connect");
        let call = spans.parent(handshake);
        assert_eq!(call.get("Name"), "connect");
        assert!(call.scope.starts_with("stratoswarm.syscalls "), "{call:?}");
        let root = spans.parent(call);
        assert!(root.scope.starts_with("stratoswarm.trace "), "{root:?}");
        assert_eq!(root.get("Parent ID"), "");
        is_within(handshake, call);
        is_within(call, root);
        for span in [handshake, call] {
            let took = lasted(span);
            let close = agrees(took, self.connected) || took + slack >= self.connected;
            assert!(
                took <= self.connected && close,
                "{took:?}, {:?}",
                self.connected
            );
        }
        let connection = spans.one(name, "net", "tcp connection");
        assert_eq!(connection.get("Kind"), "SPAN_KIND_CLIENT");
        assert_eq!(connection.get("Parent ID"), "", "the root of its trace");
        assert_ne!(connection.get("Trace ID"), call.get("Trace ID"));
        // They lead to each other.
        assert_eq!(linked(handshake), place(connection));
        assert_eq!(linked(connection).0, call.get("Trace ID"));
        for span in [handshake, connection, call] {
            is_of(span, self.client.pid);
            assert_eq!(integer(span, "thread.id").unsigned_abs(), self.client.tid);
        }
        check_ports(handshake, [&self.client, &self.server]);
        check_ports(connection, [&self.client, &self.server]);
        let sent = integer(connection, "stratoswarm.tcp.sent_bytes");
        assert_eq!(usize::try_from(sent).unwrap(), SENT_BYTES);
        assert_lasted(connection, self.client.lasted);
        connection
    }

    /// The server's end.
    pub(super) fn check_server<'a>(&self, spans: &'a Tree) -> &'a Shown {
        let connection = spans.one(service(Role::Server), "net", "tcp connection");
        assert_eq!(connection.get("Kind"), "SPAN_KIND_SERVER");
        is_of(connection, self.server.pid);
        assert_eq!(
            integer(connection, "thread.id").unsigned_abs(),
            self.server.tid
        );
        check_ports(connection, [&self.server, &self.client]);
        let received = integer(connection, "stratoswarm.tcp.received_bytes");
        assert_eq!(usize::try_from(received).unwrap(), SENT_BYTES);
        connection
    }
}

fn check_ports(span: &Shown, [local, peer]: [&Said; 2]) {
    says(
        span,
        &[("network.transport", "tcp"), ("network.type", "ipv4")],
    );
    for (name, said) in [("local", local), ("peer", peer)] {
        let port = integer(span, &format!("network.{name}.port"));
        assert_eq!(port.unsigned_abs(), said.port);
    }
}

/// Asserts that a connection's two ends are in one trace, the server's under the client's.
pub(super) fn are_one_trace(client: &Shown, server: &Shown) {
    let (trace, id) = place(client);
    assert_eq!(server.get("Trace ID"), trace);
    assert_eq!(server.get("Parent ID"), id);
}

fn place(span: &Shown) -> (&str, &str) {
    (span.get("Trace ID"), span.get("ID"))
}

/// Where its only link leads.
fn linked(span: &Shown) -> (&str, &str) {
    let [link] = &span.links[..] else {
        panic!("one link: {span:?}");
    };
    (&link.is["Trace ID"], &link.is["ID"])
}
