//! What a program reads of its packet.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use aya_ebpf::programs::TcContext;
use synscope_abi::packet::Bytes;

use crate::linear;

/// Where a program sits on its interface.
#[derive(Clone, Copy)]
#[repr(u8)]
pub enum Hook {
    /// Packets that come in.
    Ingress = 0,
    /// Packets that go out.
    Egress = 1,
}

/// What a frame of the interface begins with.
#[derive(Clone, Copy)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// The network header.
    Bare,
}

/// The bytes of a packet, linear or not.
pub struct Frame<'a>(pub &'a TcContext);

impl Bytes for Frame<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let context: *const c_void = self.0.skb.skb.cast();
        // SAFETY: the helper checks the offset against the packet, and the buffer is as long as it is told.
        let helper = |offset, to, length| unsafe { bpf_skb_load_bytes(context, offset, to, length) };
        // SAFETY: this is that helper.
        unsafe { linear::or_by_helper(self.0.data(), self.0.data_end(), offset, helper) }
    }
}

/// Interface the packet is on.
#[inline(always)]
pub fn ifindex(ctx: &TcContext) -> u32 {
    // SAFETY: the context pointer is valid for the whole run of the program.
    unsafe { (*ctx.skb.skb).ifindex }
}

/// Segments the packet stands for: a large receive or send is one packet here and many on the wire.
#[inline(always)]
pub fn segments(ctx: &TcContext) -> u32 {
    // SAFETY: the context pointer is valid for the whole run of the program.
    let segments = unsafe { (*ctx.skb.skb).gso_segs };
    if segments == 0 { 1 } else { segments }
}
