//! `ddpm-train` from the outside: the files it writes, exact resumption, signals and corrupt files.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use ddpm_tests::{same_checkpoint, sample, train};

/// A network that trains in milliseconds.
const SMALL: &str = "--set model.base_channels=8 --set model.attention_heads=1 --set model.attention_head_channels=8 \
                     --batch-size 8 --set sample.preview_images=4 --set sample.preview_steps=4";

fn bytes(path: impl AsRef<Path>) -> Vec<u8> {
    fs::read(path.as_ref()).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

/// Waits for a file for at most a minute.
fn wait_for(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "{} did not appear", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(child: &Child, signal: i32) {
    let sent =
        std::process::Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status().unwrap();
    assert!(sent.success());
}

/// Whether this process ignores SIGHUP.
fn hangup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() & 1 == 1
}

#[test]
fn a_run_writes_the_documented_files() {
    let root = tempfile::tempdir().unwrap();
    train(root.path())
        .args(SMALL)
        .args("--steps 6 --set train.sample_every_steps=3 --set train.checkpoint_every_steps=2")
        .succeed();
    let run = root.path().join("runs/digits");
    for name in [
        "config.toml",
        "loss.svg",
        "samples/step-000003.png",
        "samples/step-000006.png",
        "samples/samples.gif",
        "checkpoints/step-000004/manifest.json",
        "checkpoints/step-000006/model.safetensors",
    ] {
        assert!(run.join(name).is_file(), "{name}");
    }
    assert!(!run.join("checkpoints/step-000002").exists(), "only the newest two are kept");
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 6]);
    // The last line is that of a validation.
    for losses in [&lines[6]["validation"]["held_out"], &lines[6]["validation"]["training"]] {
        assert!(losses["total"].is_number() && losses["bands"].as_array().unwrap().len() == 4);
    }
    for key in ["loss", "learning_rate", "gradient_norm", "images_per_sec", "data_wait_share"] {
        assert!(lines[0][key].is_number(), "{key}");
    }
    // A finished run is not continued: the same command starts another one.
    train(root.path()).args(SMALL).args("--steps 6").succeed();
    assert!(root.path().join("runs/digits-2/checkpoints/step-000006").is_dir());
}

#[test]
fn a_killed_run_resumes_bit_for_bit() {
    let root = tempfile::tempdir().unwrap();
    let args = format!(
        "{SMALL} --set train.checkpoint_every_steps=7 --set model.dropout=0.1 --set train.sample_every_steps=0"
    );
    train(root.path()).args(&args).args("--steps 60 --out whole").succeed();

    let mut child = train(root.path()).args(&args).args("--steps 60 --out parts").spawn();
    wait_for(&root.path().join("parts/checkpoints/step-000014"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!root.path().join("parts/checkpoints/step-000060").exists(), "it was to be killed before its end");
    train(root.path()).args(&args).args("--steps 60 --out parts").succeed();
    let last = "checkpoints/step-000060";
    same_checkpoint(&root.path().join("whole").join(last), &root.path().join("parts").join(last));
}

#[test]
fn signals_save_a_checkpoint_and_exit_with_their_codes() {
    for (number, code) in [(2, 130), (15, 143)] {
        let root = tempfile::tempdir().unwrap();
        let mut child =
            train(root.path()).args(SMALL).args("--steps 100000 --out run --set train.sample_every_steps=0").spawn();
        wait_for(&root.path().join("run/metrics.jsonl"));
        std::thread::sleep(Duration::from_millis(200));
        signal(&child, number);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        let saved: Vec<_> = fs::read_dir(root.path().join("run/checkpoints")).unwrap().collect();
        assert_eq!(saved.len(), 1, "{saved:?}");
        // The run can be continued from this state.
        let mut child = train(root.path()).args("--resume run -q").spawn();
        std::thread::sleep(Duration::from_millis(300));
        signal(&child, number);
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
}

/// A signal does not wait for the end of a step with gradient accumulation: that step is not taken.
#[test]
fn a_signal_interrupts_an_accumulation() {
    let root = tempfile::tempdir().unwrap();
    let args = "--steps 2 --out run --set train.gradient_accumulation_steps=1000000 -q";
    let mut child = train(root.path()).args(SMALL).args(args).spawn();
    wait_for(&root.path().join("run/metrics.jsonl"));
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, 15);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(root.path().join("run/checkpoints/step-000000/manifest.json").is_file());
    let state = fs::read_to_string(root.path().join("run/checkpoints/step-000000/state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    assert!(state.to_string().contains("\"batches\":0"), "{state}");
}

/// A closed terminal stops a run like SIGTERM, unless the run was started with nohup.
#[test]
fn a_closed_terminal_lets_a_run_save_its_state() {
    let root = tempfile::tempdir().unwrap();
    let args = "--steps 100000 --set train.sample_every_steps=0 -q --out";
    // If this test itself runs under nohup, so does every program that it starts.
    if !hangup_is_ignored() {
        let mut child = train(root.path()).args(SMALL).args(args).arg("run").spawn();
        wait_for(&root.path().join("run/metrics.jsonl"));
        std::thread::sleep(Duration::from_millis(300));
        signal(&child, 1);
        assert_eq!(child.wait().unwrap().code(), Some(129));
        assert!(fs::read_dir(root.path().join("run/checkpoints")).unwrap().count() > 0);
    }

    let mut child = train(root.path()).args(SMALL).args(args).arg("other").after("trap '' HUP").spawn();
    wait_for(&root.path().join("other/metrics.jsonl"));
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, 1);
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "nohup is undone");
    signal(&child, 15);
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

/// The keys that everybody sets have options, for both kinds of network.
#[test]
fn frequent_keys_have_options() {
    let root = tempfile::tempdir().unwrap();
    let resolved = |args: &str| -> toml::Table {
        let options = "--lr 3e-4 --ema-decay 0.9 --workers 1 --precision bf16";
        let text = train(root.path()).args("--dry-run --data x").args(options).args(args).succeed();
        text.parse().unwrap()
    };
    let document = resolved("--preset pictures --image-size 48");
    assert_eq!(document["train"]["learning_rate"].as_float(), Some(3e-4));
    assert_eq!(document["train"]["ema_decay"].as_float(), Some(0.9));
    assert_eq!(document["train"]["precision"].as_str(), Some("bf16"));
    assert_eq!(document["data"]["workers"].as_integer(), Some(1));
    assert_eq!(document["model"]["image_size"].as_integer(), Some(48));
    let document = resolved("--preset ddpm-cifar10 --image-size 64x32");
    let sides: Vec<_> = document["model"]["sample_size"].as_array().unwrap().iter().map(|n| n.as_integer()).collect();
    assert_eq!(sides, [Some(64), Some(32)]);
    let error = train(root.path()).args("--dry-run --image-size 8by8").fail(2);
    assert!(error.contains("expected a number of pixels or HEIGHTxWIDTH, found \"8by8\""), "{error}");
    let error = train(root.path()).args("--dry-run --precision f16").fail(2);
    assert!(error.contains("--precision") && error.contains("f16"), "{error}");
}

