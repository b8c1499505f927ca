//! Editing of given images with `ddpm-sample`: noise and sampling, variations, inpainting, interpolation.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;

use candle_core::Device;
use ddpm_tests::{sample, train};
use image::{GrayImage, Luma, Rgb, RgbImage};

const SMALL: &str = "--data photos --preset pictures --image-size 8 --batch-size 4 --set model.channel_multipliers=[1] \
                     --set model.base_channels=8 --set model.attention_heads=1 --steps 2 --set sample.preview_images=0 \
                     --set data.fit=stretch --out run";

/// A folder with a model and images of 16 × 8 pixels, a mask of their right half, and the folder's path.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for i in 0..4u8 {
        let photo = RgbImage::from_fn(16, 8, |x, y| Rgb([40 * i, (x * 15) as u8, (y * 30) as u8]));
        fs::create_dir_all(root.path().join("photos")).unwrap();
        photo.save(root.path().join(format!("photos/{i}.png"))).unwrap();
    }
    GrayImage::from_fn(16, 8, |x, _| Luma([if x < 8 { 0 } else { 255 }])).save(root.path().join("mask.png")).unwrap();
    train(root.path()).args(SMALL).succeed();
    root
}

/// The samples of a command, one row [channel · height · width] per image.
fn samples(root: &Path, args: &str) -> Vec<Vec<f32>> {
    let common = "-q --overwrite --out s --save-tensors s.st";
    sample(root).arg("run").args(args).args(common).succeed();
    let tensors = candle_core::safetensors::load(root.join("s.st"), &Device::Cpu).unwrap();
    tensors["samples"].flatten_from(1).unwrap().to_vec2().unwrap()
}

/// The value that sample `p` of 8 bits has for the network.
fn value(p: u32) -> f32 {
    p as f32 / 127.5 - 1.0
}

#[test]
fn strength_0_returns_the_prepared_images() {
    let root = root();
    let images = samples(root.path(), "--from photos --strength 0 --steps 4");
    assert_eq!(images.len(), 4);
    for (i, image) in images.iter().enumerate() {
        // Both sides are stretched to 8 pixels, as in training: the red channel is constant.
        assert!(image[..64].iter().all(|red| (red - value(40 * i as u32)).abs() < 1e-6), "{image:?}");
    }
    // The grid has a row for each image, with the input and the result.
    let grid = image::image_dimensions(root.path().join("s/grid.png")).unwrap();
    assert_eq!(grid, (2 * 66 + 2, 4 * 66 + 2));
    let edited = samples(root.path(), "--from photos --strength 0.5 --steps 4");
    assert_ne!(edited, images);
    assert_eq!(
        samples(root.path(), "--from photos --strength 0.5 --steps 4 -n 2 --first 2 --batch-size 4"),
        edited[2..]
    );
    assert_ne!(samples(root.path(), "--from photos --strength 0.5 --steps 4 --seed 1"), edited);
    // One image, as often as asked for.
    assert_eq!(samples(root.path(), "--from photos/1.png -n 3 --steps 4").len(), 3);
    let variations = samples(root.path(), "--variations-of photos/1.png --steps 4");
    assert_eq!(variations.len(), 8);
    assert_ne!(variations[0], variations[1]);
    let text = fs::read_to_string(root.path().join("s/samples.json")).unwrap();
    let description: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(description["edit"]["edit"], "variations-of");
    assert_eq!(description["edit"]["inputs"][0], "photos/1.png");
}

#[test]
fn pixels_outside_of_the_mask_are_kept_exactly() {
    let root = root();
    let known = samples(root.path(), "--from photos --strength 0 --steps 4");
    for sampler in ["ddpm", "ddim", "dpm-solver", "heun"] {
        let args =
            format!("--inpaint photos --mask mask.png --sampler {sampler} --steps 4 --resamplings 2 --jump-length 1");
        let painted = samples(root.path(), &args);
        assert_eq!(painted.len(), 4);
        for (painted, known) in painted.iter().zip(&known) {
            let is_known = |i: &usize| i % 8 < 4;
            assert!((0..192).filter(is_known).all(|i| painted[i] == known[i]), "{sampler}");
            assert!((0..192).filter(|i| !is_known(i)).any(|i| painted[i] != known[i]), "{sampler}");
        }
    }
    let grid = image::image_dimensions(root.path().join("s/grid.png")).unwrap();
    assert_eq!(grid, (3 * 66 + 2, 4 * 66 + 2));
}

#[test]
fn an_interpolation_of_given_images_begins_and_ends_with_them() {
    let root = root();
    // Predictions of an untrained network vary too much between two steps.
    train(root.path()).args("--resume run --steps 200").succeed();
    let known = samples(root.path(), "--from photos --strength 0 --steps 4");
    let between = samples(root.path(), "--interpolate 5 --between photos/0.png photos/3.png --steps 50");
    let mean_error = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>() / a.len() as f32;
    let (first, last) = (mean_error(&between[0], &known[0]), mean_error(&between[4], &known[3]));
    assert!(first < 0.01 && last < 0.01, "{first} {last}");
    assert!(mean_error(&between[2], &known[0]) > 0.05);
    assert!(root.path().join("s/interpolation.png").is_file());
}

#[test]
fn wrong_inputs_are_refused_with_one_line() {
    let root = root();
    let path = |name: &str| root.path().join(name);
    GrayImage::new(16, 8).save(path("black.png")).unwrap();
    GrayImage::from_pixel(16, 8, Luma([255])).save(path("white.png")).unwrap();
    GrayImage::from_pixel(8, 8, Luma([255])).save(path("small.png")).unwrap();
    fs::write(path("text.png"), "no image").unwrap();
    fs::create_dir(path("two")).unwrap();
    for i in 0..2 {
        fs::copy(path("mask.png"), path(&format!("two/{i}.png"))).unwrap();
    }
    let refused = |args: &str, expected: &str| {
        let error = sample(root.path()).arg("run").args(args).args("--steps 2 --out s").fail(2);
        assert!(error.contains(expected), "{args}: {error}");
        assert!(!path("s").exists(), "{args}");
    };
    refused("--from nowhere", "--from: expected images at nowhere, found nothing there");
    refused("--from text.png", "--from: text.png: no images found");
    refused("--from photos --strength 1.5", "--strength: expected a share in [0, 1], found 1.5");
    refused("--from photos --strength -1", "--strength: expected a share in [0, 1], found -1");
    refused("--from photos --strength nan", "--strength: expected a share in [0, 1], found NaN");
    refused("--strength 0.5", "expected --from or --variations-of with it");
    refused("--variations-of photos", "--variations-of: expected one image, found 4");
    refused("--inpaint photos", "--mask");
    refused("--inpaint photos --mask black.png", "expected white parts, which are painted, found none");
    refused("--inpaint photos --mask white.png", "expected black parts, which are kept, found none");
    refused("--inpaint photos --mask small.png", "expected 16×8, the size of photos/0.png, found 8×8");
    refused("--inpaint photos --mask two", "expected one mask, or one for each of 4 images, found 2");
    refused("--from photos --inpaint photos --mask mask.png", "cannot be used with");
    refused("--between photos/0.png photos/1.png", "--interpolate");
    refused("--interpolate 3 --between photos/0.png photos", "expected one image, found 4");
    refused("--interpolate 3 --between photos/0.png photos/1.png --sampler heun", "only ddim without noise");
}
