//! One run of the emulator: the shared folder's server, the machine, its output and how it ended.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::initramfs;
use super::kernel::Kernel;
use crate::cargo::root;

const EMULATOR: &str = "qemu-system-x86_64";
/// Debian 12 and Ubuntu 22.04 have it beside the emulator, newer ones in a package of its own.
const FILE_SERVERS: [&str; 2] = ["/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd"];
const MEMORY: &str = "1024M";
/// With two, the emulator now and then lets one see half of what the other patches into the kernel's code: 7.3 died.
const PROCESSORS: &str = "1";
/// An old one takes a quarter less time for the same work: what newer ones promise to be fast (copying by `rep movsb`, saving
/// wide registers) is slow in emulation. With `cx16` a 6.12 guest on Debian 12's emulator dies at its first 16-byte
/// compare-and-exchange.
const PROCESSOR: &str = "Nehalem,cx16=off";
const FILE_SERVER_DEADLINE: Duration = Duration::from_secs(5);
/// How the folder of a run begins, below `target/vm`; our process's number comes next.
pub(crate) const RUN: &str = "run-";
/// Lines of the console that a failure shows.
const CONSOLE_END: usize = 60;

/// What makes a guest's clock go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The host's: what takes long here takes long there.
    Host,
    /// Each instruction that the guest executes, by a nanosecond; while it has nothing to do, the host's. Slower.
    Instructions,
}

impl Clock {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Host => &["-accel", "tcg,thread=multi,tb-size=512"],
            // Instructions are counted in one thread only.
            Self::Instructions => &["-accel", "tcg,thread=single,tb-size=512", "-icount", "shift=0"],
        }
    }
}

/// The server of the host's files, where there is one.
pub(crate) fn file_server() -> Option<&'static str> {
    FILE_SERVERS.into_iter().find(|path| Path::new(path).exists())
}

/// Boots, runs a shell text in the guest, and returns its exit code. Its output goes to ours line by line, each with the
/// label in front.
pub(crate) fn run(kernel: &Kernel, clock: Clock, command: &str, limit: Duration, label: &str) -> Result<u8> {
    let run = Run::new()?;
    let workspace = root().canonicalize()?;
    let settings = format!("WORKSPACE={}\nMODULES={}\n", quoted(&workspace), quoted(&kernel.modules));
    fs::write(run.path("initramfs"), initramfs::build(kernel, &settings, command)?)?;

    let server = file_server().context("no virtiofsd")?;
    let log = fs::File::create(run.path("virtiofsd.log"))?;
    let socket = run.path("socket");
    let mut server = Command::new(server);
    // `chroot`: a namespace of its own cannot have `/` as its root.
    server.arg(format!("--socket-path={}", socket.display())).args(["-o", "source=/", "-o", "sandbox=chroot"]);
    server.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut server = Running(server.spawn().context("virtiofsd")?);
    let start = Instant::now();
    while !socket.exists() {
        let ended = server.0.try_wait()?;
        ensure!(ended.is_none() && start.elapsed() < FILE_SERVER_DEADLINE, "virtiofsd: {}", run.text("virtiofsd.log"));
        thread::sleep(Duration::from_millis(5));
    }

    let mut machine = Running(emulator(kernel, clock, &run).spawn().context(EMULATOR)?);
    let output = machine.0.stdout.take().context("the emulator has no output")?;
    let (ended, end) = mpsc::channel();
    let label = label.to_owned();
    // Both ends of the channel live until this function ends.
    thread::spawn(move || drop(ended.send(copy(output, &label, io::stdout()))));
    match end.recv_timeout(limit) {
        Ok(copied) => copied.context("the guest's output")?,
        Err(_late) => {
            drop(machine);
            // The line it was in, such as the name of a test.
            end.recv().context("the guest's output")??;
            bail!("not done within {limit:?}; the guest's console ends with:\n{}", run.console_end());
        }
    }
    let status = machine.0.wait()?;
    ensure!(status.success(), "{EMULATOR} {status}\n{}", run.console_end());
    match run.text("status").trim().parse() {
        Ok(code) => Ok(code),
        Err(_none) => bail!("the guest died without an exit code; its console ends with:\n{}", run.console_end()),
    }
}

fn emulator(kernel: &Kernel, clock: Clock, run: &Run) -> Command {
    // A machine must not outlive us, however we end.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", EMULATOR]);
    command.args(clock.arguments()).args(["-cpu", PROCESSOR, "-smp", PROCESSORS, "-m", MEMORY]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(run.path("initramfs"));
    // A kernel in trouble ends the run at once.
    command.args(["-append", "console=ttyS0 panic=-1 oops=panic mitigations=off"]);
    command.arg("-serial").arg(format!("file:{}", run.path("console").display()));
    // The host's files: the server reads the guest's memory, so it must be shareable.
    command.args(["-machine", "memory-backend=memory"]);
    command.args(["-object", &format!("memory-backend-memfd,id=memory,size={MEMORY},share=on")]);
    command.arg("-chardev").arg(format!("socket,id=files,path={}", run.path("socket").display()));
    command.args(["-device", "vhost-user-fs-pci,chardev=files,tag=host,queue-size=1024"]);
    // The command's output and exit code: ports, because a serial line is slow and rewrites line ends.
    // Not `stdio`: the end of its input would close the port.
    command.args(["-device", "virtio-serial-pci", "-chardev", "file,id=output,path=/dev/fd/1"]);
    command.args(["-device", "virtserialport,chardev=output,name=output"]);
    command.arg("-chardev").arg(format!("file,id=status,path={}", run.path("status").display()));
    command.args(["-device", "virtserialport,chardev=status,name=status"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// Copies whole lines: other guests may write between them.
fn copy(from: impl Read, label: &str, mut to: impl Write) -> io::Result<()> {
    let mut from = BufReader::new(from);
    let mut line = label.as_bytes().to_vec();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        line.truncate(label.len());
    }
    Ok(())
}

/// A path as a word of a shell text.
fn quoted(path: &Path) -> String {
    super::quoted(&path.to_string_lossy())
}

/// A child that does not outlive us.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Either it has ended by itself, or it must now.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The files of one run, removed at its end.
struct Run {
    folder: TempDir,
}

impl Run {
    fn new() -> Result<Self> {
        let machines = root().canonicalize()?.join("target/vm");
        let prefix = format!("{RUN}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(&machines);
        Ok(Self { folder: folder.with_context(|| machines.display().to_string())? })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        let bytes = fs::read(self.path(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn console_end(&self) -> String {
        let console = self.text("console");
        let lines: Vec<&str> = console.lines().collect();
        lines.get(lines.len().saturating_sub(CONSOLE_END)..).unwrap_or_default().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_says_where_it_comes_from_also_one_that_does_not_end() {
        let mut to = Vec::new();
        copy(&b"one\n\ntest two ... "[..], "5.10 kernel: ", &mut to).unwrap();
        assert_eq!(to, b"5.10 kernel: one\n5.10 kernel: \n5.10 kernel: test two ... ");
    }

    #[test]
    fn two_runs_of_one_process_have_a_folder_each() {
        fs::create_dir_all(root().join("target/vm")).unwrap();
        assert_ne!(Run::new().unwrap().folder.path(), Run::new().unwrap().folder.path());
    }
}
