//! Writing pipelines and model files, and reading them back.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use ddpm_checkpoint::{SavedModel, write_model};
use ddpm_diffusers::{find_model, is_pipeline, write_pipeline};
use ddpm_diffusion::{Clipping, Method, ReverseVariance, SamplerConfig};
use ddpm_schedule::{BetaScheduleName, Prediction, ScheduleConfig, Spacing};
use ddpm_unet::{NetworkConfig, NoiseNetConfig};
use serde_json::Value;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/pipeline")
}

/// Writes the model as a pipeline and reads it back.
fn round_trip(model: &SavedModel) -> SavedModel {
    let dir = tempfile::tempdir().expect("temp dir");
    write_pipeline(dir.path(), &model.description, &model.tensors).expect("room");
    assert!(is_pipeline(dir.path()));
    find_model(dir.path()).expect("a written pipeline can be read")
}

/// Writes the golden model with this default sampler as a pipeline, and reads the sampler back.
fn sampler_after_round_trip(sampler: SamplerConfig) -> SamplerConfig {
    let mut model = find_model(golden()).expect("golden");
    model.description.sampler = serde_json::to_value(sampler).expect("plain data");
    round_trip(&model).sampler().expect("a sampler")
}

#[test]
fn network_and_weights_round_trip() {
    let model = find_model(golden()).expect("golden");
    let read = round_trip(&model);
    let network = |model: &SavedModel| model.network::<NetworkConfig>().expect("a network");
    assert_eq!(network(&read), network(&model));
    assert_eq!(read.description.image_size, model.description.image_size);
    let values = |tensor: &Tensor| tensor.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("f32");
    assert!(model.tensors.iter().all(|(name, tensor)| values(&read.tensors[name]) == values(tensor)));
}

#[test]
fn every_clipping_variance_and_spacing_round_trips() {
    // The number of steps is that of the schedule, because a `DDPMScheduler` does not store another one.
    let new = |clip, variance, spacing| SamplerConfig::new(Method::Ddpm, clip, variance, 1000, spacing);
    for &clip in Clipping::ALL {
        let sampler = new(clip, ReverseVariance::FixedLarge, Spacing::Linspace);
        let sampler = SamplerConfig { clip_range: 1.5, threshold_quantile: 0.9, threshold_max: 2.0, ..sampler };
        assert_eq!(sampler_after_round_trip(sampler), sampler);
    }
    for &variance in ReverseVariance::ALL {
        let sampler = new(Clipping::None, variance, Spacing::Leading);
        assert_eq!(sampler_after_round_trip(sampler), sampler);
    }
    for &spacing in Spacing::ALL {
        let sampler = new(Clipping::None, ReverseVariance::FixedSmall, spacing);
        assert_eq!(sampler_after_round_trip(sampler), sampler);
    }
    // diffusers would add noise to the result of its last step.
    let noisy = new(Clipping::None, ReverseVariance::FixedLarge, Spacing::Trailing);
    let clean = SamplerConfig { variance: ReverseVariance::FixedSmall, ..noisy };
    assert_eq!(sampler_after_round_trip(noisy), clean);
}

#[test]
fn every_prediction_and_rule_for_beta_round_trips() {
    let mut model = find_model(golden()).expect("golden");
    for &prediction in Prediction::ALL {
        model.description.prediction = prediction;
        assert_eq!(round_trip(&model).description.prediction, prediction);
    }
    for &rule in BetaScheduleName::ALL {
        let betas = (rule == BetaScheduleName::Given).then(|| vec![0.1, 0.2, 0.3]);
        let schedule = ScheduleConfig { betas, ..ScheduleConfig::new(rule, 3) };
        model.description.diffusion = serde_json::to_value(&schedule).expect("plain data");
        let read: ScheduleConfig = round_trip(&model).diffusion().expect("a schedule");
        let betas = |schedule: &ScheduleConfig| schedule.build().expect("valid").betas().to_vec();
        assert_eq!(betas(&read), betas(&schedule), "{rule:?}");
    }
}

#[test]
fn zero_terminal_snr_round_trips_with_any_rule() {
    for beta_schedule in [BetaScheduleName::Quadratic, BetaScheduleName::Cosine] {
        let model = find_model(golden()).expect("golden");
        let mut description = model.description.clone();
        let schedule = ScheduleConfig {
            zero_terminal_snr: true,
            cosine_offset: (beta_schedule == BetaScheduleName::Cosine).then_some(0.01),
            ..ScheduleConfig::new(beta_schedule, 1000)
        };
        description.diffusion = serde_json::to_value(&schedule).expect("plain data");
        description.prediction = Prediction::V;
        let dir = tempfile::tempdir().expect("temp dir");
        write_pipeline(dir.path(), &description, &model.tensors).expect("room");
        let read = find_model(dir.path()).expect("a written pipeline can be read");
        let back: ScheduleConfig = read.diffusion().expect("a schedule");
        let built = [schedule.build(), back.build()].map(|schedule| schedule.expect("valid").betas().to_vec());
        assert_eq!(built[0], built[1]);
        assert_eq!(built[1][999], 1.0);
    }
}

#[test]
fn a_network_that_diffusers_does_not_have_is_refused_before_anything_is_written() {
    let model = find_model(golden()).expect("golden");
    let mut description = model.description.clone();
    let network = NetworkConfig::NoiseNet(NoiseNetConfig::article());
    description.network = serde_json::to_value(&network).expect("plain data");
    let dir = tempfile::tempdir().expect("temp dir");
    let error = write_pipeline(dir.path(), &description, &model.tensors).expect_err("another kind").to_string();
    assert!(error.contains("config.json: field `network`: expected kind unet2d, found noise-net"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).expect("it exists").count(), 0);
}

/// Earlier versions wrote the key `mean` with other names in place of `clip`.
#[test]
fn the_sampler_of_an_earlier_version_is_read() {
    let model = find_model(golden()).expect("golden");
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("model.safetensors");
    for (old_name, clip) in
        [("epsilon", Clipping::None), ("clipped-x0", Clipping::Fixed), ("thresholded-x0", Clipping::Dynamic)]
    {
        let expected = SamplerConfig::new(Method::Ddim, clip, ReverseVariance::FixedSmall, 20, Spacing::Leading);
        let mut sampler = serde_json::to_value(expected).expect("plain data");
        let fields = sampler.as_object_mut().expect("an object");
        fields.remove("clip").expect("the present key");
        fields.insert("mean".to_owned(), Value::from(old_name));
        let mut description = model.description.clone();
        description.sampler = sampler;
        write_model(&path, &description, &model.tensors).expect("room");
        let read = find_model(&path).expect("a model file");
        assert_eq!(read.sampler::<SamplerConfig>().expect("a sampler"), expected);
    }
}
