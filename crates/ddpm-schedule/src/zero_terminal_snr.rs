//! Rescaling of β to zero terminal SNR.

use crate::{Schedule, ScheduleError};

impl Schedule {
    /// This schedule with √ᾱ shifted and scaled such that ᾱ_T = 0 (Lin et al. 2024, algorithm 1):
    /// √ᾱ_t ← (√ᾱ_t − √ᾱ_T)·√ᾱ_1/(√ᾱ_1 − √ᾱ_T). The first step remains unchanged.
    ///
    /// β_T is exactly 1. At the last index α, ᾱ, √ᾱ, the SNR and the posterior's coefficient of x_t are 0; the
    /// coefficient of x_0 and the variance are those of q(x_{T−1} | x_0). All coefficients are finite except the
    /// log-SNR of the last step, which is −∞.
    ///
    /// Without signal, ε does not determine x_0. Therefore a model that predicts ε cannot sample from the last step.
    ///
    /// # Errors
    /// [`ScheduleError::ZeroTerminalSnr`] if √ᾱ of the first and the last step are equal, as with a single step.
    ///
    /// # Examples
    /// ```
    /// use ddpm_schedule::{BetaSchedule, Schedule};
    ///
    /// # fn main() -> Result<(), ddpm_schedule::ScheduleError> {
    /// let plain = Schedule::new(&BetaSchedule::ScaledLinear { start: 8.5e-4, end: 0.012 }, 1000)?;
    /// let zero = plain.with_zero_terminal_snr()?;
    /// assert!(plain.snr(999) > 0.0);
    /// assert_eq!((zero.snr(999), zero.beta(999)), (0.0, 1.0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_zero_terminal_snr(&self) -> Result<Self, ScheduleError> {
        let roots = self.sqrt_alpha_bars();
        let (first, last) = (roots[0], roots[roots.len() - 1]);
        if first - last <= 0.0 {
            return Err(ScheduleError::ZeroTerminalSnr { first, last });
        }
        let shifted = roots.iter().map(|root| (root - last) * (first / (first - last)));
        let alpha_bars: Vec<f64> = shifted.map(|root| root * root).collect();

        let mut betas = vec![self.beta(0)];
        betas.extend(alpha_bars.windows(2).map(|pair| 1.0 - pair[1] / pair[0]));
        Self::from_validated(betas, self.timesteps().to_vec(), self.original_timesteps())
    }
}

#[cfg(test)]
mod tests {
    use crate::{BetaSchedule, Schedule};

    #[test]
    fn zero_terminal_snr_is_idempotent() {
        let linear = Schedule::new(&BetaSchedule::Linear { start: 1e-4, end: 0.02 }, 1000).unwrap();
        let zero = linear.with_zero_terminal_snr().unwrap();
        let again = zero.with_zero_terminal_snr().unwrap();
        for i in 0..1000 {
            // Rounding errors of ᾱ of 1e-16 per step, over a thousand steps, divided by differences of order β ≥ 1e-4.
            assert!((zero.beta(i) - again.beta(i)).abs() < 1e-9, "{i}");
        }
    }

    #[test]
    fn a_single_step_is_an_error() {
        let one = Schedule::from_betas(&[0.5]).unwrap();
        let message = one.with_zero_terminal_snr().unwrap_err().to_string();
        assert!(message.contains("0.7071067811865"), "{message}");
    }
}
