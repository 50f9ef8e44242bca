//! How many connections of an edge usually suffer.

use std::collections::VecDeque;

use crate::scale::Scale;

/// Buckets in a block: enough connections that its share means something, and few enough that spikes leave some free.
const BLOCK: u64 = 30;
/// Blocks that are remembered: two hours of them.
const BLOCKS_MAX: usize = 24;

/// What a bucket, or a part of it, adds to what is usual.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Noted {
    /// The bucket's start, Unix ns.
    pub(crate) start_unix_ns: u64,
    /// Handshakes, whatever became of them.
    pub(crate) n: u64,
    /// Those that were slow, and SYNs that were dropped.
    pub(crate) slow_or_dropped: u64,
    /// Those that failed, few or many: else many would be rarer than they are.
    pub(crate) failed: u64,
}

/// What so many buckets in a row measured.
#[derive(Debug, Clone, Copy)]
struct Block {
    number: u64,
    n: u64,
    slow_or_dropped: u64,
    failed: u64,
}

/// The latest blocks of judged buckets.
#[derive(Debug, Clone)]
pub(crate) struct Usual {
    block_ns: u64,
    /// The latest, in place, because nearly all is noted there.
    latest: Option<Block>,
    /// Those before it, oldest first.
    earlier: VecDeque<Block>,
}

impl Usual {
    pub(crate) const fn new(scale: &Scale) -> Self {
        Self { block_ns: BLOCK * scale.bucket_ns, latest: None, earlier: VecDeque::new() }
    }

    /// Notes a bucket or a part of it, in its own time.
    pub(crate) fn note(&mut self, noted: &Noted) {
        let Noted { start_unix_ns, n, slow_or_dropped, failed } = *noted;
        let number = start_unix_ns / self.block_ns;
        if let Some(block) = self.at(number) {
            block.n += n;
            block.slow_or_dropped += slow_or_dropped;
            block.failed += failed;
            return;
        }
        self.earlier.extend(self.latest.take());
        let place = self.earlier.partition_point(|block| block.number < number);
        self.earlier.insert(place, Block { number, n, slow_or_dropped, failed });
        if self.earlier.len() > BLOCKS_MAX {
            self.earlier.pop_front();
        }
        self.latest = self.earlier.pop_back();
    }

    /// Takes back what was noted. A block of which nothing is left says nothing.
    pub(crate) fn withdraw(&mut self, noted: impl IntoIterator<Item = Noted>) {
        for Noted { start_unix_ns, n, slow_or_dropped, failed } in noted {
            if let Some(block) = self.at(start_unix_ns / self.block_ns) {
                block.n = block.n.saturating_sub(n);
                block.slow_or_dropped = block.slow_or_dropped.saturating_sub(slow_or_dropped);
                block.failed = block.failed.saturating_sub(failed);
            }
        }
        self.earlier.retain(|block| block.n > 0);
        self.latest = self.latest.filter(|block| block.n > 0).or_else(|| self.earlier.pop_back());
    }

    fn at(&mut self, number: u64) -> Option<&mut Block> {
        let latest = self.latest.as_mut()?;
        if latest.number <= number {
            return (latest.number == number).then_some(latest);
        }
        let place = self.earlier.binary_search_by_key(&number, |block| block.number).ok()?;
        self.earlier.get_mut(place)
    }

    fn all(&self) -> impl Iterator<Item = &Block> {
        self.earlier.iter().chain(&self.latest)
    }

    /// Blocks there are.
    pub(crate) fn blocks(&self) -> usize {
        self.earlier.len() + usize::from(self.latest.is_some())
    }

    /// The share of what usually suffers: of those slow or dropped, where spikes fill some of the blocks, by a quarter of
    /// the blocks that are freest; of those that failed by half of them, because failures are told minutes late and the
    /// latest blocks lack some. No edge is free of noise: there is one more that is slow in a hundred more.
    #[allow(clippy::cast_precision_loss, reason = "counts of connections")]
    pub(crate) fn share(&self) -> f64 {
        let slow_or_dropped = self.free(4, |block| block.slow_or_dropped);
        let failed = self.free(2, |block| block.failed);
        let blocks = slow_or_dropped.blocks.max(1) as f64;
        let (count, n) = (slow_or_dropped.count as f64, slow_or_dropped.n as f64);
        let least = if slow_or_dropped.n > 0 { (count / blocks + 1.0) / (n / blocks + 100.0) } else { 0.01 };
        (count / n.max(1.0)).max(least) + failed.count as f64 / failed.n.max(1) as f64
    }

    /// All blocks that are free of spikes: those in which no more than chance may add, three standard deviations, to the
    /// freest of so many. The freest alone would tell less than there is.
    #[allow(clippy::cast_precision_loss, reason = "counts of connections")]
    fn free(&self, one_of: usize, count: fn(&Block) -> u64) -> Free {
        let share = |block: &Block| (count(block) as f64 + 1.0) / (block.n as f64 + 100.0);
        let mut shares: Vec<f64> = self.all().map(share).collect();
        shares.sort_by(f64::total_cmp);
        let Some(share) = shares.get(shares.len() / one_of) else { return Free::default() };
        let is_free = |block: &&Block| {
            let expected = share * block.n as f64;
            count(block) as f64 <= expected + 3.0 * expected.sqrt()
        };
        self.all().filter(is_free).fold(Free::default(), |sum, block| Free {
            blocks: sum.blocks + 1,
            n: sum.n + block.n,
            count: sum.count + count(block),
        })
    }
}

/// Blocks without spikes, together.
#[derive(Debug, Clone, Copy, Default)]
struct Free {
    blocks: u64,
    n: u64,
    count: u64,
}