#[test]
fn every_nth_checkpoint_is_kept_beside_the_newest() {
    let root = tempfile::tempdir().unwrap();
    let keep = "--set train.checkpoint_every_steps=1 --set train.keep_last_checkpoints=1 \
                --set train.keep_every_steps=3 --set train.learning_rate_schedule=constant \
                --set data.holdout_share=0";
    train(root.path()).args(SMALL).args(keep).args("--steps 8 --out run --set sample.preview_images=0").succeed();
    let saved = fs::read_dir(root.path().join("run/checkpoints")).unwrap();
    let mut saved: Vec<_> = saved.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    saved.sort();
    assert_eq!(saved, ["step-000003", "step-000006", "step-000008"]);
    // Another run can start from any of them.
    let args = "--resume run/checkpoints/step-000003 --out other --steps 5";
    train(root.path()).args(args).succeed();
    for (run, steps) in [("run", 8), ("other", 2)] {
        let metrics = fs::read_to_string(root.path().join(run).join("metrics.jsonl")).unwrap();
        assert_eq!(metrics.lines().count(), steps, "{run}");
    }
    let loss = |run: &str, step: u64| {
        let metrics = fs::read_to_string(root.path().join(run).join("metrics.jsonl")).unwrap();
        let lines = metrics.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["step"] == step).map(|line| line["loss"].clone()).next().unwrap()
    };
    assert_eq!(loss("run", 4), loss("other", 4));
    assert_eq!(loss("run", 5), loss("other", 5));
}

#[test]
fn a_learning_rate_schedule_that_depends_on_the_length_gives_a_warning() {
    let root = tempfile::tempdir().unwrap();
    let rate = "--set train.learning_rate_schedule=cosine --set sample.preview_images=0 --out run";
    train(root.path()).args(SMALL).args(rate).args("--steps 2").succeed();
    let output = train(root.path()).args("--out run --steps 4").output();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.contains("had 2 steps and now has 4"), "{stderr}");
    assert!(stderr.contains("its learning rate changes from 0.000e0 to 5.000e-4 at step 2"), "{stderr}");
}

#[test]
fn two_processes_do_not_share_a_run() {
    let root = tempfile::tempdir().unwrap();
    let args = format!("{SMALL} --out run --steps 100000 --set train.sample_every_steps=0");
    let mut child = train(root.path()).args(&args).spawn();
    wait_for(&root.path().join("run/metrics.jsonl"));
    let error = train(root.path()).args(&args).fail(1);
    assert!(error.contains("in use by process"), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_is_used() {
    let root = tempfile::tempdir().unwrap();
    let args = format!("{SMALL} --out run --set train.checkpoint_every_steps=2 --set train.sample_every_steps=0");
    train(root.path()).args(&args).args("--steps 4").succeed();
    let file = root.path().join("run/checkpoints/step-000004/training.safetensors");
    let mut damaged = bytes(&file);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&file, damaged).unwrap();
    let output = train(root.path()).args(&args).args("--steps 6").output();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("step-000004") && stderr.contains("continues from step 2 to 6"), "{stderr}");
}

#[test]
fn a_change_of_the_past_is_refused_and_the_run_is_not_changed() {
    let root = tempfile::tempdir().unwrap();
    let args = format!("{SMALL} --out run --set train.sample_every_steps=0");
    train(root.path()).args(&args).args("--steps 2").succeed();
    let before = bytes(root.path().join("run/config.toml"));
    for (change, expected) in [
        ("--seed 1", "train.seed (was 0, is 1)"),
        ("--batch-size 4", "train.batch_size (was 8, is 4)"),
        ("--set model.attention_heads=2", "model.attention_heads (was 1, is 2)"),
        ("--set diffusion.prediction=v", r#"diffusion.prediction (was "epsilon", is "v")"#),
    ] {
        let error = train(root.path()).args("--out run --steps 4").args(change).fail(2);
        assert!(error.contains(expected) && error.contains("give another --out"), "{error}");
        assert_eq!(bytes(root.path().join("run/config.toml")), before);
    }
    // A larger number of steps continues the same run; the rest need not be given.
    train(root.path()).args("--out run --steps 4").succeed();
    assert!(root.path().join("run/checkpoints/step-000004").is_dir());
    // A smaller number of steps than the run has taken is an error.
    let before = bytes(root.path().join("run/config.toml"));
    let error = train(root.path()).args("--out run --steps 3").fail(2);
    assert!(error.contains("train.steps: expected at least the 4 that run has done, found 3"), "{error}");
    assert_eq!(bytes(root.path().join("run/config.toml")), before);
    let error = train(root.path()).args(&args).args("--steps 4 --resume never").fail(2);
    assert!(error.contains("--resume never"), "{error}");
}

#[test]
fn wrong_usage_is_explained_and_writes_nothing() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("typo.toml"), "[train]\nbach_size = 3\n").unwrap();
    fs::write(root.path().join("range.toml"), "[train]\nbatch_size = 0\n").unwrap();
    fs::create_dir(root.path().join("empty")).unwrap();
    ["a.txt", "b.csv"].iter().for_each(|name| fs::write(root.path().join("empty").join(name), "text").unwrap());
    for (args, expected) in [
        ("--set train.batch_size=0", "train.batch_size"),
        ("--set train.bach_size=1", "bach_size"),
        ("--set model.image_size=[8,7]", "model.image_size"),
        ("--set diffusion.beta_schedule=linear --set diffusion.beta_end=1.5", "beta_end"),
        ("--set diffusion.timesteps=0", "timesteps"),
        ("--set color=red", "color"),
        ("--set train.steps", "TABLE.KEY=VALUE"),
        ("--set data.workers=18446744073709551615", "data.workers: expected a number of at most"),
        ("--preset minst", "[possible values: digits, pictures, mnist, cifar10, article, ddpm-cifar10, ddpm-256]; "),
        ("--benchmark 0", "--benchmark"),
        ("--config /dev/zero", "expected at most"),
        ("--set data.fit=shrink", "shrink"),
        ("--set sample.steps=1001", "sample.steps"),
        ("--set diffusion.zero_terminal_snr=true", "sample.spacing"),
        ("--batch-size 5000", "1797 images"),
        ("--preset mnist", "--data"),
        ("--config absent.toml", "absent.toml"),
        ("--device cuda", "expected auto or cpu"),
        ("--resume absent", "found nothing there"),
        ("--init absent.safetensors", "--init absent.safetensors: expected a model, found nothing there"),
        ("--weight-decay 0.1", "the configuration has such a key: --set train.weight_decay=VALUE"),
        ("--config typo.toml", "typo.toml: [train]: unknown field `bach_size`"),
        ("--config range.toml", "range.toml: train.batch_size: expected a number from 1, found 0"),
        ("--private", "--push-to-hub"),
        ("--set model.image_size=512", "the scores of one head of the largest attention of at most 536870912 values"),
        ("--data empty", "no images found in 2 files; expected PNG"),
        ("--resume .", "expected auto, never, or a run or checkpoint directory, found neither"),
        ("--set model.channels=2", "model.channels"),
        ("--set sample.threshold_max=inf", "sample.threshold_max: expected a finite number from 1, found inf"),
        ("--set sample.eta=much", "sample.eta: "),
        ("--set diffusion.beta_end=[1]", "diffusion.beta_end: "),
    ] {
        let error = train(root.path()).args(args).fail(2);
        assert!(error.contains(expected), "{args}: {error}");
        assert!(!root.path().join("runs").exists(), "{args}");
    }
    fs::write(root.path().join("both.toml"), "[train]\nsteps = 3\nepochs = 2\n").unwrap();
    let error = train(root.path()).args("--config both.toml").fail(2);
    assert!(error.contains("both.toml: train: expected one of steps and epochs, found both"), "{error}");
    let error = train(root.path()).args("--data absent").fail(2);
    assert!(error.contains("absent"), "{error}");
    // A run inside of its folder of images would train on its own previews.
    fs::create_dir(root.path().join("images")).unwrap();
    let error = train(root.path()).args("--data images --out images/run").fail(2);
    assert!(error.contains("--out: expected a folder apart from the images"), "{error}");
    assert!(train(root.path()).args("--data .").fail(2).contains("found runs in it"));
    assert!(!root.path().join("images/run").exists());
}

