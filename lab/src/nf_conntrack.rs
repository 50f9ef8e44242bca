//! Filling the kernel's connection tracking of one namespace with entries that it must not drop early.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::netns::Netns;

/// Room that is left for real connections until the table is filled.
const ROOM: u32 = 16_384;

/// States in which real connections are when they have ended; entries in them stay, so that none makes room in a burst.
const ENDED: [&str; 5] = ["close", "close_wait", "fin_wait", "last_ack", "time_wait"];
/// Longer than a run between two bursts, seconds.
const STAY_S: &str = "300";

/// A namespace whose forwarded packets are tracked, and files of entries that fill its table.
#[derive(Debug)]
pub(crate) struct NfConntrack {
    netns: PathBuf,
    /// Two seconds' work, done before a burst, so that the burst begins when it should.
    most: tempfile::NamedTempFile,
    rest: tempfile::NamedTempFile,
}

impl NfConntrack {
    /// Tracks what is forwarded, and writes the entries down; the limit is the host's.
    pub(crate) fn track(netns: &Netns) -> Result<Self> {
        let this =
            Self { netns: netns.path(), most: tempfile::NamedTempFile::new()?, rest: tempfile::NamedTempFile::new()? };
        let rules = "add table inet lab; add chain inet lab through { type filter hook forward priority 0; }; \
                     add rule inet lab through ct state new counter accept";
        this.run("nft", &[rules])?;
        for state in ENDED {
            netns.sysctl(&format!("net.netfilter.nf_conntrack_tcp_timeout_{state}"), STAY_S)?;
        }
        let limit = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").context("nf_conntrack")?;
        let limit: u32 = limit.trim().parse().context("nf_conntrack_max")?;
        ensure!(limit > ROOM, "nf_conntrack_max is {limit}: this scenario needs more than {ROOM}");
        let (mut most, mut rest) = (String::new(), String::new());
        for number in 0..limit {
            let lines = if number < limit - ROOM { &mut most } else { &mut rest };
            let [_, a, b, c] = number.to_be_bytes();
            writeln!(
                lines,
                "-A -p tcp -s 10.77.{a}.{b} -d 10.78.0.1 -r 10.78.0.1 -q 10.77.{a}.{b} --sport {} --dport 80 --reply-port-src 80 \
                 --reply-port-dst {} --state ESTABLISHED -u SEEN_REPLY,ASSURED -t 300",
                1024 + u32::from(c),
                1024 + u32::from(c),
            )?;
        }
        fs::write(this.most.path(), most)?;
        fs::write(this.rest.path(), rest)?;
        this.prepare()?;
        Ok(this)
    }

    /// Fills the table but for some room, so that nothing is dropped yet.
    pub(crate) fn prepare(&self) -> Result<()> {
        self.run("conntrack", &["-R", &self.most.path().display().to_string()])
    }

    /// Takes the room that was left.
    pub(crate) fn fill(&self) -> Result<()> {
        // The last entries do not fit, because real connections are there as well.
        let path = self.rest.path().display().to_string();
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
