//! `ddpm-sample` from the outside: the files it writes, what its images depend on, and the errors it reports.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor, safetensors};
use ddpm_tests::{sample, train};

const SMALL: &str = "--set model.base_channels=8 --set model.attention_heads=1 --set model.attention_head_channels=8 \
                     --batch-size 8 --set sample.preview_images=0 --steps 2";

fn trained(root: &Path) {
    train(root).args(SMALL).args("--out runs/a").succeed();
}

fn samples(path: impl AsRef<Path>) -> Tensor {
    safetensors::load(path, &Device::Cpu).unwrap().remove("samples").unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn the_newest_run_is_sampled_into_every_kind_of_image() {
    let root = tempfile::tempdir().unwrap();
    trained(root.path());
    sample(root.path()).args("-n 3 --steps 20 --gif --save-tensors s.safetensors").succeed();
    let out = root.path().join("samples/a-step-2-seed-0");
    let files =
        ["images/000000.png", "images/000002.png", "grid.png", "denoising.png", "denoising.gif", "samples.json"];
    for name in files {
        assert!(out.join(name).is_file(), "{name}");
    }
    assert!(!out.join("images/000003.png").exists());
    let samples = samples(root.path().join("s.safetensors"));
    assert_eq!(samples.dims(), [3, 1, 8, 8]);
    assert!(values(&samples).iter().all(|v| (-1.0..=1.0).contains(v)));
    sample(root.path()).args("--interpolate 5 --steps 5 --out between").succeed();
    assert!(root.path().join("between/interpolation.png").is_file());
}

#[test]
fn an_image_depends_on_the_seed_and_its_index_alone() {
    let root = tempfile::tempdir().unwrap();
    trained(root.path());
    let run = |args: &str| {
        sample(root.path()).args("runs/a --steps 10 --grid-only --save-tensors s.safetensors").args(args).succeed();
        samples(root.path().join("s.safetensors"))
    };
    let whole = run("-n 6 --batch-size 6");
    assert_eq!(values(&whole), values(&run("-n 6 --batch-size 6")));
    assert_ne!(values(&whole), values(&run("-n 6 --seed 1")));
    // Batches of another size sum in another order: a difference of about 1e-7 per step.
    let close = |a: &Tensor, b: &Tensor| values(a).iter().zip(values(b)).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(close(&whole, &run("-n 6 --batch-size 2")));
    assert!(close(&whole.narrow(0, 4, 2).unwrap(), &run("-n 2 --first 4")));
}

#[test]
fn given_latents_replace_drawn_ones() {
    let root = tempfile::tempdir().unwrap();
    trained(root.path());
    let latents = Tensor::zeros((2, 1, 8, 8), candle_core::DType::F32, &Device::Cpu).unwrap();
    let save = |name: &str, tensor: &Tensor| {
        let file = HashMap::from([(name.to_string(), tensor.clone())]);
        safetensors::save(&file, root.path().join("l.safetensors")).unwrap();
    };
    save("latents", &latents);
    let args = "runs/a --steps 4 --grid-only --latents l.safetensors --save-tensors s.safetensors";
    sample(root.path()).args(args).succeed();
    assert_eq!(samples(root.path().join("s.safetensors")).dims(), [2, 1, 8, 8]);
    let error = sample(root.path()).args(args).args("-n 3").fail(2);
    assert!(error.contains("-n: expected 1 to 2"), "{error}");
    save("noise", &latents);
    assert!(sample(root.path()).args(args).fail(2).contains("a tensor named latents, found noise"));
    save("latents", &latents.narrow(2, 0, 4).unwrap());
    assert!(sample(root.path()).args(args).fail(2).contains("expected [n, 1, 8, 8], found [2, 1, 4, 8]"));
    fs::write(root.path().join("l.safetensors"), b"no tensors").unwrap();
    assert!(sample(root.path()).args(args).fail(2).contains("l.safetensors"));
    save("latents", &latents.affine(1.0, 1e38).unwrap());
    let error = sample(root.path()).args(args).fail(1);
    assert!(error.contains("2 of 2 images hold values that are not finite"), "{error}");
}

#[test]
fn saved_tensors_replace_only_files_of_tensors() {
    let root = tempfile::tempdir().unwrap();
    trained(root.path());
    let save = |path: &str| sample(root.path()).args("runs/a -n 1 --steps 1 --grid-only --save-tensors").arg(path);
    for path in ["runs/a/config.toml", "runs/a/metrics.jsonl", "runs/a/loss.svg"] {
        let before = fs::read(root.path().join(path)).unwrap();
        let error = save(path).fail(2);
        assert!(error.contains("which holds something else than samples"), "{error}");
        assert_eq!(fs::read(root.path().join(path)).unwrap(), before);
    }
    save("s.safetensors").succeed();
    save("s.safetensors").succeed();
}

#[test]
fn sampler_options_change_the_images_and_no_progress_bar_is_drawn_without_a_terminal() {
    let root = tempfile::tempdir().unwrap();
    trained(root.path());
    let run = |args: &str| {
        let args = format!("runs/a -n 1 --steps 10 --grid-only --save-tensors s.safetensors {args}");
        let output = sample(root.path()).args(&args).output();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success() && !stderr.contains(['\r', '\u{1b}']) && stderr.lines().count() <= 4,
            "{stderr}"
        );
        values(&samples(root.path().join("s.safetensors")))
    };
    assert_ne!(run("--sampler ddpm --variance fixed-large"), run("--sampler ddpm --variance fixed-small"));
    assert_ne!(run("--spacing leading"), run("--spacing trailing"));
    assert_ne!(run("--clip none"), run("--clip fixed"));
    assert_ne!(run("--clip fixed:0.5"), run("--clip dynamic:0.9"));
    // The name of a sampler selects the method only: this model's is dpm-solver, and it clips.
    assert_eq!(run("--sampler dpm-solver"), run(""));
    assert_eq!(run("--sampler dpm-solver --clip fixed"), run(""));
    assert_eq!(run("--sampler ddpm"), run("--sampler ddpm --clip fixed"));
    // The name of earlier versions.
    assert_eq!(run("--sampler ddpm-clipped"), run("--sampler ddpm --clip fixed"));
}