#[test]
fn a_dry_run_prints_a_document_that_reads_back() {
    let root = tempfile::tempdir().unwrap();
    let text = train(root.path()).args("--preset cifar10 --data x --seed 7 --epochs 3 --dry-run").succeed();
    assert!(text.contains("epochs = 3") && !text.contains("\nsteps = 800000"), "{text}");
    fs::write(root.path().join("c.toml"), &text).unwrap();
    let again = train(root.path()).args("--config c.toml --dry-run").succeed();
    assert_eq!(text, again);
}

#[test]
fn another_rule_of_beta_brings_its_own_parameters() {
    let root = tempfile::tempdir().unwrap();
    let output_of = |args: &str| {
        let output = train(root.path()).args(args).args("--dry-run").output();
        assert!(output.status.success());
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (document, warnings) = output_of("--set diffusion.beta_schedule=linear");
    assert!(!document.contains("cosine_offset") && warnings.is_empty(), "{document}{warnings}");
    // The order of the arguments does not matter.
    let (document, warnings) = output_of("--set diffusion.beta_end=0.01 --set diffusion.beta_schedule=sigmoid");
    assert!(document.contains("beta_end = 0.01") && !document.contains("beta_start") && warnings.is_empty());
    let (_, warnings) = output_of("--set diffusion.beta_schedule=cosine --set diffusion.beta_end=0.01");
    assert!(warnings.contains("diffusion.beta_end has no effect"), "{warnings}");
}

#[test]
fn a_folder_of_images_is_trained_in_color_by_default() {
    let root = tempfile::tempdir().unwrap();
    let channels = |args: &str| {
        let text = train(root.path()).args(args).args("--dry-run").succeed();
        text.parse::<toml::Table>().unwrap()["model"]["channels"].as_integer().unwrap()
    };
    fs::write(root.path().join("c.toml"), "[data]\npath = \"x\"\n").unwrap();
    assert_eq!(["", "--data digits", "--preset digits --data x"].map(channels), [1, 1, 1]);
    assert_eq!(["--data x", "--set data.path=x", "--config c.toml"].map(channels), [3, 3, 3]);
}

/// The network of the paper trains, resumes to the bit and is sampled like that of the article.
#[test]
fn the_papers_network_is_trained_and_sampled() {
    let root = tempfile::tempdir().unwrap();
    let args = "--preset ddpm-cifar10 --data digits --batch-size 4 --set sample.preview_images=0 \
                --set model.sample_size=8 --set model.in_channels=1 --set model.out_channels=1 \
                --set model.block_out_channels=[8,8,8,8] --set model.norm_num_groups=4";
    train(root.path()).args(args).args("--steps 4 --out whole").succeed();
    train(root.path()).args(args).args("--steps 2 --out parts").succeed();
    train(root.path()).args("--steps 4 --out parts").succeed();
    let last = "checkpoints/step-000004";
    same_checkpoint(&root.path().join("whole").join(last), &root.path().join("parts").join(last));
    sample(root.path()).args("whole -n 2 --steps 3 --out images").succeed();
    assert!(root.path().join("images/images/000001.png").is_file());
    let error = train(root.path()).args(args).args("--steps 4 --set model.out_channels=2").fail(2);
    assert!(error.contains("model.out_channels: expected 1"), "{error}");
    let error = train(root.path()).args(args).args("--set model.act_fn=tanh").fail(2);
    assert!(error.contains("tanh") && error.contains("act_fn"), "{error}");
}

#[test]
fn a_short_run_writes_a_loss_curve_at_any_logging_interval() {
    let root = tempfile::tempdir().unwrap();
    train(root.path()).args(SMALL).args("--steps 7 --out run --set train.log_every_steps=5").succeed();
    let metrics = fs::read_to_string(root.path().join("run/metrics.jsonl")).unwrap();
    let step = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap();
    assert_eq!(metrics.lines().map(step).collect::<Vec<_>>(), [1, 5, 7, 7], "and the validation of step 7");
}

#[test]
fn the_benchmark_prints_one_object() {
    let root = tempfile::tempdir().unwrap();
    let text = train(root.path()).args(SMALL).args("--benchmark 3").succeed();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    for key in ["params", "batch_size", "train_step_ms", "predict_ms", "threads"] {
        assert!(report[key].as_f64().unwrap() > 0.0, "{key}: {report}");
    }
    assert_eq!(report["device"], "cpu");
}

/// A diverging loss ends the run and leaves the last good checkpoint intact.
#[test]
fn a_diverging_run_keeps_its_checkpoint() {
    let root = tempfile::tempdir().unwrap();
    let args = "--out run --steps 500 --set train.checkpoint_every_steps=1 --set train.gradient_clip_norm=0 \
                --set train.sample_every_steps=0 --set train.learning_rate=1e37";
    let error = train(root.path()).args(SMALL).args(args).fail(1);
    assert!(error.contains("not finite"), "{error}");
    // The first step was taken before any value was out of bounds.
    assert!(root.path().join("run/checkpoints/step-000001/manifest.json").is_file());
}

/// A run that starts from the checkpoint of another run is independent of it from the start.
#[test]
fn a_run_from_another_checkpoint_continues_with_the_same_command() {
    let root = tempfile::tempdir().unwrap();
    let args = "--set train.sample_every_steps=0 --set sample.preview_images=0";
    train(root.path()).args(SMALL).args(args).args("--steps 2 --out first --set sample.preview_images=0").succeed();
    // A checkpoint that does not fit leaves no files behind.
    train(root.path()).args("--resume first --out second --steps 4 --seed 5").fail(2);
    assert!(!root.path().join("second/config.toml").exists());
    train(root.path()).args("--resume first --out second --steps 4").succeed();
    assert!(root.path().join("second/checkpoints/step-000002").is_dir());
    train(root.path()).args("--resume first --out second --steps 6").succeed();
    assert!(root.path().join("second/checkpoints/step-000006").is_dir());
    // A run with another origin is not continued.
    train(root.path()).args(SMALL).args(args).args("--steps 2 --out third").succeed();
    let error = train(root.path()).args("--resume first --out third --steps 6").fail(2);
    assert!(error.contains("already holds a run"), "{error}");
}

/// If a session is killed between its last checkpoint and the removal of older ones, the next one removes them.
#[test]
fn checkpoints_that_a_killed_session_kept_are_removed() {
    let root = tempfile::tempdir().unwrap();
    let every = "--set data.holdout_share=0 --set train.checkpoint_every_steps=2 --set train.keep_last_checkpoints=5 \
                 --steps 6 --out run";
    train(root.path()).args(SMALL).args(every).succeed();
    let checkpoints = || fs::read_dir(root.path().join("run/checkpoints")).unwrap().count();
    assert_eq!(checkpoints(), 3);
    // The record of complete results is what such a session has not written.
    fs::remove_file(root.path().join("run/results.json")).unwrap();
    train(root.path()).args("--resume run --set train.keep_last_checkpoints=1").succeed();
    assert_eq!(checkpoints(), 1);
}

/// A run from before `train.precision` existed is continued. bf16 trains, and recomputation reduces its memory.
#[test]
fn precision_and_recomputation_are_configurable() {
    let root = tempfile::tempdir().unwrap();
    let quiet = "--set train.sample_every_steps=0 --set sample.preview_images=0";
    train(root.path()).args(SMALL).args(quiet).args("--steps 1 --out run").succeed();
    let config = root.path().join("run/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains("precision = \"f32\"\n") && text.contains("recompute = false\n"), "{text}");
    fs::write(&config, text.replace("precision = \"f32\"\n", "").replace("recompute = false\n", "")).unwrap();
    train(root.path()).args(SMALL).args(quiet).args("--steps 2 --out run").succeed();
    let stderr = train(root.path()).args("--steps 3 --out run --precision bf16").output().stderr;
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(stderr.contains("train.precision (was \"f32\", is \"bf16\") from step 2 on"), "{stderr}");
    // Embeddings of classes are large in an untrained network, and so is the effect of the precision.
    let narrow = "--steps 1 --out narrow --set train.precision=bf16 --set train.recompute=true --set data.labels=none";
    train(root.path()).args(SMALL).args(quiet).args(narrow).succeed();
    let sampled = |out: &str, more: &str| {
        sample(root.path())
            .arg("narrow")
            .args("-n 1 --steps 2 --grid-only -q --save-tensors")
            .arg(out)
            .args(more)
            .succeed();
        let tensors = candle_core::safetensors::load(root.path().join(out), &candle_core::Device::Cpu).unwrap();
        tensors["samples"].flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let (wide, narrow) = (sampled("wide", ""), sampled("narrow.st", "--precision bf16"));
    let largest = wide.iter().zip(&narrow).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest > 0.0 && largest < 0.1, "{largest}");
}

