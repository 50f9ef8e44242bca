//! What a program reads of its packet.

use core::arch::asm;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;

use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use aya_ebpf::programs::TcContext;
use synscope_abi::packet::Bytes;

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

/// Headers further in than this are read by the helper: 802.1ad, IPv6 and four extensions end before.
const LINEAR_MAX: usize = 0x3fff;

/// The bytes of a packet, linear or not.
pub struct Frame<'a>(pub &'a TcContext);

impl Bytes for Frame<'_> {
    /// Straight from the linear part, which nearly always holds the headers; else by a helper that copies. The helper
    /// costs about 10 ns a call, and a packet's headers take three.
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // Of one byte the compiler makes "below the end", from which the verifier learns nothing.
        if N > 1 && offset <= LINEAR_MAX {
            let start = self.0.data() + bounded(offset);
            if start + N <= self.0.data_end() {
                // SAFETY: these bytes are inside the linear part: that was just checked.
                return Some(unsafe { ptr::read_unaligned(start as *const [u8; N]) });
            }
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

/// The same number, and the verifier knows that it is at most [`LINEAR_MAX`]: older kernels forget the bounds
/// of numbers that were on the stack. The compiler, which does not forget, would leave a mask out.
#[inline(always)]
fn bounded(mut offset: usize) -> usize {
    // SAFETY: the instruction reads and writes this register alone.
    unsafe { asm!("{0} &= 0x3fff", inout(reg) offset, options(pure, nomem, nostack)) };
    offset
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
