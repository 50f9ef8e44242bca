//! Sources that cannot be read: not observed, with the reason, and never zero.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

use std::fmt::Debug;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;
use synscope_bus::message::signal::{NodeSignals, Observed};
use synscope_datapath::signals::Sampler;

/// The signals of a thread from which a folder's content is hidden; `{}` in its path is the thread's number.
fn without(folder: &str) -> NodeSignals {
    thread::scope(|scope| {
        let reading = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let folder = folder.replace("{}", &gettid().to_string());
            for arguments in [vec!["--make-rprivate", "/"], vec!["-t", "tmpfs", "none", &folder]] {
                let mounted = Command::new("mount").args(&arguments).output().unwrap();
                assert!(mounted.status.success(), "{arguments:?}: {mounted:?}");
            }
            Sampler::new(Vec::new()).sample(Vec::new())
        });
        reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn not_observed<T: Debug>(signal: &Observed<T>, why: &str) {
    match signal {
        Observed::NotObserved { reason } => assert!(reason.contains(why), "{reason}"),
        told => panic!("{why} was hidden, and this is told: {told:?}"),
    }
}

#[test]
fn without_its_files_pressure_is_not_observed_and_the_rest_is() {
    let signals = without("/proc/pressure");
    not_observed(&signals.pressure, "/proc/pressure/cpu");
    assert!(signals.tcp.value().is_some() && signals.softnet.value().is_some() && signals.maps.value().is_some());
}

#[test]
fn without_the_namespaces_files_nothing_that_is_in_them_is_observed() {
    let signals = without(&format!("/proc/{}/task/{{}}/net", std::process::id()));
    not_observed(&signals.tcp, "net/netstat");
    not_observed(&signals.softnet, "net/softnet_stat");
    not_observed(&signals.nf_conntrack, "net/stat/nf_conntrack");
    assert!(signals.maps.value().is_some());
}

#[test]
fn a_module_whose_files_are_missing_is_not_observed() {
    let signals = without("/proc/sys/net/netfilter");
    not_observed(&signals.nf_conntrack, "/proc/sys/net/netfilter/nf_conntrack_count");
    assert!(signals.tcp.value().is_some());
}

/// It can drop nothing, which is known.
#[test]
fn a_module_that_is_not_loaded_has_no_table_and_no_zero_in_its_place() {
    let signals = without("/sys/module");
    assert_eq!(signals.nf_conntrack.value(), Some(&Vec::new()));
}

#[test]
fn without_proc_only_what_the_kernel_tells_elsewhere_is_observed() {
    let signals = without("/proc");
    not_observed(&signals.tcp, "/proc/thread-self/ns/net");
    not_observed(&signals.nf_conntrack, "/proc/thread-self/ns/net");
    not_observed(&signals.drops, "/proc/thread-self/ns/net");
    not_observed(&signals.softnet, "/proc/thread-self/net/softnet_stat");
    not_observed(&signals.pressure, "/proc/pressure/cpu");
    assert!(signals.maps.value().is_some());
}
