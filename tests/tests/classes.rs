//! Class-conditional models: training on folders of classes, sampling classes, guidance, pipelines, and what is
//! refused.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;

use candle_core::Device;
use ddpm_tests::{same_checkpoint, sample, train};

/// Options for a small network that trains in milliseconds.
const SMALL: &str = "--preset digits --set model.base_channels=8 --set model.attention_heads=1 --set \
                     model.attention_head_channels=8 --batch-size 8 --set sample.preview_images=4";

/// Trains `runs/NAME` for two steps on the embedded digits.
fn trained(root: &Path, name: &str, more: &str) {
    trained_for(2, root, name, more);
}

/// Trains `runs/NAME` on the embedded digits.
fn trained_for(steps: u64, root: &Path, name: &str, more: &str) {
    train(root)
        .args(SMALL)
        .arg("--steps")
        .arg(steps.to_string())
        .args("--set sample.preview_steps=3 --out")
        .arg(format!("runs/{name}"))
        .args(more)
        .succeed();
}

/// The samples of a command, [image, …] flattened to one row per image.
fn samples(root: &Path, args: &str) -> Vec<Vec<f32>> {
    sample(root).args(args).args("--steps 3 -q --grid-only --overwrite --out s --save-tensors s.st").succeed();
    let tensors = candle_core::safetensors::load(root.join("s.st"), &Device::Cpu).unwrap();
    tensors["samples"].flatten_from(1).unwrap().to_vec2().unwrap()
}

/// Images of batches of other sizes differ by rounding.
const SAME: f32 = 1e-3;
/// Other images differ at least by this.
const OTHER: f32 = 0.1;

fn difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn an_image_depends_on_the_seed_its_index_and_its_class() {
    let root = tempfile::tempdir().unwrap();
    trained(root.path(), "a", "");
    let of = |args: &str| samples(root.path(), &format!("runs/a {args}"));
    let all = of("-n 20");
    // Image 3 is of class 3 among all classes, of class 7 among two, and the same wherever it is computed.
    assert!(difference(&of("-n 1 --first 3 --class 3"), &all[3..4]) < SAME);
    let two = of("-n 4 --class 5,7");
    assert!(difference(&two[3..], &all[3..4]) > OTHER);
    assert!(difference(&of("-n 1 --first 3 --class 7"), &two[3..]) < SAME);
    assert!(difference(&of("-n 1 --first 13 --class all"), &all[13..14]) < SAME);
    assert!(difference(&of("-n 1 --first 3 --class 3 --seed 1"), &all[3..4]) > OTHER);
    // Guidance changes the image; scale 1 does not.
    assert_eq!(of("-n 20 --guidance 1"), all);
    let guided = of("-n 20 --guidance 2");
    assert!(difference(&guided, &all) > OTHER);
    // No step of this schedule has such a noise level.
    assert_eq!(of("-n 20 --guidance 2 --guidance-interval 1e6..1e7"), all);
    assert!(difference(&of("-n 20 --guidance 2 --guidance-rescale 1"), &guided) > OTHER);
    // A model that guides itself has no effect.
    assert!(difference(&of("-n 20 --guidance 2 --guide runs/a"), &all) < SAME);
    trained(root.path(), "b", "--seed 1");
    assert!(difference(&of("-n 20 --guidance 2 --guide runs/b"), &all) > OTHER);
}

#[test]
fn trained_weights_can_be_sampled_without_their_average() {
    let root = tempfile::tempdir().unwrap();
    trained(root.path(), "a", "--set train.ema_warmup=false");
    trained(root.path(), "same", "--set train.ema_decay=0");
    let averaged = samples(root.path(), "runs/a -n 10");
    let trained_weights = samples(root.path(), "runs/a -n 10 --ema 0");
    assert!(difference(&trained_weights, &averaged) > 0.01);
    // Without an average, both are the same; the training does not depend on it.
    assert_eq!(samples(root.path(), "runs/same -n 10 --ema 0"), samples(root.path(), "runs/same -n 10"));
    assert_eq!(samples(root.path(), "runs/same -n 10"), trained_weights);
    let model = root.path().join("runs/a/checkpoints/step-000002/model.safetensors");
    fs::copy(model, root.path().join("alone.safetensors")).unwrap();
    let error = sample(root.path()).args("alone.safetensors --ema 0").fail(2);
    assert!(error.contains("--ema 0: expected a run or a checkpoint"), "{error}");
}

