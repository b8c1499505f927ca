//! Models of the Python library diffusers, sampled from the outside: its files are read, and the samples equal those of
//! diffusers.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, safetensors};
use ddpm_testkit::assert_close;
use ddpm_tests::{same_checkpoint, sample, train};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/pipeline")
}

/// A copy of the golden pipeline, which a test may change.
fn copy(root: &Path) -> PathBuf {
    let pipeline = root.join("pipeline");
    for file in ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"] {
        let to = pipeline.join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(golden().join(file), to).unwrap();
    }
    pipeline
}

fn weights() -> HashMap<String, Tensor> {
    safetensors::load(golden().join("unet/diffusion_pytorch_model.safetensors"), &Device::Cpu).unwrap()
}

/// Samples `model` from the golden latents and compares the result with that of diffusers.
fn compare(root: &Path, model: &Path, tolerance: f64) {
    let latents = golden().join("sampled.safetensors");
    let args = "--sampler ddim --steps 10 --grid-only -q --save-tensors s.safetensors --latents";
    sample(root).arg(model).args(args).arg(only_latents(root, &latents)).succeed();
    let ours = safetensors::load(root.join("s.safetensors"), &Device::Cpu).unwrap().remove("samples").unwrap();
    let theirs = safetensors::load(&latents, &Device::Cpu).unwrap().remove("samples").unwrap();
    assert_close(&model.display().to_string(), &ours, &theirs, tolerance);
}

fn only_latents(root: &Path, golden: &Path) -> PathBuf {
    let latents = safetensors::load(golden, &Device::Cpu).unwrap().remove("latents").unwrap();
    let path = root.join("latents.safetensors");
    safetensors::save(&HashMap::from([("latents", latents)]), &path).unwrap();
    path
}

#[test]
fn a_pipeline_is_sampled_as_diffusers_samples_it() {
    let root = tempfile::tempdir().unwrap();
    compare(root.path(), &golden(), 1e-4);
    // The UNet without a pipeline is a model too.
    compare(root.path(), &golden().join("unet"), 1e-4);
}

#[test]
fn shards_pickles_half_precision_and_old_names_are_read() {
    let root = tempfile::tempdir().unwrap();
    let pipeline = copy(root.path());
    let unet = pipeline.join("unet");
    fs::copy(golden().join("diffusion_pytorch_model.bin"), unet.join("diffusion_pytorch_model.bin")).unwrap();
    compare(root.path(), &pipeline, 1e-4);
    fs::remove_file(unet.join("diffusion_pytorch_model.bin")).unwrap();

    // Two shards; one of them has the former tensor names of attention.
    let (mut map, mut shards) = (BTreeMap::new(), [HashMap::new(), HashMap::new()]);
    for (i, (name, tensor)) in weights().into_iter().enumerate() {
        let mut old = name.replace(".to_out.0.", ".proj_attn.");
        for (new, was) in [(".to_q.", ".query."), (".to_k.", ".key."), (".to_v.", ".value.")] {
            old = old.replace(new, was);
        }
        map.insert(old.clone(), format!("part-{}.safetensors", i % 2));
        shards[i % 2].insert(old, tensor);
    }
    for (i, shard) in shards.iter().enumerate() {
        safetensors::save(shard, unet.join(format!("part-{i}.safetensors"))).unwrap();
    }
    let index = unet.join("diffusion_pytorch_model.safetensors.index.json");
    fs::write(&index, serde_json::json!({ "weight_map": map }).to_string()).unwrap();
    compare(root.path(), &pipeline, 1e-4);
    fs::write(&index, serde_json::json!({ "weight_map": { "a": "../../etc/passwd" } }).to_string()).unwrap();
    assert!(sample(root.path()).arg(&pipeline).fail(1).contains("no plain file name"));
    fs::remove_file(&index).unwrap();

    // Weights in half precision equal those in single precision after conversion.
    let args = "-n 2 --steps 3 --grid-only -q --save-tensors s.safetensors";
    let sampled = |weights: HashMap<String, Tensor>| {
        safetensors::save(&weights, unet.join("diffusion_pytorch_model.safetensors")).unwrap();
        sample(root.path()).arg(&pipeline).args(args).succeed();
        fs::read(root.path().join("s.safetensors")).unwrap()
    };
    for dtype in [DType::F16, DType::BF16] {
        let narrow: HashMap<_, _> = weights().into_iter().map(|(n, t)| (n, t.to_dtype(dtype).unwrap())).collect();
        let wide = narrow.iter().map(|(n, t)| (n.clone(), t.to_dtype(DType::F32).unwrap())).collect();
        assert!(sampled(narrow) == sampled(wide), "{dtype:?}");
    }
}

