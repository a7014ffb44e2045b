//! The files in `deploy`: well-formed, of one mind about privileges, and as the documents say.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use monitoring_agent::privileges::PRIVILEGES;
use saphyr::{LoadableYamlNode as _, Yaml};

const UNIT: &str = "deploy/systemd/monitoring-agent.service";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The capabilities that the systemd unit names.
pub(crate) fn named() -> Vec<String> {
    let unit = text(UNIT);
    let mut lines = unit.lines();
    let set = lines.find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let set = set.unwrap().split_whitespace();
    set.map(str::to_owned).collect()
}

fn succeeds(command: &mut Command) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; install its package"));
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {said}");
    said.into_owned()
}

#[test]
fn all_name_the_same_capabilities() {
    let want = PRIVILEGES.map(|privilege| privilege.name);
    assert_eq!(named(), want);
    let text_of_set = text("deploy/kubernetes/base/daemonset.yaml");
    let documents = Yaml::load_from_str(&text_of_set).unwrap();
    let pod = &documents[0]["spec"]["template"]["spec"];
    let context = &pod["containers"][0]["securityContext"];
    let list = |key: &str| {
        let names = context["capabilities"][key].as_vec().unwrap().iter();
        names
            .map(|name| format!("CAP_{}", name.as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (list("drop"), list("add")),
        (vec!["CAP_ALL".to_owned()], named())
    );
    assert_eq!(context["privileged"].as_bool(), Some(false));
    assert_eq!(pod["hostPID"].as_bool(), Some(true));
    let image = text("deploy/docker/Dockerfile");
    let runs: Vec<_> = want
        .map(|name| format!("--cap-add={}", &name[4..]))
        .to_vec();
    assert!(image.contains(&runs.join(" ")), "{runs:?}");
}

#[test]
fn the_documented_table_is_what_the_agent_knows() {
    let document = text("docs/deployment.md");
    for privilege in PRIVILEGES {
        let off: Vec<_> = privilege
            .sources
            .iter()
            .map(|name| format!("`{name}`"))
            .collect();
        let off = if off.is_empty() {
            "none".to_owned()
        } else {
            off.join(", ")
        };
        let want = format!("| `{}` | {off} | {} |", privilege.name, privilege.without);
        assert!(document.contains(&want), "docs/deployment.md lacks: {want}");
    }
}

#[test]
fn every_yaml_file_is_one() {
    let mut folders = vec![root().join("deploy")];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|ending| ending == "yaml" || ending == "yml")
            {
                let documents = fs::read_to_string(&path).unwrap();
                let documents = Yaml::load_from_str(&documents);
                let documents = documents.unwrap_or_else(|error| panic!("{path:?}: {error}"));
                assert!(!documents.is_empty(), "{path:?}");
                count += 1;
            }
        }
    }
    assert!(count >= 6, "{count}");
}

#[test]
fn what_the_image_copies_is_there() {
    let image = text("deploy/docker/Dockerfile");
    let copies = image.lines().filter_map(|line| line.strip_prefix("COPY "));
    let own: Vec<_> = copies.filter(|line| !line.starts_with("--from")).collect();
    assert!(!own.is_empty());
    for line in own {
        let words: Vec<_> = line.split_whitespace().collect();
        for source in &words[..words.len() - 1] {
            assert!(root().join(source).exists(), "COPY {source}");
        }
    }
}

#[test]
fn systemd_takes_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("monitoring-agent.service");
    // The program is not installed here; the one that is built stands for it.
    let program = env!("CARGO_BIN_EXE_monitoring-agent");
    let unit = text(UNIT).replace(
        "ExecStart=monitoring-agent",
        &format!("ExecStart={program}"),
    );
    fs::write(&copy, unit).unwrap();
    let said = succeeds(Command::new("systemd-analyze").arg("verify").arg(&copy));
    assert!(!said.contains("monitoring-agent.service"), "{said}");
    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--offline=true", "--threshold=45"]);
    succeeds(security.arg(&copy));
}

/// What `cargo deb` would put into a package is there, and the unit finds the agent where it is put.
#[test]
fn debian_packages_have_what_they_name() {
    for package in ["monitoring-agent", "monitoring-tools"] {
        let manifest: toml::Table = text(&format!("{package}/Cargo.toml")).parse().unwrap();
        let programs: Vec<_> = manifest["bin"].as_array().unwrap().iter().collect();
        let deb = &manifest["package"]["metadata"]["deb"];
        let mut packed = Vec::new();
        for asset in deb["assets"].as_array().unwrap() {
            let [from, to, _mode] = [0, 1, 2].map(|place| asset[place].as_str().unwrap());
            if let Some(program) = from.strip_prefix("target/release/") {
                assert_eq!(to, "usr/bin/", "{program}");
                packed.push(program);
                continue;
            }
            let path = root().join(package).join(from);
            let found = glob::glob(path.to_str().unwrap()).unwrap().count();
            assert!(found > 0, "{package} has no {from}");
        }
        let named = programs.iter().map(|program| program["name"].as_str());
        let mut named: Vec<_> = named.map(Option::unwrap).collect();
        named.sort_unstable();
        packed.sort_unstable();
        assert_eq!(packed, named, "{package}");
        if let Some(units) = deb.get("systemd-units") {
            let folder = root().join(package);
            let name = format!("{}.service", units["unit-name"].as_str().unwrap());
            let unit = folder
                .join(units["unit-scripts"].as_str().unwrap())
                .join(name);
            let unit =
                fs::read_to_string(&unit).unwrap_or_else(|error| panic!("{unit:?}: {error}"));
            assert!(unit.contains(&format!("\nExecStart={package}\n")), "{unit}");
            let scripts = folder.join(deb["maintainer-scripts"].as_str().unwrap());
            for script in ["postinst", "prerm", "postrm"] {
                let script = fs::read_to_string(scripts.join(script)).unwrap();
                assert!(script.contains("\n#DEBHELPER#\n"), "{script}");
            }
        }
    }
}

#[test]
fn prometheus_takes_its_example() {
    let file = root().join("deploy/prometheus/prometheus.example.yml");
    succeeds(Command::new("promtool").args(["check", "config"]).arg(file));
}
