//! Reading packet headers where they nearly always are: in the linear part of a packet.

use core::arch::asm;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;

/// Headers further in than this are read by a helper: 802.1ad, IPv6 and four extensions end before.
const OFFSET_MAX: usize = 0x3fff;

/// The `N` bytes at `offset` of a packet whose linear part is between `start` and `end`; none when it ends before.
///
/// # Safety
///
/// `helper` is the one that copies a packet's bytes: with 0 it says that it has written as many as it was asked for.
#[inline(always)]
pub unsafe fn or_by_helper<const N: usize>(
    start: usize,
    end: usize,
    offset: usize,
    helper: impl FnOnce(u32, *mut c_void, u32) -> i64,
) -> Option<[u8; N]> {
    if let Some(bytes) = read(start, end, offset) {
        return Some(bytes);
    }
    let mut bytes = MaybeUninit::<[u8; N]>::uninit();
    if helper(offset as u32, bytes.as_mut_ptr().cast(), N as u32) == 0 {
        // SAFETY: the helper returned 0, so it filled the buffer.
        Some(unsafe { bytes.assume_init() })
    } else {
        None
    }
}

/// The `N` bytes at `offset` between `start` and `end` of a packet; none when they lie elsewhere, or nowhere. A helper
/// that copies them costs about 10 ns a call, and a packet's headers take three.
#[inline(always)]
fn read<const N: usize>(start: usize, end: usize, offset: usize) -> Option<[u8; N]> {
    // Of one byte the compiler makes "below the end", from which the verifier learns nothing.
    if N == 1 || offset > OFFSET_MAX {
        return None;
    }
    let at = start + bounded(offset);
    if at + N > end {
        return None;
    }
    // SAFETY: these bytes are inside the linear part: that was just checked.
    Some(unsafe { ptr::read_unaligned(at as *const [u8; N]) })
}

/// The same number, and the verifier knows that it is at most [`OFFSET_MAX`]: older kernels forget the bounds of numbers
/// that were on the stack. The compiler, which does not forget, would leave a mask out.
#[inline(always)]
fn bounded(mut offset: usize) -> usize {
    // SAFETY: the instruction reads and writes this register alone.
    unsafe { asm!("{0} &= 0x3fff", inout(reg) offset, options(pure, nomem, nostack)) };
    offset
}