#[test]
fn any_average_of_a_run_can_be_sampled() {
    let root = tempfile::tempdir().unwrap();
    let decay = "--set train.ema_warmup=false --ema-decay";
    trained_for(12, root.path(), "both", &format!("{decay} 0.9,0.5 --set train.power_ema_every_steps=3"));
    trained_for(12, root.path(), "short", &format!("{decay} 0.5"));
    let both = |ema: &str| samples(root.path(), &format!("runs/both -n 10 {ema}"));
    // The first decay is the default; another one gives the images of the run that has it alone.
    assert_eq!(both("--ema 0.9"), both(""));
    assert_eq!(both("--ema 0.5"), samples(root.path(), "runs/short -n 10"));
    assert!(difference(&both("--ema 0.5"), &both("")) > 0.01);
    // Of the power-function averages, the stored lengths are reproduced, and one between them lies between them.
    let [shorter, between, longer] = ["0.05", "0.07", "0.1"].map(|sigma| both(&format!("--ema power:{sigma}")));
    let distance = difference(&shorter, &longer);
    assert!(distance > 1e-3, "{distance}");
    assert!(difference(&shorter, &between) < distance && difference(&between, &longer) < distance);
    // An earlier checkpoint is averaged up to its own step.
    let output = sample(root.path()).args("runs/both -n 1 --steps 2 --ema power:0.08 --out p").output();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("post-hoc EMA of length 0.08 of 12 steps from 8 stored averages"), "{text}");
    let description = fs::read_to_string(root.path().join("p/samples.json")).unwrap();
    assert!(description.contains(r#""ema": "power:0.08""#), "{description}");

    let fail = |args: &str| sample(root.path()).args(args).fail(2);
    let error = fail("runs/both --ema 0.99");
    assert!(error.contains("expected a decay of the averages of runs/both") && error.contains("0.9, 0.5"), "{error}");
    assert!(fail("runs/short --ema power:0.1").contains("runs/short/averages, found none"));
    for value in ["power:0.3", "power:0", "1", "-0.5", "nan", "long"] {
        assert!(fail(&format!("runs/both --ema={value}")).contains("expected 0, a decay below 1, or power:SIGMA"));
    }
}

#[test]
fn young_averages_are_shown_beside_the_trained_weights() {
    let root = tempfile::tempdir().unwrap();
    trained(root.path(), "a", "");
    let size = |name: &str| image::image_dimensions(root.path().join("runs/a/samples").join(name)).unwrap();
    let (one, both) = (size("step-000002.png"), size("step-000002-trained-and-average.png"));
    assert!(both.0 > 2 * one.0 && both.1 > one.1, "{one:?} {both:?}");
}

#[test]
fn the_grid_has_a_row_for_each_class_and_files_name_it() {
    let root = tempfile::tempdir().unwrap();
    trained(root.path(), "a", "");
    sample(root.path()).args("runs/a --class 3,7 -n 5 --steps 2 --out s").succeed();
    let grid = image::image_dimensions(root.path().join("s/grid.png")).unwrap();
    // Two rows of 64 pixels with gaps of 2; the first has three images and a label before them.
    assert!(grid.1 == 2 * 66 + 2 && grid.0 > 3 * 66 + 2, "{grid:?}");
    let text = fs::read_to_string(root.path().join("s/samples.json")).unwrap();
    let description: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(description["classes"], serde_json::json!(["3", "7"]));
    let png = fs::read(root.path().join("s/images/000003.png")).unwrap();
    assert!(png.windows(11).any(|window| window == b"\"class\":\"7\""));
    // Previews show every class.
    let preview = image::image_dimensions(root.path().join("runs/a/samples/step-000002.png")).unwrap();
    assert_eq!(preview.1, 10 * 66 + 2);
    // Eight images of each class unless there is -n.
    sample(root.path()).args("runs/a --class 1 --class 2 --steps 1 --out t").succeed();
    assert_eq!(fs::read_dir(root.path().join("t/images")).unwrap().count(), 16);
}

#[test]
fn a_run_with_classes_resumes_bit_for_bit() {
    let root = tempfile::tempdir().unwrap();
    let small = "--set data.class_balance=uniform --set model.dropout=0.1 --set train.class_dropout=0.5 \
                 --set train.learning_rate_schedule=constant --steps";
    let run = |out: &str, steps: &str| {
        train(root.path()).args(SMALL).args(small).arg(steps).arg("--out").arg(out).succeed();
    };
    run("whole", "6");
    run("parts", "3");
    train(root.path()).args("--resume parts --steps 6").succeed();
    let last = |run: &str| root.path().join(run).join("checkpoints/step-000006");
    same_checkpoint(&last("whole"), &last("parts"));
}

fn write_images(folder: &Path, classes: &[(&str, usize)]) {
    for (class, images) in classes {
        fs::create_dir_all(folder.join(class)).unwrap();
        for i in 0..*images {
            let color = [20 * i as u8, 3 * class.len() as u8, 9];
            image::RgbImage::from_pixel(8, 8, image::Rgb(color))
                .save(folder.join(class).join(format!("{i}.png")))
                .unwrap();
        }
    }
}

const TINY: &str = "--preset pictures --image-size 8 --batch-size 4 --set model.channel_multipliers=[1] --set \
                    model.base_channels=8 --set model.attention_heads=1 --steps 2 --set sample.preview_images=0";

#[test]
fn the_classes_of_a_run_cannot_change() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("photos");
    write_images(&folder, &[("cat", 4), ("dog", 3)]);
    let stderr = train(root.path()).args(TINY).args("--data photos --out run").output().stderr;
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(stderr.contains("2 classes: cat (4), dog (3)"), "{stderr}");
    let config = fs::read_to_string(root.path().join("run/config.toml")).unwrap();
    assert!(config.contains("num_class_embeds = 3") && config.contains("labels = \"auto\""), "{config}");
    // More images of the same classes, with the option; other classes never.
    write_images(&folder, &[("dog", 5)]);
    let error = train(root.path()).args("--resume run --steps 3").fail(2);
    assert!(error.contains("--accept-new-data"), "{error}");
    train(root.path()).args("--resume run --steps 3 --accept-new-data").succeed();
    write_images(&folder, &[("bird", 2)]);
    let error = train(root.path()).args("--resume run --steps 4 --accept-new-data").fail(2);
    assert!(error.contains("expected at least 4") || error.contains("expected those of the checkpoint"), "{error}");
    let error = train(root.path()).args("--resume run --steps 4 --set data.labels=none").fail(2);
    assert!(
        error.contains("expected images with classes, found none in photos") || error.contains("none in "),
        "{error}"
    );
    // A folder of a class that is empty.
    fs::remove_dir_all(folder.join("bird")).unwrap();
    fs::create_dir(folder.join("bird")).unwrap();
    let error = train(root.path()).args(TINY).args("--data photos --out other").fail(1);
    assert!(error.contains("class bird has no images"), "{error}");
    assert!(!root.path().join("other").exists());
}

