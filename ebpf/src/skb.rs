//! What a program reads of its packet.

use core::ffi::c_void;
use core::mem::MaybeUninit;

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
        if let Some(bytes) = linear::read(self.0.data(), self.0.data_end(), offset) {
            return Some(bytes);
        }
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        let context: *const c_void = self.0.skb.skb.cast();
        // SAFETY: the helper checks the offset against the packet and writes all N bytes when it returns 0.
        let refused = unsafe { bpf_skb_load_bytes(context, offset as u32, bytes.as_mut_ptr().cast(), N as u32) };
        if refused == 0 {
            // SAFETY: the helper returned 0, so it filled the buffer.
            Some(unsafe { bytes.assume_init() })
        } else {
            None
        }
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
