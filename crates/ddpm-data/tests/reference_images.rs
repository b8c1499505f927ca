//! JPEG files and resized images compared with Pillow and PyTorch: see tests/golden/generate_images.py.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use ddpm_data::{Conversion, DataConfig, DecodeRequest, Fit, Image, ImageSource, PixelBudget, ResizeFilter, open};

fn golden() -> HashMap<String, Tensor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/images.safetensors");
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

fn image(tensor: &Tensor) -> Image {
    let (height, width, channels) = tensor.dims3().unwrap();
    Image { width, height, channels, samples: tensor.flatten_all().unwrap().to_vec1().unwrap() }
}

fn source(path: &Path) -> std::sync::Arc<dyn ImageSource> {
    let path = serde_json::to_value(path).unwrap();
    open(&serde_json::from_value::<DataConfig>(serde_json::json!({ "path": path })).unwrap()).unwrap()
}

/// The largest difference of two images of the same size.
fn difference(a: &Image, b: &Image) -> u8 {
    assert_eq!((a.width, a.height, a.channels), (b.width, b.height, b.channels));
    a.samples.iter().zip(&b.samples).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn jpeg_files_have_the_pixels_of_pillow() {
    let (golden, root) = (golden(), tempfile::tempdir().unwrap());
    let path = root.path().join("image.jpg");
    for name in ["color", "no_subsampling", "gray", "progressive"] {
        let file: Vec<u8> = golden[&format!("{name}.file")].to_vec1().unwrap();
        fs::write(&path, &file).unwrap();
        assert_eq!(source(&path).decode(0).unwrap(), image(&golden[&format!("{name}.1")]), "{name}");
        let budget = PixelBudget::new(10_000);
        for divisor in [1, 2, 4, 8] {
            let expected = image(&golden[&format!("{name}.{divisor}")]);
            let mut request = DecodeRequest::at_least(70 / divisor, &budget);
            let decoded = source(&path).decode_as(0, &mut request).unwrap();
            assert_eq!(decoded, expected, "{name} at 1/{divisor}");
        }
    }
}

/// A file that was cut and given an end marker is refused, at every size, and so is a small image in a large frame.
#[test]
fn incomplete_jpeg_files_are_refused() {
    let (golden, root) = (golden(), tempfile::tempdir().unwrap());
    let path = root.path().join("image.jpg");
    let budget = PixelBudget::new(100_000_000);
    for name in ["color", "no_subsampling", "gray"] {
        let file: Vec<u8> = golden[&format!("{name}.file")].to_vec1().unwrap();
        // At 1/8, the last two rows of blocks are half of this image.
        for (tenth, side) in [(3, 70), (4, 70), (5, 70), (6, 70), (3, 8), (4, 8)] {
            let cut = [&file[..file.len() * tenth / 10], &[0xff, 0xd9]].concat();
            fs::write(&path, cut).unwrap();
            let mut request = DecodeRequest::at_least(side, &budget);
            let error = source(&path).decode_as(0, &mut request).unwrap_err().to_string();
            assert!(error.contains("truncated JPEG"), "{name}, {tenth} tenths, side {side}: {error}");
        }
        let frame = file.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        let mut framed = file.clone();
        framed[frame + 5..frame + 9].copy_from_slice(&[9000u16.to_be_bytes(), 9000u16.to_be_bytes()].concat());
        fs::write(&path, framed).unwrap();
        let error = source(&path).decode_as(0, &mut DecodeRequest::at_least(64, &budget)).unwrap_err().to_string();
        assert!(error.contains("truncated JPEG"), "{name}: {error}");
    }
}

#[test]
fn an_image_beyond_the_budget_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("large.png");
    image::GrayImage::new(400, 300).save(&path).unwrap();
    let budget = PixelBudget::new(119_999);
    let error = source(&path).decode_as(0, &mut DecodeRequest::at_least(8, &budget)).unwrap_err().to_string();
    assert!(error.contains("expected at most data.max_image_pixels = 119999 pixels, found 120000"), "{error}");
    assert!(source(&path).decode_as(0, &mut DecodeRequest::at_least(8, &PixelBudget::new(120_000))).is_ok());
}

/// Antialiased bicubic and bilinear interpolation are those of PyTorch up to rounding. Pillow rounds after each of its
/// two passes to eight bits and treats borders in another way.
#[test]
fn resized_images_are_those_of_pytorch() {
    let golden = golden();
    let original = image(&golden["image"]);
    let worst = |reference: &str, filter: ResizeFilter, size: &str| {
        let expected = image(&golden[&format!("{reference}.{filter}.{size}")]);
        let (width, height) = (expected.width, expected.height);
        let conversion = Conversion { channels: 3, height, width, fit: Fit::Stretch, filter, background: None };
        difference(&conversion.apply(&original, (0.5, 0.5)), &expected)
    };
    for size in ["smaller", "larger"] {
        for filter in [ResizeFilter::Bicubic, ResizeFilter::Bilinear] {
            let (torch, pillow) = (worst("torch", filter, size), worst("pillow", filter, size));
            println!("{filter}, {size}: PyTorch {torch}, Pillow {pillow}");
            assert!(torch <= 1, "{filter}, {size}: {torch}");
        }
        for filter in [ResizeFilter::Lanczos, ResizeFilter::Nearest] {
            println!("{filter}, {size}: Pillow {}", worst("pillow", filter, size));
        }
    }
}