#[test]
fn a_run_of_a_version_without_classes_continues_without_them() {
    let root = tempfile::tempdir().unwrap();
    let args = "--set data.labels=none --steps 2 --out run";
    train(root.path()).args(SMALL).args(args).succeed();
    let path = root.path().join("run/config.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace("labels = \"none\"\n", "").replace("class_balance = \"none\"\n", "")).unwrap();
    train(root.path()).args("--resume run --steps 3").succeed();
    assert!(fs::read_to_string(&path).unwrap().contains("labels = \"none\""));
}

#[test]
fn options_without_an_effect_are_refused() {
    let root = tempfile::tempdir().unwrap();
    trained(root.path(), "a", "");
    trained(root.path(), "plain", "--set data.labels=none");
    trained(root.path(), "certain", "--set train.class_dropout=0");
    let refused = |args: &str, expected: &str| {
        let error = sample(root.path()).args(args).args("--out s").fail(2);
        assert!(error.contains(expected), "{args}: {error}");
    };
    refused("runs/a --class bird", "expected all, or classes of the model, 0, 1, 2");
    refused("runs/plain --class 1", "--class: expected a class-conditional model");
    refused("runs/plain --guidance 2", "expected a model that also predicts without a class");
    refused("runs/certain --guidance 2", "expected a model that also predicts without a class");
    refused("runs/a --guidance -1", "--guidance: expected a finite number from 0, found -1");
    refused("runs/a --guidance-interval 0..1", "--guidance-interval: expected a guidance scale other than 1");
    refused("runs/a --guidance 2 --guidance-interval 3..1", "expected a highest noise level above the lowest");
    refused("runs/a --guidance 2 --guidance-interval 3", "expected LOW..HIGH");
    refused("runs/a --guidance 2 --guidance-rescale 2", "--guidance-rescale: expected a share in [0, 1], found 2");
    refused("runs/a --guide runs/a", "--guide: expected a guidance scale other than 1");
    refused("runs/a --guidance 2 --guide nowhere", "--guide");
    refused("runs/plain --guidance 2 --guide runs/a", "expected the classes of the model, none, found 0, 1, 2");
    // A guide without classes, and a guided model without classes.
    sample(root.path()).args("runs/a --guidance 2 --guide runs/plain -n 2 --steps 2 --out t").succeed();
    sample(root.path()).args("runs/plain --guidance 2 --guide runs/plain -n 2 --steps 2 --out u").succeed();
}

