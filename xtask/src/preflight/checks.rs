//! What was found, judged.

use super::Check;
use super::node::Node;
use super::xdp::device;

const OLDEST: (u32, u32) = (5, 10);
/// Until 5.11 a map's memory counts as locked: two tables of the default capacity, the ring and the rest.
const MEMLOCK_BYTES: u64 = 256 << 20;
/// Numbers of capabilities (include/uapi/linux/capability.h).
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_RESOURCE: u32 = 24;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// All checks, in the order they are told.
pub(super) fn all(node: &Node) -> Vec<Check> {
    let mut checks = vec![
        kernel(node),
        privileges(node),
        bpffs(node),
        memlock(node),
        tcx(node),
        walk(node),
        tunnels(node),
        xdp(node),
        jit(node),
        btf(node),
        lockdown(node),
        tracefs(node),
        cgroup2(node),
        pressure(node),
        conntrack(node),
        conntrack_counters(node),
    ];
    if node.interfaces.is_empty() {
        checks.push(Check::lost(
            "interfaces",
            "none but lo",
            "there is no traffic to see",
            "run on a node with a network",
        ));
    }
    checks.extend(node.interfaces.iter().map(|interface| device(interface, node.version)));
    checks
}

fn kernel(node: &Node) -> Check {
    if node.version >= OLDEST {
        return Check::ok("kernel", &node.release);
    }
    Check::missing("kernel", &node.release, "the kernel programs do not load", "run kernel 5.10 or newer")
}

fn has(node: &Node, capability: u32) -> bool {
    node.capabilities >> capability & 1 == 1
}

fn privileges(node: &Node) -> Check {
    const NAME: &str = "privileges";
    if has(node, CAP_SYS_ADMIN) && has(node, CAP_NET_ADMIN) {
        return Check::ok(NAME, "CAP_SYS_ADMIN, CAP_NET_ADMIN");
    }
    if [CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN].into_iter().all(|capability| has(node, capability)) {
        return Check::lost(
            NAME,
            "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN",
            "other network namespaces cannot be entered, other programs' maps not be opened",
            "run as root or add CAP_SYS_ADMIN",
        );
    }
    Check::missing(NAME, "neither root nor CAP_BPF", "no kernel program can be loaded", "run as root")
}

fn mounted(node: &Node, kind: &str, place: Option<&str>) -> Option<String> {
    let fits = |(is, at): &&(String, String)| is == kind && place.is_none_or(|place| at == place);
    node.mounts.iter().find(fits).map(|(_, at)| at.clone())
}

fn bpffs(node: &Node) -> Check {
    match mounted(node, "bpf", Some("/sys/fs/bpf")) {
        Some(place) => Check::ok("bpffs", place),
        None => Check::missing(
            "bpffs",
            "not mounted",
            "tables and programs have no place to outlive the service",
            "mount -t bpf bpf /sys/fs/bpf",
        ),
    }
}

fn memlock(node: &Node) -> Check {
    const NAME: &str = "locked memory";
    if node.version >= (5, 11) {
        return Check::ok(NAME, "maps are not counted (5.11)");
    }
    match node.memlock {
        None => Check::ok(NAME, "no limit"),
        Some(_) if has(node, CAP_SYS_RESOURCE) => Check::ok(NAME, "can be raised (CAP_SYS_RESOURCE)"),
        Some(bytes) if bytes >= MEMLOCK_BYTES => Check::ok(NAME, format!("{} MiB", bytes >> 20)),
        Some(bytes) => Check::missing(
            NAME,
            format!("{} MiB", bytes >> 20),
            "tables of the default capacity cannot be made before 5.11",
            "ulimit -l unlimited (systemd: LimitMEMLOCK=infinity)",
        ),
    }
}

fn tcx(node: &Node) -> Check {
    if node.version >= (6, 6) {
        return Check::ok("tcx", "first in order");
    }
    Check::lost(
        "tcx",
        "no (6.6): clsact",
        "filters that come later with priority 1 are before ours, and hide what they redirect",
        "run kernel 6.6 or newer, or give other filters priority 2 or above",
    )
}

fn walk(node: &Node) -> Check {
    if node.version >= (5, 13) {
        return Check::ok("sweep", "inside the kernel");
    }
    Check::lost(
        "sweep",
        "by batches (walk: 5.13)",
        "a sweep takes a system call per entry",
        "run kernel 5.13 or newer, or keep tables small",
    )
}

fn jit(node: &Node) -> Check {
    const ADVICE: &str = "sysctl net.core.bpf_jit_enable=1";
    match node.jit.as_deref() {
        Some("1") => Check::ok("JIT", "on"),
        Some("2") => Check::lost("JIT", "on, for debugging", "each program's code goes to the kernel's log", ADVICE),
        Some(_) => Check::lost("JIT", "off", "kernel programs are interpreted: several times slower", ADVICE),
        None => Check::lost("JIT", "not observed", "kernel programs may be interpreted", ADVICE),
    }
}

