//! Training on a Hub dataset from end to end: a Parquet file with the layout of CIFAR-10. The loss falls, and the run
//! resumes.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ddpm_data::{Image, save_png};
use ddpm_tests::{sample, train};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// The metadata that the Hub adds to CIFAR-10.
const FEATURES: &str = r#"{"info": {"features": {
    "img": {"_type": "Image"},
    "label": {"names": ["airplane", "automobile"], "_type": "ClassLabel"}
}}}"#;

/// Writes 32 × 32 images of two colors each, as PNG in the column `img` beside a label.
fn write_parquet(path: &Path, images: usize) {
    let root = tempfile::tempdir().unwrap();
    let encoded = (0..images).map(|i| {
        let pixel = |p: usize| if p / 32 < 4 + i { [200, 40, (i * 10) as u8] } else { [30, 90, 220] };
        let samples = (0..32 * 32).flat_map(pixel).collect();
        let file = root.path().join("a.png");
        save_png(&file, &Image { width: 32, height: 32, channels: 3, samples }).unwrap();
        fs::read(file).unwrap()
    });
    let encoded: Vec<ByteArray> = encoded.map(|bytes: Vec<u8>| bytes.into()).collect();
    let labels: Vec<i64> = (0..images as i64).map(|i| i % 2).collect();
    let schema = "message schema {
        optional group img { optional binary bytes; optional binary path (STRING); }
        optional int64 label;
    }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let metadata = vec![KeyValue::new("huggingface".to_string(), FEATURES.to_string())];
    let properties = Arc::new(WriterProperties::builder().set_key_value_metadata(Some(metadata)).build());
    let mut writer = SerializedFileWriter::new(fs::File::create(path).unwrap(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    // Definition levels: 2 is a present field of a present struct, 1 an absent field.
    for (values, level) in [(&encoded[..], 2), (&[], 1)] {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(values, Some(&vec![level; images]), None).unwrap();
        column.close().unwrap();
    }
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&labels, Some(&vec![1; images]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

/// The losses of a run, step by step.
fn losses(run: &Path) -> Vec<f64> {
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let loss = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64().unwrap();
    metrics.lines().map(loss).collect()
}

#[test]
fn training_on_parquet_resumes_bit_for_bit() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("data")).unwrap();
    write_parquet(&root.path().join("data/train-00000-of-00001.parquet"), 20);
    let run = |args: &str| {
        train(root.path())
            .args("--preset cifar10 --data data --batch-size 8")
            .args("--set model.base_channels=8 --set model.channel_multipliers=[1,2]")
            .args("--set model.attention_heads=1 --set model.attention_head_channels=8")
            .args("--set train.learning_rate=3e-3 --set train.warmup_steps=0 --set train.log_every_steps=1")
            .args("--set train.sample_every_steps=0 --set sample.preview_images=0")
            .args(args)
            .succeed();
    };
    run("--out whole --steps 60");
    let losses = losses(&root.path().join("whole"));
    assert_eq!(losses.len(), 60);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    // The loss starts at the variance of the noise. It stays there if the network learns nothing.
    let (first, last) = (mean(&losses[..3]), mean(&losses[50..]));
    assert!(first > 0.7 && last < 0.6 * first, "{losses:?}");

    run("--out parts --steps 25");
    run("--out parts --steps 60");
    for name in ["model.safetensors", "training.safetensors", "state.json"] {
        let file = |run: &str| fs::read(root.path().join(run).join("checkpoints/step-000060").join(name)).unwrap();
        assert!(file("whole") == file("parts"), "{name}");
    }
    sample(root.path()).args("parts -n 2 --steps 3 --out images").succeed();
    assert!(root.path().join("images/images/000001.png").is_file());
}
