//! Reading pipelines of diffusers: what is read, and which file and field an error names.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor, safetensors};
use ddpm_checkpoint::SavedModel;
use ddpm_diffusers::{DiffusersError, find_model, find_model_of_size};
use ddpm_diffusion::{Clipping, Method, ReverseVariance, SamplerConfig};
use ddpm_schedule::{BetaScheduleName, Prediction, ScheduleConfig, Spacing};
use serde_json::{Value, json};

const INDEX: &str = "model_index.json";
const SCHEDULER: &str = "scheduler/scheduler_config.json";
const UNET: &str = "unet/config.json";
const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";
const PICKLE: &str = "unet/diffusion_pytorch_model.bin";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

/// A copy of the golden pipeline that a test can change.
struct PipelineCopy(tempfile::TempDir);

impl PipelineCopy {
    fn new() -> Self {
        let copy = Self(tempfile::tempdir().expect("temp dir"));
        for file in [INDEX, SCHEDULER, UNET, WEIGHTS] {
            fs::create_dir_all(copy.at(file).parent().expect("a folder")).expect("room");
            fs::copy(golden().join("pipeline").join(file), copy.at(file)).expect("room");
        }
        copy
    }

    /// The path of a file of the pipeline.
    fn at(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// Changes a JSON document.
    fn edit(&self, file: &str, edit: impl FnOnce(&mut Value)) {
        let mut document = serde_json::from_slice(&fs::read(self.at(file)).expect("readable")).expect("JSON");
        edit(&mut document);
        fs::write(self.at(file), document.to_string()).expect("room");
    }

    /// Loads a pipeline with these fields in the document `file`.
    fn load_with(file: &str, fields: Value) -> Result<SavedModel, DiffusersError> {
        let copy = Self::new();
        copy.edit(file, |document| {
            for (name, value) in fields.as_object().expect("fields") {
                document[name] = value.clone();
            }
        });
        find_model(copy.0.path())
    }
}

/// Checks that a pipeline with these fields in the document `file` is refused with the message `expected`, in one line.
fn check_refused(file: &str, fields: Value, expected: &str) {
    let error = PipelineCopy::load_with(file, fields).expect_err(expected).to_string();
    assert!(error.contains(&format!("{file}: {expected}")) && error.lines().count() == 1, "{expected}: {error}");
}

#[test]
fn the_schedulers_that_diffusers_saves_are_read() {
    let read = |name: &str, class: &str| {
        let copy = PipelineCopy::new();
        fs::copy(golden().join("schedulers").join(name).join("scheduler_config.json"), copy.at(SCHEDULER))
            .expect("room");
        copy.edit(INDEX, |index| index["scheduler"][1] = class.into());
        let model = find_model(copy.0.path()).expect(name);
        let schedule: ScheduleConfig = model.diffusion().expect("a schedule");
        let sampler: SamplerConfig = model.sampler().expect("a sampler");
        (sampler, schedule, model.description.prediction)
    };
    let defaults =
        |method, clip, steps, spacing| SamplerConfig::new(method, clip, ReverseVariance::FixedSmall, steps, spacing);

    let (found, schedule, prediction) = read("ddpm", "DDPMScheduler");
    let expected = defaults(Method::Ddpm, Clipping::Fixed, 400, Spacing::Trailing);
    assert_eq!(found, SamplerConfig { clip_range: 2.0, variance: ReverseVariance::FixedLarge, ..expected });
    assert_eq!((schedule.beta_schedule, schedule.timesteps), (BetaScheduleName::ScaledLinear, 400));
    assert!(schedule.zero_terminal_snr && prediction == Prediction::V);

    let (found, schedule, prediction) = read("ddim", "DDIMScheduler");
    let expected = defaults(Method::Ddim, Clipping::Dynamic, 50, Spacing::Leading);
    assert_eq!(found, SamplerConfig { threshold_quantile: 0.9, threshold_max: 2.0, ..expected });
    assert_eq!((schedule.beta_end, prediction), (Some(0.02), Prediction::Epsilon));

    let (found, _, prediction) = read("dpm_solver", "DPMSolverMultistepScheduler");
    let expected = defaults(Method::DpmSolverSde, Clipping::None, 50, Spacing::Linspace);
    assert_eq!(found, SamplerConfig { order: 3, ..expected });
    assert_eq!(prediction, Prediction::X0);

    let (found, schedule, _) = read("heun", "HeunDiscreteScheduler");
    assert_eq!(found, defaults(Method::Heun, Clipping::Fixed, 50, Spacing::Trailing));
    assert_eq!(schedule.beta_start, Some(8.5e-4));

    // Fields that another class left in the file are ignored, as diffusers does.
    let (found, ..) = read("dpm_solver_from_ddpm", "DPMSolverMultistepScheduler");
    assert_eq!(found, defaults(Method::DpmSolver, Clipping::None, 50, Spacing::Linspace));
    let (found, ..) = read("heun_from_ddpm", "HeunDiscreteScheduler");
    assert_eq!(found, defaults(Method::Heun, Clipping::None, 50, Spacing::Linspace));
}

#[test]
fn numbers_that_are_not_finite_are_named() {
    for (field, word) in [("beta_start", "NaN"), ("clip_sample_range", "Infinity"), ("sample_max_value", "Infinity")] {
        let copy = PipelineCopy::new();
        let text = fs::read_to_string(copy.at(SCHEDULER)).expect("readable");
        let rest = text.replacen('{', &format!("{{ \"{field}\": {word},"), 1);
        let without: String = rest
            .split_inclusive('\n')
            .enumerate()
            .filter(|(i, line)| *i == 0 || !line.contains(field))
            .map(|(_, line)| line)
            .collect();
        fs::write(copy.at(SCHEDULER), without).expect("room");
        let error = find_model(copy.0.path()).expect_err(field).to_string();
        assert!(error.contains(&format!("{SCHEDULER}: field `{field}`: expected")), "{error}");
        assert!(error.ends_with(&format!("found {word}")), "{error}");
    }
}

#[test]
fn fields_of_the_scheduler_have_the_names_of_diffusers() {
    for (fields, expected) in [
        (json!({ "beta_start": 2 }), "field `beta_start`: beta_start is 2"),
        (json!({ "beta_start": 0.5 }), "field `beta_start`: beta_start is 0.5 and beta_end is 0.02"),
        (json!({ "trained_betas": [0.1, 0.2] }), "field `trained_betas`: betas has 2 values, expected 1000"),
        (json!({ "trained_betas": [1, 0.2], "num_train_timesteps": 2 }), "field `trained_betas`: beta[0] is 1"),
        (json!({ "trained_betas": "none" }), "field `trained_betas`: expected a list of numbers, found \"none\""),
        (json!({ "num_train_timesteps": 0 }), "field `num_train_timesteps`: expected a whole number from 1"),
        (json!({ "clip_sample_range": 0 }), "field `clip_sample_range`: expected a finite number above 0, found 0"),
        (json!({ "dynamic_thresholding_ratio": 2 }), "field `dynamic_thresholding_ratio`: expected a share"),
        (json!({ "sample_max_value": 0.5 }), "field `sample_max_value`: expected a finite number from 1, found 0.5"),
        (json!({ "predict_epsilon": false, "prediction_type": "epsilon" }), "field `predict_epsilon`"),
        (json!({ "timestep_values": [1, 2] }), "field `timestep_values`"),
    ] {
        check_refused(SCHEDULER, fields, expected);
    }
    // The older way to choose the prediction of x_0.
    let model =
        PipelineCopy::load_with(SCHEDULER, json!({ "predict_epsilon": false, "prediction_type": null })).expect("read");
    assert_eq!(model.description.prediction, Prediction::X0);
    // The offset has no effect with trailing spacing.
    PipelineCopy::load_with(SCHEDULER, json!({ "steps_offset": 1, "timestep_spacing": "trailing" })).expect("read");
    // Fields of other classes are ignored.
    let other_fields =
        json!({ "solver_order": 9, "set_alpha_to_one": false, "use_karras_sigmas": true, "solver_type": "heun" });
    PipelineCopy::load_with(SCHEDULER, other_fields).expect("ignored");
}

/// Schedulers without an equal here are replaced by the closest method, and options that only change the timesteps are
/// ignored; fields that a network does not have are ignored, as diffusers does.
#[test]
fn what_only_changes_the_way_to_an_image_does_not_keep_a_model_from_being_read() {
    for (class, method) in [
        ("DDIMScheduler", Method::Ddim),
        ("EulerDiscreteScheduler", Method::Ddim),
        ("EulerAncestralDiscreteScheduler", Method::Ddpm),
        ("PNDMScheduler", Method::DpmSolver),
        ("LMSDiscreteScheduler", Method::DpmSolver),
        ("UniPCMultistepScheduler", Method::DpmSolver),
        ("DEISMultistepScheduler", Method::DpmSolver),
    ] {
        // The index names DDPMScheduler.
        let fields = json!({
            "_class_name": class, "use_karras_sigmas": true, "use_exponential_sigmas": true, "steps_offset": 1,
            "set_alpha_to_one": false, "skip_prk_steps": true, "beta_start": 0.002,
        });
        let model = PipelineCopy::load_with(SCHEDULER, fields).expect(class);
        let sampler: SamplerConfig = model.sampler().expect("a sampler");
        assert_eq!(sampler.method, method, "{class}");
        let schedule: ScheduleConfig = model.diffusion().expect("a schedule");
        assert_eq!(schedule.beta_start, Some(0.002));
    }
    let ema = json!({ "decay": 0.9999, "inv_gamma": 1.0, "optimization_step": 10, "power": 0.75, "update_after_step": 0,
                      "use_ema_warmup": true, "min_decay": 0.0 });
    PipelineCopy::load_with(UNET, ema).expect("the fields of EMAModel are ignored");
}

#[test]
fn fields_of_the_network_are_named_with_their_values() {
    for (fields, expected) in [
        (
            json!({ "sample_size": 0 }),
            "field `sample_size`: expected a number of pixels from 1, or [height, width], found 0",
        ),
        (
            json!({ "sample_size": -1 }),
            "field `sample_size`: expected a number of pixels from 1, or [height, width], found -1",
        ),
        (
            json!({ "sample_size": "16" }),
            "field `sample_size`: expected a number of pixels from 1, or [height, width], found \"16\"",
        ),
        (
            json!({ "sample_size": [16] }),
            "field `sample_size`: expected a number of pixels from 1, or [height, width], found [16]",
        ),
        (json!({ "norm_num_groups": 5 }), "field `norm_num_groups`: expected a divisor"),
        (json!({ "layers_per_block": 0 }), "field `layers_per_block`: expected a number from 1 to 64, found 0"),
        (json!({ "layers_per_block": "2" }), "field `layers_per_block`: expected a whole number, found \"2\""),
        (json!({ "dropout": "x", "norm_eps": [] }), "field `dropout`: expected a number, found \"x\""),
        (json!({ "add_attention": 1 }), "field `add_attention`: expected true or false, found 1"),
        (json!({ "act_fn": 3 }), "field `act_fn`: expected a name, found 3"),
        (json!({ "act_fn": "sin" }), "field `act_fn`: unknown variant `sin`"),
    ] {
        check_refused(UNET, fields, expected);
    }
}

#[test]
fn only_supported_components_are_accepted() {
    let decoder = json!({ "vqvae": ["diffusers", "VQModel"] });
    check_refused(
        INDEX,
        decoder,
        "field `vqvae`: expected null, found VQModel; of a pipeline, unet and scheduler are read",
    );
    check_refused(
        INDEX,
        json!({ "unet": ["diffusers", "UNet2DConditionModel"] }),
        "field `unet`: expected a UNet2DModel",
    );
    check_refused(INDEX, json!({ "unet": [null, null] }), "field `unet`: expected a UNet2DModel");
    PipelineCopy::load_with(
        INDEX,
        json!({ "vae": [null, null], "safety_checker": null, "requires_safety_checker": false }),
    )
    .expect("not there");
    let copy = PipelineCopy::new();
    fs::write(copy.at(INDEX), "{").expect("room");
    let error = find_model(copy.0.path()).expect_err("broken").to_string();
    assert!(error.contains("model_index.json is damaged"), "{error}");
}

#[test]
fn a_scheduler_in_the_index_must_exist() {
    let copy = PipelineCopy::new();
    fs::remove_file(copy.at(SCHEDULER)).expect("there");
    let error = find_model(copy.0.path()).expect_err("gone");
    assert!(error.is_not_found());
    assert!(error.to_string().ends_with("scheduler/scheduler_config.json does not exist"), "{error}");
    // A link to itself cannot be followed, which is not the same as absence.
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("scheduler_config.json", copy.at(SCHEDULER)).expect("room");
        let error = find_model(copy.0.path()).expect_err("the link refers to itself").to_string();
        assert!(error.starts_with("cannot access") && error.ends_with(SCHEDULER), "{error}");
        fs::remove_file(copy.at(SCHEDULER)).expect("there");
    }
    copy.edit(INDEX, |index| index["scheduler"] = json!([null, null]));
    find_model(copy.0.path()).expect("none is named");
}

