//! Tests of `scripts/import_dashboards.sh`, with a server that answers as Grafana does.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

/// A request that the server has seen.
#[derive(Clone, Debug)]
struct Request {
    /// Method and path.
    what: String,
    headers: HashMap<String, String>,
    body: String,
}

/// A server on a port of its own. Its thread ends with the process of the tests.
struct Grafana {
    url: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Grafana {
    /// It gives these answers, by method and path; 404 to all else.
    fn start(answers: &[(&'static str, u16, &'static str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answers, log) = (answers.to_vec(), Arc::clone(&seen));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let request = read(&stream);
                let found = answers.iter().find(|(what, ..)| request.what == *what);
                let (_, status, body) = found.copied().unwrap_or(("", 404, "{}"));
                log.lock().unwrap().push(request);
                let length = body.len();
                let head = format!("HTTP/1.1 {status} -\r\nContent-Length: {length}\r\n");
                let answer = format!("{head}Connection: close\r\n\r\n{body}");
                (&stream).write_all(answer.as_bytes()).unwrap();
            }
        });
        Self { url, seen }
    }

    fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> Request {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let (what, _) = line.rsplit_once(' ').unwrap();
    let what = what.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim().split_once(": ") else {
            break;
        };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or("0", String::as_str);
    let mut body = vec![0; length.parse().unwrap()];
    // curl asks first whether a large body is welcome.
    if headers.contains_key("expect") {
        let mut stream = stream;
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
    }
    reader.read_exact(&mut body).unwrap();
    Request {
        what,
        headers,
        body: String::from_utf8(body).unwrap(),
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What a run of the script came to.
struct Outcome {
    code: i32,
    output: String,
    errors: String,
}

fn import(arguments: &[&str], environment: &[(&str, &str)]) -> Outcome {
    let mut script = Command::new(root().join("scripts/import_dashboards.sh"));
    for name in [
        "GRAFANA_URL",
        "GRAFANA_TOKEN",
        "GRAFANA_USER",
        "GRAFANA_PASSWORD",
    ] {
        script.env_remove(name);
    }
    script.args(arguments).envs(environment.iter().copied());
    let output = script.env("no_proxy", "127.0.0.1").output().unwrap();
    Outcome {
        code: output.status.code().unwrap(),
        output: String::from_utf8(output.stdout).unwrap(),
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}

const IMPORT: &str = "POST /api/dashboards/db";
const TAKEN: (&str, u16, &str) = (IMPORT, 200, r#"{"status":"success"}"#);

#[test]
fn all_dashboards_are_imported_as_they_are() {
    let grafana = Grafana::start(&[TAKEN]);
    let outcome = import(&["--url", &grafana.url], &[]);
    assert_eq!(outcome.code, 0, "{}", outcome.errors);
    let seen = grafana.seen();
    assert_eq!(seen.len(), 5);
    for request in seen {
        assert_eq!(request.what, IMPORT);
        assert_eq!(request.headers["content-type"], "application/json");
        // admin:admin
        assert_eq!(request.headers["authorization"], "Basic YWRtaW46YWRtaW4=");
        let body: Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!(body["overwrite"], true);
        assert_eq!(body["folderUid"], "");
        let uid = body["dashboard"]["uid"].as_str().unwrap();
        let name = uid.strip_prefix("stratoswarm-").unwrap().replace('-', "_");
        let file = root().join(format!("dashboards/{name}.json"));
        let text = std::fs::read_to_string(file).unwrap();
        assert_eq!(
            body["dashboard"],
            serde_json::from_str::<Value>(&text).unwrap()
        );
        assert!(outcome.output.contains(&format!("imported {name}\n")));
    }
}

#[test]
fn one_is_imported_into_a_folder_that_is_made() {
    let grafana = Grafana::start(&[TAKEN, ("POST /api/folders", 200, "{}")]);
    let arguments = ["--folder", "swarm", "--no-overwrite", "gpu_performance"];
    let environment = [
        ("GRAFANA_URL", &*grafana.url),
        ("GRAFANA_TOKEN", "se\"cret"),
    ];
    let outcome = import(&arguments, &environment);
    assert_eq!(outcome.code, 0, "{}", outcome.errors);
    let seen = grafana.seen();
    let asked: Vec<&str> = seen.iter().map(|request| request.what.as_str()).collect();
    assert_eq!(
        asked,
        ["GET /api/folders/swarm", "POST /api/folders", IMPORT]
    );
    for request in &seen {
        assert_eq!(request.headers["authorization"], "Bearer se\"cret");
    }
    let folder: Value = serde_json::from_str(&seen[1].body).unwrap();
    assert_eq!(folder["uid"], "swarm");
    let body: Value = serde_json::from_str(&seen[2].body).unwrap();
    assert_eq!(body["folderUid"], "swarm");
    assert_eq!(body["overwrite"], false);
    assert_eq!(body["dashboard"]["uid"], "stratoswarm-gpu-performance");
}

#[test]
fn a_folder_that_is_there_is_used() {
    let grafana = Grafana::start(&[TAKEN, ("GET /api/folders/swarm", 200, "{}")]);
    let file = root().join("dashboards/agent_activity.json");
    let arguments = [
        "--url",
        &grafana.url,
        "--folder",
        "swarm",
        file.to_str().unwrap(),
    ];
    assert_eq!(import(&arguments, &[]).code, 0);
    assert_eq!(grafana.seen().len(), 2);
}

#[test]
fn errors_say_what_is_wrong() {
    let check = |status: u16, body: &'static str, code: i32, says: &[&str]| {
        let grafana = Grafana::start(&[(IMPORT, status, body)]);
        let outcome = import(&["--url", &grafana.url, "gpu_performance"], &[]);
        assert_eq!(outcome.code, code, "{status}");
        for text in says {
            assert!(
                outcome.errors.contains(text),
                "{status}: {}",
                outcome.errors
            );
        }
        assert!(!outcome.output.contains("imported"), "{status}");
    };
    let said = r#"{"message":"what is wrong"}"#;
    check(
        400,
        said,
        1,
        &["gpu_performance", "invalid", "what is wrong"],
    );
    check(422, said, 1, &["invalid", "what is wrong"]);
    check(412, said, 1, &["there already", "what is wrong"]);
    check(
        500,
        said,
        1,
        &["could not be imported (500)", "what is wrong"],
    );
    check(500, "<html>", 1, &["<html>"]);
    check(401, said, 1, &["GRAFANA_TOKEN", "401"]);
    check(403, said, 1, &["Editor", "403"]);
    check(404, said, 1, &["no Grafana at"]);
}

#[test]
fn one_that_fails_keeps_no_other_from_being_imported() {
    let grafana = Grafana::start(&[(IMPORT, 412, "{}")]);
    let outcome = import(&["--url", &grafana.url], &[]);
    assert_eq!((outcome.code, grafana.seen().len()), (1, 5));
}

#[test]
fn a_server_that_is_away_is_named() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{port}/");
    let outcome = import(&["--url", &url], &[]);
    assert_eq!(outcome.code, 1);
    let says = format!("cannot be reached at http://{port}:");
    assert!(outcome.errors.contains(&says), "{}", outcome.errors);
}

#[test]
fn a_dry_run_asks_nobody() {
    let grafana = Grafana::start(&[]);
    let outcome = import(&["--url", &grafana.url, "--folder", "a", "--dry-run"], &[]);
    assert_eq!((outcome.code, grafana.seen().len()), (0, 0));
    assert_eq!(outcome.output.lines().count(), 5);
}

#[test]
fn wrong_usage_is_said() {
    let check = |arguments: &[&str], says: &str| {
        let outcome = import(arguments, &[]);
        assert_eq!(outcome.code, 2, "{arguments:?}");
        assert!(outcome.errors.contains(says), "{}", outcome.errors);
    };
    check(&["--misspelt"], "no option --misspelt");
    check(&["--url"], "--url needs a value");
    check(&["--url", "localhost:3000"], "begins with neither");
    check(&["--folder", "a b"], "a folder's UID");
    check(
        &["no_such"],
        "there is no dashboard no_such; there are agent_activity",
    );
    assert_eq!(import(&["--help"], &[]).code, 0);
    let outcome = import(&["--dry-run"], &[("GRAFANA_TOKEN", "two\nlines")]);
    assert_eq!(outcome.code, 2);
}

#[test]
fn secrets_are_no_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let spy = folder.path().join("curl");
    let log = folder.path().join("log");
    let text = format!(
        "#!/bin/sh\necho \"$@\" >>{}\ncat >/dev/null\nprintf 200\n",
        log.display()
    );
    std::fs::write(&spy, text).unwrap();
    let mut executable = std::fs::metadata(&spy).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut executable, 0o755);
    std::fs::set_permissions(&spy, executable).unwrap();
    let path = format!(
        "{}:{}",
        folder.path().display(),
        std::env::var("PATH").unwrap()
    );
    for environment in [
        [("PATH", &*path), ("GRAFANA_TOKEN", "hidden")],
        [("PATH", &*path), ("GRAFANA_PASSWORD", "hidden")],
    ] {
        assert_eq!(import(&["gpu_performance"], &environment).code, 0);
    }
    let arguments = std::fs::read_to_string(log).unwrap();
    assert_eq!(arguments.lines().count(), 2);
    assert!(!arguments.contains("hidden"), "{arguments}");
}
