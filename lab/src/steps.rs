//! Where lost SYNs put latencies: on the steps at which a SYN is sent again.

use std::fmt;
use std::time::Duration;

/// Waits of 1, 2, 4 and 8 s, added up (RFC 6298; the pods' kernels have `tcp_syn_linear_timeouts` at 0).
const STEPS_S: [u64; 4] = [1, 3, 7, 15];
/// A timer fires up to an eighth later than asked for: the granularity of each level of the timer wheel
/// (kernel/time/timer.c).
const LATE: u32 = 8;

/// How many latencies lie on which step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Steps {
    on: [u64; STEPS_S.len()],
    between: u64,
}

impl Steps {
    /// Takes one; `retries` is how many SYNs were sent again, where that is known.
    pub(crate) fn note(&mut self, latency: Duration, retries: Option<u32>) {
        let on_step = |step_s: &u64| {
            let step = Duration::from_secs(*step_s);
            (step..step + step / LATE).contains(&latency)
        };
        let step = STEPS_S.iter().position(on_step);
        let agrees = |step: &usize| retries.is_none_or(|retries| usize::try_from(retries).is_ok_and(|n| n == step + 1));
        match step.filter(agrees).and_then(|step| self.on.get_mut(step)) {
            Some(count) => *count += 1,
            None => self.between += 1,
        }
    }

    /// Whether SYNs were lost once and twice, and all but a few in a hundred latencies are such steps.
    pub(crate) fn are_clear(&self) -> bool {
        let all = self.on.iter().sum::<u64>() + self.between;
        let [once, twice, ..] = self.on;
        once > 0 && twice > 0 && self.between * 50 <= all
    }

    /// Whether both are the same, but for a few that one saw end and the other did not.
    pub(crate) fn agree(&self, other: &Self) -> bool {
        self.on.iter().zip(&other.on).all(|(ours, theirs)| ours.abs_diff(*theirs) <= 1 + theirs / 50)
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (step_s, count) in STEPS_S.iter().zip(&self.on) {
            write!(to, "{count} at {step_s} s, ")?;
        }
        write!(to, "{} between", self.between)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn steps(latencies: &[(u64, Option<u32>)]) -> Steps {
        let mut steps = Steps::default();
        for (ms, retries) in latencies {
            steps.note(MS(*ms), *retries);
        }
        steps
    }

    #[test]
    fn latencies_are_on_a_step_or_between() {
        let seen = steps(&[(1027, None), (3010, Some(2)), (7281, Some(3)), (523, None), (999, None), (1200, None)]);
        assert_eq!(seen, Steps { on: [1, 1, 1, 0], between: 3 });
        assert_eq!(seen.to_string(), "1 at 1 s, 1 at 3 s, 1 at 7 s, 0 at 15 s, 3 between");
        assert_eq!(steps(&[(3010, Some(1))]), Steps { between: 1, ..Steps::default() }, "a retry short");
    }

    #[test]
    fn delay_makes_no_clear_steps_and_neither_does_one_step_alone() {
        assert!(steps(&[(1010, None), (3010, None)]).are_clear());
        assert!(!steps(&[(1010, None), (3010, None), (523, None)]).are_clear());
        assert!(!steps(&[(1010, None)]).are_clear());
        assert!(!Steps::default().are_clear());
    }

    #[test]
    fn two_views_agree_but_for_a_few() {
        let view = |once, twice| Steps { on: [once, twice, 0, 0], between: 0 };
        assert!(view(100, 50).agree(&view(101, 50)) && view(1000, 0).agree(&view(1020, 0)));
        assert!(!view(100, 50).agree(&view(50, 100)) && !view(0, 0).agree(&view(3, 0)));
    }
}
