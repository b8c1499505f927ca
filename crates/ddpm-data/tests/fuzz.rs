//! Damaged files: every reader ends with images or an error. `DDPM_FUZZ_SECONDS` sets the time for each reader.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::print_stdout, reason = "the number of inputs is the result")]

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use ddpm_data::{DataConfig, DecodeRequest, PixelBudget, open};
use ddpm_testkit::fuzz;
use image::{DynamicImage, ImageFormat, RgbImage};

/// Opens a file and decodes its first images, as the loader does.
fn read(path: &Path) {
    let config: DataConfig = serde_json::from_value(serde_json::json!({ "path": path })).unwrap();
    let Ok(source) = open(&config) else { return };
    let budget = PixelBudget::new(1_000_000);
    for index in 0..source.len().min(4) {
        drop(source.decode_as(index, &mut DecodeRequest::at_least(8, &budget)));
    }
}

fn fuzz_file(reader: &str, name: &str, seeds: &[Vec<u8>]) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join(name);
    let calls = fuzz(reader, seeds, |input| {
        fs::write(&path, input).unwrap();
        read(&path);
    });
    println!("{reader}: {calls} inputs");
}

fn encoded(format: ImageFormat) -> Vec<u8> {
    let pixel = |x: u32, y: u32| image::Rgb([(9 * x) as u8, (7 * y) as u8, (x * y) as u8]);
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(RgbImage::from_fn(20, 17, pixel)).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn fuzz_idx() {
    let mut plain: Vec<u8> = [0x803u32, 4, 8, 8].iter().flat_map(|field| field.to_be_bytes()).collect();
    plain.extend(0..=255);
    fuzz_file("idx", "images", &[gzip(&plain), plain]);
}

#[test]
fn fuzz_cifar() {
    // Of this name, a file of whole records is one; changes of its length are not.
    fuzz_file("cifar", "data_batch_1.bin", &[(0..3 * 3073).map(|i| (i % 251) as u8).collect()]);
}

#[test]
fn fuzz_zip() {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, format) in [("a.png", ImageFormat::Png), ("b.jpg", ImageFormat::Jpeg)] {
        writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(&encoded(format)).unwrap();
    }
    fuzz_file("zip", "images.zip", &[writer.finish().unwrap().into_inner()]);
}

#[test]
fn fuzz_tar() {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, format) in [("a.png", ImageFormat::Png), ("b.jpg", ImageFormat::Jpeg)] {
        let bytes = encoded(format);
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        builder.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    let plain = builder.into_inner().unwrap();
    fuzz_file("tar", "images.tar", &[gzip(&plain), plain]);
}

#[test]
fn fuzz_images() {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    let seeds = [Png, Jpeg, WebP, Gif, Bmp, Tiff].map(encoded);
    fuzz_file("image", "image", &seeds);
}

/// Damaged files beside intact images: labels of IDX files, and tables of classes.
fn fuzz_label_file(reader: &str, name: &str, images: &[(&str, Vec<u8>)], seeds: &[Vec<u8>]) {
    let root = tempfile::tempdir().unwrap();
    for (image, bytes) in images {
        fs::write(root.path().join(image), bytes).unwrap();
    }
    let calls = fuzz(reader, seeds, |input| {
        fs::write(root.path().join(name), input).unwrap();
        read(root.path());
    });
    println!("{reader}: {calls} inputs");
}

#[test]
fn fuzz_idx_labels() {
    let mut images: Vec<u8> = [0x803u32, 4, 2, 2].iter().flat_map(|field| field.to_be_bytes()).collect();
    images.extend(0..16);
    let labels = [&0x801u32.to_be_bytes()[..], &4u32.to_be_bytes(), &[0, 1, 2, 1]].concat();
    let images = [("train-images-idx3-ubyte", images)];
    fuzz_label_file("idx labels", "train-labels-idx1-ubyte", &images, &[gzip(&labels), labels]);
}

#[test]
fn fuzz_label_tables() {
    let images = ["a.png", "b.png"].map(|name| (name, encoded(ImageFormat::Png)));
    let csv = b"file_name,label\na.png,cat\nb.png,\"dog, small\"\n".to_vec();
    fuzz_label_file("metadata.csv", "metadata.csv", &images, &[csv]);
    let jsonl = b"{\"file_name\": \"a.png\", \"label\": \"cat\"}\n{\"file_name\": \"b.png\", \"label\": 3}\n".to_vec();
    fuzz_label_file("metadata.jsonl", "metadata.jsonl", &images, &[jsonl]);
}
