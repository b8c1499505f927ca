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
    warn_of_replaced_options(document, class)?;
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
        SchedulerClass::Euler
        | SchedulerClass::EulerAncestral
        | SchedulerClass::Pndm
        | SchedulerClass::Lms
        | SchedulerClass::UniPc
        | SchedulerClass::Deis => (closest_method(document, class), 2),
    })
}

/// The method that replaces that of a class without an implementation here. A warning names both.
fn closest_method(document: &JsonDocument, class: SchedulerClass) -> Method {
    let method = class.closest().unwrap_or_default();
    let (file, class) = (document.path().display(), class.name());
    tracing::warn!("{file}: {class} has no equal here: sampling with {method}, the closest method; --sampler chooses");
    method
}

/// How predicted x_0 is clipped, with the parameters of both ways.
struct ClippingOptions {
    clip: Clipping,
    range: f64,
    quantile: f64,
    max: f64,
}

fn read_clipping(document: &JsonDocument, class: SchedulerClass) -> Result<ClippingOptions> {
    let fixed = class.has_clipping() && document.flag("clip_sample", class != SchedulerClass::Heun)?;
    let range = match class.has_clipping() {
        false => 1.0,
        true => document.number_in("clip_sample_range", 1.0, "a finite number above 0", |range| range > 0.0)?,
    };
    let is_share = |share| (0.0..=1.0).contains(&share);
    let (dynamic, quantile, max) = match class.has_thresholding() {
        false => (false, 0.995, 1.0),
        true => (
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
        SchedulerClass::Ddpm | SchedulerClass::Ddim | SchedulerClass::Pndm => Spacing::Leading,
        SchedulerClass::DpmSolver
        | SchedulerClass::Heun
        | SchedulerClass::Euler
        | SchedulerClass::EulerAncestral
        | SchedulerClass::Lms
        | SchedulerClass::UniPc
        | SchedulerClass::Deis => Spacing::Linspace,
    };
    document.choice("timestep_spacing", timestep_spacing(default), &names)
}

/// Flags that are supported with one value only, and the classes that have them.
const FIXED_FLAGS: [(&str, bool, &[SchedulerClass]); 5] = [
    ("lower_order_final", true, &[SchedulerClass::DpmSolver]),
    ("use_lu_lambdas", false, &[SchedulerClass::DpmSolver]),
    ("use_flow_sigmas", false, &[SchedulerClass::DpmSolver]),
    ("use_dynamic_shifting", false, &[SchedulerClass::DpmSolver]),
    ("euler_at_final", false, &[SchedulerClass::DpmSolver]),
];

/// Flags whose other value is replaced by the supported one, the classes that have them, and what is done instead.
const REPLACED_FLAGS: [(&str, bool, &[SchedulerClass], &str); 4] = [
    ("set_alpha_to_one", true, &[SchedulerClass::Ddim, SchedulerClass::Pndm], "the last step goes to predicted x_0"),
    ("use_karras_sigmas", false, WITH_SIGMAS, "timesteps are spaced as timestep_spacing says"),
    ("use_exponential_sigmas", false, WITH_SIGMAS, "timesteps are spaced as timestep_spacing says"),
    ("use_beta_sigmas", false, WITH_SIGMAS, "timesteps are spaced as timestep_spacing says"),
];

/// The classes that can space noise levels instead of timesteps.
const WITH_SIGMAS: &[SchedulerClass] = &[
    SchedulerClass::DpmSolver,
    SchedulerClass::Heun,
    SchedulerClass::Euler,
    SchedulerClass::Lms,
    SchedulerClass::UniPc,
    SchedulerClass::Deis,
];

/// Warns of options that change the timesteps or the last step, and that are replaced by what is supported here.
fn warn_of_replaced_options(document: &JsonDocument, class: SchedulerClass) -> Result<()> {
    let file = document.path().display();
    for (field, supported, classes, instead) in REPLACED_FLAGS {
        if classes.contains(&class) && document.flag(field, supported)? != supported {
            tracing::warn!("{file}: {field} = {} is not supported: {instead}", !supported);
        }
    }
    // The offset only takes effect with leading spacing.
    let offset = document.integer("steps_offset", 0)?;
    if offset != 0 && read_spacing(document, class)? == Spacing::Leading {
        tracing::warn!("{file}: steps_offset = {offset} is not supported: timesteps start at 0");
    }
    Ok(())
}

/// Refuses other values of the options that are supported with one value only.
fn check_fixed_options(document: &JsonDocument, class: SchedulerClass) -> Result<()> {
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
