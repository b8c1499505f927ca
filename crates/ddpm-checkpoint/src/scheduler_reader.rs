//! What a scheduler of the Python library diffusers stands for: a schedule, what the network predicts, a default sampler.

use ddpm_schedule::Prediction;
use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::fields::Fields;

/// Steps that diffusers' pipelines take when nobody says otherwise, of the schedulers that are for few.
const FEW_STEPS: u64 = 50;

/// What a scheduler is here.
pub(crate) struct Scheduler {
    /// In the fields of `ddpm_schedule::ScheduleConfig`.
    pub(crate) diffusion: Value,
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

/// Reads a scheduler's document.
///
/// # Errors
/// [`CheckpointError::WrongField`](crate::CheckpointError::WrongField) naming the first field with a value that is not supported.
pub(crate) fn scheduler(document: &Fields) -> Result<Scheduler> {
    let classes = [
        ("DDPMScheduler", Class::Ddpm),
        ("DDIMScheduler", Class::Ddim),
        ("DPMSolverMultistepScheduler", Class::DpmSolver),
        ("HeunDiscreteScheduler", Class::Heun),
    ];
    let class = document.choice("_class_name", "DDPMScheduler", &classes)?;
    let predictions = [("epsilon", Prediction::Epsilon), ("sample", Prediction::X0), ("v_prediction", Prediction::V)];
    Ok(Scheduler {
        diffusion: diffusion(document, class)?,
        prediction: document.choice("prediction_type", "epsilon", &predictions)?,
        sampler: sampler(document, class)?,
    })
}

fn diffusion(document: &Fields, class: Class) -> Result<Value> {
    let mut fields = Map::new();
    fields.insert("timesteps".into(), document.whole("num_train_timesteps", 1000)?.into());
    fields.insert("zero_terminal_snr".into(), document.flag("rescale_betas_zero_snr", false)?.into());
    if let Some(betas) = document.get("trained_betas") {
        fields.insert("beta_schedule".into(), "given".into());
        fields.insert("betas".into(), betas.clone());
        return Ok(Value::Object(fields));
    }
    let names = [
        ("linear", "linear"),
        ("scaled_linear", "scaled-linear"),
        ("squaredcos_cap_v2", "cosine"),
        ("sigmoid", "sigmoid"),
    ];
    let rule = document.choice("beta_schedule", "linear", &names)?;
    fields.insert("beta_schedule".into(), rule.into());
    if rule != "cosine" {
        // Its own defaults are those of latent diffusion.
        let (start, end) = if class == Class::Heun { (8.5e-4, 0.012) } else { (1e-4, 0.02) };
        fields.insert("beta_start".into(), document.number("beta_start", start)?.into());
        fields.insert("beta_end".into(), document.number("beta_end", end)?.into());
    }
    Ok(Value::Object(fields))
}

/// Options of one scheduler or another that are supported as they are by default.
const DEFAULT_FLAGS: [(&str, bool); 8] = [
    ("set_alpha_to_one", true),
    ("lower_order_final", true),
    ("use_karras_sigmas", false),
    ("use_exponential_sigmas", false),
    ("use_beta_sigmas", false),
    ("use_lu_lambdas", false),
    ("use_flow_sigmas", false),
    ("euler_at_final", false),
];

fn sampler(document: &Fields, class: Class) -> Result<Value> {
    check_defaults(document)?;
    let algorithms = [("dpmsolver++", "dpm-solver"), ("sde-dpmsolver++", "dpm-solver-sde")];
    let solver = document.choice("algorithm_type", "dpmsolver++", &algorithms)?;
    let method = match class {
        Class::Ddpm => "ddpm",
        Class::Ddim => "ddim",
        Class::Heun => "heun",
        Class::DpmSolver => solver,
    };
    // Two of them have no such field, or another default for it.
    let clipped = document.flag("clip_sample", matches!(class, Class::Ddpm | Class::Ddim))?;
    let mean = match (document.flag("thresholding", false)?, clipped) {
        (true, _) => "thresholded-x0",
        (false, true) => "clipped-x0",
        (false, false) => "epsilon",
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
    let spacings = [("leading", "leading"), ("trailing", "trailing"), ("linspace", "linspace")];
    let even = matches!(class, Class::DpmSolver | Class::Heun);
    let spacing = document.choice("timestep_spacing", if even { "linspace" } else { "leading" }, &spacings)?;
    let timesteps = document.whole("num_train_timesteps", 1000)?;
    Ok(json!({
        "method": method,
        "order": document.whole("solver_order", 2)?,
        "mean": mean,
        "clip_range": document.number("clip_sample_range", 1.0)?,
        "threshold_quantile": document.number("dynamic_thresholding_ratio", 0.995)?,
        "threshold_max": document.number("sample_max_value", 1.0)?,
        "variance": variance,
        "steps": if class == Class::Ddpm { timesteps } else { timesteps.min(FEW_STEPS) },
        "spacing": spacing,
    }))
}

/// Refuses what is supported in one value only.
fn check_defaults(document: &Fields) -> Result<()> {
    if document.whole("steps_offset", 0)? != 0 {
        return document.wrong("steps_offset", "0");
    }
    // JSON has no infinity: diffusers writes it as a word.
    if document.get("lambda_min_clipped").is_some_and(|value| value.as_str() != Some("-Infinity")) {
        return document.wrong("lambda_min_clipped", "its default, the only one that is supported");
    }
    document.choice("solver_type", "midpoint", &[("midpoint", ())])?;
    document.choice("final_sigmas_type", "zero", &[("zero", ())])?;
    for (field, only) in DEFAULT_FLAGS {
        if document.flag(field, only)? != only {
            return document.wrong(field, &format!("{only}, the only one that is supported"));
        }
    }
    Ok(())
}