/// If the program is killed at any moment at the beginning of a run, the same command starts it again with the
/// configuration and the state of the origin.
#[test]
fn a_run_from_another_checkpoint_survives_a_kill_at_its_beginning() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    let quiet = "--set train.sample_every_steps=0 --set sample.preview_images=0 --set train.learning_rate=0.01";
    train(root.path()).args(SMALL).args(quiet).args("--steps 2 --out first").succeed();
    let again = "--resume first --out second --steps 3";
    train(root.path()).args(again).succeed();
    fs::rename(path("second"), path("whole")).unwrap();
    let last = "checkpoints/step-000003";
    // The origin and the configuration are recorded.
    for files in [&["began-from"][..], &["began-from", "config.toml"]] {
        fs::create_dir(path("second")).unwrap();
        for file in files {
            fs::copy(path("whole").join(file), path("second").join(file)).unwrap();
        }
        train(root.path()).args(again).succeed();
        assert_eq!(bytes(path("second/config.toml")), bytes(path("whole/config.toml")));
        same_checkpoint(&path("second").join(last), &path("whole").join(last));
        fs::remove_dir_all(path("second")).unwrap();
    }
    // Without the record, another command in the same directory has another origin.
    fs::create_dir(path("second")).unwrap();
    fs::copy(path("whole/began-from"), path("second/began-from")).unwrap();
    train(root.path()).args(SMALL).args(quiet).args("--out second --steps 1").succeed();
    assert!(path("second/checkpoints/step-000001").is_dir() && !path("second/began-from").exists());
}