/// The pipeline that a run of the paper's network writes for diffusers is the model of the run.
#[test]
fn a_run_writes_a_pipeline_and_can_begin_with_one() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    fs::create_dir(path("images")).unwrap();
    for (i, name) in (0..).zip(["a.png", "b.png", "c.png", "d.png"]) {
        let image = ddpm_data::Image { width: 8, height: 8, channels: 3, samples: vec![40 * i; 192] };
        ddpm_data::save_png(&path("images").join(name), &image).unwrap();
    }
    // The network and the noise schedule are those of the pipeline.
    let args = "--data images --batch-size 2 --set sample.preview_images=0 --set data.fit=stretch --out run";
    let begin = || train(root.path()).args(args).args("--steps 2 --init").arg(golden());
    begin().succeed();
    let text = fs::read_to_string(path("run/config.toml")).unwrap();
    assert!(text.contains("kind = \"unet2d\"") && text.contains("sample_size = 8"), "{text}");
    let sampled = |model: &str| {
        let args =
            "-n 2 --steps 4 --sampler ddpm --variance fixed-small --spacing trailing --grid-only -q --save-tensors s";
        sample(root.path()).arg(model).args(args).succeed();
        fs::read(path("s")).unwrap()
    };
    assert!(sampled("run") == sampled("run/pipeline"));
    // The run started with the weights of the pipeline and is independent of it from then on.
    let first = path("run/checkpoints/step-000000/model.safetensors");
    let first = safetensors::load(first, &Device::Cpu).unwrap();
    let bits = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(weights().iter().all(|(name, tensor)| bits(tensor) == bits(&first[name])));
    fs::remove_dir_all(path("run/checkpoints/step-000002")).unwrap();
    train(root.path()).args("--resume run").succeed();
    assert!(path("run/checkpoints/step-000002").is_dir());
    // If the program is killed between writing the configuration and the first checkpoint, the run starts again,
    // whichever command resumes it.
    fs::rename(path("run/checkpoints"), path("whole")).unwrap();
    train(root.path()).args("--resume run").succeed();
    same_checkpoint(&path("run/checkpoints/step-000002"), &path("whole/step-000002"));
    // Weights of another type of network are recognized.
    let error = train(root.path()).args("--out other --init").arg(golden()).args("--preset digits").fail(2);
    assert!(
        error.contains("--init: expected a network of model.kind noise-net") && error.contains("found unet2d"),
        "{error}"
    );
    assert!(!path("other/config.toml").exists());
}

#[test]
fn unsupported_settings_are_named() {
    let root = tempfile::tempdir().unwrap();
    let pipeline = copy(root.path());
    safetensors::save(&weights(), pipeline.join("unet/diffusion_pytorch_model.safetensors")).unwrap();
    let refuse = |code: i32, file: &str, field: &str, value: serde_json::Value, expected: &str| {
        let path = pipeline.join(file);
        let before = fs::read_to_string(&path).unwrap();
        let mut document: serde_json::Value = serde_json::from_str(&before).unwrap();
        document[field] = value;
        fs::write(&path, document.to_string()).unwrap();
        let error = sample(root.path()).arg(&pipeline).args("-n 1 --steps 2 --grid-only").fail(code);
        assert!(error.contains(expected) && (error.contains(file) || code == 2), "{error}");
        fs::write(&path, before).unwrap();
    };
    // Values that the file states as such, and values that this sampler does not support.
    let refused = |file: &str, field: &str, value, expected: &str| refuse(1, file, field, value, expected);
    let (unet, scheduler) = ("unet/config.json", "scheduler/scheduler_config.json");
    refused(unet, "_class_name", "UNet2DConditionModel".into(), "expected one of UNet2DModel");
    refused(unet, "time_embedding_type", "fourier".into(), "`time_embedding_type`: unknown variant `fourier`");
    refused(unet, "down_block_types", vec!["SkipDownBlock2D"; 2].into(), "`down_block_types`: unknown variant");
    refused(unet, "sample_size", serde_json::Value::Null, "sample_size");
    refused(unet, "out_channels", 7.into(), "out_channels");
    refused(scheduler, "_class_name", "FlowMatchEulerDiscreteScheduler".into(), "expected one of DDPMScheduler");
    refused(scheduler, "prediction_type", "flow_prediction".into(), "`prediction_type`: expected one of epsilon");
    refuse(
        2,
        scheduler,
        "variance_type",
        "learned".into(),
        "learned is for networks with 6 channels of output, found 3",
    );
    refused(scheduler, "beta_schedule", 5.into(), "`beta_schedule`");
    let expected = "learned-range is for networks with 6 channels of output, found 3";
    refuse(2, scheduler, "variance_type", "learned_range".into(), expected);
    refused(scheduler, "clip_sample_range", 0.into(), "`clip_sample_range`: expected a finite number above 0");
    refused(unet, "class_embed_type", "identity".into(), "class_embed_type: expected null or timestep, found identity");
    // All differences of the weights are reported at once.
    let mut wrong = weights();
    wrong.remove("conv_in.bias");
    let odd = Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap();
    wrong.insert("extra".into(), odd.clone());
    wrong.insert("conv_out.bias".into(), odd.reshape((1, 3)).unwrap());
    safetensors::save(&wrong, pipeline.join("unet/diffusion_pytorch_model.safetensors")).unwrap();
    let error = sample(root.path()).arg(&pipeline).fail(1);
    for name in ["conv_in.bias", "extra", "conv_out.bias"] {
        assert!(error.contains(name), "{error}");
    }
}