/// A pipeline whose `sample_size` is null has the size that the caller gives.
#[test]
fn a_pipeline_without_a_size_needs_one() {
    let copy = PipelineCopy::new();
    copy.edit(UNET, |unet| unet["sample_size"] = Value::Null);
    let error = find_model(copy.0.path()).expect_err("no size").to_string();
    assert!(error.contains("expected a size, found none: give it with --image-size"), "{error}");
    let model = find_model_of_size(copy.0.path(), Some([16, 8])).expect("a size");
    assert_eq!(model.description.image_size, [16, 8]);
    copy.edit(UNET, |unet| unet["sample_size"] = 8.into());
    assert_eq!(find_model_of_size(copy.0.path(), Some([16, 8])).expect("its own").description.image_size, [8, 8]);
}

#[test]
fn weights_in_another_format_are_named() {
    let copy = PipelineCopy::new();
    let check = |expected: &str| {
        let error = find_model(copy.0.path()).expect_err(expected).to_string();
        assert!(error.contains(expected) && error.lines().count() == 1, "{error}");
    };
    let half = copy.at("unet/diffusion_pytorch_model.fp16.safetensors");
    fs::rename(copy.at(WEIGHTS), &half).expect("room");
    find_model(copy.0.path()).expect("the only variant");
    fs::copy(&half, copy.at("unet/diffusion_pytorch_model.non_ema.safetensors")).expect("room");
    check("found the variants fp16, non_ema");
    fs::remove_file(copy.at("unet/diffusion_pytorch_model.non_ema.safetensors")).expect("there");
    fs::rename(&half, copy.at("unet/flax_model.msgpack")).expect("room");
    check("found flax_model.msgpack, which is not read under this name");
    let whole = fs::read(golden().join("pipeline/diffusion_pytorch_model.bin")).expect("readable");
    for (bytes, reason) in [
        (&whole[..whole.len() / 2], "what cannot be read"),
        (&b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."[..], "expected a zip archive"),
        (&[], "expected a zip archive"),
    ] {
        fs::write(copy.at(PICKLE), bytes).expect("room");
        check(&format!("{PICKLE} is damaged: "));
        check(reason);
    }
    fs::copy(golden().join("pipeline/not_finite.bin"), copy.at(PICKLE)).expect("room");
    check("tensor `w` holds a value that is not finite (NaN at index 1)");
}

#[test]
fn shards_of_both_formats_are_read() {
    let copy = PipelineCopy::new();
    let whole = find_model(copy.0.path()).expect("golden").tensors;
    fs::remove_file(copy.at(WEIGHTS)).expect("there");
    let names: Vec<&String> = whole.keys().collect();
    let first: HashMap<&str, Tensor> = HashMap::from([(names[0].as_str(), whole[names[0]].clone())]);
    safetensors::save(&first, copy.at("unet/first.safetensors")).expect("room");
    fs::copy(golden().join("pipeline/diffusion_pytorch_model.bin"), copy.at("unet/all.bin")).expect("room");
    let map: HashMap<&String, &str> =
        names.iter().map(|name| (*name, if name == &names[0] { "first.safetensors" } else { "all.bin" })).collect();
    let index = json!({ "weight_map": map }).to_string();
    fs::write(copy.at("unet/diffusion_pytorch_model.bin.index.json"), index).expect("room");
    let read = find_model(copy.0.path()).expect("shards").tensors;
    assert!(whole.iter().all(|(name, tensor)| read[name].dims() == tensor.dims() && read[name].dtype() == DType::F32));
}
