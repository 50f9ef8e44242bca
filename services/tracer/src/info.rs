//! What this kernel lets a tracer do: `--info`.

use std::path::Path;

use synscope_btf::{Found, Named};

use crate::Environment;
use crate::list::ListError;
use crate::load::{has_kprobes, takes_typed};
use crate::lockdown::confidential;

/// What belongs together, under a title.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What it is about.
    pub title: &'static str,
    /// Names of features, and whether this kernel has them.
    pub features: Vec<(&'static str, bool)>,
}

/// Helpers that programs call: by bpftrace's names, and the kernel's without `BPF_FUNC_`.
const HELPERS: &[(&str, &str)] = &[
    ("probe_read_kernel", "probe_read_kernel"),
    ("probe_read_kernel_str", "probe_read_kernel_str"),
    ("probe_read_user", "probe_read_user"),
    ("probe_read_user_str", "probe_read_user_str"),
    ("get_current_cgroup_id", "get_current_cgroup_id"),
    ("get_boot_ns", "ktime_get_boot_ns"),
    ("get_tai_ns", "ktime_get_tai_ns"),
    ("jiffies64", "jiffies64"),
    ("get_func_ip", "get_func_ip"),
    ("for_each_map_elem", "for_each_map_elem"),
    ("lookup_percpu_elem", "map_lookup_percpu_elem"),
    ("get_stack", "get_stack"),
];

/// Kinds of maps, by their constants.
const MAPS: &[(&str, &str)] = &[
    ("hash", "BPF_MAP_TYPE_HASH"),
    ("array", "BPF_MAP_TYPE_ARRAY"),
    ("percpu hash", "BPF_MAP_TYPE_PERCPU_HASH"),
    ("percpu array", "BPF_MAP_TYPE_PERCPU_ARRAY"),
    ("stack_trace", "BPF_MAP_TYPE_STACK_TRACE"),
    ("ringbuf", "BPF_MAP_TYPE_RINGBUF"),
];

/// A function that every kernel with networking has, to try whether calls can be written into functions.
const TRIED: &str = "tcp_v4_connect";
/// Where the kernel lists tracepoints.
const TRACEPOINTS: &str = "/sys/kernel/tracing/events";
/// There where the kernel has perf events.
const PERF: &str = "/proc/sys/kernel/perf_event_paranoid";

/// What the running kernel has, found out by its types and by trying.
///
/// # Errors
///
/// The kernel's types cannot be read: without them no script runs.
pub fn groups(environment: &Environment) -> Result<Vec<Group>, ListError> {
    let kernel = environment.kernel().map_err(ListError::types)?;
    let constant = |name: &str| kernel.constant(name).is_ok();
    let vmlinux = kernel.vmlinux();
    let typed = |exit| {
        vmlinux.lookup(Named::Function, TRIED).is_some_and(|id| {
            let found = Found { btf: vmlinux.clone(), id };
            takes_typed(&found, exit).is_ok()
        })
    };
    let multi = vmlinux.lookup(Named::Struct, "bpf_kprobe_multi_link").is_some();
    Ok(vec![
        Group {
            title: "Kernel helpers",
            features: HELPERS.iter().map(|(name, word)| (*name, constant(&format!("BPF_FUNC_{word}")))).collect(),
        },
        Group { title: "Kernel features", features: vec![("btf", true)] },
        Group { title: "Map types", features: MAPS.iter().map(|(name, word)| (*name, constant(word))).collect() },
        Group {
            title: "Probe types",
            features: vec![
                ("tracepoint", Path::new(TRACEPOINTS).exists()),
                ("rawtracepoint", constant("BPF_PROG_TYPE_RAW_TRACEPOINT")),
                ("perf_event", Path::new(PERF).exists()),
                ("kprobe", has_kprobes() && confidential() != Some(true)),
                ("kprobe_multi", multi),
                ("fentry", typed(false)),
                ("fexit", typed(true)),
            ],
        },
    ])
}