#[test]
fn a_class_conditional_pipeline_round_trips() {
    let root = tempfile::tempdir().unwrap();
    let unet = "--preset ddpm-cifar10 --image-size 8 --set model.in_channels=1 --set model.out_channels=1 --set \
                model.block_out_channels=[8,8] --set model.down_block_types=[\"DownBlock2D\",\"DownBlock2D\"] --set \
                model.up_block_types=[\"UpBlock2D\",\"UpBlock2D\"] --set model.norm_num_groups=4 --data digits \
                --batch-size 8 --steps 2 --set sample.preview_images=0 --out runs/u";
    train(root.path()).args(unet).succeed();
    let pipeline = root.path().join("runs/u/pipeline");
    let config = fs::read_to_string(pipeline.join("unet/config.json")).unwrap();
    assert!(config.contains("\"num_class_embeds\": 11"), "{config}");
    let classes = fs::read_to_string(pipeline.join("classes.json")).unwrap();
    assert!(classes.contains("\"name\": \"7\""), "{classes}");
    let card = fs::read_to_string(pipeline.join("README.md")).unwrap();
    assert!(card.contains("label 10 stands for no class") && card.contains("class_labels=labels"), "{card}");
    let args = "-n 4 --class 4,9 --guidance 2 --variance fixed-small";
    let own = samples(root.path(), &format!("runs/u {args}"));
    assert_eq!(samples(root.path(), &format!("runs/u/pipeline {args}")), own);
    // Without names, classes are numbers and cannot be guided.
    fs::remove_file(pipeline.join("classes.json")).unwrap();
    let unguided = samples(root.path(), "runs/u -n 4 --class 4,9 --variance fixed-small");
    assert_eq!(samples(root.path(), "runs/u/pipeline -n 4 --class 4,9"), unguided);
    sample(root.path()).args("runs/u/pipeline --guidance 2 --out s2").fail(2);
}
