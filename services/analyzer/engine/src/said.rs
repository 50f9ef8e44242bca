//! When a node told of itself: the buckets in which it did, as stretches, because mostly it does in all.

use std::collections::BTreeMap;
use std::ops::Range;

/// Numbers of buckets, since 1970.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    /// First and last of each stretch; between two is a gap.
    stretches: BTreeMap<u64, u64>,
}

impl Said {
    /// It told of itself in this bucket, whatever comes when.
    pub(crate) fn add(&mut self, bucket: u64) {
        let before = self.stretches.range_mut(..=bucket).next_back();
        let (first, last) = match before {
            Some((_, last)) if *last >= bucket => return,
            Some((first, last)) if *last + 1 == bucket => {
                *last = bucket;
                (*first, bucket)
            }
            _ => (bucket, bucket),
        };
        let after = bucket.checked_add(1).and_then(|next| self.stretches.remove(&next));
        self.stretches.insert(first, after.unwrap_or(last));
    }

    /// Forgets the buckets before this one.
    pub(crate) fn forget(&mut self, before: u64) {
        while let Some(oldest) = self.stretches.first_entry().filter(|oldest| *oldest.key() < before) {
            let last = oldest.remove();
            if last >= before {
                self.stretches.insert(before, last);
            }
        }
    }

    /// The first and the last bucket there is.
    pub(crate) fn ends(&self) -> Option<(u64, u64)> {
        Some((*self.stretches.first_key_value()?.0, *self.stretches.last_key_value()?.1))
    }

    /// Buckets within a range in which it told of itself.
    pub(crate) fn within(&self, range: Range<u64>) -> u64 {
        let shared = |(first, last): (&u64, &u64)| (last + 1).min(range.end).saturating_sub((*first).max(range.start));
        self.stretches.iter().map(shared).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn stretches_are_the_buckets_one_by_one(
            buckets in proptest::collection::vec(0_u64..60, 0..80),
            before in 0_u64..60,
            from in 0_u64..60,
            length in 0_u64..60,
        ) {
            let mut said = Said::default();
            let mut known = BTreeSet::new();
            for bucket in buckets {
                said.add(bucket);
                known.insert(bucket);
            }
            let gaps = known.iter().filter(|bucket| !known.contains(&(*bucket + 1))).count();
            prop_assert_eq!(said.stretches.len(), gaps);
            said.forget(before);
            known.retain(|bucket| *bucket >= before);
            prop_assert_eq!(said.ends(), known.first().copied().zip(known.last().copied()));
            prop_assert_eq!(said.within(from..from + length), known.range(from..from + length).count() as u64);
        }
    }
}
