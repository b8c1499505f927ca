//! What a scheduler of the Python library diffusers stands for: a schedule, what the network predicts, a default sampler.

use ddpm_schedule::{BetaScheduleName, MAX_TIMESTEPS, Prediction, ScheduleConfig, ScheduleError};
use serde_json::{Value, json};

use crate::error::Result;
use crate::fields::Fields;
use crate::pipeline_reader::INDEX_NAME;

/// Steps that diffusers' pipelines take when nobody says otherwise, of the schedulers that are for few.
const FEW_STEPS: usize = 50;

/// What a scheduler is here.
pub(crate) struct Scheduler {
    pub(crate) diffusion: ScheduleConfig,
    pub(crate) prediction: Prediction,
    /// In the fields of `ddpm_diffusion::SamplerConfig`.
    pub(crate) sampler: Value,
}

/// The schedulers that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Ddpm,
    Ddim,
    DpmSolver,
    Heun,
}

/// Reads a scheduler's document. A field that the class does not have says nothing: `from_config` leaves such fields behind, and
/// diffusers ignores them. `named` is the class that the pipeline's index names.
///
/// # Errors
/// [`CheckpointError::WrongField`](crate::CheckpointError::WrongField) naming the first field with a value that is not supported.
pub(crate) fn scheduler(document: &Fields, named: Option<&str>) -> Result<Scheduler> {
    let classes = [
        ("DDPMScheduler", Class::Ddpm),
        ("DDIMScheduler", Class::Ddim),
        ("DPMSolverMultistepScheduler", Class::DpmSolver),
        ("HeunDiscreteScheduler", Class::Heun),
    ];
    let class = document.choice("_class_name", named.unwrap_or("DDPMScheduler"), &classes)?;
    if let (Some(named), Some(own)) = (named, document.get("_class_name").and_then(Value::as_str))
        && named != own
    {
        return document.wrong("_class_name", &format!("{named}, the scheduler that {INDEX_NAME} names"));
    }
    let diffusion = diffusion(document, class)?;
    check_schedule(document, &diffusion)?;
    Ok(Scheduler { diffusion, prediction: prediction(document)?, sampler: sampler(document, class)? })
}

fn prediction(document: &Fields) -> Result<Prediction> {
    let predictions = [("epsilon", Prediction::Epsilon), ("sample", Prediction::X0), ("v_prediction", Prediction::V)];
    // What said it before `prediction_type` did.
    let epsilon = document.flag("predict_epsilon", true)?;
    let prediction = document.choice("prediction_type", if epsilon { "epsilon" } else { "sample" }, &predictions)?;
    if !epsilon && prediction != Prediction::X0 {
        return document.wrong("predict_epsilon", "true, or prediction_type sample");
    }
    Ok(prediction)
}

fn diffusion(document: &Fields, class: Class) -> Result<ScheduleConfig> {
    let timesteps = timesteps(document)?;
    let mut config = ScheduleConfig::new(BetaScheduleName::Given, timesteps);
    if class != Class::Heun {
        config.zero_terminal_snr = document.flag("rescale_betas_zero_snr", false)?;
    }
    if let Some(betas) = document.get("trained_betas") {
        let number = |beta: &Value| beta.as_f64().filter(|beta| beta.is_finite());
        let betas = betas.as_array().and_then(|betas| betas.iter().map(number).collect::<Option<Vec<_>>>());
        let Some(betas) = betas else { return document.wrong("trained_betas", "a list of numbers") };
        config.betas = Some(betas);
        return Ok(config);
    }
    let names = [
        ("linear", BetaScheduleName::Linear),
        ("scaled_linear", BetaScheduleName::ScaledLinear),
        ("squaredcos_cap_v2", BetaScheduleName::Cosine),
        ("sigmoid", BetaScheduleName::Sigmoid),
    ];
    config.beta_schedule = document.choice("beta_schedule", "linear", &names)?;
    if config.beta_schedule != BetaScheduleName::Cosine {
        // Its own defaults are those of latent diffusion.
        let (start, end) = if class == Class::Heun { (8.5e-4, 0.012) } else { (1e-4, 0.02) };
        config.beta_start = Some(document.number("beta_start", start)?);
        config.beta_end = Some(document.number("beta_end", end)?);
    }
    Ok(config)
}

fn timesteps(document: &Fields) -> Result<usize> {
    let timesteps = document.whole("num_train_timesteps", 1000)?;
    match usize::try_from(timesteps) {
        Ok(timesteps) if (1..=MAX_TIMESTEPS).contains(&timesteps) => Ok(timesteps),
        _ => document.wrong("num_train_timesteps", &format!("a whole number from 1 to {MAX_TIMESTEPS}")),
    }
}

/// Whether there is such a schedule; where not, the error has diffusers' name of the field.
fn check_schedule(document: &Fields, config: &ScheduleConfig) -> Result<()> {
    let Err(error) = config.build() else { return Ok(()) };
    let field = match &error {
        ScheduleError::Parameter { name, .. } => name,
        ScheduleError::Decreasing { .. } => "beta_start",
        ScheduleError::ZeroTerminalSnr { .. } => "rescale_betas_zero_snr",
        _ if config.betas.is_some() => "trained_betas",
        _ => "beta_schedule",
    };
    document.refuse(field, error.to_string())
}