fn tunnels(node: &Node) -> Check {
    if node.version >= (5, 14) {
        return Check::ok("tunnels", "ipip, sit, GRE, ip6tnl");
    }
    Check::lost(
        "tunnels",
        "no (5.14)",
        "ipip, sit, GRE and ip6tnl devices are not observed, the packets that carry them are",
        "run kernel 5.14 or newer, or attach to the devices below them",
    )
}

fn xdp(node: &Node) -> Check {
    if node.version >= (5, 18) {
        return Check::ok("XDP", "loads");
    }
    Check::lost("XDP", "no (5.18)", "xdp = true attaches nothing", "run kernel 5.18 or newer, or leave it off")
}

fn btf(node: &Node) -> Check {
    if !node.btf {
        return Check::lost(
            "BTF",
            "none",
            "no drops by reason, no traces of kernel functions",
            "run a kernel with CONFIG_DEBUG_INFO_BTF=y",
        );
    }
    if node.version < (5, 17) {
        return Check::lost(
            "BTF",
            "without drop reasons (5.17)",
            "dropped packets are not observed",
            "run kernel 5.17 or newer",
        );
    }
    Check::ok("BTF", "/sys/kernel/btf/vmlinux")
}

fn lockdown(node: &Node) -> Check {
    let Some(text) = &node.lockdown else {
        if mounted(node, "securityfs", None).is_some() {
            return Check::ok("lockdown", "none (not compiled in)");
        }
        return Check::lost(
            "lockdown",
            "not observed",
            "traces may be refused without a word why",
            "mount -t securityfs securityfs /sys/kernel/security",
        );
    };
    // All levels are listed, the one in force in brackets.
    let level = text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
    match level {
        Some("confidentiality") => Check::lost(
            "lockdown",
            "confidentiality",
            "traces cannot read kernel memory",
            "boot with lockdown=integrity or none",
        ),
        Some(level) => Check::ok("lockdown", level),
        None => Check::lost(
            "lockdown",
            format!("not understood: {}", text.trim()),
            "traces may be refused without a word why",
            "read /sys/kernel/security/lockdown",
        ),
    }
}

fn tracefs(node: &Node) -> Check {
    match mounted(node, "tracefs", None) {
        Some(place) => Check::ok("tracefs", place),
        None => Check::lost(
            "tracefs",
            "not mounted",
            "no tracepoints and no kprobes",
            "mount -t tracefs tracefs /sys/kernel/tracing",
        ),
    }
}

fn cgroup2(node: &Node) -> Check {
    match mounted(node, "cgroup2", None) {
        Some(place) => Check::ok("cgroup2", place),
        None => Check::lost(
            "cgroup2",
            "not mounted",
            "CPU throttling of a container is not seen as a cause",
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        ),
    }
}

fn pressure(node: &Node) -> Check {
    if node.pressure {
        return Check::ok("pressure", "/proc/pressure");
    }
    Check::lost(
        "pressure",
        "not counted",
        "too little CPU or memory is told from a slow network with less certainty",
        "boot with psi=1 (CONFIG_PSI=y)",
    )
}

fn conntrack(node: &Node) -> Check {
    match node.conntrack {
        Some((entries, max)) => Check::ok("nf_conntrack", format!("{entries} of {max} entries")),
        None => Check::ok("nf_conntrack", "not in use"),
    }
}

