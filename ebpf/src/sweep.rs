//! Passes over a whole table inside the kernel: taking out what has expired, and moving entries to another table.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::{
    bpf_for_each_map_elem, bpf_jiffies64, bpf_ktime_get_ns, bpf_map_delete_elem, bpf_map_update_elem,
};
use synscope_abi::counter::Counter;
use synscope_abi::flow::{Flow, FlowKey};
use synscope_abi::settings::{CURRENT, Clocks, RETIRING, Settings};
use synscope_abi::tcp::State;
use synscope_abi::timeout::is_expired;

use crate::maps::{CLOCKS, FLOWS_V4, FLOWS_V6, SETTINGS, TableSlot, add, count};

const EEXIST: i64 = 17;

type Callback<K, C> = unsafe extern "C" fn(*mut c_void, *const K, *const Flow, *mut C) -> i64;

#[repr(C)]
struct Pass {
    now: u64,
    settings: *const Settings,
    expired: u64,
}

/// Sweeps the table in use. Returns 0, or a negative errno when there is no table or no settings.
#[inline(always)]
pub fn table<const N: usize>(slot: &TableSlot<N>) -> i32 {
    const ENOENT: i32 = 2;
    let (Some(table), Some(settings)) = (slot.get(CURRENT), SETTINGS.get_ptr(0)) else {
        return -ENOENT;
    };
    // SAFETY: the helper takes no arguments and reads a counter.
    let now = unsafe { bpf_jiffies64() };
    let mut pass = Pass { now, settings, expired: 0 };
    let callback: Callback<FlowKey<N>, Pass> = visit::<N>;
    // SAFETY: the table pointer came from the map-in-map lookup, the callback has the signature that the kernel
    // calls, and `pass` lives until the helper returns.
    let visited = unsafe {
        bpf_for_each_map_elem(
            ptr::from_ref(table).cast_mut().cast(),
            callback as *mut c_void,
            ptr::from_mut(&mut pass).cast(),
            0,
        )
    };
    add(Counter::Expired, pass.expired);
    if visited < 0 { visited as i32 } else { 0 }
}

unsafe extern "C" fn visit<const N: usize>(
    table: *mut c_void,
    key: *const FlowKey<N>,
    flow: *const Flow,
    pass: *mut Pass,
) -> i64 {
    // SAFETY: the kernel passes the entry's value, valid during the call.
    let (last_seen, state) = unsafe { ((*flow).last_seen_jiffies, (*flow).state) };
    // SAFETY: `pass` is the caller's, and only this callback uses it meanwhile.
    let pass = unsafe { &mut *pass };
    // SAFETY: the settings map outlives the program.
    let timeouts = unsafe { &(*pass.settings).timeouts };
    // A state that is none is a torn or foreign entry: it goes.
    let expired = State::from_number(state).is_none_or(|state| is_expired(pass.now, last_seen, state, timeouts));
    if expired {
        // SAFETY: deleting the visited entry of a hash table is what the kernel allows in this callback.
        let refused = unsafe { bpf_map_delete_elem(table, key.cast()) };
        if refused == 0 {
            pass.expired += 1;
        }
    }
    0
}

/// Moves every entry of the retiring IPv4 table into the one in use.
#[inline(always)]
pub fn retire_v4() -> i32 {
    retire(&FLOWS_V4, move_v4)
}

/// Moves every entry of the retiring IPv6 table into the one in use.
#[inline(always)]
pub fn retire_v6() -> i32 {
    retire(&FLOWS_V6, move_v6)
}

#[inline(always)]
fn retire<const N: usize>(slot: &TableSlot<N>, callback: Callback<FlowKey<N>, u64>) -> i32 {
    let Some(table) = slot.get(RETIRING) else {
        return 0;
    };
    let mut unused = 0_u64;
    // SAFETY: the table pointer came from the map-in-map lookup, and the callback has the signature that the kernel
    // calls.
    let visited = unsafe {
        bpf_for_each_map_elem(
            ptr::from_ref(table).cast_mut().cast(),
            callback as *mut c_void,
            ptr::from_mut(&mut unused).cast(),
            0,
        )
    };
    if visited < 0 { visited as i32 } else { 0 }
}

// One function per family: a callback finds the table in use by itself, because the verifier takes no map pointer out
// of memory.
unsafe extern "C" fn move_v4(table: *mut c_void, key: *const FlowKey<4>, flow: *const Flow, _unused: *mut u64) -> i64 {
    // SAFETY: the kernel passes this entry's key and value, valid during the call.
    unsafe { move_entry(&FLOWS_V4, table, key, flow) }
}

unsafe extern "C" fn move_v6(table: *mut c_void, key: *const FlowKey<16>, flow: *const Flow, _unused: *mut u64) -> i64 {
    // SAFETY: as above.
    unsafe { move_entry(&FLOWS_V6, table, key, flow) }
}

#[inline(always)]
unsafe fn move_entry<const N: usize>(
    slot: &TableSlot<N>,
    from: *mut c_void,
    key: *const FlowKey<N>,
    flow: *const Flow,
) -> i64 {
    let Some(to) = slot.get(CURRENT) else {
        return 1;
    };
    // SAFETY: key and value are the kernel's, valid during the call; NOEXIST leaves alone what the connection's own
    // packet moved already.
    let moved = unsafe {
        bpf_map_update_elem(ptr::from_ref(to).cast_mut().cast(), key.cast(), flow.cast(), u64::from(BPF_NOEXIST))
    };
    if moved != 0 && moved != -EEXIST {
        count(Counter::MoveFailed);
        return 0;
    }
    // SAFETY: deleting the visited entry of a hash table is what the kernel allows in this callback.
    let refused = unsafe { bpf_map_delete_elem(from, key.cast()) };
    if refused == 0 {
        count(Counter::Moved);
    }
    0
}

/// Notes both clocks for user space, which learns from two readings how long a jiffy is.
#[inline(always)]
pub fn clocks() -> i32 {
    // SAFETY: the helper takes no arguments and reads a counter.
    let jiffies = unsafe { bpf_jiffies64() };
    // SAFETY: the helper takes no arguments and reads a clock.
    let monotonic_ns = unsafe { bpf_ktime_get_ns() };
    match CLOCKS.set(0, Clocks { jiffies, monotonic_ns }, 0) {
        Ok(()) => 0,
        Err(errno) => errno,
    }
}
