//! The command line of `monitoring-agent`.
//!
//! Owns names and help of flags and subcommands. Values are kept as they were written: their rules
//! are [`config`](crate::config)'s, so that a flag's error reads like that of a key.

// Help is plain text: backticks would be shown, and brackets are no links.
#![allow(clippy::doc_markdown, rustdoc::broken_intra_doc_links)]

use std::path::PathBuf;

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser as _},
    value_parser,
};

use crate::{config::MAX_HERTZ, profile::Type};

/// One agent per node: its host, processes and system calls, by eBPF and /proc, for Prometheus.
///
/// Without a subcommand, runs until it is told to stop. SIGHUP reads the configuration again.
///
/// What is not given here is taken from the environment (MONITORING_METRICS_PORT and so on, one
/// variable for each key of [monitoring]), then from the file, then from the defaults.
#[derive(Clone, Debug, Parser)]
#[command(name = "monitoring-agent", version)]
pub struct Cli {
    /// The flags.
    #[command(flatten)]
    pub flags: Flags,
    /// What to do; run if none.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the agent can do besides running.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Report, source by source, what this kernel and these privileges allow
    ///
    /// Starts each source for one collection and stops it again. Exits with 1 when none works.
    Check,
    /// Capture a profile of the node, or of a part of it, and write it to a file
    ///
    /// Needs no running agent, and disturbs none. The first Ctrl-C ends the capture early, and what
    /// there is by then is written.
    Profile(ProfileArgs),
}

/// What to capture, and where to write it.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ProfileArgs {
    /// For how long, 1 to 3600
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    #[arg(value_parser = value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
    /// Samples a second and CPU, 1 to 1000, of a profile of type cpu [default: 99]
    #[arg(long, value_name = "HERTZ")]
    #[arg(value_parser = value_parser!(u32).range(1..=i64::from(MAX_HERTZ)))]
    pub hz: Option<u32>,
    /// Only this process, with all its threads
    #[arg(long, value_name = "PID", conflicts_with = "agent")]
    #[arg(value_parser = value_parser!(u32).range(1..=1 << 22))]
    pub pid: Option<u32>,
    /// Only the processes of this agent, one of [[agents]] in the configuration or `other`
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// Of what: time on CPUs, time off them, or where memory grows
    #[arg(long = "type", value_name = "TYPE", default_value = "cpu", value_parser = types())]
    pub kind: Type,
    /// The file; its ending is the format: .svg (a flame graph), .pb.gz (pprof), .folded. `-` is
    /// stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// The format, whatever the file's name
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<ProfileFormat>,
    /// Which of the values a flame graph or folded stacks show, for example samples
    #[arg(long, value_name = "VALUE")]
    pub value: Option<String>,
}

/// How a profile is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProfileFormat {
    /// A flame graph, for browsers
    Svg,
    /// pprof, compressed, for go tool pprof and others
    Pprof,
    /// Folded stacks, as text
    Folded,
}

fn types() -> impl clap::builder::TypedValueParser<Value = Type> {
    let names = PossibleValuesParser::new(Type::ALL.map(Type::name));
    names.map(|name| Type::named(&name).expect("only names of types are possible"))
}

/// Flags, for running and for the subcommands alike.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Configuration file [env: MONITORING_CONFIG] [default: /etc/stratoswarm/monitoring.toml, if
    /// it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address and port of the metrics endpoint [env: MONITORING_LISTEN] [default: 0.0.0.0:9090]
    ///
    /// IPv6 in brackets, for example [::1]:9090.
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
    /// Path of the metrics endpoint [env: MONITORING_METRICS_PATH] [default: /metrics]
    #[arg(long, global = true, value_name = "PATH")]
    pub metrics_path: Option<String>,
    /// Time between two collections, 100ms to 1h [env: MONITORING_COLLECTION_INTERVAL] [default:
    /// 10s]
    #[arg(long, global = true, value_name = "DURATION")]
    pub collection_interval: Option<String>,
    /// Name of this node in the metrics [env: MONITORING_NODE] [default: the host name]
    #[arg(long, global = true, value_name = "NAME")]
    pub node: Option<String>,
    /// Type of this node in the metrics [env: MONITORING_NODE_TYPE] [default: gpu where NVIDIA's
    /// driver is found, else cpu]
    #[arg(long, global = true, value_name = "TYPE")]
    pub node_type: Option<String>,
    /// Let the kernel measure how often and how long each kernel program runs [env:
    /// MONITORING_BPF_STATS]
    ///
    /// Costs about 50 ns a run, for all BPF programs of the machine.
    #[arg(long, global = true)]
    pub bpf_stats: bool,
    /// Log debug messages of the kernel programs, for their developers [env:
    /// MONITORING_EBPF_DEBUG]
    #[arg(long, global = true)]
    pub ebpf_debug: bool,
    /// Least important level that is logged: error, warn, info, debug or trace [env:
    /// MONITORING_LOG_LEVEL] [default: info]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;
    use crate::config::DEFAULT_FILE;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_stand_before_and_behind_the_subcommand() {
        let check = |line: &str, command: Option<Command>, want: &Flags| {
            let cli = parse(line).unwrap();
            assert_eq!((cli.command, &cli.flags), (command, want), "{line}");
        };
        let none = Flags::default();
        let file = Flags {
            config: Some("f".into()),
            ..Flags::default()
        };
        check("monitoring-agent", None, &none);
        check("monitoring-agent check", Some(Command::Check), &none);
        check("monitoring-agent --config f", None, &file);
        check(
            "monitoring-agent check --config f",
            Some(Command::Check),
            &file,
        );
        check(
            "monitoring-agent --config f check",
            Some(Command::Check),
            &file,
        );
        let all = Flags {
            config: Some("f".into()),
            listen: Some("[::1]:1".to_owned()),
            metrics_path: Some("/m".to_owned()),
            collection_interval: Some("1s".to_owned()),
            node: Some("n".to_owned()),
            node_type: Some("t".to_owned()),
            bpf_stats: true,
            ebpf_debug: true,
            log_level: Some("debug".to_owned()),
        };
        let line = "monitoring-agent --listen [::1]:1 --metrics-path /m --collection-interval 1s \
                    --node n --node-type t --bpf-stats --ebpf-debug --log-level debug --config f";
        check(line, None, &all);
    }

    #[test]
    fn what_is_not_a_flag_is_refused() {
        let check = |line: &str, want: ErrorKind| {
            assert_eq!(parse(line).unwrap_err().kind(), want, "{line}");
        };
        check("monitoring-agent --bogus", ErrorKind::UnknownArgument);
        check("monitoring-agent run", ErrorKind::InvalidSubcommand);
        check("monitoring-agent --config", ErrorKind::InvalidValue);
        check(
            "monitoring-agent --node a --node b",
            ErrorKind::ArgumentConflict,
        );
        check("monitoring-agent --version", ErrorKind::DisplayVersion);
        check("monitoring-agent --help", ErrorKind::DisplayHelp);
    }

    #[test]
    fn the_help_tells_each_flag_and_where_else_it_is_set() {
        let help = Cli::command().render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for argument in Cli::command().get_arguments() {
            let name = argument.get_long().unwrap();
            assert!(help.contains(&format!("--{name}")), "{name}");
            let variable = format!(
                "[env: MONITORING_{}]",
                name.replace('-', "_").to_uppercase()
            );
            assert!(help.contains(&variable), "{variable}");
        }
        assert!(help.contains(DEFAULT_FILE));
    }
}
