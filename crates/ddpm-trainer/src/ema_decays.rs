//! The decays of the averages of a run.

use serde::{Deserialize, Serialize};

/// One or more decays of exponential moving averages: in a configuration, a number or a list of numbers.
///
/// # Examples
/// ```
/// let decays = ddpm_trainer::EmaDecays::from([0.999, 0.9999]);
/// assert_eq!(decays.first(), 0.999);
/// assert_eq!(decays.further(), [0.9999]);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "NumberOrList", into = "NumberOrList")]
pub struct EmaDecays(Vec<f64>);

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number, or a list of numbers")]
enum NumberOrList {
    Number(f64),
    List(Vec<f64>),
}

impl From<NumberOrList> for EmaDecays {
    fn from(decays: NumberOrList) -> Self {
        match decays {
            NumberOrList::Number(decay) => Self(vec![decay]),
            NumberOrList::List(decays) => Self(decays),
        }
    }
}

impl From<EmaDecays> for NumberOrList {
    fn from(EmaDecays(decays): EmaDecays) -> Self {
        match decays[..] {
            [decay] => Self::Number(decay),
            _ => Self::List(decays),
        }
    }
}

impl From<f64> for EmaDecays {
    fn from(decay: f64) -> Self {
        Self(vec![decay])
    }
}

impl<const N: usize> From<[f64; N]> for EmaDecays {
    fn from(decays: [f64; N]) -> Self {
        Self(decays.to_vec())
    }
}

impl EmaDecays {
    /// The decay of the average that is sampled from; 0, which is no average, if there is none.
    pub fn first(&self) -> f64 {
        self.0.first().copied().unwrap_or(0.0)
    }

    /// The other decays.
    pub fn further(&self) -> &[f64] {
        self.0.get(1..).unwrap_or_default()
    }

    /// # Errors
    /// What was found, if there is no decay, one is outside of [0, 1) or there are equal ones.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let Self(decays) = self;
        let are_in_range = decays.iter().all(|decay| (0.0..1.0).contains(decay));
        let are_different = decays.iter().enumerate().all(|(i, decay)| !decays[..i].contains(decay));
        if !decays.is_empty() && are_in_range && are_different {
            return Ok(());
        }
        Err(if decays.len() == 1 { format!("{:?}", decays[0]) } else { format!("{decays:?}") })
    }
}
