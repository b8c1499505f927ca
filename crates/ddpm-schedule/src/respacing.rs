//! Respaced schedules: a schedule over a subset of the timesteps of another.

use crate::{Schedule, ScheduleError, Spacing};

impl Schedule {
    /// The respaced schedule of `steps` timesteps of this one, chosen by `spacing`.
    ///
    /// The timesteps keep their ᾱ, bit for bit, and β'_i = 1 − ᾱ(t_i)/ᾱ(t_{i−1}) (Nichol & Dhariwal 2021, section 4).
    /// All other coefficients follow from these by the usual formulas. [`timestep`](Self::timestep) is the index of a
    /// step in the original schedule.
    ///
    /// # Errors
    /// [`ScheduleError::Steps`] if `steps` is 0 or more than [`len`](Self::len).
    pub fn respaced(&self, steps: usize, spacing: Spacing) -> Result<Self, ScheduleError> {
        if steps == 0 || steps > self.len() {
            return Err(ScheduleError::Steps { steps, timesteps: self.len() });
        }
        self.selected(&spacing.indices(self.len(), steps))
    }

    /// The respaced schedule of the timesteps with the given indices.
    ///
    /// # Errors
    /// [`ScheduleError::Selection`] if `indices` is empty, is not strictly increasing, or contains an index that is not
    /// below [`len`](Self::len).
    ///
    /// # Examples
    /// ```
    /// use ddpm_schedule::Schedule;
    ///
    /// # fn main() -> Result<(), ddpm_schedule::ScheduleError> {
    /// let short = Schedule::from_betas(&[0.1, 0.2, 0.5])?.selected(&[0, 2])?;
    /// // The second step combines two steps: β = 1 − 0.8 · 0.5.
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
        let mut first = 0;
        let mut betas = Vec::with_capacity(indices.len().min(timesteps));
        for (position, &index) in indices.iter().enumerate() {
            if index < first || index >= timesteps {
                return Err(ScheduleError::Selection { position, index, timesteps });
            }
            betas.push(merged_beta(&self.betas()[first..=index]));
            first = index + 1;
        }
        let original = indices.iter().map(|&i| self.timestep(i)).collect();
        let mut respaced = Self::from_validated(betas, original, self.original_timesteps())?;
        // ᾱ is copied, because the product of the new 1 − β would be rounded differently.
        respaced.copy_noise_levels(self, indices);
        Ok(respaced)
    }
}

/// 1 − Π(1 − β), the β of one step that combines several. It is computed with logarithms, because 1 − ᾱ(t_i)/ᾱ(t_{i−1})
/// cancels the digits of a small β and is 0/0 where ᾱ has underflowed. A result that rounds to 1 is replaced by the
/// largest f64 below 1 unless one of the β is 1.
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
    fn an_invalid_selection_is_an_error_with_its_position() {
        let schedule = Schedule::from_betas(&[0.1, 0.2, 0.5]).unwrap();
        assert!(schedule.selected(&[]).is_err());
        let error = |indices: &[usize]| schedule.selected(indices).unwrap_err();
        assert_eq!(error(&[0, 3]), ScheduleError::Selection { position: 1, index: 3, timesteps: 3 });
        assert_eq!(error(&[1, 1]), ScheduleError::Selection { position: 1, index: 1, timesteps: 3 });
        assert_eq!(error(&[2, 0]), ScheduleError::Selection { position: 1, index: 0, timesteps: 3 });
        assert_eq!(error(&[usize::MAX]), ScheduleError::Selection { position: 0, index: usize::MAX, timesteps: 3 });
    }

    #[test]
    fn respacing_works_where_alpha_bar_underflows() {
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