/// Samples of two models, seeds or samplers are never in one directory, unless the user says so.
#[test]
fn samplings_do_not_mix() {
    let root = tempfile::tempdir().unwrap();
    trained(root.path());
    let count = |out: &str| fs::read_dir(root.path().join(out).join("images")).unwrap().count();
    let run = |args: &str| sample(root.path()).args("runs/a --steps 2 --out s").args(args);
    run("-n 3").succeed();
    // More images of the same sampling.
    run("-n 2 --first 3").succeed();
    assert_eq!(count("s"), 5);
    for other in ["--seed 1", "--clip none", "--steps 3", "--format webp", "--scale 2"] {
        let error = sample(root.path()).args("runs/a -n 1 --out s").args(other).fail(2);
        assert!(error.contains("--out: s holds another sampling (a, step 2, seed 0"), "{other}: {error}");
    }
    assert_eq!(count("s"), 5);
    fs::write(root.path().join("s/notes.txt"), "mine").unwrap();
    run("-n 1 --seed 1 --overwrite").succeed();
    assert_eq!(count("s"), 1);
    assert!(root.path().join("s/notes.txt").is_file());

    // Images of an earlier version, or of something else.
    fs::create_dir(root.path().join("old")).unwrap();
    fs::write(root.path().join("old/grid.png"), "x").unwrap();
    let error = sample(root.path()).args("runs/a -n 1 --steps 2 --out old").fail(2);
    assert!(error.contains("--out: old holds images of unknown origin (grid.png)"), "{error}");

    // The default directory gets a number.
    sample(root.path()).args("runs/a -n 1 --steps 2").succeed();
    sample(root.path()).args("runs/a -n 1 --steps 3").succeed();
    sample(root.path()).args("runs/a -n 1 --steps 2").succeed();
    let mut names: Vec<_> =
        fs::read_dir(root.path().join("samples")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a-step-2-seed-0", "a-step-2-seed-0-2"]);
}

/// Every PNG file and samples.json say how to sample the image again.
#[test]
fn images_carry_their_provenance() {
    let root = tempfile::tempdir().unwrap();
    trained(root.path());
    sample(root.path()).args("runs/a -n 2 --steps 3 --first 5 --seed 9 --scale 3 --out s").succeed();
    let texts = |file: &str| -> HashMap<String, String> {
        let file = std::io::BufReader::new(fs::File::open(root.path().join("s").join(file)).unwrap());
        let reader = png::Decoder::new(file).read_info().unwrap();
        let texts = reader.info().utf8_text.iter();
        texts.map(|chunk| (chunk.keyword.clone(), chunk.get_text().unwrap())).collect()
    };
    let of = |file: &str| -> serde_json::Value { serde_json::from_str(&texts(file)["ddpm"]).unwrap() };
    let (image, whole) = (of("images/000006.png"), of("grid.png"));
    let saved: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(root.path().join("s/samples.json")).unwrap()).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(
        &fs::read_to_string(root.path().join("runs/a/checkpoints/step-000002/manifest.json")).unwrap(),
    )
    .unwrap();
    assert!(manifest.to_string().contains(image["model_sha256"].as_str().unwrap()), "{image} {manifest}");
    assert_eq!((&image["index"], &image["seed"], &image["step"]), (&6.into(), &9.into(), &2.into()));
    assert_eq!(image["sampler"]["steps"], 3);
    assert!(texts("images/000006.png")["Software"].starts_with("ddpm-sample "));
    assert!(whole.get("index").is_none());
    for key in ["model_sha256", "seed", "step", "sampler", "software", "command"] {
        assert!(image[key] == saved[key] && image[key] == whole[key] && !image[key].is_null(), "{key}");
    }
    assert_eq!((&saved["first"], &saved["images"], &saved["finished"]), (&5.into(), &2.into(), &true.into()));
    // 8 × 8 pixels, enlarged three times.
    assert_eq!(image::image_dimensions(root.path().join("s/images/000005.png")).unwrap(), (24, 24));
}

