//! Work that is done side by side, and work that gives way to other work.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::libc;

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

/// From here on this thread, and what it starts, runs only while nothing else wants its processor (`SCHED_IDLE`, sched(7)).
pub(crate) fn give_way() -> io::Result<()> {
    let no_priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is the calling thread, and what is pointed to is read during the call only.
    let done = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const no_priority) };
    Ok(Errno::result(done).map(drop)?)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
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

    #[test]
    fn who_gives_way_does_so_with_all_it_starts_and_no_other_thread_does() {
        // Field 41 of stat(5) is the policy; the name before it has no blanks.
        let policy = || {
            let told = Command::new("cut").args(["-d ", "-f41", "/proc/self/stat"]).output().unwrap();
            String::from_utf8(told.stdout).unwrap().trim().parse::<i32>().unwrap()
        };
        let before = policy();
        let other = thread::spawn(move || {
            give_way().unwrap();
            policy()
        });
        assert_eq!((other.join().unwrap(), policy()), (libc::SCHED_IDLE, before));
    }
}
