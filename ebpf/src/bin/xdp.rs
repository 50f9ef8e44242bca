//! Parses each packet where the driver hands it over, and passes it: what balancing will be built on, and what it costs
//! to be there.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

#[path = "../linear.rs"]
mod linear;
#[path = "../object.rs"]
mod object;

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::helpers::generated::bpf_xdp_load_bytes;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use synscope_abi::counter::{COUNTERS, Counter};
use synscope_abi::packet::{self, Bytes, Packet};

/// Malformed packets by [`Counter`], as the other programs count them.
#[btf_map]
static XDP_COUNTS: PerCpuArray<u64, COUNTERS> = PerCpuArray::new();
/// Packets that were parsed.
#[btf_map]
static XDP_PARSED: PerCpuArray<u64, 1> = PerCpuArray::new();

/// The bytes of a packet, in one buffer or several.
struct Frame<'a>(&'a XdpContext);

impl Bytes for Frame<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // SAFETY: the helper checks the offset against the packet, and the buffer is as long as it is told.
        let helper = |offset, to, length| unsafe { bpf_xdp_load_bytes(self.0.ctx, offset, to, length) };
        // SAFETY: this is that helper.
        unsafe { linear::or_by_helper(self.0.data(), self.0.data_end(), offset, helper) }
    }
}

/// Parses and passes.
#[xdp]
pub fn pass(ctx: XdpContext) -> u32 {
    let counter = match parse(&Frame(&ctx)) {
        Ok(_packet) => XDP_PARSED.get_ptr_mut(0),
        Err(counter) => XDP_COUNTS.get_ptr_mut(counter as u32),
    };
    if let Some(count) = counter {
        // SAFETY: the slot belongs to this CPU, and its packets come one after the other.
        unsafe { *count += 1 };
    }
    XDP_PASS
}

#[inline(always)]
fn parse(frame: &Frame<'_>) -> Result<Packet, Counter> {
    let (ethertype, offset) = packet::ethernet(frame)?;
    packet::network(frame, ethertype, offset)
}
