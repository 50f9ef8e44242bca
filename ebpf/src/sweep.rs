//! Passes over a whole table inside the kernel: taking out what has expired, and moving entries to another table.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::{
    bpf_for_each_map_elem, bpf_jiffies64, bpf_ktime_get_ns, bpf_map_delete_elem, bpf_map_update_elem,
};
use synscope_abi::conntrack;
use synscope_abi::counter::Counter;
use synscope_abi::event::{EventKind, Reason, Verdict};
use synscope_abi::flow::{Flow, FlowKey, Pending, PendingKey};
use synscope_abi::settings::{CURRENT, Clocks, RETIRING, Settings, TABLE_SLOTS};
use synscope_abi::tcp::State;
use synscope_abi::timeout::is_expired;
use synscope_abi::verdict;

use crate::maps::{CLOCKS, FLOWS_V4, FLOWS_V6, MOVES_LEFT, PendingTable, SETTINGS, TableSlot, count, swept_flow};
use crate::report::{self, Note};

const EEXIST: i32 = 17;
/// No table, or no settings.
pub const ENOENT: i32 = 2;

type Callback<K, C> = unsafe extern "C" fn(*mut c_void, *const K, *const Flow, *mut C) -> i64;
type PendingCallback<K, C> = unsafe extern "C" fn(*mut c_void, *const K, *const Pending, *mut C) -> i64;

/// What a sweep carries from entry to entry.
#[repr(C)]
pub struct Pass {
    now: u64,
    now_ns: u64,
    settings: *const Settings,
}

impl Pass {
    /// Reads the clocks; none without settings.
    #[inline(always)]
    pub fn begin() -> Option<Self> {
        let settings = SETTINGS.get_ptr(0)?;
        // SAFETY: the helper takes no arguments and reads a counter.
        let now = unsafe { bpf_jiffies64() };
        // SAFETY: the helper takes no arguments and reads a clock.
        let now_ns = unsafe { bpf_ktime_get_ns() };
        Some(Self { now, now_ns, settings })
    }
}

/// Sweeps the tables and the refused SYNs beside them. Returns 0, or a negative errno when there is no table or no
/// settings.
#[inline(always)]
pub fn table<const N: usize>(slot: &impl TableSlot<N>, pending: &PendingTable<N>) -> i32 {
    let Some(mut pass) = Pass::begin() else {
        return -ENOENT;
    };
    let callback: Callback<FlowKey<N>, Pass> = visit::<N>;
    let mut at = 0;
    while at < TABLE_SLOTS {
        let Some(table) = slot.get(at) else {
            return -ENOENT;
        };
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
        if visited < 0 {
            return visited as i32;
        }
        at += 1;
    }
    let callback: PendingCallback<PendingKey<N>, Pass> = visit_pending::<N>;
    // SAFETY: the map is a static of this object, the callback has the signature that the kernel calls, and `pass`
    // lives until the helper returns.
    let visited = unsafe {
        bpf_for_each_map_elem(
            ptr::from_ref(pending).cast_mut().cast(),
            callback as *mut c_void,
            ptr::from_mut(&mut pass).cast(),
            0,
        )
    };
    if visited < 0 { visited as i32 } else { 0 }
}

/// Takes the entry out if it has expired.
///
/// # Safety
///
/// `key` and `flow` must be an entry of `table`.
pub unsafe extern "C" fn visit<const N: usize>(
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
    let state = State::from_number(state);
    // A state that is none is a torn or foreign entry: it goes.
    if !state.is_none_or(|state| is_expired(pass.now, last_seen, timeouts.of(state))) {
        return 0;
    }
    // A handshake that was never finished is worth an event; the end of a finished one was told before.
    let is_unfinished = matches!(state, Some(State::SynSent | State::SynReceived));
    let Some(copy) = swept_flow() else {
        return 1;
    };
    // Copied, because what is deleted may be another entry at once.
    // SAFETY: the kernel passes this entry's key, valid until the entry is deleted.
    let flow_key = unsafe { *key };
    if is_unfinished {
        // SAFETY: as above, its value.
        *copy = unsafe { *flow };
    }
    // SAFETY: deleting the visited entry of a hash table is what the kernel allows in this callback.
    let refused = unsafe { bpf_map_delete_elem(table, key.cast()) };
    if refused != 0 {
        return 0;
    }
    // Counted here: a number kept on the stack would make every entry another case to the verifier.
    count(Counter::Expired);
    if N == 16 {
        count(Counter::ExpiredV6);
    }
    if is_unfinished {
        let (verdict, reason) = (Verdict::Forwarded, Reason::None);
        report::event(&flow_key, copy, &Note { kind: EventKind::Expired, verdict, reason, at_ns: pass.now_ns });
    }
    0
}

