//! `ddpm-sample evaluate`: what it writes, that it continues, and what it refuses.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;

use ddpm_testkit::efficientnet_lite0_weights;
use ddpm_tests::{evaluate, sample, train};
use serde_json::Value;

const SMALL: &str = "--preset digits --set model.base_channels=8 --set model.attention_heads=1 --set \
                     model.attention_head_channels=8 --set sample.preview_images=0 --set diffusion.timesteps=20";

fn evaluation(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_run_is_evaluated_and_a_stopped_evaluation_continues() {
    let root = tempfile::tempdir().unwrap();
    train(root.path()).args(SMALL).args("--batch-size 16 --steps 20 --out run").succeed();
    let of_run = |args: &str| evaluate(root.path()).args("run --steps 5 --batch-size 8").args(args).succeed();
    let table = of_run("-n 24 --test-images 10 --out a");
    assert!(table.contains("bits/dim") && table.contains("copies of training images"), "{table}");
    let whole = evaluation(&root.path().join("a/evaluation.json"));
    let bound = &whole["results"]["bits_per_dim"];
    let [total, prior, transitions, decoder] =
        ["total", "prior", "transitions", "decoder"].map(|term| bound[term].as_f64().unwrap());
    assert!((total - prior - transitions - decoder).abs() < 1e-9 && bound["standard_error"].as_f64().unwrap() > 0.0);
    assert_eq!(bound["images"], 10);
    let protocol = &whole["protocol"];
    assert_eq!([&protocol["samples"], &protocol["training"]["images"], &protocol["test"]["images"]], [24, 1700, 97]);
    assert!(whole["results"]["validation"]["last"]["step"] == 20, "{whole}");
    assert!(root.path().join("a/closest-training-images.png").is_file());

    // The samples are those of the sampling program.
    sample(root.path()).args("run --steps 5 --batch-size 8 -n 24 --out b").succeed();
    let image = |folder: &str, index: usize| fs::read(root.path().join(format!("{folder}/images/{index:06}.png")));
    let pixels = |folder: &str, index: usize| image::load_from_memory(&image(folder, index).unwrap()).unwrap();
    assert!((0..24).all(|index| pixels("a", index) == pixels("b", index)));
    // An evaluation that was stopped samples what is missing, and gives the same results.
    for index in 13..24 {
        fs::remove_file(root.path().join(format!("b/images/{index:06}.png"))).unwrap();
    }
    of_run("-n 24 --test-images 10 --out b");
    assert!((0..24).all(|index| pixels("a", index) == pixels("b", index)));
    let continued = evaluation(&root.path().join("b/evaluation.json"));
    assert_eq!([&whole["results"], &whole["protocol"]], [&continued["results"], &continued["protocol"]]);
    let compared = evaluate(root.path()).args("--compare a/evaluation.json b/evaluation.json").succeed();
    assert!(compared.contains("a/evaluation.json") && compared.contains("bits/dim"), "{compared}");

    of_run("-n 16 --metrics memorization --out b");
    let error = evaluate(root.path()).args("--compare a/evaluation.json b/evaluation.json").fail(2);
    assert!(error.contains("samples: 24 and 16") && error.contains("bound_images: 10 and null"), "{error}");
}

#[test]
fn copies_of_training_images_are_reported() {
    let root = tempfile::tempdir().unwrap();
    train(root.path()).args(SMALL).args("--batch-size 16 --steps 2 --out run").succeed();
    let memorization = || {
        evaluate(root.path()).args("run -n 40 --steps 2 --metrics memorization --out s").succeed();
        evaluation(&root.path().join("s/evaluation.json"))["results"]["memorization"].clone()
    };
    let untrained = memorization();
    assert_eq!(untrained["copies"], false, "{untrained}");
    assert!(untrained["test"]["z_score"].as_f64().unwrap() > 3.0, "noise is far from the data: {untrained}");
    // Training images in the place of the samples: what a model that has memorized them would generate.
    sample(root.path()).args("run -n 1 --steps 2 --out x").succeed();
    fs::create_dir(root.path().join("originals")).unwrap();
    train(root.path()).args("--preset digits --show-data 40 --batch-size 40 --out originals").succeed();
    let grid = image::open(root.path().join("originals/training-images.png")).unwrap().to_luma8();
    for index in 0..40_u32 {
        // Seven columns of 8 × 8 images, enlarged to 64 pixels, with gaps of 2.
        let (x, y) = (2 + index % 7 * 66, 2 + index / 7 * 66);
        let tile = image::GrayImage::from_fn(8, 8, |i, j| *grid.get_pixel(x + 8 * i + 4, y + 8 * j + 4));
        tile.save(root.path().join(format!("s/images/{index:06}.png"))).unwrap();
    }
    let copied = memorization();
    assert_eq!(copied["copies"], true, "{copied}");
    assert_eq!(copied["samples"]["nearest"][3], 0.0, "{copied}");
    assert_eq!(copied["samples"]["copy_share"], 1.0, "{copied}");
}

/// With weights of a formula the figures mean nothing, but they depend on the images as those of real weights do.
#[test]
fn features_are_compared_with_their_protocol() {
    let root = tempfile::tempdir().unwrap();
    let weights = root.path().join("weights.safetensors");
    ddpm_checkpoint::write_tensors(&weights, &efficientnet_lite0_weights()).unwrap();
    train(root.path()).args(SMALL).args("--batch-size 16 --steps 2 --out run").succeed();
    let of = |args: &str| {
        evaluate(root.path()).args(args).args("--features weights.safetensors --resamples 3").succeed();
        evaluation(&root.path().join("s/evaluation.json"))
    };
    sample(root.path()).args("run -n 60 --seed 1 --steps 2 --out reference").succeed();
    let all = "--metrics fd,kid,inception-score,precision-recall --save-reference r.npz";
    let run = of(&format!("run -n 40 --steps 2 --data reference/images --out s {all}"));
    let results = &run["results"];
    assert_eq!(results["frechet"]["name"], "FD-EfficientNet-Lite0");
    for (metric, value) in [("frechet", "distance"), ("kid", "mean"), ("inception_score", "mean")] {
        assert!(!results[metric][value].is_null(), "{metric}: {results}");
    }
    let features = &run["protocol"]["features"];
    assert_eq!(features["network"], "efficientnet-lite0");
    assert_eq!(features["weights_sha256"].as_str().unwrap().len(), 64);
    assert_eq!(features["preprocessing"]["size"], 224);
    assert_eq!(features["reference"], "reference/images (--data)");

    // A folder is compared with the same images through their statistics, and with itself.
    let folder = of("--samples s/images --reference r.npz --metrics fd --out s");
    let distance = |evaluation: &Value| evaluation["results"]["frechet"]["distance"]["distance"].as_f64().unwrap();
    assert!((distance(&folder) / distance(&run) - 1.0).abs() < 1e-6, "{folder} {run}");
    let itself = of("--samples s/images --data s/images --metrics fd,precision-recall --out s");
    assert!(distance(&itself).abs() < 1e-6 * distance(&run), "{itself}");
    assert_eq!(itself["results"]["precision_recall"]["precision"]["estimate"], 1.0);

    // Copies are looked for by pixels and by features.
    train(root.path()).args(SMALL).args("--data reference/images --batch-size 16 --steps 2 --out few").succeed();
    evaluate(root.path())
        .args("few -n 20 --steps 2 --out t --metrics memorization --features weights.safetensors")
        .succeed();
    let results = &evaluation(&root.path().join("t/evaluation.json"))["results"];
    let found = [&results["memorization"]["features"], &results["feature_memorization"]["features"]];
    assert_eq!(found, ["pixels", "efficientnet-lite0"]);
    assert!(root.path().join("t/closest-training-features.png").is_file());

    let error = |args: &str| evaluate(root.path()).args("run -n 10 --steps 2 --out s").args(args).fail(2);
    let model = "run/checkpoints/step-000002/model.safetensors";
    assert!(error(&format!("--features {model}")).contains("found those of another network"));
    assert!(
        error("--features weights.safetensors --preprocessing clean-fid").contains("expected --features inception")
    );
    assert!(error("--features vgg").contains("expected inception, efficientnet-lite0, dinov2 or a file of weights"));
    fs::write(root.path().join("bad.npz"), "PK").unwrap();
    assert!(error("--features weights.safetensors --metrics fd --reference bad.npz").contains("bad.npz"));
    let cut = fs::read(&weights).unwrap();
    fs::write(root.path().join("cut.pth"), &cut[..cut.len() / 2]).unwrap();
    assert!(error("--features cut.pth").contains("cut.pth"));
}

#[test]
fn what_cannot_be_evaluated_is_explained() {
    let root = tempfile::tempdir().unwrap();
    train(root.path()).args(SMALL).args("--batch-size 16 --steps 2 --out run --set data.holdout_share=0").succeed();
    fs::copy(root.path().join("run/checkpoints/step-000002/model.safetensors"), root.path().join("m.safetensors"))
        .unwrap();
    fs::write(root.path().join("bad.json"), "{}").unwrap();
    fs::create_dir(root.path().join("empty")).unwrap();
    for (args, expected) in [
        ("run --metrics bits-per-dim", "--metrics bits-per-dim: expected images that the model was not trained on"),
        ("m.safetensors", "expected images to compare with: --data PATH names them"),
        ("m.safetensors --data digits --metrics memorization", "which only a run knows"),
        ("run --metrics fid", "invalid value 'fid'"),
        ("run --metrics kid", "--metrics kid: expected a feature network"),
        ("run --grid-only", "--grid-only has no meaning for an evaluation"),
        ("run --data absent", "--data: absent"),
        ("--samples empty", "--samples: expected a feature network"),
        ("run --test-images 0", "--test-images"),
        ("run -n 0", "-n: expected at least 1"),
        ("run --resamples 1000000000000", "--resamples"),
        ("run --metrics memorization --save-reference r.npz", "--save-reference: expected a feature network"),
        ("--compare bad.json absent.json", "--compare bad.json: no evaluation"),
        ("--compare absent.json bad.json", "--compare absent.json: "),
    ] {
        let error = evaluate(root.path()).args(args).fail(2);
        assert!(error.contains(expected), "{args}: {error}");
    }
    assert!(!root.path().join("samples").exists());
}
