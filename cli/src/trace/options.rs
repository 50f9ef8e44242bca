//! `synscope trace`'s options: bpftrace's, and a few of its own.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// A JSON document on each line.
    Json,
}

/// When results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Buffering {
    /// As soon as no more wait.
    Line,
    /// When there are many.
    Full,
    /// Each at once.
    None,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Options {
    /// The script itself.
    #[arg(short, value_name = "SCRIPT")]
    pub(crate) execute: Option<String>,
    /// The script's file (without -e; - for standard input) or, with -l, what to look for; then the script's parameters.
    #[arg(value_name = "FILE | PATTERN | PARAMETER")]
    pub(crate) rest: Vec<String>,
    /// Lists the probes there are, those like a pattern, or those of a script; with -v what they know. `struct NAME` is
    /// a pattern too.
    #[arg(short)]
    pub(crate) list: bool,
    /// How results are written.
    #[arg(short, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Where results are written, instead of to standard output.
    #[arg(short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// When results are written.
    #[arg(short = 'B', value_name = "MODE", value_enum, default_value_t = Buffering::Line)]
    pub(crate) buffering: Buffering,
    /// Says nothing but results.
    #[arg(short)]
    pub(crate) quiet: bool,
    /// Says how each probe is attached, and why so.
    #[arg(short)]
    pub(crate) verbose: bool,
    /// Ends when this process ends.
    #[arg(short, value_name = "PID")]
    pub(crate) pid: Option<u32>,
    /// Runs a command once all probes are attached, and ends when it does; scripts know its process as `cpid`.
    #[arg(short, value_name = "COMMAND")]
    pub(crate) command: Option<String>,
    /// Says what is wrong with a script, or else how each probe would be attached; the kernel's verifier is asked too.
    #[arg(long, group = "instead")]
    pub(crate) check: bool,
    /// Attaches all probes, and ends.
    #[arg(long, group = "instead")]
    pub(crate) dry_run: bool,
    /// Shows the instructions that a script becomes.
    #[arg(long, group = "instead")]
    pub(crate) listing: bool,
    /// Says what of this kernel is there for tracing, and ends.
    #[arg(long, group = "instead")]
    pub(crate) info: bool,
    /// No warnings.
    #[arg(long)]
    pub(crate) no_warnings: bool,
    /// Changes nothing: types come from the running kernel.
    #[arg(short = 'I', value_name = "DIR", hide_short_help = true)]
    pub(crate) headers: Vec<PathBuf>,
    /// Changes nothing: types come from the running kernel.
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(crate) include: Vec<PathBuf>,
    /// Changes nothing: tracing is read-only.
    #[arg(long = "unsafe", hide_short_help = true)]
    pub(crate) allow_unsafe: bool,
}
