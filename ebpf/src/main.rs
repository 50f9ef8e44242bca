//! Kernel programs of the datapath.
//!
//! Every hook is thin: it hands the packet to [`track`] and turns the outcome into what the kernel expects. Nothing
//! here decides; decisions are in `synscope-abi`, where host tests reach them.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod batch;
mod linear;
mod maps;
mod object;
mod report;
mod skb;
mod sweep;
mod track;

use aya_ebpf::macros::{classifier, raw_tracepoint};
use aya_ebpf::programs::{RawTracePointContext, TcContext};

use crate::skb::{Hook, Link};

/// Ingress of a device with Ethernet headers.
#[classifier]
pub fn ingress(ctx: TcContext) -> i32 {
    track::packet(&ctx, Hook::Ingress, Link::Ethernet)
}

/// Egress of a device with Ethernet headers.
#[classifier]
pub fn egress(ctx: TcContext) -> i32 {
    track::packet(&ctx, Hook::Egress, Link::Ethernet)
}

/// Ingress of a device without Ethernet headers (WireGuard, tunnels).
#[classifier]
pub fn ingress_bare(ctx: TcContext) -> i32 {
    track::packet(&ctx, Hook::Ingress, Link::Bare)
}

/// Egress of a device without Ethernet headers.
#[classifier]
pub fn egress_bare(ctx: TcContext) -> i32 {
    track::packet(&ctx, Hook::Egress, Link::Bare)
}

/// One pass over the IPv4 tables and their refused SYNs; never attached, run by `BPF_PROG_TEST_RUN`.
#[raw_tracepoint]
pub fn sweep_v4(_ctx: RawTracePointContext) -> i32 {
    sweep::table(&maps::FLOWS_V4, &maps::PENDING_V4)
}

/// One pass over the IPv6 tables and their refused SYNs; never attached, run by `BPF_PROG_TEST_RUN`.
#[raw_tracepoint]
pub fn sweep_v6(_ctx: RawTracePointContext) -> i32 {
    sweep::table(&maps::FLOWS_V6, &maps::PENDING_V6)
}

/// Moves what is left in retiring IPv4 tables; never attached, run by `BPF_PROG_TEST_RUN`.
#[raw_tracepoint]
pub fn retire_v4(_ctx: RawTracePointContext) -> i32 {
    sweep::retire_v4()
}

/// Moves what is left in retiring IPv6 tables; never attached, run by `BPF_PROG_TEST_RUN`.
#[raw_tracepoint]
pub fn retire_v6(_ctx: RawTracePointContext) -> i32 {
    sweep::retire_v6()
}

/// Sweeps or moves a batch of IPv4 entries, where the kernel cannot walk; never attached, run by `BPF_PROG_TEST_RUN`.
#[raw_tracepoint]
pub fn batch_v4(_ctx: RawTracePointContext) -> i32 {
    batch::flows(&maps::BATCH_V4, &maps::FLOWS_V4)
}

/// Sweeps or moves a batch of IPv6 entries; never attached, run by `BPF_PROG_TEST_RUN`.
#[raw_tracepoint]
pub fn batch_v6(_ctx: RawTracePointContext) -> i32 {
    batch::flows(&maps::BATCH_V6, &maps::FLOWS_V6)
}

/// Sweeps a batch of refused IPv4 SYNs; never attached, run by `BPF_PROG_TEST_RUN`.
#[raw_tracepoint]
pub fn batch_pending_v4(_ctx: RawTracePointContext) -> i32 {
    batch::pending(&maps::BATCH_PENDING_V4, &maps::PENDING_V4)
}

/// Sweeps a batch of refused IPv6 SYNs; never attached, run by `BPF_PROG_TEST_RUN`.
#[raw_tracepoint]
pub fn batch_pending_v6(_ctx: RawTracePointContext) -> i32 {
    batch::pending(&maps::BATCH_PENDING_V6, &maps::PENDING_V6)
}

/// Reads the kernel's two clocks side by side; never attached, run by `BPF_PROG_TEST_RUN`.
#[raw_tracepoint]
pub fn clocks(_ctx: RawTracePointContext) -> i32 {
    sweep::clocks()
}
