//! Programs that tests put behind ours, to show that ours stays out of the way.

#![no_std]
#![no_main]

#[path = "../object.rs"]
mod object;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::btf_maps::Array;
use aya_ebpf::helpers::generated::bpf_redirect;
use aya_ebpf::macros::{btf_map, classifier};
use aya_ebpf::programs::TcContext;

/// Where an interface's packets go: interface index to interface index, 0 = nowhere.
#[btf_map]
static WIRE: Array<u32, 256> = Array::new();

/// Drops everything.
#[classifier]
pub fn drop_all(_ctx: TcContext) -> i32 {
    TC_ACT_SHOT
}

/// Sends everything out of the other interface, as Cilium does at the tail of its ingress program.
#[classifier]
pub fn redirect(ctx: TcContext) -> i32 {
    // SAFETY: the context pointer is valid for the whole run of the program.
    let from = unsafe { (*ctx.skb.skb).ifindex };
    match WIRE.get(from) {
        // SAFETY: the helper only takes numbers.
        Some(to) if *to != 0 => unsafe { bpf_redirect(*to, 0) as i32 },
        _ => TC_ACT_UNSPEC,
    }
}
