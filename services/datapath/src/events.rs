//! Reading the event ring.

use aya::maps::{MapData, RingBuf};
use synscope_abi::event::Event;

/// What was read in one drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Records handed on.
    pub events: u64,
    /// Records of another size than [`Event`]: another version wrote them.
    pub foreign: u64,
}

/// Hands every record that is in the ring now to `each`, oldest first.
pub fn drain(ring: &mut RingBuf<MapData>, mut each: impl FnMut(&Event)) -> Drained {
    let mut drained = Drained::default();
    while let Some(record) = ring.next() {
        if record.len() == size_of::<Event>() {
            // SAFETY: the length is right, every bit pattern is a valid `Event`, and the read asks no alignment.
            let event = unsafe { record.as_ptr().cast::<Event>().read_unaligned() };
            each(&event);
            drained.events += 1;
        } else {
            drained.foreign += 1;
        }
    }
    drained
}
