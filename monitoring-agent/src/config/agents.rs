//! Reads `[[agents]]`, and says which agents are watched when there is none.
//!
//! Knows names and patterns; what a pattern matches is in `rules`.

use glob::Pattern;
use monitoring_common::agents::MAX_AGENTS;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    AgentRule,
    document::Document,
    problem::Fault,
    values::{self, Value},
};

/// Longest agent name in characters. It is a label value of most series.
const NAME_LENGTH: usize = 64;

/// Name of everything that no rule matches.
const RESERVED: &str = "other";

/// Most bytes of a process's name, for all but kernel threads: `TASK_COMM_LEN` without its zero.
const COMM_LENGTH: usize = 15;

const KEYS: [&str; 7] = [
    "name",
    "comm",
    "exe",
    "cgroup",
    "container",
    "pod",
    "environment",
];

/// A rule's list of patterns, by its key.
type List = fn(&mut AgentRule) -> &mut Vec<Pattern>;

const LISTS: [(&str, List); 6] = [
    ("comm", |rule| &mut rule.comm),
    ("exe", |rule| &mut rule.exe),
    ("cgroup", |rule| &mut rule.cgroup),
    ("container", |rule| &mut rule.container),
    ("pod", |rule| &mut rule.pod),
    ("environment", |rule| &mut rule.environment),
];

/// `StratoSwarm`'s own programs.
pub(super) fn defaults() -> Vec<AgentRule> {
    let patterns = |globs: &[&str]| {
        let parse = |glob| Pattern::new(glob).expect("the default globs are well-formed");
        globs.iter().copied().map(parse).collect()
    };
    let rule = |name: &str, exe: &str, cgroup: &[&str]| AgentRule {
        exe: patterns(&[exe]),
        cgroup: patterns(cgroup),
        name: name.to_owned(),
        ..AgentRule::default()
    };
    vec![
        rule("swarmlet", "swarmlet", &[]),
        rule("gpu-agents", "gpu-agents*", &[]),
        rule("stratoswarm", "stratoswarm*", &["*stratoswarm*"]),
    ]
}

/// Reads the value of the key `agents`. An empty list is taken at its word: nothing is watched.
pub(super) fn read(value: &Spanned<DeValue<'_>>, document: &mut Document<'_>) -> Vec<AgentRule> {
    let tables = "begin each agent with a line [[agents]] in double brackets";
    let DeValue::Array(entries) = value.get_ref() else {
        let fault = Value::Toml(value.get_ref()).wrong_type("a list of tables", tables);
        document.report(value, "agents", fault);
        return Vec::new();
    };
    if entries.len() >= MAX_AGENTS {
        let most = MAX_AGENTS - 1;
        let fault = format!(
            "{} agents, and at most {most} can be told apart",
            entries.len()
        );
        let cure = "use fewer agents with broader patterns";
        document.report_missing(value, "agents", Fault::new(fault, cure));
        return Vec::new();
    }
    let mut rules: Vec<AgentRule> = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let path = format!("agents[{at}]");
        let DeValue::Table(table) = entry.get_ref() else {
            let fault = Value::Toml(entry.get_ref()).wrong_type("a table", tables);
            document.report(entry, &path, fault);
            continue;
        };
        rules.push(read_rule(entry, table, &path, &rules, document));
    }
    rules
}

fn read_rule(
    entry: &Spanned<DeValue<'_>>,
    table: &DeTable<'_>,
    path: &str,
    earlier: &[AgentRule],
    document: &mut Document<'_>,
) -> AgentRule {
    document.report_unknown(table, path, &KEYS);
    let mut rule = AgentRule::default();
    if let Some(value) = table.get("name") {
        match name(value, earlier) {
            Ok(name) => rule.name = name,
            Err(fault) => document.report(value, &format!("{path}.name"), fault),
        }
    } else {
        let fault = Fault::new(
            "missing",
            "give each agent a name, for example name = \"trainer\"",
        );
        document.report_missing(entry, &format!("{path}.name"), fault);
    }
    for (key, list) in LISTS {
        if let Some(value) = table.get(key) {
            *list(&mut rule) = read_patterns(key, value, &format!("{path}.{key}"), document);
        }
    }
    report_no_pattern(entry, table, path, document);
    rule
}