/// Every supported scheduler samples, and a learned variance is read from the second half of the channels.
#[test]
fn every_scheduler_and_a_learned_variance_sample() {
    let root = tempfile::tempdir().unwrap();
    let pipeline = copy(root.path());
    let write = |file: &str, edit: &dyn Fn(&mut serde_json::Value)| {
        let path = pipeline.join(file);
        let mut document: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        edit(&mut document);
        fs::write(&path, document.to_string()).unwrap();
    };
    let weights_path = pipeline.join("unet/diffusion_pytorch_model.safetensors");
    safetensors::save(&weights(), &weights_path).unwrap();
    let sampled = |args: &str| {
        sample(root.path()).arg(&pipeline).args("-n 2 --steps 5 --grid-only -q --save-tensors s").args(args).succeed();
        fs::read(root.path().join("s")).unwrap()
    };
    let scheduler = "scheduler/scheduler_config.json";
    let mut results = Vec::new();
    for (class, field, value) in [
        ("DDIMScheduler", "prediction_type", "v_prediction"),
        ("DDIMScheduler", "prediction_type", "sample"),
        ("DPMSolverMultistepScheduler", "algorithm_type", "dpmsolver++"),
        ("DPMSolverMultistepScheduler", "algorithm_type", "sde-dpmsolver++"),
        ("HeunDiscreteScheduler", "beta_schedule", "linear"),
        ("DDPMScheduler", "variance_type", "fixed_large_log"),
    ] {
        let before = fs::read_to_string(pipeline.join(scheduler)).unwrap();
        write("model_index.json", &|document| document["scheduler"][1] = class.into());
        write(scheduler, &|document| {
            document["_class_name"] = class.into();
            document[field] = value.into();
        });
        results.push(sampled(""));
        fs::write(pipeline.join(scheduler), before).unwrap();
        write("model_index.json", &|document| document["scheduler"][1] = "DDPMScheduler".into());
    }
    results.extend(["--sampler dpm-solver --order 3", "--sampler heun --eps-after-clip predicted"].map(sampled));
    for (i, result) in results.iter().enumerate() {
        assert!(!results[..i].contains(result), "{i}");
    }

    // −1 in the new channels means the small variance.
    let small = sampled("--sampler ddpm --variance fixed-small");
    write("unet/config.json", &|document| document["out_channels"] = 6.into());
    let mut wide = weights();
    for (name, fill) in [("conv_out.weight", 0.0), ("conv_out.bias", -1.0)] {
        let narrow = wide[name].clone();
        let more = Tensor::full(fill as f32, narrow.dims(), &Device::Cpu).unwrap();
        wide.insert(name.into(), Tensor::cat(&[narrow, more], 0).unwrap());
    }
    safetensors::save(&wide, &weights_path).unwrap();
    write(scheduler, &|document| document["variance_type"] = "learned_range".into());
    let file = |bytes: &[u8]| safetensors::load_buffer(bytes, &Device::Cpu).unwrap().remove("samples").unwrap();
    let learned = sampled("--sampler ddpm --variance learned-range");
    assert_close("learned", &file(&learned), &file(&small), 1e-5);
    let error = train(root.path()).args("--data digits --init").arg(&pipeline).fail(2);
    assert!(error.contains("a learned variance can be sampled, not trained"), "{error}");
}

