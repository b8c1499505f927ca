//! Output files: their contents are the images that were written.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;

use candle_core::{Device, Tensor};
use ddpm_data::{
    Image, ImageFormat, LossCurves, grid, save_evolution_gif, save_gif, save_grid, save_loss_curve, strip,
};

/// `images` flat images of 8 × 8 pixels. Image i has the value i / images.
fn flat(images: usize, channels: usize) -> Tensor {
    let values = Tensor::arange(0f32, images as f32, &Device::Cpu).unwrap().affine(1.0 / images as f64, 0.0).unwrap();
    values.reshape((images, 1, 1, 1)).unwrap().broadcast_as((images, channels, 8, 8)).unwrap().contiguous().unwrap()
}

#[test]
fn a_grid_enlarges_small_images_and_keeps_their_values() {
    let image = grid(&flat(3, 1), 2).unwrap();
    // Tiles of 64 pixels, gaps of 2, two columns and two rows.
    assert_eq!((image.width, image.height), (134, 134));
    assert_eq!(image.pixel(0, 0), [128]);
    // (0 + 1) · 127.5 is rounded half up to 128; 1/3 gives 170; 2/3 gives 213.
    assert_eq!([image.pixel(2, 2), image.pixel(131, 65), image.pixel(65, 131)], [[128], [170], [213]]);
    assert_eq!(image.pixel(131, 131), [128], "the empty place is gray");
}

#[test]
fn grids_of_every_shape_can_be_saved_and_others_are_errors() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("g.png");
    for channels in [1, 3, 4] {
        save_grid(&path, &flat(5, channels)).unwrap();
        assert_eq!(image::open(&path).unwrap().width(), 200);
        let strip = strip(&[flat(2, channels), flat(2, channels)]).unwrap();
        assert_eq!((strip.width, strip.height), (134, 134));
    }
    assert!(save_grid(&path, &flat(2, 2)).is_err());
    assert!(save_grid(&path, &Tensor::zeros((0, 1, 8, 8), candle_core::DType::F32, &Device::Cpu).unwrap()).is_err());
    assert!(strip(&[]).is_err());
    assert!(save_grid(&root.path().join("g.png/h.png"), &flat(1, 1)).unwrap_err().to_string().contains("h.png"));
}

#[test]
fn every_format_is_read_back_and_png_holds_texts() {
    let root = tempfile::tempdir().unwrap();
    for channels in [1, 3, 4] {
        let samples = (0..64 * channels).map(|i| (i * 3 % 256) as u8).collect();
        let image = Image { width: 8, height: 8, channels, samples };
        for (name, most) in [("png", 0), ("webp", 0), ("jpeg:100", 24)] {
            let format: ImageFormat = name.parse().unwrap();
            let path = root.path().join("image").with_extension(format.extension());
            if !format.supports(channels) {
                assert!(format.save(&path, &image, &[]).is_err());
                continue;
            }
            format.save(&path, &image, &[("Software", "a test"), ("ddpm", "{\"seed\": \"é\"}")]).unwrap();
            let found = image::open(&path).unwrap();
            let found = if channels == 1 {
                found.into_luma8().into_raw()
            } else if channels == 3 {
                found.into_rgb8().into_raw()
            } else {
                found.into_rgba8().into_raw()
            };
            let apart = found.iter().zip(&image.samples).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(found.len() == image.samples.len() && apart <= most, "{name}, {channels} channels: {apart}");
        }
    }
    let file = std::io::BufReader::new(fs::File::open(root.path().join("image.png")).unwrap());
    let reader = png::Decoder::new(file).read_info().unwrap();
    let texts: Vec<_> =
        reader.info().utf8_text.iter().map(|chunk| (chunk.keyword.clone(), chunk.get_text().unwrap())).collect();
    let expected = [("Software", "a test"), ("ddpm", "{\"seed\": \"é\"}")];
    assert_eq!(texts, expected.map(|(keyword, text)| (keyword.to_owned(), text.to_owned())));
}

fn frames(path: &std::path::Path) -> Vec<image::RgbaImage> {
    use image::AnimationDecoder;
    let file = std::io::BufReader::new(fs::File::open(path).unwrap());
    let decoder = image::codecs::gif::GifDecoder::new(file).unwrap();
    decoder.into_frames().map(|frame| frame.unwrap().into_buffer()).collect()
}

#[test]
fn a_gray_animation_keeps_every_value() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.gif");
    let ramp = Image { width: 16, height: 16, channels: 1, samples: (0..=255).collect() };
    save_gif(&path, &[Image::zeros(16, 16, 1), ramp], 100).unwrap();
    let frames = frames(&path);
    assert_eq!(frames.len(), 2);
    assert!(frames[1].pixels().enumerate().all(|(i, p)| p.0 == [i as u8, i as u8, i as u8, 255]));
    assert!(save_gif(&path, &[], 100).is_err());
}

#[test]
fn a_colored_animation_keeps_its_colors() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.gif");
    let red = Image { width: 2, height: 1, channels: 3, samples: vec![200, 10, 20, 10, 20, 200] };
    save_gif(&path, &[red], 100).unwrap();
    let frame = &frames(&path)[0];
    // The palette is computed from the frame; two colors fit it except for rounding.
    let near = |a: &image::Rgba<u8>, b: [u8; 3]| a.0.iter().zip(b).all(|(a, b)| a.abs_diff(b) < 8);
    assert!(near(frame.get_pixel(0, 0), [200, 10, 20]) && near(frame.get_pixel(1, 0), [10, 20, 200]), "{frame:?}");
}

#[test]
fn the_evolution_is_in_the_order_of_steps_and_ignores_other_files() {
    let root = tempfile::tempdir().unwrap();
    save_evolution_gif(root.path()).unwrap();
    assert!(!root.path().join("samples.gif").exists(), "nothing to show yet");
    for (step, value) in [(1000, 0.5), (20, -0.5)] {
        let images = Tensor::full(value as f32, (1, 1, 64, 64), &Device::Cpu).unwrap();
        save_grid(&root.path().join(format!("step-{step}.png")), &images).unwrap();
    }
    fs::write(root.path().join("step-x.png"), "no").unwrap();
    save_evolution_gif(root.path()).unwrap();
    let frames = frames(&root.path().join("samples.gif"));
    let middle: Vec<u8> = frames.iter().map(|frame| frame.get_pixel(30, 30).0[0]).collect();
    assert_eq!(middle, [64, 191]);
}

#[test]
fn any_losses_make_a_curve() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("loss.svg");
    let cases: [&[(u64, f64)]; 6] = [
        &[],
        &[(1, 0.5)],
        &[(1, 0.5), (2, 0.5)],
        &[(1, f64::NAN), (2, f64::INFINITY), (3, 0.0), (4, -1.0), (5, 0.1)],
        &[(1, 1e30), (2, 1e-30)],
        &[(100, 0.2), (200, 0.1), (300, 0.15)],
    ];
    for losses in cases {
        let training = losses.to_vec();
        let with_validation =
            LossCurves { averaged_held_out: training.clone(), averaged_training: training.clone(), training: vec![] };
        for curves in [LossCurves { training, ..LossCurves::default() }, with_validation] {
            save_loss_curve(&path, &curves).unwrap();
            let svg = fs::read_to_string(&path).unwrap();
            assert!(svg.starts_with("<svg") && svg.contains("step") && !svg.contains("NaN"), "{losses:?}");
            assert_eq!(
                svg.contains("held-out"),
                curves.averaged_held_out.iter().any(|(_, loss)| *loss > 0.0 && loss.is_finite())
            );
        }
    }
}