#[test]
fn a_run_without_its_configuration_is_not_continued_with_another() {
    let root = tempfile::tempdir().unwrap();
    let quiet = "--set train.sample_every_steps=0 --set sample.preview_images=0 --set train.learning_rate=0.01";
    train(root.path()).args(SMALL).args(quiet).args("--steps 2 --out run").succeed();
    let document = root.path().join("c.toml");
    fs::rename(root.path().join("run/config.toml"), &document).unwrap();
    for args in ["--out run", "--resume run", "--resume run --out new", "--resume run/checkpoints/step-000002"] {
        let error = train(root.path()).args(args).args("--steps 3").fail(2);
        assert!(error.contains("config.toml"), "{args}: {error}");
    }
    train(root.path()).args("--resume run --config c.toml --steps 3").succeed();
    assert!(fs::read_to_string(root.path().join("run/config.toml")).unwrap().contains("learning_rate = 0.01"));
    // A run whose checkpoints have been removed starts again with a warning.
    fs::remove_dir_all(root.path().join("run/checkpoints")).unwrap();
    let output = train(root.path()).args("--resume run").output();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.contains("run has no checkpoint"), "{stderr}");
}

#[test]
fn a_checkpoint_is_found_through_any_path_to_it() {
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("run");
    train(root.path()).args(SMALL).args("--steps 1 --out run --set sample.preview_images=0").succeed();
    let checkpoints = run.join("checkpoints");
    let resumes = [
        (root.path(), "run/checkpoints"),
        (&run, "checkpoints/step-000002"),
        (&run, "."),
        (&checkpoints, "step-000004"),
        (&checkpoints, "."),
        (&checkpoints, ".."),
        (root.path(), "run/../run/checkpoints/step-000007"),
    ];
    // Each run takes one step more than the last one.
    for (step, (directory, path)) in (2..).zip(resumes) {
        let steps = format!("--steps {step}");
        train(directory).args("--resume").arg(path).args(&steps).succeed();
        assert!(checkpoints.join(format!("step-{step:06}")).is_dir(), "{step}");
    }
}

#[test]
fn a_folder_of_images_trains_in_color_and_samples() {
    let root = tempfile::tempdir().unwrap();
    // The images of one run are the data of another one.
    train(root.path()).args(SMALL).args("--steps 1 --out first").succeed();
    sample(root.path()).args("first -n 12 --steps 3 --out images").succeed();
    let args = "--data images --set model.channels=3 --set model.image_size=[8,16] --steps 2 --out second";
    train(root.path()).args(SMALL).args(args).succeed();
    sample(root.path()).args("second -n 2 --steps 3 --out color").succeed();
    assert!(root.path().join("color/images/000001.png").is_file());
    // An undecodable image is named when it is found, and counted at the end.
    let cut = bytes(root.path().join("images/images/000003.png"));
    fs::write(root.path().join("images/images/000003.png"), &cut[..40]).unwrap();
    let args = "--data images --set data.max_bad_share=0.5 --steps 3 --out third --set sample.preview_images=0";
    let output = train(root.path()).args(SMALL).args(args).output();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr.matches("000003.png").count(), 1, "{stderr}");
    assert!(stderr.contains("1 image could not be decoded"), "{stderr}");
    // A file that is not an image is named as well.
    fs::write(root.path().join("images/notes.txt"), b"").unwrap();
    fs::write(root.path().join("images/phone.HEIC"), b"").unwrap();
    let args = "--data images --steps 1 --out fourth --set sample.preview_images=0";
    let stderr = train(root.path()).args(SMALL).args(args).output().stderr;
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(stderr.contains("left out, 1: images/phone.HEIC\n"), "{stderr}");
}

/// Networks that predict x_0 or v train and sample; v also from an x_T without signal.
#[test]
fn x_0_and_v_can_be_trained() {
    let root = tempfile::tempdir().unwrap();
    for (prediction, zero) in [("x0", false), ("v", true)] {
        let args = format!(
            "--steps 2 --batch-size 4 -q --out {prediction} --set diffusion.prediction={prediction} \
             --set sample.preview_images=0 \
             --set diffusion.zero_terminal_snr={zero} --set sample.spacing=trailing --set sample.steps=5"
        );
        train(root.path()).args(&args).succeed();
        let config = std::fs::read_to_string(root.path().join(prediction).join("config.toml")).unwrap();
        assert!(config.contains(&format!("prediction = \"{prediction}\"")), "{config}");
        sample(root.path()).args(&format!("{prediction} -n 2 --grid-only -q")).succeed();
    }
    let args = "--steps 2 --set diffusion.zero_terminal_snr=true --set sample.spacing=trailing --dry-run";
    let error = train(root.path()).args(args).fail(2);
    assert!(error.contains("diffusion.prediction = \"v\""), "{error}");
    let error = train(root.path()).args("--set diffusion.prediction=noise --dry-run").fail(2);
    assert!(
        error.contains("[diffusion]") && error.contains("unknown variant `noise`, expected one of `epsilon`"),
        "{error}"
    );
}