fn conntrack_counters(node: &Node) -> Check {
    const NAME: &str = "nf_conntrack counters";
    match (node.conntrack, node.conntrack_counters) {
        (None, _) => Check::ok(NAME, "not in use"),
        (Some(_), true) => Check::ok(NAME, "readable"),
        (Some(_), false) => Check::lost(
            NAME,
            "not readable",
            "a full table is seen by its fill, not by the inserts it refused",
            "install conntrack, or run a kernel with CONFIG_NF_CONNTRACK_PROCFS=y",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::node::Interface;
    use super::*;

    fn good() -> Node {
        Node {
            release: "6.12.1".to_owned(),
            version: (6, 12),
            btf: true,
            mounts: [("bpf", "/sys/fs/bpf"), ("tracefs", "/sys/kernel/tracing"), ("cgroup2", "/sys/fs/cgroup")]
                .map(|(kind, place)| (kind.to_owned(), place.to_owned()))
                .into(),
            lockdown: Some("none [integrity] confidentiality\n".to_owned()),
            jit: Some("1".to_owned()),
            memlock: Some(8 << 20),
            capabilities: 1 << CAP_SYS_ADMIN | 1 << CAP_NET_ADMIN,
            pressure: true,
            conntrack: Some((10, 262_144)),
            conntrack_counters: true,
            interfaces: vec![Interface { name: "eth0".to_owned(), driver: Some("virtio_net".to_owned()) }],
        }
    }

    fn states(node: &Node) -> Vec<(String, State)> {
        let not_ok = |check: Check| (check.state != State::Ok).then_some((check.name, check.state));
        all(node).into_iter().filter_map(not_ok).collect()
    }

    fn only(node: &Node) -> (String, State) {
        let states = states(node);
        assert_eq!(states.len(), 1, "{states:?}");
        states.into_iter().next().unwrap()
    }

    #[test]
    fn a_good_node_loses_nothing() {
        assert_eq!(states(&good()), []);
    }

    #[test]
    fn what_synscope_cannot_run_without_is_missing() {
        let cases = [
            ("privileges", Node { capabilities: 1 << CAP_NET_ADMIN, ..good() }),
            ("bpffs", Node { mounts: good().mounts.split_off(1), ..good() }),
        ];
        for (name, node) in cases {
            assert_eq!(only(&node), (name.to_owned(), State::Missing));
        }
        let old = Node { version: (5, 4), memlock: None, ..good() };
        assert!(states(&old).contains(&("kernel".to_owned(), State::Missing)));
    }

    #[test]
    fn what_it_can_do_without_is_lost() {
        let device = |driver: Option<&str>| Interface { name: "eth0".to_owned(), driver: driver.map(str::to_owned) };
        let small = 1 << CAP_BPF | 1 << CAP_PERFMON | 1 << CAP_NET_ADMIN;
        let cases = [
            ("tcx", Node { version: (6, 1), ..good() }),
            ("JIT", Node { jit: Some("0".to_owned()), ..good() }),
            ("JIT", Node { jit: None, ..good() }),
            ("BTF", Node { btf: false, ..good() }),
            ("lockdown", Node { lockdown: Some("none integrity [confidentiality]".to_owned()), ..good() }),
            ("lockdown", Node { lockdown: Some("what".to_owned()), ..good() }),
            ("lockdown", Node { lockdown: None, ..good() }),
            ("pressure", Node { pressure: false, ..good() }),
            ("nf_conntrack counters", Node { conntrack_counters: false, ..good() }),
            ("privileges", Node { capabilities: small, ..good() }),
            ("interfaces", Node { interfaces: Vec::new(), ..good() }),
            ("interface eth0", Node { interfaces: vec![device(Some("e1000e"))], ..good() }),
            ("interface eth0", Node { interfaces: vec![device(Some("netkit"))], ..good() }),
            ("interface eth0", Node { interfaces: vec![device(None)], ..good() }),
        ];
        for (name, node) in cases {
            assert_eq!(only(&node), (name.to_owned(), State::Lost));
        }
    }

    #[test]
    fn each_kernel_loses_what_the_table_in_the_docs_says() {
        let docs = include_str!("../../../docs/operations.md");
        for (version, name) in
            [((5, 12), "sweep"), ((5, 13), "tunnels"), ((5, 16), "BTF"), ((5, 17), "XDP"), ((6, 5), "tcx")]
        {
            let lost = |version| states(&Node { version, ..good() }).iter().any(|(lost, _)| lost == name);
            let next = (version.0, version.1 + 1);
            assert!(lost(version) && !lost(next), "{name}");
            assert!(docs.contains(&format!("\n| {}.{} | ", next.0, next.1)), "{name} is not in the docs' table");
        }
    }

    #[test]
    fn locked_memory_matters_before_5_11_only() {
        let old = |memlock, capabilities| Node { version: (5, 10), memlock, capabilities, ..good() };
        let root = good().capabilities;
        let lacks = |node: &Node| states(node).contains(&("locked memory".to_owned(), State::Missing));
        assert!(lacks(&old(Some(8 << 20), root)));
        assert!(!lacks(&old(Some(1 << 30), root)));
        assert!(!lacks(&old(None, root)));
        assert!(!lacks(&old(Some(8 << 20), root | 1 << CAP_SYS_RESOURCE)));
        assert!(!lacks(&good()));
    }

    #[test]
    fn a_kernel_without_lockdown_is_told_from_a_file_that_cannot_be_read() {
        let mut node = Node { lockdown: None, ..good() };
        assert_eq!(only(&node), ("lockdown".to_owned(), State::Lost));
        node.mounts.push(("securityfs".to_owned(), "/sys/kernel/security".to_owned()));
        assert_eq!(states(&node), []);
    }

    #[test]
    fn a_table_that_is_not_there_cannot_fill() {
        assert_eq!(states(&Node { conntrack: None, conntrack_counters: false, ..good() }), []);
    }
}
