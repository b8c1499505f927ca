//! A sampler in words, for the log.

use ddpm_cli::pluralize;
use ddpm_diffusion::{Clipping, Method, SamplerConfig};

/// Everything about a sampler that affects the images, such as `ddpm in 250 steps, trailing, x_0 clipped to ±1,
/// variance fixed-small`.
pub(crate) fn describe_sampler(sampler: &SamplerConfig) -> String {
    let steps = pluralize(sampler.steps, "step");
    let mut parts = vec![format!("{} in {steps}", sampler.method), sampler.spacing.to_string(), clipping(sampler)];
    match sampler.method {
        Method::Ddpm => parts.push(format!("variance {}", sampler.variance)),
        Method::Ddim if sampler.eta != 0.0 => parts.push(format!("eta {}", sampler.eta)),
        Method::DpmSolver | Method::DpmSolverSde => parts.push(format!("order {}", sampler.order)),
        Method::Ddim | Method::Heun => {}
    }
    let uses_eps = matches!(sampler.method, Method::Ddim | Method::Heun);
    if uses_eps && sampler.clip != Clipping::None {
        parts.push(format!("{} epsilon", sampler.eps_after_clip));
    }
    if sampler.guidance().is_used() {
        parts.push(guidance(sampler));
    }
    parts.join(", ")
}

fn guidance(sampler: &SamplerConfig) -> String {
    let mut text = format!("guidance {}", sampler.guidance_scale);
    if let Some([low, high]) = sampler.guidance_interval {
        text += &format!(" at noise levels {low} to {high}");
    }
    if sampler.guidance_rescale != 0.0 {
        text += &format!(" rescaled by {}", sampler.guidance_rescale);
    }
    text
}

fn clipping(sampler: &SamplerConfig) -> String {
    match sampler.clip {
        Clipping::None => "x_0 not clipped".to_owned(),
        Clipping::Fixed => format!("x_0 clipped to ±{}", sampler.clip_range),
        Clipping::Dynamic => {
            format!("x_0 thresholded at quantile {} up to {}", sampler.threshold_quantile, sampler.threshold_max)
        }
    }
}

#[cfg(test)]
mod tests {
    use ddpm_schedule::{Spacing, VarianceKind};

    use super::*;

    #[test]
    fn a_description_names_what_the_method_uses() {
        let of = |method, clip| {
            let config = SamplerConfig::new(method, clip, VarianceKind::FixedSmall, 250, Spacing::Trailing);
            describe_sampler(&config)
        };
        assert_eq!(
            of(Method::Ddpm, Clipping::Fixed),
            "ddpm in 250 steps, trailing, x_0 clipped to ±1, variance fixed-small"
        );
        assert_eq!(
            of(Method::Ddim, Clipping::Dynamic),
            "ddim in 250 steps, trailing, x_0 thresholded at quantile 0.995 up to 1, rederived epsilon"
        );
        assert_eq!(
            of(Method::DpmSolver, Clipping::None),
            "dpm-solver in 250 steps, trailing, x_0 not clipped, order 2"
        );
    }
}
