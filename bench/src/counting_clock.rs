//! A clock that counts instructions, each as a nanosecond: that of a machine emulated for it.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::unistd::getppid;

use crate::samples::{median, number, quantile};

/// Parts of a measure, of which the median counts: in some the timer interrupts.
const PARTS: u32 = 41;
/// System calls of a part: enough that what a map's allocator does now and then is in each.
const CALLS: u32 = 500;
/// How far the middle half of all parts may lie apart.
const SPREAD: f64 = 0.01;

/// Refuses a machine whose clock counts something else.
pub(crate) fn ensure_it_counts() -> Result<()> {
    const ROUNDS: u64 = 100_000;
    let part = |_| -> Result<f64> {
        let start = Instant::now();
        let instructions =
            known(ROUNDS).context("how many instructions this processor executes for what is not known")?;
        Ok(elapsed(start) / number(instructions))
    };
    let nanoseconds = median(&(0..PARTS).map(part).collect::<Result<Vec<_>>>()?);
    ensure!(
        (nanoseconds - 1.0).abs() < 0.01,
        "an instruction takes {nanoseconds:.3} ns: this machine's clock does not count them"
    );
    Ok(())
}

/// Instructions of a system call that does next to nothing.
pub(crate) fn per_call() -> Result<f64> {
    let part = |_| {
        let start = Instant::now();
        for _ in 0..CALLS {
            black_box(getppid());
        }
        elapsed(start) / f64::from(CALLS)
    };
    let mut parts: Vec<f64> = (0..PARTS).map(part).collect();
    let (low, high) = (quantile(&mut parts, 250), quantile(&mut parts, 750));
    ensure!(high - low < low * SPREAD, "the middle half of {PARTS} counts is {low:.1} to {high:.1}");
    Ok(median(&parts))
}

fn elapsed(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e9
}

/// Executes a known number of instructions, and returns it.
#[cfg(target_arch = "x86_64")]
#[allow(clippy::unnecessary_wraps, reason = "of other processors none is known")]
fn known(rounds: u64) -> Option<u64> {
    // SAFETY: counts one register down, and touches nothing else.
    unsafe {
        std::arch::asm!("2:", "dec {0}", "jnz 2b", inout(reg) rounds => _, options(nomem, nostack));
    }
    Some(rounds * 2)
}

#[cfg(not(target_arch = "x86_64"))]
fn known(_rounds: u64) -> Option<u64> {
    None
}
