//! The decay of an exponential moving average.

/// The decay of an EMA update, where `updates` counts the updates before it: `decay` without warm-up, and with warm-up
/// min(decay, 1 − (1 + updates)^(−2/3)).
///
/// With warm-up the EMA follows the weights closely at first and soon forgets the initial weights. It is the curve
/// of lucidrains' ema-pytorch, which is that of diffusers with γ = 1 and power 2/3.
pub fn ema_decay(updates: u64, decay: f64, warmup: bool) -> f64 {
    if warmup { decay.min(1.0 - (1.0 + updates as f64).powf(-2.0 / 3.0)) } else { decay }
}

/// The share of the initial weights in the EMA after `updates` updates: the product of their decays. It is 0 with
/// warm-up, whose first decay is 0.
///
/// # Examples
/// ```
/// // After 1,000 updates with decay 0.9999, 90% of the EMA are still the initial weights.
/// assert!((ddpm_ema::initial_weight_share(1000, 0.9999, false) - 0.905).abs() < 1e-3);
/// assert_eq!(ddpm_ema::initial_weight_share(1000, 0.9999, true), 0.0);
/// ```
pub fn initial_weight_share(updates: u64, decay: f64, warmup: bool) -> f64 {
    if warmup && updates > 0 { 0.0 } else { decay.powf(updates as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warm_up_rises_to_the_decay() {
        assert_eq!(ema_decay(0, 0.995, true), 0.0);
        assert!((ema_decay(7, 0.995, true) - 0.75).abs() < 1e-12);
        assert_eq!(ema_decay(1_000_000, 0.995, true), 0.995);
        assert_eq!(ema_decay(0, 0.995, false), 0.995);
    }
}