/// Options that are supported as they are by default, and the classes that have them.
const DEFAULT_FLAGS: [(&str, bool, &[Class]); 9] = [
    ("set_alpha_to_one", true, &[Class::Ddim]),
    ("lower_order_final", true, &[Class::DpmSolver]),
    ("use_karras_sigmas", false, &[Class::DpmSolver, Class::Heun]),
    ("use_exponential_sigmas", false, &[Class::DpmSolver, Class::Heun]),
    ("use_beta_sigmas", false, &[Class::DpmSolver, Class::Heun]),
    ("use_lu_lambdas", false, &[Class::DpmSolver]),
    ("use_flow_sigmas", false, &[Class::DpmSolver]),
    ("use_dynamic_shifting", false, &[Class::DpmSolver]),
    ("euler_at_final", false, &[Class::DpmSolver]),
];

fn sampler(document: &Fields, class: Class) -> Result<Value> {
    check_defaults(document, class)?;
    let solver = class == Class::DpmSolver;
    let algorithms = [("dpmsolver++", "dpm-solver"), ("sde-dpmsolver++", "dpm-solver-sde")];
    let method = match class {
        Class::Ddpm => "ddpm",
        Class::Ddim => "ddim",
        Class::Heun => "heun",
        Class::DpmSolver => document.choice("algorithm_type", "dpmsolver++", &algorithms)?,
    };
    let order = if solver { document.number_in("solver_order", 2.0, "1, 2 or 3", is_order)? } else { 2.0 };
    let clipped = !solver && document.flag("clip_sample", class != Class::Heun)?;
    let clip_range = match solver {
        true => 1.0,
        false => document.number_in("clip_sample_range", 1.0, "a finite number above 0", |range| range > 0.0)?,
    };
    let (thresholded, quantile, most) = match class {
        Class::Heun => (false, 0.995, 1.0),
        _ => (
            document.flag("thresholding", false)?,
            document.number_in("dynamic_thresholding_ratio", 0.995, "a share in [0, 1]", is_share)?,
            document.number_in("sample_max_value", 1.0, "a finite number from 1", |most| most >= 1.0)?,
        ),
    };
    let clip = match (thresholded, clipped) {
        (true, _) => "dynamic",
        (false, true) => "fixed",
        (false, false) => "none",
    };
    let variances = [
        ("fixed_small", "fixed-small"),
        ("fixed_small_log", "fixed-small"),
        ("fixed_large", "fixed-large"),
        // DIFFERENCE: diffusers takes the root of ln β there, which is not a number.
        ("fixed_large_log", "fixed-large"),
        ("learned", "learned"),
        ("learned_range", "learned-range"),
    ];
    // DPM-Solver has a field of that name for whether the network has learnt one, null or of which kind.
    let variance =
        if class == Class::Ddpm { document.choice("variance_type", "fixed_small", &variances)? } else { "fixed-small" };
    let timesteps = timesteps(document)?;
    Ok(json!({
        "method": method,
        "order": order as u64,
        "clip": clip,
        "clip_range": clip_range,
        "threshold_quantile": quantile,
        "threshold_max": most,
        "variance": variance,
        "steps": if class == Class::Ddpm { timesteps } else { timesteps.min(FEW_STEPS) },
        "spacing": spacing(document, class)?,
    }))
}

fn is_order(order: f64) -> bool {
    [1.0, 2.0, 3.0].contains(&order)
}

fn is_share(share: f64) -> bool {
    (0.0..=1.0).contains(&share)
}

fn spacing(document: &Fields, class: Class) -> Result<&'static str> {
    let spacings = [("leading", "leading"), ("trailing", "trailing"), ("linspace", "linspace")];
    let even = matches!(class, Class::DpmSolver | Class::Heun);
    document.choice("timestep_spacing", if even { "linspace" } else { "leading" }, &spacings)
}

/// Refuses what is supported in one value only.
fn check_defaults(document: &Fields, class: Class) -> Result<()> {
    // No other spacing adds it.
    if document.whole("steps_offset", 0)? != 0 && spacing(document, class)? == "leading" {
        return document.wrong("steps_offset", "0");
    }
    // Steps one by one, as the first schedulers had them.
    if document.get("timestep_values").is_some() {
        return document.wrong("timestep_values", "null, the only one that is supported");
    }
    if class == Class::DpmSolver {
        if document.get("lambda_min_clipped").is_some_and(|value| value.as_str() != Some("-Infinity")) {
            return document.wrong("lambda_min_clipped", "-Infinity, the only one that is supported");
        }
        document.choice("solver_type", "midpoint", &[("midpoint", ())])?;
        document.choice("final_sigmas_type", "zero", &[("zero", ())])?;
    }
    for (field, only, classes) in DEFAULT_FLAGS {
        if classes.contains(&class) && document.flag(field, only)? != only {
            return document.wrong(field, &format!("{only}, the only one that is supported"));
        }
    }
    Ok(())
}
