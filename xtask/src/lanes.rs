//! Work that is done side by side.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// What `run` makes of each job, in the jobs' order; they begin in that order, so many at once.
pub(crate) fn side_by_side<J: Sync, R: Send>(jobs: &[J], at_once: usize, run: impl Fn(&J) -> R + Sync) -> Vec<R> {
    let queue = Mutex::new(jobs.iter().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let done = Mutex::new(BTreeMap::new());
    let work = || {
        while let Some((place, job)) = next() {
            let result = run(job);
            done.lock().unwrap_or_else(PoisonError::into_inner).insert(place, result);
        }
    };
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(work);
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn as_many_run_as_may_and_results_come_in_the_jobs_order() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let doubled = side_by_side(&[1, 2, 3, 4, 5], 2, |job| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // The first waits until another runs beside it.
            let start = Instant::now();
            while most.load(Ordering::SeqCst) < 2 && start.elapsed() < Duration::from_secs(10) {
                thread::yield_now();
            }
            running.fetch_sub(1, Ordering::SeqCst);
            job * 2
        });
        assert_eq!((doubled, most.into_inner()), (vec![2, 4, 6, 8, 10], 2));
    }
}
