//! Numbers of the kernel's helpers (`include/uapi/linux/bpf.h`).

pub(crate) const MAP_LOOKUP_ELEM: i32 = 1;
pub(crate) const MAP_UPDATE_ELEM: i32 = 2;
pub(crate) const MAP_DELETE_ELEM: i32 = 3;
pub(crate) const KTIME_GET_NS: i32 = 5;
pub(crate) const GET_PRANDOM_U32: i32 = 7;
pub(crate) const GET_SMP_PROCESSOR_ID: i32 = 8;
pub(crate) const GET_CURRENT_PID_TGID: i32 = 14;
pub(crate) const GET_CURRENT_UID_GID: i32 = 15;
pub(crate) const GET_CURRENT_COMM: i32 = 16;
pub(crate) const GET_STACKID: i32 = 27;
pub(crate) const GET_CURRENT_TASK: i32 = 35;
pub(crate) const GET_NUMA_NODE_ID: i32 = 42;
pub(crate) const GET_STACK: i32 = 67;
pub(crate) const GET_CURRENT_CGROUP_ID: i32 = 80;
pub(crate) const PROBE_READ_USER: i32 = 112;
pub(crate) const PROBE_READ_KERNEL: i32 = 113;
pub(crate) const PROBE_READ_USER_STR: i32 = 114;
pub(crate) const PROBE_READ_KERNEL_STR: i32 = 115;
pub(crate) const JIFFIES64: i32 = 118;
pub(crate) const KTIME_GET_BOOT_NS: i32 = 125;
pub(crate) const RINGBUF_RESERVE: i32 = 131;
pub(crate) const RINGBUF_SUBMIT: i32 = 132;
pub(crate) const FOR_EACH_MAP_ELEM: i32 = 164;
pub(crate) const GET_FUNC_IP: i32 = 173;
pub(crate) const MAP_LOOKUP_PERCPU_ELEM: i32 = 195;
pub(crate) const KTIME_GET_TAI_NS: i32 = 208;