/// A run that is too short for its EMA samples the initial weights, and says so.
#[test]
fn a_slow_average_is_reported() {
    let root = tempfile::tempdir().unwrap();
    let run = |out: &str, sets: &str| {
        let args = format!("--steps 2 --out {out} {sets}");
        let output = train(root.path()).args(SMALL).args(&args).output();
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let slow = run("slow", "--set train.ema_decay=0.9999 --set train.ema_warmup=false");
    assert!(slow.contains("train.ema_decay = 0.9999: after 2 steps, 100 % of the averaged weights"), "{slow}");
    assert!(slow.contains("or train.ema_decay to at most 0.1"), "{slow}");
    assert!(slow.contains("preview of step 2: 100 % of the averaged weights are the initial ones"), "{slow}");
    for fast in ["--set train.ema_warmup=true", "--set train.ema_decay=0.05 --set train.ema_warmup=false"] {
        assert!(!run("fast", fast).contains("% of the averaged weights"), "{fast}");
        std::fs::remove_dir_all(root.path().join("fast")).unwrap();
    }
}

/// A session that was killed after the last checkpoint leaves results that are missing or of an earlier step. The same
/// command completes them, and does not start another run.
#[test]
fn results_that_a_kill_left_incomplete_are_completed() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join("runs/ddpm-cifar10").join(name);
    let run = || {
        let args = "--preset ddpm-cifar10 --data digits --steps 3 --batch-size 8 --set train.sample_every_steps=2 \
                    --set model.sample_size=8 --set model.in_channels=1 --set model.out_channels=1 \
                    --set model.block_out_channels=[8,8] --set model.norm_num_groups=4 --set model.layers_per_block=1 \
                    --set model.down_block_types=[\"DownBlock2D\",\"DownBlock2D\"] \
                    --set model.up_block_types=[\"UpBlock2D\",\"UpBlock2D\"] --set data.horizontal_flip=false \
                    --set train.warmup_steps=0 --set sample.preview_images=2 --set sample.preview_steps=2";
        let output = train(root.path()).args(args).output();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        stderr
    };
    run();
    let names =
        ["pipeline/unet/diffusion_pytorch_model.safetensors", "pipeline/model_index.json", "samples/samples.gif"];
    let expected = names.map(|name| bytes(at(name)));
    let completed = |what: &str| {
        assert!(run().contains("completed the results of runs/ddpm-cifar10"), "{what}");
        assert_eq!(names.map(|name| bytes(at(name))), expected, "{what}");
        assert!(!root.path().join("runs/ddpm-cifar10-2").exists(), "{what}");
    };
    // Killed before the pipeline was written, in the middle of it, and before the last record.
    fs::remove_dir_all(at("pipeline")).unwrap();
    fs::remove_file(at("results.json")).unwrap();
    completed("no pipeline");
    fs::remove_file(at("pipeline/results.json")).unwrap();
    fs::write(at(names[0]), "of another step").unwrap();
    completed("a partial pipeline");
    fs::remove_file(at("results.json")).unwrap();
    fs::remove_file(at("samples/samples.gif")).unwrap();
    completed("no record");
    // A run that is complete is followed by another one.
    assert!(run().contains("runs/ddpm-cifar10-2 is a new run"));
}

/// A run that was killed before its configuration was written is taken over by the same command.
#[test]
fn a_run_without_configuration_is_taken_over() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("runs/digits/checkpoints")).unwrap();
    fs::write(root.path().join("runs/digits/.lock"), "").unwrap();
    train(root.path()).args(SMALL).args("--steps 2").succeed();
    assert!(root.path().join("runs/digits/config.toml").is_file());
    assert!(!root.path().join("runs/digits-2").exists());
}

/// A new run cannot start from a run without a checkpoint.
#[test]
fn a_run_without_checkpoint_is_no_start() {
    let root = tempfile::tempdir().unwrap();
    train(root.path()).args(SMALL).args("--steps 2 --out old").succeed();
    for entry in fs::read_dir(root.path().join("old/checkpoints")).unwrap() {
        fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    let error = train(root.path()).args("--resume old --out new").fail(2);
    assert!(error.contains("--resume old: expected a run with a checkpoint that new can start from"), "{error}");
    assert!(!root.path().join("new").exists());
}

/// What does not change the past may change, and config.toml tells when it did.
#[test]
fn changes_of_a_run_are_recorded() {
    let root = tempfile::tempdir().unwrap();
    let args = "--out run --set sample.preview_images=0 --set train.learning_rate_schedule=constant";
    train(root.path()).args(SMALL).args("--steps 2").args(args).succeed();
    let config = || String::from_utf8(bytes(root.path().join("run/config.toml"))).unwrap();
    assert!(!config().contains("history"));
    let changes = "--resume run --steps 4 --lr 2e-3 --workers 1";
    let stderr = train(root.path()).args(changes).output().stderr;
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(stderr.contains("train.learning_rate (was 0.001, is 0.002) from step 2 on"), "{stderr}");
    let entries = |text: &str| text.parse::<toml::Table>().unwrap()["history"].as_array().unwrap().clone();
    let expected: Vec<toml::Value> = [
        "step = 2\nkey = 'data.workers'\nold = 2\nnew = 1",
        "step = 2\nkey = 'train.learning_rate'\nold = 1e-3\nnew = 2e-3",
        "step = 2\nkey = 'train.steps'\nold = 2\nnew = 4",
    ]
    .map(|entry| entry.parse::<toml::Table>().unwrap().into())
    .into();
    assert_eq!(entries(&config()), expected);
    // The record grows, and the document is still a configuration.
    train(root.path()).args("--resume run --steps 5").succeed();
    assert_eq!(entries(&config()).len(), 4);
    let text = train(root.path()).args("--config run/config.toml --dry-run").succeed();
    assert!(text.contains("learning_rate = 0.002") && !text.contains("history"), "{text}");
}

/// A run continues with the same images at any place, and with other images only if that is asked for.
#[test]
fn a_run_notices_other_images() {
    let root = tempfile::tempdir().unwrap();
    let images = |name: &str, values: &[u8]| {
        fs::create_dir(root.path().join(name)).unwrap();
        for (i, value) in values.iter().enumerate() {
            let image = image::RgbImage::from_pixel(8, 8, image::Rgb([*value; 3]));
            image.save(root.path().join(name).join(format!("{i}.png"))).unwrap();
        }
    };
    images("images", &[0, 50, 100, 150]);
    images("other", &[0, 50, 100]);
    let args = "--preset pictures --set model.channel_multipliers=[1] --set model.image_size=8 --batch-size 2 --set \
                model.base_channels=8 --set model.norm_groups=4 --set model.attention_heads=1 --set \
                sample.preview_images=0 --set train.learning_rate_schedule=constant";
    let run = |options: &str| train(root.path()).args(args).args(options);
    run("--data images --steps 2 --out run").succeed();

    // The run continues from another working directory, and with another spelling of the path.
    train(&root.path().join("other")).args("--resume ../run --steps 3").succeed();
    run("--data ./images/ --steps 4 --out run").succeed();

    // The images are somewhere else.
    fs::rename(root.path().join("images"), root.path().join("moved")).unwrap();
    let error = train(root.path()).args("--resume run --steps 5").fail(2);
    assert!(error.contains("give the present path of the run's images with --data"), "{error}");
    train(root.path()).args("--resume run --steps 5 --data moved").succeed();
    let config = String::from_utf8(bytes(root.path().join("run/config.toml"))).unwrap();
    assert!(config.contains("key = \"data.path\""), "{config}");

    // Other images, at another path and at the same path.
    let error = train(root.path()).args("--resume run --steps 6 --data other").fail(2);
    assert!(error.contains("found 3 images in 3 files of") && error.contains("instead of 4 images"), "{error}");
    fs::rename(root.path().join("moved/3.png"), root.path().join("moved/4.png")).unwrap();
    let error = train(root.path()).args("--resume run --steps 6").fail(2);
    assert!(error.contains("with other names or sizes; --accept-new-data continues"), "{error}");
    assert_eq!(String::from_utf8(bytes(root.path().join("run/config.toml"))).unwrap(), config);
    train(root.path()).args("--resume run --steps 6 --accept-new-data").succeed();
    let config = String::from_utf8(bytes(root.path().join("run/config.toml"))).unwrap();
    assert!(config.contains("key = \"data\"\nold = \"4 images in 4 files"), "{config}");
    train(root.path()).args("--resume run --steps 7").succeed();

    // Without --out, another folder is another run.
    run("--data moved --steps 2").succeed();
    run("--data ./moved/ --steps 3").succeed();
    assert!(root.path().join("runs/pictures/checkpoints/step-000003").is_dir());
    let stderr = run("--data other --steps 4").output().stderr;
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(stderr.contains("runs/pictures has other images, data.path"), "{stderr}");
    assert!(root.path().join("runs/pictures-2").is_dir());
}

/// The grid of `--show-data` has the images of the first batch; resized images are kept for later runs.
#[test]
fn training_images_are_shown_and_kept() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("photos")).unwrap();
    for i in 0..12u8 {
        let photo = image::RgbImage::from_fn(200, 160, |x, y| image::Rgb([20 * i, (x % 256) as u8, (y % 256) as u8]));
        photo.save(root.path().join(format!("photos/{i}.jpg"))).unwrap();
    }
    train(root.path()).args("--data photos --image-size 16 --show-data 9 --out shown").succeed();
    let grid = image::open(root.path().join("shown/training-images.png")).unwrap();
    // Three images of 16 pixels, enlarged four times, and four gaps of two pixels.
    assert_eq!((grid.width(), grid.height()), (3 * 64 + 8, 3 * 64 + 8));
    assert!(!root.path().join("runs").exists() && !root.path().join("shown/config.toml").exists());

    let args = "--preset pictures --data photos --set model.channel_multipliers=[1] --image-size 16 --batch-size 4 \
                --set model.base_channels=8 --set model.norm_groups=4 --set model.attention_heads=1 --steps 4 --set \
                sample.preview_images=0 --out";
    let run = |out: &str, more: &str| {
        let output = train(root.path()).args(args).args(out).args(more).output();
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let first = run("first", "");
    assert!(first.contains("12 of 12 images are kept resized in"), "{first}");
    let second = run("second", "");
    assert!(second.contains("12 of 12 images are read resized from"), "{second}");
    let without = run("without", "--set data.cache=false");
    assert!(!without.contains("resized"), "{without}");
    let last = |run: &str| root.path().join(run).join("checkpoints/step-000004");
    same_checkpoint(&last("first"), &last("second"));
    same_checkpoint(&last("first"), &last("without"));
    // A cache that cannot be written is no error.
    fs::remove_dir_all(root.path().join(".cache")).unwrap();
    fs::write(root.path().join(".cache"), "").unwrap();
    let blocked = run("blocked", "");
    assert!(blocked.contains("images are decoded in every epoch"), "{blocked}");
    same_checkpoint(&last("first"), &last("blocked"));
}

