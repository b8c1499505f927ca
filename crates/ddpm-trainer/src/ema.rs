//! The exponential moving average (EMA) of the weights, which sampling uses.

use std::collections::BTreeMap;

use candle_core::{Result, Var};

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
/// assert!((ddpm_trainer::initial_weight_share(1000, 0.9999, false) - 0.905).abs() < 1e-3);
/// assert_eq!(ddpm_trainer::initial_weight_share(1000, 0.9999, true), 0.0);
/// ```
pub fn initial_weight_share(updates: u64, decay: f64, warmup: bool) -> f64 {
    if warmup && updates > 0 { 0.0 } else { decay.powf(updates as f64) }
}

/// The averaged weights: variables with the names and shapes of the parameters.
#[derive(Debug)]
pub struct Ema {
    decay: f64,
    warmup: bool,
    updates: u64,
    averages: BTreeMap<String, Var>,
}

impl Ema {
    /// An EMA that starts from the present values of `averages` and updates these variables in place.
    ///
    /// `decay` is in [0, 1); for `warmup` see [`ema_decay`].
    pub fn new(decay: f64, warmup: bool, averages: BTreeMap<String, Var>) -> Self {
        Self { decay, warmup, updates: 0, averages }
    }

    /// Moves every average towards the present value of its parameter: average ← decay · average + (1 − decay) ·
    /// parameter.
    ///
    /// # Errors
    /// When a parameter has another shape than its average.
    pub fn update(&mut self, parameters: &BTreeMap<String, Var>) -> Result<()> {
        let decay = ema_decay(self.updates, self.decay, self.warmup);
        let pair = |(name, average)| Some((average, parameters.get(name)?.as_tensor()));
        ddpm_ops::ema_step(&self.averages.iter().filter_map(pair).collect::<Vec<_>>(), decay)?;
        self.updates += 1;
        Ok(())
    }

    /// Number of updates so far, from which the warm-up follows.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The averaged weights.
    pub fn averages(&self) -> &BTreeMap<String, Var> {
        &self.averages
    }

    /// Continues the warm-up after `updates` updates. The caller sets the values of the averages.
    pub fn restore(&mut self, updates: u64) {
        self.updates = updates;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};

    #[test]
    fn the_warm_up_rises_to_the_decay() {
        assert_eq!(ema_decay(0, 0.995, true), 0.0);
        assert!((ema_decay(7, 0.995, true) - 0.75).abs() < 1e-12);
        assert_eq!(ema_decay(1_000_000, 0.995, true), 0.995);
        assert_eq!(ema_decay(0, 0.995, false), 0.995);
    }

    #[test]
    fn the_average_is_the_weighted_sum() -> Result<()> {
        let var = |v: f32| Var::from_tensor(&Tensor::full(v, 3, &Device::Cpu)?);
        let mut ema = Ema::new(0.9, false, BTreeMap::from([("w".into(), var(1.0)?)]));
        for value in [2.0, 4.0] {
            ema.update(&BTreeMap::from([("w".into(), var(value)?)]))?;
        }
        // 0.9 (0.9 · 1 + 0.1 · 2) + 0.1 · 4 = 1.39
        let average = ema.averages()["w"].to_vec1::<f32>()?;
        assert!(average.iter().all(|v| (v - 1.39).abs() < 1e-6), "{average:?}");
        Ok(())
    }

    #[test]
    fn the_first_warm_update_is_a_copy() -> Result<()> {
        let var = |v: f32| Var::from_tensor(&Tensor::full(v, 3, &Device::Cpu)?);
        let mut ema = Ema::new(0.995, true, BTreeMap::from([("w".into(), var(1.0)?)]));
        ema.update(&BTreeMap::from([("w".into(), var(0.1)?)]))?;
        assert_eq!(ema.averages()["w"].to_vec1::<f32>()?, [0.1; 3]);
        Ok(())
    }
}
