//! The sampler: the model's own, changed by the options of the command line.

use ddpm_cli::usage_error;
use ddpm_diffusion::{DiffusionError, Method, ReverseVariance, SamplerConfig};

use crate::args::Args;
use crate::clip_choice::ClipChoice;
use crate::model::LoadedModel;

/// The sampler of `model` with the options of `args`.
///
/// # Errors
/// When an option has no effect on the method, or the sampler cannot be used with the model.
pub(crate) fn sampler(args: &Args, model: &LoadedModel) -> anyhow::Result<SamplerConfig> {
    let own = model.sampler;
    let method = args.sampler.map_or(own.method, |choice| choice.method);
    check_options(args, method)?;
    let sampler = SamplerConfig {
        method,
        eta: args.eta.unwrap_or(own.eta),
        order: args.order.unwrap_or(own.order),
        eps_after_clip: args.eps_after_clip.unwrap_or(own.eps_after_clip),
        variance: args.variance.unwrap_or(own.variance),
        steps: args.steps.unwrap_or(own.steps),
        spacing: args.spacing.unwrap_or(own.spacing),
        guidance_scale: args.guidance.unwrap_or(own.guidance_scale),
        guidance_interval: args.guidance_interval.or(own.guidance_interval),
        guidance_rescale: args.guidance_rescale.unwrap_or(own.guidance_rescale),
        ..own
    };
    let old_name = args.sampler.and_then(|choice| choice.clipped.then_some(ClipChoice::FIXED));
    let sampler = args.clip.or(old_name).map_or(sampler, |clip| clip.apply(sampler));
    check_steps(args, model, &sampler)?;
    check_ranges(args, model, &sampler)?;
    check_variance(args, model, &sampler)?;
    check_guidance(args, &sampler)?;
    Ok(sampler)
}

/// Checks that every option of guidance has an effect.
fn check_guidance(args: &Args, sampler: &SamplerConfig) -> anyhow::Result<()> {
    for (option, is_given) in [
        ("--guidance-interval", args.guidance_interval.is_some()),
        ("--guidance-rescale", args.guidance_rescale.is_some()),
        ("--guide", args.guide.is_some()),
    ] {
        if is_given && !sampler.guidance().is_used() {
            return Err(usage_error(format!(
                "{option}: expected a guidance scale other than 1, --guidance 2 for example"
            )));
        }
    }
    Ok(())
}

/// Checks that every given option has an effect on `method`.
fn check_options(args: &Args, method: Method) -> anyhow::Result<()> {
    let uses_eps = matches!(method, Method::Ddim | Method::Heun);
    for (option, is_given, has_effect, methods) in [
        ("--eta", args.eta.is_some(), method == Method::Ddim, "ddim"),
        ("--order", args.order.is_some(), method.is_dpm_solver(), "dpm-solver and dpm-solver-sde"),
        ("--variance", args.variance.is_some(), method == Method::Ddpm, "ddpm"),
        ("--eps-after-clip", args.eps_after_clip.is_some(), uses_eps, "ddim and heun"),
    ] {
        if is_given && !has_effect {
            let source = if args.sampler.is_some() { "--sampler" } else { "the model's own sampler," };
            return Err(usage_error(format!(
                "{option}: expected a sampler that it changes ({methods}), found {source} {method}"
            )));
        }
    }
    Ok(())
}

fn check_steps(args: &Args, model: &LoadedModel, sampler: &SamplerConfig) -> anyhow::Result<()> {
    let (steps, timesteps) = (sampler.steps, model.diffusion.schedule().len());
    if (1..=timesteps).contains(&steps) {
        return Ok(());
    }
    if args.steps.is_none() {
        let file = model.path().display();
        anyhow::bail!(
            "{file}: field `sampler`: steps: expected 1 to {timesteps}, the timesteps of the schedule, found {steps}"
        );
    }
    Err(usage_error(format!(
        "--steps: expected 1 to {timesteps}, the timesteps of the model's schedule, found {steps}"
    )))
}

/// Checks the numbers of the sampler before anything is computed.
fn check_ranges(args: &Args, model: &LoadedModel, sampler: &SamplerConfig) -> anyhow::Result<()> {
    let Err(error) = sampler.respaced(&model.diffusion) else { return Ok(()) };
    let is_option = match &error {
        DiffusionError::Option { field: "eta", .. } => args.eta.is_some(),
        DiffusionError::Option { field: "order", .. } => args.order.is_some(),
        DiffusionError::Option { field: "guidance_scale", expected, found } if args.guidance.is_some() => {
            return Err(usage_error(format!("--guidance: expected {expected}, found {found}")));
        }
        DiffusionError::Option { field: "guidance_interval", expected, found } if args.guidance_interval.is_some() => {
            return Err(usage_error(format!("--guidance-interval: expected {expected}, found {found}")));
        }
        DiffusionError::Option { field: "guidance_rescale", expected, found } if args.guidance_rescale.is_some() => {
            return Err(usage_error(format!("--guidance-rescale: expected {expected}, found {found}")));
        }
        DiffusionError::Option { field: "clip_range" | "threshold_quantile", .. }
            if args.clip.is_some_and(|clip| clip.number.is_some()) =>
        {
            return Err(usage_error(format!("--clip: {error}")));
        }
        _ => false,
    };
    let source = if is_option { "--".to_owned() } else { format!("{}: sampler: ", model.path().display()) };
    Err(usage_error(format!("{source}{error}")))
}

/// Checks that a network whose variance is to be learned has output channels for it.
fn check_variance(args: &Args, model: &LoadedModel, sampler: &SamplerConfig) -> anyhow::Result<()> {
    let is_learned = matches!(sampler.variance, ReverseVariance::Learned | ReverseVariance::LearnedRange);
    let (expected, found) = (2 * model.network.channels(), model.network.out_channels());
    if sampler.method != Method::Ddpm || !is_learned || found == expected {
        return Ok(());
    }
    let (file, variance) = (model.path().display(), sampler.variance);
    let source = if args.variance.is_some() { "--variance" } else { "field `sampler`: variance" };
    Err(usage_error(format!(
        "{file}: {source}: {variance} is for networks with {expected} channels of output, found {found}; \
         fixed-small and fixed-large are for any network"
    )))
}