/// A run that starts from a pipeline takes over the settings of its scheduler, even if it has few steps.
#[test]
fn a_run_takes_over_the_sampler_of_its_model() {
    let root = tempfile::tempdir().unwrap();
    let pipeline = copy(root.path());
    safetensors::save(&weights(), pipeline.join("unet/diffusion_pytorch_model.safetensors")).unwrap();
    let path = pipeline.join("scheduler/scheduler_config.json");
    let mut document: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    document["num_train_timesteps"] = 40.into();
    document["clip_sample_range"] = 2.0.into();
    document["timestep_spacing"] = "trailing".into();
    document["prediction_type"] = "v_prediction".into();
    fs::write(&path, document.to_string()).unwrap();
    let data = "--set data.fit=stretch --batch-size 2 --steps 1 --set sample.preview_images=0";
    let config: toml::Table =
        train(root.path()).args(data).args("--dry-run --init").arg(&pipeline).succeed().parse().unwrap();
    let sample = config["sample"].as_table().unwrap();
    assert_eq!((sample["steps"].as_integer(), sample["preview_steps"].as_integer()), (Some(40), Some(40)));
    assert_eq!((sample["clip_range"].as_float(), sample["spacing"].as_str()), (Some(2.0), Some("trailing")));
    assert_eq!((sample["clip"].as_str(), sample["variance"].as_str()), (Some("fixed"), Some("fixed-large")));

    // The preset has another prediction type.
    let stderr_of = |args: &str, model: &Path| {
        let output = train(root.path()).args(args).arg(model).output();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let warned = stderr_of("--preset ddpm-cifar10 --data x --dry-run --init", &pipeline);
    assert!(
        warned.contains("diffusion.prediction is epsilon") && warned.contains("[diffusion] is another"),
        "{warned}"
    );
    assert!(!stderr_of("--dry-run --init", &pipeline).contains("WARN"));

    // A run that started from another origin does not start again.
    fs::create_dir(root.path().join("images")).unwrap();
    for name in ["a.png", "b.png"] {
        let image = ddpm_data::Image { width: 8, height: 8, channels: 3, samples: vec![9; 192] };
        ddpm_data::save_png(&root.path().join("images").join(name), &image).unwrap();
    }
    let run = format!("--data images --out run {data} --init");
    assert!(!stderr_of(&run, &pipeline).contains("no effect"));
    assert!(!stderr_of(&run.replace("--steps 1", "--steps 2"), &pipeline).contains("no effect"));
    let warned = stderr_of(&run.replace("--steps 1", "--steps 3"), &golden());
    assert!(warned.contains("--init has no effect"), "{warned}");
}

/// Without a scheduler file the assumed schedule is reported; the settings of the model are reported on one line.
#[test]
fn the_settings_of_a_model_are_reported() {
    let root = tempfile::tempdir().unwrap();
    let stderr_of = |model: &Path| {
        let output = sample(root.path()).arg(model).args("-n 1 --steps 1 --grid-only").output();
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let own = "own sampler: ddpm in 1,000 steps, leading, x_0 clipped to ±1, variance fixed-large; it \
               predicts epsilon; schedule linear, 1,000 steps";
    let whole = stderr_of(&golden());
    assert!(whole.contains(own) && !whole.contains("WARN"), "{whole}");
    let alone = stderr_of(&golden().join("unet"));
    assert!(alone.contains("scheduler_config.json is missing; assuming linear beta"), "{alone}");
}

/// Samples of two channels are no image, but can be saved as tensors.
#[test]
fn samples_of_two_channels_are_tensors() {
    let root = tempfile::tempdir().unwrap();
    let pipeline = copy(root.path());
    let path = pipeline.join("unet/config.json");
    let mut document: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    (document["in_channels"], document["out_channels"]) = (2.into(), 2.into());
    fs::write(&path, document.to_string()).unwrap();
    let mut two = weights();
    for (name, axis) in [("conv_in.weight", 1), ("conv_out.weight", 0), ("conv_out.bias", 0)] {
        two.insert(name.into(), two[name].narrow(axis, 0, 2).unwrap().contiguous().unwrap());
    }
    safetensors::save(&two, pipeline.join("unet/diffusion_pytorch_model.safetensors")).unwrap();
    let error = sample(root.path()).arg(&pipeline).args("-n 1 --steps 2").fail(1);
    assert!(error.contains("expected 1, 3 or 4, the channels of an image, found 2; --save-tensors"), "{error}");
    sample(root.path()).arg(&pipeline).args("-n 3 --steps 2 --out s --gif --save-tensors s.safetensors").succeed();
    let samples =
        safetensors::load(root.path().join("s.safetensors"), &Device::Cpu).unwrap().remove("samples").unwrap();
    assert_eq!(&samples.dims()[..2], [3, 2]);
    assert!(!root.path().join("s/images").exists() && !root.path().join("s/grid.png").exists());
}
