//! The sweep: one pass over a table in the kernel, taking out what has expired.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::helpers::generated::{bpf_for_each_map_elem, bpf_jiffies64, bpf_ktime_get_ns, bpf_map_delete_elem};
use synscope_abi::counter::Counter;
use synscope_abi::flow::{Flow, FlowKey};
use synscope_abi::settings::{Clocks, Settings};
use synscope_abi::tcp::State;
use synscope_abi::timeout::is_expired;

use crate::maps::{CLOCKS, SETTINGS, TableSlot, add};

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
    let (Some(table), Some(settings)) = (slot.get(0), SETTINGS.get_ptr(0)) else {
        return -ENOENT;
    };
    // SAFETY: the helper takes no arguments and reads a counter.
    let now = unsafe { bpf_jiffies64() };
    let mut pass = Pass { now, settings, expired: 0 };
    let callback: unsafe extern "C" fn(*mut c_void, *const FlowKey<N>, *const Flow, *mut Pass) -> i64 = visit::<N>;
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
