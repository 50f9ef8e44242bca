//! Leave for aya's map types to copy our keys and values as bytes.

#![allow(unsafe_code, reason = "`aya::Pod` is an unsafe trait")]

use aya::Pod;

use crate::batch::Batch;
use crate::drops::{DropKey, DropOffsets};
use crate::event::Event;
use crate::flow::{Flow, FlowKey, Pending, PendingKey};
use crate::settings::{Clocks, Settings};

// SAFETY: `repr(C)`, integers only, no padding, any bit pattern valid (asserted beside each type).
unsafe impl<const N: usize> Pod for FlowKey<N> where [u8; N]: Pod {}
// SAFETY: as above.
unsafe impl<const N: usize> Pod for PendingKey<N> where [u8; N]: Pod {}
// SAFETY: as above.
unsafe impl Pod for Flow {}
// SAFETY: as above.
unsafe impl Pod for Pending {}
// SAFETY: as above.
unsafe impl Pod for Settings {}
// SAFETY: as above.
unsafe impl Pod for Clocks {}
// SAFETY: two integers and keys that are `Pod` themselves, without padding (asserted beside the type).
unsafe impl<K: Pod> Pod for Batch<K> {}
// SAFETY: `repr(C)`, integers only, no padding, any bit pattern valid (asserted beside each type).
unsafe impl Pod for DropKey {}
// SAFETY: as above.
unsafe impl Pod for DropOffsets {}
// SAFETY: as above.
unsafe impl Pod for Event {}