/// `--version` says what the program is, `--help` starts with examples, and the man page is roff.
#[test]
fn the_program_describes_itself() {
    let root = tempfile::tempdir().unwrap();
    let version = train(root.path()).arg("--version").succeed();
    let lines: Vec<&str> = version.lines().collect();
    assert!(lines[0].starts_with("ddpm-train ") && lines[1].starts_with("commit: "), "{version}");
    assert!(lines[2].starts_with("features: hub") && lines[3].starts_with("CPU kernels: "), "{version}");
    assert_eq!(train(root.path()).arg("-V").succeed().lines().count(), 1);
    for help in [train(root.path()).arg("--help").succeed(), sample(root.path()).arg("--help").succeed()] {
        assert_eq!(help.lines().nth(2), Some("Examples:"), "{help}");
        let examples = help.lines().skip(3).take_while(|line| !line.is_empty());
        assert!(examples.filter(|line| line.starts_with("  ddpm-")).count() >= 5, "{help}");
    }
    for page in [train(root.path()).arg("--man-page").succeed(), sample(root.path()).arg("--man-page").succeed()] {
        assert!(page.contains(".TH ddpm-") && page.contains(".SH OPTIONS"), "{page}");
    }
}

/// The last line of a stopped run is the command that continues it; log lines and metrics have times.
#[test]
fn a_stopped_run_says_how_to_continue() {
    let root = tempfile::tempdir().unwrap();
    let args = "--steps 100000 --set train.log_every_steps=2 --set train.sample_every_steps=3 --out";
    let child = train(root.path()).args(SMALL).args(args).arg("my run").without_env("CARGO_MANIFEST_DIR").spawn();
    wait_for(&root.path().join("my run/samples/step-000003.png"));
    signal(&child, 15);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143));
    let log = String::from_utf8(output.stderr).unwrap();
    let last = log.lines().last().unwrap();
    let state = newest_step(&root.path().join("my run"));
    let expected = format!("stopped after step {state} of 100,000 and saved the state; to continue: ");
    assert!(last.contains(&expected) && last.ends_with("ddpm-train --resume 'my run'"), "{last}");
    assert!(log.contains("preview of step 3: my run/samples/step-000003.png"), "{log}");
    let is_time = |line: &str| line.len() > 20 && &line[4..5] == "-" && &line[19..20] == "Z";
    assert!(log.lines().all(is_time), "{log}");
    let metrics = String::from_utf8(bytes(root.path().join("my run/metrics.jsonl"))).unwrap();
    let first: serde_json::Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
    assert!(first["time"].as_f64().unwrap() > 1.7e9 && first["images_per_sec"].as_f64().unwrap() > 0.0, "{first}");
}

/// The step of the newest checkpoint of a run.
fn newest_step(run: &Path) -> u64 {
    let names = fs::read_dir(run.join("checkpoints")).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter_map(|name| name.to_str()?.strip_prefix("step-")?.parse().ok()).max().unwrap()
}

/// A limit of the size of files is reported like a full disk.
#[test]
fn a_file_that_may_not_grow_is_named() {
    let root = tempfile::tempdir().unwrap();
    let args = "--steps 3 --out run --set sample.preview_images=0";
    // In blocks of 512 bytes: less than the weights of a checkpoint.
    let error = train(root.path()).args(SMALL).args(args).after("ulimit -f 64").fail(1);
    assert!(error.contains("File too large") && error.contains("run/checkpoints/"), "{error}");
    train(root.path()).args(SMALL).args(args).succeed();
    assert!(root.path().join("run/checkpoints/step-000003").is_dir());
}

