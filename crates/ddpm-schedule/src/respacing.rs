//! A schedule over a subset of the steps of another.

use crate::{Schedule, ScheduleError, Spacing};

impl Schedule {
    /// The schedule that walks `steps` of this one's steps, chosen by `spacing`.
    ///
    /// The kept steps have the ᾱ they had, to the bit, and β'_i = 1 − ᾱ(t_i)/ᾱ(t_{i−1}) (Nichol & Dhariwal 2021, section 4),
    /// so every coefficient of the short process follows by the formulas of the long one.
    /// [`timestep`](Self::timestep) says which index of the original schedule a step has.
    ///
    /// # Errors
    /// When `steps` is 0 or more than [`len`](Self::len).
    pub fn respaced(&self, steps: usize, spacing: Spacing) -> Result<Self, ScheduleError> {
        if steps == 0 || steps > self.len() {
            return Err(ScheduleError::Steps { steps, timesteps: self.len() });
        }
        self.selected(&spacing.indices(self.len(), steps))
    }

    /// The schedule that walks exactly the steps of the given indices of this one.
    ///
    /// # Errors
    /// When `indices` is empty, is not strictly increasing, or holds an index that is not below [`len`](Self::len).
    ///
    /// # Examples
    /// ```
    /// use ddpm_schedule::Schedule;
    ///
    /// # fn main() -> Result<(), ddpm_schedule::ScheduleError> {
    /// let short = Schedule::from_betas(&[0.1, 0.2, 0.5])?.selected(&[0, 2])?;
    /// // The second step now does the work of two: 1 − 0.8 · 0.5.
    /// assert!((short.beta(1) - 0.6).abs() < 1e-15);
    /// assert_eq!(short.timestep(1), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn selected(&self, indices: &[usize]) -> Result<Self, ScheduleError> {
        let timesteps = self.len();
        if indices.is_empty() {
            return Err(ScheduleError::Selection { position: 0, index: 0, timesteps });
        }
        let mut begin = 0;
        let mut betas = Vec::with_capacity(indices.len().min(timesteps));
        for (position, &index) in indices.iter().enumerate() {
            if index < begin || index >= timesteps {
                return Err(ScheduleError::Selection { position, index, timesteps });
            }
            betas.push(merged_beta(&self.betas()[begin..=index]));
            begin = index + 1;
        }
        let original = indices.iter().map(|&i| self.timestep(i)).collect();
        let mut short = Self::from_validated(betas, original, self.original_timesteps())?;
        // The product of products would round differently from the product: the levels of noise are the same.
        short.take_noise_levels(self, indices);
        Ok(short)
    }
}

/// 1 − Π(1 − β) of steps walked at once. Through logarithms, because 1 − ᾱ(t_i)/ᾱ(t_{i−1}) loses the digits of a small
/// β and is 0/0 where ᾱ has underflowed. Many large β together round to 1, which only a β of 1 among them may be.
fn merged_beta(betas: &[f64]) -> f64 {
    const BELOW_ONE: f64 = 1.0 - f64::EPSILON / 2.0;
    match betas {
        [beta] => *beta,
        betas if betas.contains(&1.0) => 1.0,
        betas => (-betas.iter().map(|beta| (-beta).ln_1p()).sum::<f64>().exp_m1()).min(BELOW_ONE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_selection_is_named() {
        let schedule = Schedule::from_betas(&[0.1, 0.2, 0.5]).unwrap();
        assert!(schedule.selected(&[]).is_err());
        let error = |indices: &[usize]| schedule.selected(indices).unwrap_err();
        assert_eq!(error(&[0, 3]), ScheduleError::Selection { position: 1, index: 3, timesteps: 3 });
        assert_eq!(error(&[1, 1]), ScheduleError::Selection { position: 1, index: 1, timesteps: 3 });
        assert_eq!(error(&[2, 0]), ScheduleError::Selection { position: 1, index: 0, timesteps: 3 });
        assert_eq!(error(&[usize::MAX]), ScheduleError::Selection { position: 0, index: usize::MAX, timesteps: 3 });
    }

    #[test]
    fn an_underflowed_alpha_bar_is_no_obstacle() {
        let schedule = Schedule::from_betas(&[0.999; 400]).unwrap();
        assert_eq!(schedule.alpha_bar(399), 0.0);
        let short = schedule.respaced(200, Spacing::Trailing).unwrap();
        assert!(short.betas().iter().all(|b| (b - (1.0 - 1e-6)).abs() < 1e-15));
    }

    #[test]
    fn respacing_twice_keeps_original_indices() {
        let schedule = Schedule::from_betas(&[0.01; 100]).unwrap();
        let twice = schedule.respaced(10, Spacing::Trailing).unwrap().respaced(2, Spacing::Trailing).unwrap();
        assert_eq!(twice.timesteps(), [49, 99]);
        assert_eq!(twice.original_timesteps(), 100);
    }
}
