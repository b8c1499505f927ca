//! Moving averages of the weights.

use std::collections::BTreeMap;

use candle_core::{Result, Var};
use ddpm_ema::{PowerFunction, ema_decay};

/// How much of an average an update keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum EmaDecay {
    /// The decay of an exponential moving average, in [0, 1), with or without warm-up: see [`ema_decay`].
    Exponential {
        /// The decay after the warm-up.
        decay: f64,
        /// Whether the first updates keep less.
        warmup: bool,
    },
    /// The decay of a power-function average, from which post-hoc EMA computes others.
    PowerFunction(PowerFunction),
}

impl EmaDecay {
    /// The decay of an update, where `updates` counts the updates before it.
    pub fn at(self, updates: u64) -> f64 {
        match self {
            Self::Exponential { decay, warmup } => ema_decay(updates, decay, warmup),
            Self::PowerFunction(function) => function.decay(updates),
        }
    }
}

/// The averaged weights: variables with the names and shapes of the parameters.
#[derive(Debug)]
pub struct Ema {
    decay: EmaDecay,
    updates: u64,
    averages: BTreeMap<String, Var>,
}

impl Ema {
    /// An average that starts from the present values of `averages` and updates these variables in place.
    pub fn new(decay: EmaDecay, averages: BTreeMap<String, Var>) -> Self {
        Self { decay, updates: 0, averages }
    }

    /// Moves every average towards the present value of its parameter: average ← decay · average + (1 − decay) ·
    /// parameter.
    ///
    /// # Errors
    /// When a parameter has another shape than its average.
    pub fn update(&mut self, parameters: &BTreeMap<String, Var>) -> Result<()> {
        let decay = self.decay.at(self.updates);
        let pair = |(name, average)| Some((average, parameters.get(name)?.as_tensor()));
        ddpm_ops::ema_step(&self.averages.iter().filter_map(pair).collect::<Vec<_>>(), decay)?;
        self.updates += 1;
        Ok(())
    }

    /// Number of updates so far, from which the next decay follows.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The averaged weights.
    pub fn averages(&self) -> &BTreeMap<String, Var> {
        &self.averages
    }

    /// Continues after `updates` updates. The caller sets the values of the averages.
    pub fn restore(&mut self, updates: u64) {
        self.updates = updates;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};

    #[test]
    fn the_average_is_the_weighted_sum() -> Result<()> {
        let var = |v: f32| Var::from_tensor(&Tensor::full(v, 3, &Device::Cpu)?);
        let mut ema =
            Ema::new(EmaDecay::Exponential { decay: 0.9, warmup: false }, BTreeMap::from([("w".into(), var(1.0)?)]));
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
        let mut ema =
            Ema::new(EmaDecay::Exponential { decay: 0.995, warmup: true }, BTreeMap::from([("w".into(), var(1.0)?)]));
        ema.update(&BTreeMap::from([("w".into(), var(0.1)?)]))?;
        assert_eq!(ema.averages()["w"].to_vec1::<f32>()?, [0.1; 3]);
        Ok(())
    }
}
