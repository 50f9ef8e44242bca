//! Keys that user space hands to a kernel program, on kernels that cannot walk a table by themselves (before 5.13).
//!
//! User space only reads keys; the program looks each one up and decides, as the walks inside newer kernels do.

/// Keys in one batch at most: the verifier goes through the work on each.
pub const BATCH_KEYS: usize = 16;

/// Take out those that have expired.
pub const TASK_EXPIRE: u32 = 0;
/// Move those that are in a retiring table.
pub const TASK_MOVE: u32 = 1;

/// One batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Batch<K> {
    /// [`TASK_EXPIRE`] or [`TASK_MOVE`].
    pub task: u32,
    /// Slot of the table that the keys were read from, where there are slots.
    pub slot: u32,
    /// How many of the keys count.
    pub length: u32,
    /// The keys.
    pub keys: [K; BATCH_KEYS],
}

impl<K: Copy> Batch<K> {
    /// A batch of the first [`BATCH_KEYS`] of `keys`; none when there are no keys.
    #[must_use]
    pub fn of(task: u32, slot: u32, keys: &[K]) -> Option<Self> {
        let mut filled = [*keys.first()?; BATCH_KEYS];
        let mut length = 0;
        for (place, key) in filled.iter_mut().zip(keys) {
            *place = *key;
            length += 1;
        }
        Some(Self { task, slot, length, keys: filled })
    }
}

const _: () = {
    use crate::flow::{FlowKey, PendingKey};
    use core::mem::size_of;
    assert!(size_of::<Batch<FlowKey<4>>>() == 12 + BATCH_KEYS * 16);
    assert!(size_of::<Batch<FlowKey<16>>>() == 12 + BATCH_KEYS * 40);
    assert!(size_of::<Batch<PendingKey<4>>>() == 12 + BATCH_KEYS * 20);
    assert!(size_of::<Batch<PendingKey<16>>>() == 12 + BATCH_KEYS * 44);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_holds_what_fits() {
        assert_eq!(Batch::<u32>::of(TASK_MOVE, 1, &[]), None);
        let batch = Batch::of(TASK_MOVE, 1, &[7, 8]).unwrap();
        assert_eq!((batch.slot, batch.length, batch.keys[0], batch.keys[1]), (1, 2, 7, 8));
        let many: [u32; 100] = core::array::from_fn(|at| u32::try_from(at).unwrap());
        assert_eq!(Batch::of(TASK_EXPIRE, 0, &many).unwrap().length, 16);
    }
}