#[test]
fn images_have_the_format_and_the_grid_the_columns_that_were_asked_for() {
    let root = tempfile::tempdir().unwrap();
    trained(root.path());
    for (format, file) in [("webp", "000000.webp"), ("jpeg:50", "000000.jpg"), ("png", "000000.png")] {
        let args = format!("runs/a -n 3 --steps 2 --format {format} --grid-columns 3 --out {file}");
        sample(root.path()).args(&args).succeed();
        assert!(image::open(root.path().join(file).join("images").join(file)).is_ok(), "{format}");
        // Three tiles of 64 pixels with gaps of 2.
        assert_eq!(image::image_dimensions(root.path().join(file).join("grid.png")).unwrap(), (200, 68));
    }
    let error = sample(root.path()).args("runs/a --format jpg").fail(2);
    assert!(error.contains("expected png, webp, jpeg or jpeg:QUALITY"), "{error}");
}

/// A process that is killed while it writes an image leaves a temporary file, which a later one removes.
#[test]
fn temporary_files_of_killed_processes_are_removed() {
    let root = tempfile::tempdir().unwrap();
    trained(root.path());
    let images = root.path().join("s/images");
    fs::create_dir_all(&images).unwrap();
    let [old, young] = ["1", "2"].map(|pid| images.join(format!(".ddpm-tmp-{pid}-0-000000.png")));
    for path in [&old, &young] {
        fs::write(path, "part").unwrap();
    }
    let an_hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    fs::File::options().write(true).open(&old).unwrap().set_modified(an_hour_ago).unwrap();
    sample(root.path()).args("runs/a -n 2 --steps 2 --out s").succeed();
    assert!(!old.exists() && young.exists());
}

/// Everything that affects the images is in the log.
#[test]
fn the_sampler_is_logged_in_full() {
    let root = tempfile::tempdir().unwrap();
    trained(root.path());
    let args = "runs/a -n 1 --sampler ddpm --steps 3 --grid-only --clip dynamic:0.9 --spacing leading --seed 7";
    let output = sample(root.path()).args(args).output();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = "ddpm in 3 steps, leading, x_0 thresholded at quantile 0.9 up to 1, variance fixed-small; seed 7";
    assert!(stderr.contains(expected), "{stderr}");
    let error = sample(root.path()).args("runs/a --clip fixed:-1").fail(2);
    assert!(error.contains("--clip: clip_range: expected a finite number above 0, found -1"), "{error}");
    let error = sample(root.path()).args("runs/a --clip clipped").fail(2);
    assert!(error.contains("expected none, fixed, fixed:RANGE, dynamic or dynamic:QUANTILE, found clipped"), "{error}");
}

/// The bytes of a model file with an edited description.
fn described(file: &[u8], edit: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let header_end = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&file[8..header_end]).unwrap();
    let mut description = serde_json::from_str(header["__metadata__"]["ddpm"].as_str().unwrap()).unwrap();
    edit(&mut description);
    header["__metadata__"]["ddpm"] = description.to_string().into();
    let mut header = header.to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &file[header_end..]].concat()
}

