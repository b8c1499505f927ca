//! Directories that the Python library diffusers loads: `DDPMPipeline.from_pretrained(PATH)`.

use std::fs;
use std::path::Path;

use ddpm_schedule::{BetaScheduleName, Prediction, ScheduleConfig};
use serde_json::{Value, json};

use crate::atomic_file::{replace_file, write_atomically};
use crate::description::ModelDescription;
use crate::error::{CheckpointError, IoContext, Result};
use crate::pipeline_reader::{CONFIG_NAME, INDEX_NAME, SCHEDULER_CONFIG_NAME, SCHEDULER_NAME, UNET_NAME};
use crate::pipeline_weights::WEIGHTS_NAME;
use crate::tensor_file::{Tensors, write_stream};

/// The version of diffusers whose form this is.
const DIFFUSERS: &str = "0.42.1";

/// Writes a model of kind `unet2d` as a pipeline: `model_index.json`, `unet/`, `scheduler/`, and a model card. Every file is there
/// whole or not at all; the index comes last.
///
/// # Errors
/// [`CheckpointError::WrongField`] when the model is of another kind; those of [`write_tensors`](crate::write_tensors).
pub fn write_pipeline(directory: impl AsRef<Path>, description: &ModelDescription, tensors: &Tensors) -> Result<()> {
    let directory = directory.as_ref();
    let [unet, scheduler] = [UNET_NAME, SCHEDULER_NAME].map(|name| directory.join(name));
    let network = network(description, &unet.join(CONFIG_NAME))?;
    let of_scheduler = scheduler_config(description, &scheduler.join(SCHEDULER_CONFIG_NAME))?;
    for part in [&unet, &scheduler] {
        fs::create_dir_all(part).on("create directory", part)?;
    }
    let weights = unet.join(WEIGHTS_NAME);
    replace_file(&weights, |out| write_stream(out, None, tensors, &weights))?;
    write_json(&unet.join(CONFIG_NAME), &network)?;
    write_json(&scheduler.join(SCHEDULER_CONFIG_NAME), &of_scheduler)?;
    write_atomically(&directory.join("README.md"), |out| out.write_all(card(description).as_bytes()))?;
    let index = json!({
        "_class_name": "DDPMPipeline",
        "_diffusers_version": DIFFUSERS,
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    });
    write_json(&directory.join(INDEX_NAME), &index)
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    write_atomically(path, |out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        out.write_all(b"\n")
    })
}

/// The configuration of a `UNet2DModel`, every field of it.
fn network(description: &ModelDescription, path: &Path) -> Result<Value> {
    let mut config = description.network.clone();
    let fields = match &mut config {
        Value::Object(fields) if fields.get("kind").and_then(Value::as_str) == Some("unet2d") => fields,
        _ => {
            let problem = "expected kind unet2d, found another: diffusers has no such network".to_owned();
            return Err(CheckpointError::WrongField { path: path.to_owned(), field: "network".into(), problem });
        }
    };
    fields.remove("kind");
    fields.insert("_class_name".into(), "UNet2DModel".into());
    fields.insert("_diffusers_version".into(), DIFFUSERS.into());
    // Of what may be left out here, null is not always the default there.
    fields.entry("attention_head_dim").or_insert(Value::Null);
    if fields.get("mid_block_type").and_then(Value::as_str) == Some("none") {
        fields.insert("mid_block_type".into(), Value::Null);
    }
    Ok(config)
}

/// The configuration of a `DDPMScheduler` with this model's schedule and default sampler.
fn scheduler_config(description: &ModelDescription, path: &Path) -> Result<Value> {
    let schedule: ScheduleConfig = description.diffusion(path)?;
    let sampler = |field: &str| description.sampler.get(field).and_then(Value::as_str).unwrap_or_default();
    let number = |field: &str, default| description.sampler.get(field).and_then(Value::as_f64).unwrap_or(default);
    let mut config = json!({
        "_class_name": "DDPMScheduler",
        "_diffusers_version": DIFFUSERS,
        "num_train_timesteps": schedule.timesteps,
        "prediction_type": match description.prediction {
            Prediction::Epsilon => "epsilon",
            Prediction::X0 => "sample",
            Prediction::V => "v_prediction",
        },
        "clip_sample": sampler("clip") == "fixed",
        "clip_sample_range": number("clip_range", 1.0),
        "variance_type": if sampler("variance") == "fixed-large" { "fixed_large" } else { "fixed_small" },
        "timestep_spacing": sampler("spacing"),
        "rescale_betas_zero_snr": false,
        "steps_offset": 0,
        "thresholding": sampler("clip") == "dynamic",
        "dynamic_thresholding_ratio": number("threshold_quantile", 0.995),
        "sample_max_value": number("threshold_max", 1.0),
        "trained_betas": Value::Null,
    });
    let (start, end) = (schedule.beta_start.unwrap_or(1e-4), schedule.beta_end.unwrap_or(0.02));
    let cosine = (schedule.cosine_offset.unwrap_or(0.008), schedule.max_beta.unwrap_or(0.999));
    let name = match schedule.beta_schedule {
        BetaScheduleName::Linear => Some("linear"),
        // The same sequence under two names.
        BetaScheduleName::ScaledLinear | BetaScheduleName::Quadratic => Some("scaled_linear"),
        BetaScheduleName::Sigmoid => Some("sigmoid"),
        BetaScheduleName::Cosine if cosine == (0.008, 0.999) => Some("squaredcos_cap_v2"),
        _ => None,
    };
    match name.filter(|_| !schedule.rescale_timesteps) {
        Some(name) => {
            config["beta_schedule"] = name.into();
            (config["beta_start"], config["beta_end"]) = (start.into(), end.into());
            config["rescale_betas_zero_snr"] = schedule.zero_terminal_snr.into();
        }
        // What diffusers has no name for is given number by number.
        None => {
            let built = schedule.build().map_err(|error| CheckpointError::WrongField {
                path: path.to_owned(),
                field: "diffusion".into(),
                problem: error.to_string(),
            })?;
            config["trained_betas"] = built.betas().into();
        }
    }
    Ok(config)
}

fn card(description: &ModelDescription) -> String {
    let ModelDescription { channels, image_size: [height, width], training_step, .. } = description;
    let version = &description.library_version;
    format!(
        "---\nlibrary_name: diffusers\npipeline_tag: unconditional-image-generation\ntags:\n- ddpm\n---\n\n\
         # Denoising diffusion model\n\n\
         Images of {height}×{width} pixels and {channels} channels, after {training_step} steps of training (weights: their \
         exponential moving average). Written by ddpm-train {version}.\n\n\
         ```python\nfrom diffusers import DDPMPipeline\n\n\
         pipeline = DDPMPipeline.from_pretrained(\"PATH\")\n\
         pipeline(batch_size=4).images[0].save(\"image.png\")\n```\n"
    )
}
