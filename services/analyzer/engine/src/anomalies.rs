//! The buckets of an edge, from one vantage, that were not normal, and what is remembered of those before.

use std::collections::VecDeque;

use synscope_bus::message::incident::Spike;

use crate::bucket::Bucket;
use crate::scale::Scale;

/// Anomalous buckets that are remembered.
const BUCKETS_MAX: usize = 2048;
/// Spikes that are remembered after their buckets are forgotten.
const PAST_MAX: usize = 256;

/// Buckets and spikes. Apart from the rest of a series, because most have none: what is read for each bucket is less by it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Anomalies {
    /// Judged and not normal, oldest first.
    buckets: VecDeque<Bucket>,
    /// Spikes whose buckets are forgotten, oldest first.
    past: VecDeque<Spike>,
    /// Outages that were found, from the first bucket's start to the last's.
    outages: Vec<(u64, u64)>,
}

impl Anomalies {
    /// Buckets, oldest first.
    pub(crate) fn buckets(&self) -> impl DoubleEndedIterator<Item = &Bucket> {
        self.buckets.iter()
    }

    /// Spikes whose buckets are forgotten, oldest first.
    pub(crate) fn past(&self) -> impl DoubleEndedIterator<Item = &Spike> {
        self.past.iter()
    }

    /// The bucket that begins here.
    pub(crate) fn at(&mut self, start_unix_ns: u64) -> Option<&mut Bucket> {
        let place = self.place(start_unix_ns);
        self.buckets.get_mut(place).filter(|bucket| bucket.start_unix_ns == start_unix_ns)
    }

    /// Remembers one more.
    pub(crate) fn insert(&mut self, bucket: Bucket) {
        let place = self.place(bucket.start_unix_ns);
        self.buckets.insert(place, bucket);
        if self.buckets.len() > BUCKETS_MAX {
            self.buckets.pop_front();
        }
    }

    fn place(&self, start_unix_ns: u64) -> usize {
        self.buckets.partition_point(|known| known.start_unix_ns < start_unix_ns)
    }

    /// How many of the oldest are neighbours that all began before `oldest_unix_ns`; none where the oldest's neighbours go on
    /// after it. Those of them before it become one bucket, so that what goes on keeps its beginning.
    pub(crate) fn ended(&mut self, oldest_unix_ns: u64, scale: &Scale) -> Option<usize> {
        let is_old = |bucket: &Bucket| bucket.start_unix_ns < oldest_unix_ns;
        self.buckets.front().filter(|bucket| is_old(bucket))?;
        let pairs = self.buckets.iter().zip(self.buckets.iter().skip(1));
        let group = 1 + pairs.take_while(|(first, second)| scale.joins(first, second)).count();
        if self.buckets.get(group - 1).is_some_and(is_old) {
            return Some(group);
        }
        while self.buckets.get(1).is_some_and(is_old)
            && let Some(mut first) = self.buckets.pop_front()
            && let Some(second) = self.buckets.front_mut()
        {
            first.length_ns = second.end_unix_ns() - first.start_unix_ns;
            first.add(second);
            *second = first;
        }
        None
    }

    /// Forgets so many of the oldest, which are returned.
    pub(crate) fn take_oldest(&mut self, count: usize) -> Vec<Bucket> {
        self.buckets.drain(..count.min(self.buckets.len())).collect()
    }

    /// Remembers a spike whose buckets are forgotten.
    pub(crate) fn remember(&mut self, spike: Spike) {
        self.past.push_back(spike);
    }

    /// Forgets spikes that ended before, and those beyond the bound.
    pub(crate) fn forget_past(&mut self, ended_unix_ns: u64) {
        while self.past.len() > PAST_MAX || self.past.front().is_some_and(|spike| spike.end_unix_ns < ended_unix_ns) {
            self.past.pop_front();
        }
    }

    /// Replaces the outages that were found.
    pub(crate) fn set_outages(&mut self, outages: Vec<(u64, u64)>) {
        self.outages = outages;
    }

    /// Whether one of these was found to be in an outage.
    pub(crate) fn is_known_outage(&self, group: &[&Bucket]) -> bool {
        let meets = |(from, to): &(u64, u64)| group.iter().any(|bucket| (*from..=*to).contains(&bucket.start_unix_ns));
        self.outages.iter().any(meets)
    }
}
