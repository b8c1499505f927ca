//! Reading the default sampler from the configuration of a scheduler.

use ddpm_diffusion::{Clipping, Method, ReverseVariance, SamplerConfig};
use ddpm_schedule::Spacing;

use crate::error::Result;
use crate::json_document::JsonDocument;
use crate::option_names::{timestep_spacing, variance_type};
use crate::scheduler_class::SchedulerClass;

/// The number of steps that the pipelines of diffusers take by default with schedulers other than `DDPMScheduler`.
const DEFAULT_STEPS: usize = 50;

/// Reads the sampler. `timesteps` is the length of the noise schedule.
///
/// # Errors
/// [`DiffusersError::Field`](crate::DiffusersError::Field) naming the first field whose value is invalid or not
/// supported.
pub(crate) fn read_sampler(document: &JsonDocument, class: SchedulerClass, timesteps: usize) -> Result<SamplerConfig> {
    check_fixed_options(document, class)?;
    let (method, order) = read_method(document, class)?;
    let clipping = read_clipping(document, class)?;
    let variance = read_variance(document, class)?;
    let steps = if class == SchedulerClass::Ddpm { timesteps } else { timesteps.min(DEFAULT_STEPS) };
    let spacing = read_spacing(document, class)?;
    Ok(SamplerConfig {
        order,
        clip_range: clipping.range,
        threshold_quantile: clipping.quantile,
        threshold_max: clipping.max,
        ..SamplerConfig::new(method, clipping.clip, variance, steps, spacing)
    })
}

/// The sampling method, and the order of DPM-Solver, which is 2 for the other methods.
fn read_method(document: &JsonDocument, class: SchedulerClass) -> Result<(Method, usize)> {
    Ok(match class {
        SchedulerClass::Ddpm => (Method::Ddpm, 2),
        SchedulerClass::Ddim => (Method::Ddim, 2),
        SchedulerClass::Heun => (Method::Heun, 2),
        SchedulerClass::DpmSolver => {
            let algorithms = [("dpmsolver++", Method::DpmSolver), ("sde-dpmsolver++", Method::DpmSolverSde)];
            let method = document.choice("algorithm_type", "dpmsolver++", &algorithms)?;
            let is_order = |order| [1.0, 2.0, 3.0].contains(&order);
            (method, document.number_in("solver_order", 2.0, "1, 2 or 3", is_order)? as usize)
        }
    })
}

/// How predicted x_0 is clipped, with the parameters of both ways.
struct ClippingOptions {
    clip: Clipping,
    range: f64,
    quantile: f64,
    max: f64,
}

fn read_clipping(document: &JsonDocument, class: SchedulerClass) -> Result<ClippingOptions> {
    let solver = class == SchedulerClass::DpmSolver;
    let fixed = !solver && document.flag("clip_sample", class != SchedulerClass::Heun)?;
    let range = match solver {
        true => 1.0,
        false => document.number_in("clip_sample_range", 1.0, "a finite number above 0", |range| range > 0.0)?,
    };
    let is_share = |share| (0.0..=1.0).contains(&share);
    let (dynamic, quantile, max) = match class {
        SchedulerClass::Heun => (false, 0.995, 1.0),
        SchedulerClass::Ddpm | SchedulerClass::Ddim | SchedulerClass::DpmSolver => (
            document.flag("thresholding", false)?,
            document.number_in("dynamic_thresholding_ratio", 0.995, "a share in [0, 1]", is_share)?,
            document.number_in("sample_max_value", 1.0, "a finite number from 1", |max| max >= 1.0)?,
        ),
    };
    let clip = match (dynamic, fixed) {
        (true, _) => Clipping::Dynamic,
        (false, true) => Clipping::Fixed,
        (false, false) => Clipping::None,
    };
    Ok(ClippingOptions { clip, range, quantile, max })
}

/// The variance of the reverse process, which only `DDPMScheduler` has. `DPMSolverMultistepScheduler` has a field of
/// the same name with another meaning: whether the network predicts a variance, which the solver ignores.
fn read_variance(document: &JsonDocument, class: SchedulerClass) -> Result<ReverseVariance> {
    if class != SchedulerClass::Ddpm {
        return Ok(ReverseVariance::FixedSmall);
    }
    let named = |variance| (variance_type(variance), variance);
    let names = [
        named(ReverseVariance::FixedSmall),
        ("fixed_small_log", ReverseVariance::FixedSmall),
        named(ReverseVariance::FixedLarge),
        // DIFFERENCE: diffusers takes the square root of ln β there, which is NaN.
        ("fixed_large_log", ReverseVariance::FixedLarge),
        named(ReverseVariance::Learned),
        named(ReverseVariance::LearnedRange),
    ];
    document.choice("variance_type", "fixed_small", &names)
}

fn read_spacing(document: &JsonDocument, class: SchedulerClass) -> Result<Spacing> {
    let names: Vec<_> = Spacing::ALL.iter().map(|&spacing| (timestep_spacing(spacing), spacing)).collect();
    let default = match class {
        SchedulerClass::Ddpm | SchedulerClass::Ddim => Spacing::Leading,
        SchedulerClass::DpmSolver | SchedulerClass::Heun => Spacing::Linspace,
    };
    document.choice("timestep_spacing", timestep_spacing(default), &names)
}

/// Flags that are supported with one value only, and the classes that have them.
const FIXED_FLAGS: [(&str, bool, &[SchedulerClass]); 9] = [
    ("set_alpha_to_one", true, &[SchedulerClass::Ddim]),
    ("lower_order_final", true, &[SchedulerClass::DpmSolver]),
    ("use_karras_sigmas", false, &[SchedulerClass::DpmSolver, SchedulerClass::Heun]),
    ("use_exponential_sigmas", false, &[SchedulerClass::DpmSolver, SchedulerClass::Heun]),
    ("use_beta_sigmas", false, &[SchedulerClass::DpmSolver, SchedulerClass::Heun]),
    ("use_lu_lambdas", false, &[SchedulerClass::DpmSolver]),
    ("use_flow_sigmas", false, &[SchedulerClass::DpmSolver]),
    ("use_dynamic_shifting", false, &[SchedulerClass::DpmSolver]),
    ("euler_at_final", false, &[SchedulerClass::DpmSolver]),
];

/// Refuses other values of the options that are supported with one value only.
fn check_fixed_options(document: &JsonDocument, class: SchedulerClass) -> Result<()> {
    // The offset only takes effect with leading spacing.
    if document.integer("steps_offset", 0)? != 0 && read_spacing(document, class)? == Spacing::Leading {
        return Err(document.unexpected("steps_offset", "0"));
    }
    // The first schedulers could list the timesteps.
    if document.get("timestep_values").is_some() {
        return Err(document.unexpected("timestep_values", "null, the only one that is supported"));
    }
    if class == SchedulerClass::DpmSolver {
        if document.get("lambda_min_clipped").is_some_and(|value| value.as_str() != Some("-Infinity")) {
            return Err(document.unexpected("lambda_min_clipped", "-Infinity, the only one that is supported"));
        }
        document.choice("solver_type", "midpoint", &[("midpoint", ())])?;
        document.choice("final_sigmas_type", "zero", &[("zero", ())])?;
    }
    for (field, supported, classes) in FIXED_FLAGS {
        if classes.contains(&class) && document.flag(field, supported)? != supported {
            return Err(document.unexpected(field, &format!("{supported}, the only one that is supported")));
        }
    }
    Ok(())
}
