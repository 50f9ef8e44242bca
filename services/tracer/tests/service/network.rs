//! Networks of a test's own: nothing of the machine's changes, and nothing is left of them.

use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, gettid};

type Work = Box<dyn FnOnce() + Send>;

/// A network namespace, and the thread that is in it.
pub(crate) struct Network {
    work: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
    at: Pid,
}

impl Network {
    /// One with nothing but a loopback device.
    pub(crate) fn new() -> Self {
        let (work, todo) = channel::<Work>();
        let (tell, told) = channel();
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            tell.send(gettid()).unwrap();
            for work in todo {
                work();
            }
        });
        let network = Self { work: Some(work), thread: Some(thread), at: told.recv().unwrap() };
        network.ip("link set lo up");
        network
    }

    /// Does something in it. Sockets that it gives away stay in it.
    pub(crate) fn run<R: Send + 'static>(&self, act: impl FnOnce() -> R + Send + 'static) -> R {
        let (tell, told) = channel();
        self.work.as_ref().unwrap().send(Box::new(move || tell.send(act()).unwrap())).unwrap();
        told.recv().expect("what was to be done failed")
    }

    /// Runs a command.
    pub(crate) fn command(&self, words: &str) {
        let words = words.to_owned();
        self.run(move || {
            let ran = Command::new("sh").args(["-c", &words]).output().unwrap();
            assert!(ran.status.success(), "{words}: {}", String::from_utf8_lossy(&ran.stderr));
        });
    }

    /// Runs `ip` with these words.
    pub(crate) fn ip(&self, words: &str) {
        self.command(&format!("ip {words}"));
    }

    /// A cable to another: a device here and one there, with these addresses.
    pub(crate) fn connect(&self, (device, address): (&str, &str), to: &Self, (other, there): (&str, &str)) {
        self.ip(&format!("link add {device} type veth peer name {other} netns {}", to.at));
        for (network, device, address) in [(self, device, address), (to, other, there)] {
            network.ip(&format!("addr add {address} dev {device}"));
            network.ip(&format!("link set {device} up"));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.work.take());
        // What failed in it was seen by whoever waited.
        drop(self.thread.take().map(JoinHandle::join));
    }
}