/// Files of a run that are links or pipes are neither written through nor waited for.
#[test]
fn links_and_pipes_in_a_run_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    let args = "--out run --set sample.preview_images=0";
    train(root.path()).args(SMALL).args(args).args("--steps 2").succeed();
    fs::write(at("precious"), "text").unwrap();
    for name in ["run/.lock", "run/metrics.jsonl"] {
        let kept = fs::read(at(name)).unwrap();
        fs::remove_file(at(name)).unwrap();
        std::os::unix::fs::symlink(at("precious"), at(name)).unwrap();
        let error = train(root.path()).args(args).args("--steps 3").fail(1);
        assert!(error.contains("expected a regular file, found a link to another file"), "{error}");
        fs::remove_file(at(name)).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(at(name)).status().unwrap().success());
        let error = train(root.path()).args(args).args("--steps 3").fail(1);
        assert!(error.contains("expected a regular file, found a pipe"), "{error}");
        fs::remove_file(at(name)).unwrap();
        fs::write(at(name), kept).unwrap();
    }
    assert_eq!(fs::read(at("precious")).unwrap(), b"text");
    // A copy with hard links is not changed by the run.
    fs::hard_link(at("run/metrics.jsonl"), at("copy.jsonl")).unwrap();
    let before = fs::read(at("copy.jsonl")).unwrap();
    train(root.path()).args(args).args("--steps 3").succeed();
    assert_eq!(fs::read(at("copy.jsonl")).unwrap(), before);
    assert!(fs::read(at("run/metrics.jsonl")).unwrap().len() > before.len());
}

/// An image that becomes a pipe or a device during training is replaced, like one that cannot be decoded.
#[test]
fn an_image_that_becomes_a_pipe_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("images")).unwrap();
    let at = |i: u8| root.path().join(format!("images/{i}.png"));
    (0..8).for_each(|i| image::GrayImage::from_pixel(8, 8, image::Luma([30 * i])).save(at(i)).unwrap());
    let args = "--data images --set data.max_bad_share=0.5 --out run --steps 100000 --set train.sample_every_steps=0";
    let child = train(root.path()).args("--preset digits").args(SMALL).args(args).spawn();
    wait_for(&root.path().join("run/metrics.jsonl"));
    let new = root.path().join("new");
    assert!(std::process::Command::new("mkfifo").arg(&new).status().unwrap().success());
    fs::rename(&new, at(3)).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &new).unwrap();
    fs::rename(&new, at(5)).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    signal(&child, 15);
    let output = child.wait_with_output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(143), "{log}");
    for name in ["images/3.png", "images/5.png"] {
        let expected = format!("{name}: expected a file, found a folder, a pipe or a device; it is replaced");
        assert!(log.contains(&expected), "{log}");
    }
}

#[test]
fn held_out_images_are_not_trained_on_and_the_best_checkpoint_is_sampled() {
    let root = tempfile::tempdir().unwrap();
    let validated = "--steps 6 --out run --set train.checkpoint_every_steps=2 --set train.validate_every_steps=2 \
                     --set train.ema_decay=0";
    let output = train(root.path()).args(SMALL).args(validated).output();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("1,797 images from digits") && text.contains("97 of them are held out"), "{text}");
    assert!(text.contains("loss of the averaged weights"), "{text}");
    // The share is recorded, and cannot change.
    let config = fs::read_to_string(root.path().join("run/config.toml")).unwrap();
    assert!(config.contains("holdout_share = 0.05"), "{config}");
    let error = train(root.path()).args("--resume run --steps 8 --set data.holdout_share=0.1").fail(2);
    assert!(error.contains("data.holdout_share (was 0.05, is 0.1)"), "{error}");

    let step = |args: &str| {
        let sampled = sample(root.path()).args("run -n 1 --steps 2 --grid-only --overwrite --out s").args(args);
        let output = sampled.output();
        assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
        let text = fs::read_to_string(root.path().join("s/samples.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["step"].as_u64().unwrap()
    };
    let metrics = fs::read_to_string(root.path().join("run/metrics.jsonl")).unwrap();
    let losses = metrics.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        Some((line["step"].as_u64()?, line["validation"]["held_out"]["total"].as_f64()?))
    });
    let losses: Vec<(u64, f64)> = losses.collect();
    assert_eq!(losses.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [2, 4, 6]);
    let best = losses.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0;
    assert_eq!([step("--checkpoint best"), step("--checkpoint last"), step("--checkpoint 4")], [best, 6, 4]);
    let error = sample(root.path()).args("run --checkpoint 3").fail(2);
    assert!(error.contains("--checkpoint 3: expected a checkpoint of the run run, which has 4, 6, best"), "{error}");
    assert!(sample(root.path()).args("run --checkpoint first").fail(2).contains("expected last, best or the number"));

    // Another set can be held out, and none at all.
    fs::write(root.path().join("config.toml"), "[data]\nholdout = \"digits\"\n").unwrap();
    let output = train(root.path()).args(SMALL).args("--steps 2 --out other --config config.toml").output();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("1,797 images from digits are held out"), "{text}");
    assert!(text.contains("data.holdout has the images of data.path"), "{text}");
    let output = train(root.path()).args(SMALL).args("--steps 2 --out all --set data.holdout_share=0").output();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("held out"));
    assert!(train(root.path()).args("--set data.holdout_share=1").fail(2).contains("data.holdout_share"));
    // Held-out images without classes say nothing about a network with classes.
    sample(root.path()).args("other -n 10 --steps 2 --out unlabeled").succeed();
    fs::write(root.path().join("config.toml"), "[data]\nholdout = \"unlabeled/images\"\n").unwrap();
    let error = train(root.path()).args(SMALL).args("--steps 2 --out never --config config.toml").fail(2);
    assert!(error.contains("data.holdout: expected images with classes"), "{error}");
    assert!(!root.path().join("never").exists());
    train(root.path()).args(SMALL).args("--steps 2 --out u --config config.toml --set data.labels=none").succeed();
    // The path is absolute, so that the run can be evaluated from anywhere.
    let config = fs::read_to_string(root.path().join("u/config.toml")).unwrap();
    let absolute = root.path().join("unlabeled/images");
    assert!(config.contains(&format!("holdout = {:?}", absolute.to_str().unwrap())), "{config}");
}