/// Takes the refused SYN out if it will not come again.
///
/// # Safety
///
/// `key` and `pending` must be an entry of `table`.
pub unsafe extern "C" fn visit_pending<const N: usize>(
    table: *mut c_void,
    key: *const PendingKey<N>,
    pending: *const Pending,
    pass: *mut Pass,
) -> i64 {
    // SAFETY: `pass` is the caller's, and only this callback uses it meanwhile.
    let pass = unsafe { &mut *pass };
    // SAFETY: the kernel passes this entry's key and value, valid during the call.
    let (key, pending) = unsafe { (&*key, &*pending) };
    // SAFETY: the settings map outlives the program.
    let timeouts = unsafe { &(*pass.settings).timeouts };
    if !is_expired(pass.now, pending.last_seen_jiffies, timeouts.pending) {
        return 0;
    }
    let Some(flow) = swept_flow() else {
        return 1;
    };
    *flow = Flow { state: State::SynSent as u8, initial_sequence: key.initial_sequence, ..Flow::default() };
    conntrack::adopt(flow, pending, true);
    flow.syn_retries = flow.syn_retries.saturating_sub(1);
    let flow_key = key.flow;
    let note = Note {
        kind: EventKind::PendingExpired,
        verdict: Verdict::from_number(pending.verdict).unwrap_or(Verdict::Forwarded),
        reason: Reason::from_number(pending.reason).unwrap_or(Reason::None),
        at_ns: pass.now_ns,
    };
    // SAFETY: deleting the visited entry of a hash table is what the kernel allows in this callback.
    let refused = unsafe { bpf_map_delete_elem(table, ptr::from_ref(key).cast()) };
    if refused == 0 {
        count(Counter::PendingExpired);
        report::event(&flow_key, flow, &note);
    }
    0
}

/// Moves entries of the retiring IPv4 tables into the one in use, as many as it may.
#[inline(always)]
pub fn retire_v4() -> i32 {
    retire(&FLOWS_V4, move_v4)
}

/// Moves entries of the retiring IPv6 tables into the one in use, as many as it may.
#[inline(always)]
pub fn retire_v6() -> i32 {
    retire(&FLOWS_V6, move_v6)
}

#[inline(always)]
fn retire<const N: usize>(slot: &impl TableSlot<N>, callback: Callback<FlowKey<N>, u64>) -> i32 {
    for retiring in RETIRING {
        let Some(table) = slot.get(retiring) else { continue };
        let mut unused = 0_u64;
        // SAFETY: the table pointer came from the map-in-map lookup, and the callback has the signature that the
        // kernel calls.
        let visited = unsafe {
            bpf_for_each_map_elem(
                ptr::from_ref(table).cast_mut().cast(),
                callback as *mut c_void,
                ptr::from_mut(&mut unused).cast(),
                0,
            )
        };
        if visited < 0 {
            return visited as i32;
        }
    }
    0
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
    slot: &impl TableSlot<N>,
    from: *mut c_void,
    key: *const FlowKey<N>,
    flow: *const Flow,
) -> i64 {
    let (Some(to), Some(moves_left)) = (slot.get(CURRENT), MOVES_LEFT.get_ptr_mut(0)) else {
        return 1;
    };
    // SAFETY: the map outlives the program, and one process at a time has it run.
    let moves_left = unsafe { &mut *moves_left };
    if *moves_left == 0 {
        return 1;
    }
    // SAFETY: key and value are the kernel's, valid during the call; NOEXIST leaves alone what the connection's own
    // packet moved already.
    let moved = unsafe {
        bpf_map_update_elem(ptr::from_ref(to).cast_mut().cast(), key.cast(), flow.cast(), u64::from(BPF_NOEXIST))
    };
    // Before 6.4 the verifier calls a function that returns an `int`, which says nothing about the upper half.
    let moved = moved as i32;
    if moved == 0 {
        count(Counter::Moved);
    } else if moved != -EEXIST {
        count(Counter::MoveFailed);
        // What comes after finds no room either.
        return i64::from(moved == -verdict::FULL);
    }
    *moves_left -= 1;
    // Refused, it is found here again, and that it has moved.
    // SAFETY: deleting the visited entry of a hash table is what the kernel allows in this callback.
    let _refused = unsafe { bpf_map_delete_elem(from, key.cast()) };
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
