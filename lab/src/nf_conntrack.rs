//! Filling the kernel's connection tracking of one namespace with entries that it must not drop early.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::netns::Netns;

/// A namespace whose forwarded packets are tracked, and a file of entries that fill its table.
#[derive(Debug)]
pub(crate) struct NfConntrack {
    netns: PathBuf,
    entries: tempfile::NamedTempFile,
}

impl NfConntrack {
    /// Tracks what is forwarded, and writes the entries down; the limit is the host's.
    pub(crate) fn track(netns: &Netns) -> Result<Self> {
        let this = Self { netns: netns.path(), entries: tempfile::NamedTempFile::new()? };
        let rules = "add table inet lab; add chain inet lab through { type filter hook forward priority 0; }; \
                     add rule inet lab through ct state new counter accept";
        this.run("nft", &[rules])?;
        let limit = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").context("nf_conntrack")?;
        let limit: u32 = limit.trim().parse().context("nf_conntrack_max")?;
        let mut lines = String::new();
        for number in 0..limit {
            let [_, a, b, c] = number.to_be_bytes();
            writeln!(
                lines,
                "-A -p tcp -s 10.77.{a}.{b} -d 10.78.0.1 -r 10.78.0.1 -q 10.77.{a}.{b} --sport {} --dport 80 --reply-port-src 80 \
                 --reply-port-dst {} --state ESTABLISHED -u SEEN_REPLY,ASSURED -t 300",
                1024 + u32::from(c),
                1024 + u32::from(c),
            )?;
        }
        fs::write(this.entries.path(), lines)?;
        Ok(this)
    }

    /// Fills the table; two seconds' work.
    pub(crate) fn fill(&self) -> Result<()> {
        // The last entries may not fit, because real connections are there as well.
        let path = self.entries.path().display().to_string();
        self.command("conntrack", &["-R", &path]).output().context("`conntrack` of the package conntrack")?;
        Ok(())
    }

    /// Empties it.
    pub(crate) fn empty(&self) -> Result<()> {
        self.run("conntrack", &["-F"])
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.netns.display())).arg(program).args(arguments);
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let output = self.command(program, arguments).output().with_context(|| format!("cannot run {program}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), said.trim());
        Ok(())
    }
}