#[test]
fn a_description_that_contradicts_its_network_is_refused() {
    let root = tempfile::tempdir().unwrap();
    trained(root.path());
    let whole = fs::read(root.path().join("runs/a/checkpoints/step-000002/model.safetensors")).unwrap();
    type Edit = fn(&mut serde_json::Value);
    let cases: [(&str, Edit); 7] = [
        ("field `image_size`: expected [8, 8]", |d| d["image_size"] = vec![16, 16].into()),
        ("field `image_size`: expected [8, 8]", |d| d["image_size"] = vec![1_u64 << 63, 1 << 63].into()),
        ("field `channels`: expected 1", |d| d["channels"] = 3.into()),
        ("field `data_range`: expected [-1, 1]", |d| d["data_range"] = vec![0, 1].into()),
        ("field `sampler`: steps: expected 1 to 1000", |d| d["sampler"]["steps"] = 1001.into()),
        ("field `network`: model.base_channels", |d| d["network"]["base_channels"] = 7.into()),
        ("field `diffusion`", |d| d["diffusion"]["timesteps"] = 0.into()),
    ];
    for (expected, edit) in cases {
        fs::write(root.path().join("lie.safetensors"), described(&whole, edit)).unwrap();
        let error = sample(root.path()).args("lie.safetensors -n 1 --grid-only").fail(1);
        assert!(error.contains("lie.safetensors: ") && error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn tensors_that_cannot_be_saved_do_not_cost_the_images() {
    let root = tempfile::tempdir().unwrap();
    trained(root.path());
    fs::create_dir(root.path().join("folder")).unwrap();
    let args = "runs/a -n 1 --steps 2 --grid-only --save-tensors";
    let error = sample(root.path()).args(args).arg("folder").fail(2);
    assert!(error.contains("--save-tensors") && error.contains("folder"), "{error}");
    assert!(!root.path().join("samples").exists());
    // A device that only fails when it is written to fails after the images are saved.
    sample(root.path()).args(args).arg("/dev/full").fail(1);
    assert!(root.path().join("samples/a-step-2-seed-0/grid.png").is_file());
}

#[test]
fn input_files_are_not_overwritten() {
    let root = tempfile::tempdir().unwrap();
    trained(root.path());
    let checkpoint = root.path().join("runs/a/checkpoints/step-000002");
    fs::copy(checkpoint.join("model.safetensors"), root.path().join("lone.safetensors")).unwrap();
    sample(root.path()).args("lone.safetensors -n 2 --steps 2 --save-tensors s.safetensors").succeed();
    let latents = HashMap::from([("latents".to_string(), samples(root.path().join("s.safetensors")))]);
    safetensors::save(&latents, root.path().join("l.safetensors")).unwrap();
    for name in ["images/000000.png", "./grid.png", "denoising.png", "samples.json"] {
        let args = "lone.safetensors -n 2 --steps 2 --out new --save-tensors";
        let error = sample(root.path()).args(args).arg(Path::new("new").join(name)).fail(2);
        assert!(error.contains("which is the name of a file of --out"), "{error}");
        assert!(!root.path().join("new").exists());
    }
    for file in ["lone.safetensors", "./l.safetensors", "runs/a/checkpoints/step-000002/training.safetensors"] {
        let before = fs::read(root.path().join(file)).unwrap();
        let args = "lone.safetensors --latents l.safetensors --steps 2 --grid-only --save-tensors";
        let error = sample(root.path()).args(args).arg(file).fail(2);
        assert!(error.contains("--save-tensors: expected a file of its own"), "{error}");
        assert!(fs::read(root.path().join(file)).unwrap() == before, "{file}");
    }
}

#[cfg(unix)]
#[test]
fn errors_are_one_line_for_any_file_name() {
    use std::os::unix::ffi::OsStrExt;
    let root = tempfile::tempdir().unwrap();
    let stderr = String::from_utf8(sample(root.path()).arg("a\nb").output().stderr).unwrap();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("a\\nb"), "{stderr}");
    let stderr = String::from_utf8(sample(root.path()).args("--stepz 3").output().stderr).unwrap();
    assert!(stderr.lines().count() == 1 && stderr.contains("--stepz") && stderr.contains("'--steps'"), "{stderr}");
    trained(root.path());
    let name = std::ffi::OsStr::from_bytes(b"\xff.safetensors");
    sample(root.path()).args("-n 1 --steps 2 --grid-only --save-tensors").arg(name).succeed();
    assert!(root.path().join(name).is_file());
}

/// A reader that closes a named pipe is an error, unless the pipe is standard output.
#[cfg(unix)]
#[test]
fn a_broken_pipe_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    trained(root.path());
    let pipe = root.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let args = "-n 400 --steps 1 --grid-only --save-tensors pipe";
    let mut child = sample(root.path()).args(args).spawn();
    drop(fs::File::open(&pipe).unwrap());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    // Waiting for a reader that never opens the pipe can be interrupted.
    let mut child = sample(root.path()).args(args).spawn();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn signals_end_sampling_with_their_exit_codes_and_keep_finished_images() {
    let root = tempfile::tempdir().unwrap();
    trained(root.path());
    for (number, code) in [(2, 130), (15, 143)] {
        let out = root.path().join(format!("signal-{number}"));
        let mut child = sample(root.path()).args("-n 100000 --batch-size 8 --steps 20 -q --out").arg(&out).spawn();
        while !out.join("images/000007.png").exists() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let kill = std::process::Command::new("kill").arg(format!("-{number}")).arg(child.id().to_string()).status();
        assert!(kill.unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
}

#[test]
fn checkpoints_and_single_model_files_are_models() {
    let root = tempfile::tempdir().unwrap();
    trained(root.path());
    let checkpoint = root.path().join("runs/a/checkpoints/step-000002");
    let lone = root.path().join("lone.safetensors");
    fs::copy(checkpoint.join("model.safetensors"), &lone).unwrap();
    let run = |model: &Path| {
        sample(root.path()).arg(model).args("-n 1 --steps 4 --grid-only --save-tensors s.safetensors").succeed();
        values(&samples(root.path().join("s.safetensors")))
    };
    let whole = run(&root.path().join("runs/a"));
    assert_eq!(whole, run(&checkpoint));
    assert_eq!(whole, run(&lone));
}

#[test]
fn paths_without_a_model_are_refused() {
    let root = tempfile::tempdir().unwrap();
    assert!(sample(root.path()).fail(2).contains("no run with a checkpoint"));
    assert!(sample(root.path()).args("absent").fail(2).contains("absent"));
    fs::write(root.path().join("empty"), b"").unwrap();
    assert!(sample(root.path()).args("empty").fail(1).contains("empty"));
    fs::create_dir(root.path().join("folder")).unwrap();
    assert!(sample(root.path()).args("folder").fail(1).contains("folder"));
    trained(root.path());
    for (args, expected) in [
        ("--steps 0", "--steps"),
        ("--steps 1001", "--steps"),
        ("-n 0", "-n"),
        ("--batch-size 0", "--batch-size"),
        ("-n 3 --first 18446744073709551613", "--first: expected at most 18446744073709551612"),
        ("--sampler best", "best"),
        ("--sampler ddim --eta -1", "eta: expected a share in [0, 1], found -1"),
        ("--sampler ddpm --eta 0.5", "--eta: expected a sampler that it changes (ddim), found --sampler ddpm"),
        (
            "--sampler heun --order 3",
            "--order: expected a sampler that it changes (dpm-solver and dpm-solver-sde), found --sampler heun",
        ),
        (
            "--sampler ddim --variance fixed-small",
            "--variance: expected a sampler that it changes (ddpm), found --sampler ddim",
        ),
        (
            "--eps-after-clip predicted",
            "--eps-after-clip: expected a sampler that it changes (ddim and heun), found the model's own sampler, \
             dpm-solver",
        ),
    ] {
        assert!(sample(root.path()).args(args).fail(2).contains(expected), "{args}");
    }
    // The error is reported before the sampling, not after it.
    fs::write(root.path().join("file"), "kept").unwrap();
    let error = sample(root.path()).args("--out file").fail(1);
    assert!(error.contains("--out") && error.contains("file") && !error.contains("images in"), "{error}");
    assert_eq!(fs::read(root.path().join("file")).unwrap(), b"kept");
    let whole = fs::read(root.path().join("runs/a/checkpoints/step-000002/model.safetensors")).unwrap();
    for end in [1, 8, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(root.path().join("cut.safetensors"), &whole[..end]).unwrap();
        assert!(sample(root.path()).args("cut.safetensors").fail(1).contains("cut.safetensors"), "{end}");
    }
}
