//! A kernel that is locked down. That cannot be undone, so this runs in a guest, and last there: `cargo xtask vm --kernel
//! 6.12 -- <this program> --ignored`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod traced;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};

use traced::{OURS, named, ours, traced};

const STATE: &str = "/sys/kernel/security/lockdown";
const RULE: &str = "the kernel is locked down (lockdown=confidentiality), which forbids";

fn run(program: &str, words: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = Command::new(program).args(words).output().unwrap();
    let [written, said] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(!said.contains("panicked"), "{said}");
    (status.code(), written, said)
}

/// Opens and closes connections to a listener of our own, in a thread that scripts look for.
fn dial() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    named("dialer", move || (0..3).for_each(|_| drop(TcpStream::connect(at).unwrap())));
}

/// What a script writes, its white space made single, while connections are opened.
fn dialed(script: &str) -> String {
    traced(&ours(), script, dial).split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn lock_down(to: &str) {
    fs::write(STATE, to).unwrap();
    assert!(fs::read_to_string(STATE).unwrap().contains(&format!("[{to}]")));
}

/// What a script is refused with, at a place in it.
fn refused(words: &[&str], parts: &[&str]) {
    let (code, written, said) = run(OURS, &[&["trace"], words].concat());
    assert_eq!(code, Some(1), "{words:?}: {written}{said}");
    for part in parts {
        assert!(said.contains(part), "no {part:?} for {words:?} in:\n{said}");
    }
}

#[test]
#[ignore = "locks the kernel down for good: run in a guest"]
fn what_lockdown_forbids_is_named_and_the_rest_runs() {
    if !Path::new(STATE).exists() {
        run("mount", &["-t", "securityfs", "securityfs", "/sys/kernel/security"]);
    }
    assert!(fs::read_to_string(STATE).unwrap().contains("[none]"), "this kernel was locked down before");

    // Integrity is about writing: nothing of tracing is refused.
    lock_down("integrity");
    let kprobe = r#"kprobe:tcp_v4_connect /comm == "dialer"/ { @[reg("ip") > 0] = count(); }"#;
    let copied = r#"tracepoint:sched:sched_switch /comm == "dialer"/ { @copied[str(args.prev_comm)] = count(); }"#;
    let pattern = r#"kprobe:tcp_v* /comm == "dialer"/ { @called[func] = count(); }"#;
    let written = dialed(&format!("{kprobe} {copied} {pattern}"));
    for part in ["@[1]: 3", "@called[tcp_v4_connect]: 3", "@copied[dialer]: "] {
        assert!(written.contains(part), "no {part:?} in {written}");
    }

    lock_down("confidentiality");
    refused(
        &["-e", kprobe],
        &[
            &format!("error[lockdown]: `kprobe:tcp_v4_connect` cannot be attached: {RULE} kprobes\n --> stdin:1:1\n"),
            "note: it would have to be one: the script reads registers",
        ],
    );
    refused(
        &["-e", copied],
        &[
            &format!("error[lockdown]: the kernel refuses `tracepoint:sched:sched_switch`: {RULE} programs to copy"),
            "\n --> stdin:1:64\n",
            "note: numbers are permitted",
        ],
    );
    refused(
        &["-e", pattern],
        &[
            "error[tracefs]: functions cannot be listed: Operation not permitted",
            &format!("{RULE} the list of functions"),
        ],
    );
    refused(&["-l", "kprobe:tcp_v*"], &[&format!("{RULE} the list of functions")]);
    let (_, info, _) = run(OURS, &["trace", "--info"]);
    assert!(info.contains("  kprobe: no\n") && info.contains("  fentry: yes\n"), "{info}");

    // Calls within functions, tracepoints, numbers, what typed pointers lead to, and stacks are not among it.
    let written = dialed(
        r#"BEGIN { @stack[kstack(2)] = count(); }
        kprobe:tcp_v4_connect /comm == "dialer"/ { @called[func, arg2] = count(); }
        fexit:tcp_v4_connect /comm == "dialer"/ { @returned[retval] = count(); }
        fentry:tcp_connect /comm == "dialer"/ { @family[args.sk->__sk_common.skc_family] = count(); }
        tracepoint:sock:inet_sock_set_state /comm == "dialer" && args.newstate == 2/ { @record[args.family] = count(); }
        rawtracepoint:inet_sock_set_state /comm == "dialer" && args.newstate == 2/ {
            @typed[args.sk->__sk_common.skc_family] = count();
        }"#,
    );
    for part in [
        "@called[tcp_v4_connect, 16]: 3",
        "@returned[0]: 3",
        "@family[2]: 3",
        "@record[2]: 3",
        "@typed[2]: 3",
        "@stack[ bpf_prog_",
    ] {
        assert!(written.contains(part), "no {part:?} in {written}");
    }

    // Where the state cannot be read, the kernel's answer is passed on, with what may be behind it.
    run("umount", &["/sys/kernel/security"]);
    assert!(!Path::new(STATE).exists());
    refused(
        &["-e", kprobe],
        &[
            "error: `kprobe:tcp_v4_connect` cannot be attached: a kernel that is locked down (lockdown=confidentiality) forbids",
            "mount -t securityfs",
            "Operation not permitted (os error 1)",
        ],
    );
}