/// Reports a rule without any pattern. One whose patterns are all bad has been reported for that.
fn report_no_pattern(
    entry: &Spanned<DeValue<'_>>,
    table: &DeTable<'_>,
    path: &str,
    document: &mut Document<'_>,
) {
    let cure = "give it at least one of comm, exe, cgroup, container, pod, environment, for example \
                exe = \"trainer*\"";
    let is_empty = |value: &DeValue<'_>| matches!(value, DeValue::Array(globs) if globs.is_empty());
    let mut given = LISTS
        .iter()
        .filter_map(|(key, _)| Some((*key, table.get(*key)?)));
    match given
        .clone()
        .find(|(_, value)| !is_empty(value.get_ref()))
        .or_else(|| given.next())
    {
        Some((key, value)) if is_empty(value.get_ref()) => {
            let fault = Fault::new("an empty list, so the agent would watch nothing", cure);
            document.report(value, &format!("{path}.{key}"), fault);
        }
        Some(_) => {}
        None => {
            let fault = Fault::new("no pattern, so the agent would watch nothing", cure);
            document.report_missing(entry, path, fault);
        }
    }
}

fn name(value: &Spanned<DeValue<'_>>, earlier: &[AgentRule]) -> Result<String, Fault> {
    let name = values::label(Value::Toml(value.get_ref()), NAME_LENGTH, "trainer")?;
    if name == RESERVED {
        let fault = "the name of everything that no agent matches";
        return Err(Fault::new(fault, "use another name"));
    }
    if let Some(at) = earlier.iter().position(|rule| rule.name == name) {
        let fault = format!("the name of agents[{at}] already");
        return Err(Fault::new(
            fault,
            "use another name, or put all patterns into one entry",
        ));
    }
    Ok(name)
}

/// Reads a list of globs, or a single one.
fn read_patterns(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    path: &str,
    document: &mut Document<'_>,
) -> Vec<Pattern> {
    let DeValue::Array(globs) = value.get_ref() else {
        return read_pattern(key, value, path, document)
            .into_iter()
            .collect();
    };
    let read = |(at, glob)| read_pattern(key, glob, &format!("{path}[{at}]"), document);
    globs.iter().enumerate().filter_map(read).collect()
}

fn read_pattern(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    path: &str,
    document: &mut Document<'_>,
) -> Option<Pattern> {
    match pattern(value.get_ref()) {
        Ok(pattern) => {
            if let Some(why) = matches_nothing(key, pattern.as_str()) {
                document.note(value, path, &why);
            }
            Some(pattern)
        }
        Err(fault) => {
            document.report(value, path, fault);
            None
        }
    }
}

fn pattern(value: &DeValue<'_>) -> Result<Pattern, Fault> {
    let cure =
        "use a glob or a list of globs, for example \"trainer*\"; write [[] for the character [";
    values::glob(Value::Toml(value), cure)
}

/// Characters of a container's id.
const ID_LENGTH: usize = 64;

/// Why this glob can match no process, if so. Worth a note, but not a refusal: kernel threads are
/// an exception to the first, and a program may write its own environment, an exception to the
/// last.
fn matches_nothing(key: &str, glob: &str) -> Option<String> {
    let bare = !glob.contains('[');
    match key {
        "comm" if bare && glob.bytes().filter(|byte| *byte != b'*').count() > COMM_LENGTH => {
            Some(format!(
                "the kernel keeps {COMM_LENGTH} bytes of a process's name, so this matches none; use exe, or a shorter glob with *"
            ))
        }
        "container" if bare && !glob.contains(['*', '?']) && glob.len() != ID_LENGTH => {
            Some(format!(
                "a container's id has {ID_LENGTH} digits, so this matches none; use \"{glob}*\" for those that begin so"
            ))
        }
        "environment" if bare && !glob.contains(['=', '*', '?']) => Some(format!(
            "entries have the form NAME=value, so this matches none; use \"{glob}=*\""
        )),
        _ => None,
    }
}
