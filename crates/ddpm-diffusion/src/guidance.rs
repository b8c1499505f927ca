//! The options of guidance.

use crate::DiffusionError;

/// How strongly, and at which noise levels, a prediction is guided towards its class.
///
/// With D the prediction for the class and D_0 the one without a class (classifier-free guidance, Ho & Salimans 2022)
/// or of a weaker network (autoguidance, Karras et al. 2024a), the guided prediction is D_0 + scale · (D − D_0).
///
/// # Examples
/// ```
/// use ddpm_diffusion::Guidance;
///
/// let guidance = Guidance { scale: 2.0, interval: Some([0.3, 3.0]), ..Guidance::default() };
/// assert!(guidance.validate().is_ok() && guidance.applies_at(1.0) && !guidance.applies_at(5.0));
/// assert!(!Guidance::default().applies_at(1.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guidance {
    /// The scale, at least 0: 1 is the prediction for the class, 0 the one without a class, more than 1 amplifies the
    /// class.
    ///
    /// DIFFERENCE: Ho & Salimans 2022 write w for `scale` − 1. This is the convention of diffusers' `guidance_scale`
    /// and of Karras et al. 2024a.
    pub scale: f64,
    /// The noise levels σ = √(1 − ᾱ) / √ᾱ from the first to the second at which predictions are guided (Kynkäänniemi et
    /// al. 2024); at other levels the prediction for the class is used. `None` guides at all levels.
    pub interval: Option<[f64; 2]>,
    /// How far the standard deviation of the guided prediction of an image is restored to that of the prediction for
    /// the class, in [0, 1] (φ of Lin et al. 2024, eq. 16).
    pub rescale: f64,
}

/// No guidance.
impl Default for Guidance {
    fn default() -> Self {
        Self { scale: 1.0, interval: None, rescale: 0.0 }
    }
}

impl Guidance {
    /// Whether any prediction is guided.
    pub fn is_used(&self) -> bool {
        self.scale != 1.0
    }

    /// Whether predictions at noise level σ are guided.
    pub fn applies_at(&self, sigma: f64) -> bool {
        self.is_used() && self.interval.is_none_or(|[low, high]| (low..=high).contains(&sigma))
    }

    /// Checks the ranges of the fields.
    ///
    /// # Errors
    /// [`DiffusionError::Option`] with the first field that is out of its range.
    pub fn validate(&self) -> Result<(), DiffusionError> {
        let check = |field, expected, found, is_valid: bool| {
            if is_valid { Ok(()) } else { Err(DiffusionError::Option { field, expected, found }) }
        };
        let Self { scale, interval, rescale } = *self;
        check("guidance_scale", "a finite number from 0", scale, scale >= 0.0 && scale.is_finite())?;
        if let Some([low, high]) = interval {
            check("guidance_interval", "a lowest noise level from 0", low, low >= 0.0 && low.is_finite())?;
            check("guidance_interval", "a highest noise level above the lowest", high, high > low)?;
        }
        check("guidance_rescale", "a share in [0, 1]", rescale, (0.0..=1.0).contains(&rescale))
    }
}
