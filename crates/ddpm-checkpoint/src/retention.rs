//! The rule for which checkpoints are kept.

use std::num::{NonZeroU64, NonZeroUsize};

use serde::{Deserialize, Serialize};

/// Keeps the newest checkpoints and, optionally, every checkpoint whose step is a multiple of a number.
///
/// # Examples
/// ```
/// use std::num::{NonZeroU64, NonZeroUsize};
/// use ddpm_checkpoint::Retention;
///
/// let retention = Retention { keep_last: NonZeroUsize::MIN, keep_every_steps: NonZeroU64::new(1000) };
/// assert_eq!(retention.expired(&[2500, 2000, 1500, 1000]), [1500]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// The number of newest checkpoints to keep, at least 1.
    pub keep_last: NonZeroUsize,
    /// The number whose multiples are kept as well.
    pub keep_every_steps: Option<NonZeroU64>,
}

impl Retention {
    /// Returns those of `steps`, which may be in any order, that are not kept, newest first.
    pub fn expired(&self, steps: &[u64]) -> Vec<u64> {
        let mut steps = steps.to_vec();
        steps.sort_unstable_by(|a, b| b.cmp(a));
        let is_milestone = |step: u64| self.keep_every_steps.is_some_and(|every| step % every == 0);
        steps.into_iter().skip(self.keep_last.get()).filter(|&step| !is_milestone(step)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn retention(keep_last: usize, every: u64) -> Retention {
        let keep_last = NonZeroUsize::new(keep_last).expect("at least 1");
        Retention { keep_last, keep_every_steps: NonZeroU64::new(every) }
    }

    #[test]
    fn the_newest_and_the_milestones_are_kept() {
        let steps: Vec<u64> = (1..=10).map(|k| k * 100).collect();
        assert_eq!(retention(3, 500).expired(&steps), [700, 600, 400, 300, 200, 100]);
        assert_eq!(retention(3, 0).expired(&steps), [700, 600, 500, 400, 300, 200, 100]);
        assert!(retention(10, 0).expired(&steps).is_empty());
        assert!(retention(1, 7).expired(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn the_newest_are_always_kept(
            steps in prop::collection::btree_set(any::<u64>(), 0..20), last in 1usize..5, every in 0u64..9,
        ) {
            let mut steps: Vec<u64> = steps.into_iter().collect();
            let expired = retention(last, every).expired(&steps);
            steps.reverse();
            prop_assert!(steps.iter().take(last).all(|step| !expired.contains(step)));
            prop_assert_eq!(expired.iter().filter(|&&step| every > 0 && step % every == 0).count(), 0);
        }
    }
}
