//! A Hub dataset from end to end: a Parquet file laid out as CIFAR-10's trains, its loss falls, its run resumes.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field, Fields, Schema};
use ddpm_data::{Picture, save_png};
use ddpm_tests::{sample, train};
use parquet::arrow::ArrowWriter;

/// The features that the Hub writes beside CIFAR-10.
const FEATURES: &str = r#"{"info": {"features": {"img": {"_type": "Image"}, "label": {"names": ["airplane", "automobile"], "_type": "ClassLabel"}}}}"#;

/// Writes pictures of 32 × 32, each of two colours, as PNG in the column `img` beside a label.
fn write_parquet(path: &Path, images: usize) {
    let root = tempfile::tempdir().unwrap();
    let encoded = (0..images).map(|i| {
        let pixel = |p: usize| if p / 32 < 4 + i { [200, 40, (i * 10) as u8] } else { [30, 90, 220] };
        let samples = (0..32 * 32).flat_map(pixel).collect();
        let file = root.path().join("a.png");
        save_png(&file, &Picture { width: 32, height: 32, channels: 3, samples }).unwrap();
        fs::read(file).unwrap()
    });
    let bytes = BinaryArray::from_iter_values(encoded);
    let paths = StringArray::from(vec![None::<&str>; images]);
    let fields =
        Fields::from(vec![Field::new("bytes", DataType::Binary, true), Field::new("path", DataType::Utf8, true)]);
    let pictures: ArrayRef = Arc::new(StructArray::new(fields.clone(), vec![Arc::new(bytes), Arc::new(paths)], None));
    let labels: ArrayRef = Arc::new(Int64Array::from_iter_values((0..images as i64).map(|i| i % 10)));
    let columns = vec![Field::new("img", DataType::Struct(fields), true), Field::new("label", DataType::Int64, true)];
    let metadata = [("huggingface".to_string(), FEATURES.to_string())];
    let schema = Arc::new(Schema::new_with_metadata(columns, metadata));
    let batch = RecordBatch::try_new(schema.clone(), vec![pictures, labels]).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// The losses of a run, step by step.
fn losses(run: &Path) -> Vec<f64> {
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let loss = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64().unwrap();
    metrics.lines().map(loss).collect()
}

#[test]
fn a_parquet_set_trains_and_resumes_to_the_bits_of_one_that_never_stopped() {
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
    // It begins at the variance of the noise; a network that learns nothing stays there.
    let (first, last) = (mean(&losses[..3]), mean(&losses[50..]));
    assert!(first > 0.7 && last < 0.6 * first, "{losses:?}");

    run("--out parts --steps 25");
    run("--out parts --steps 60");
    for name in ["model.safetensors", "training.safetensors", "state.json"] {
        let file = |run: &str| fs::read(root.path().join(run).join("checkpoints/step-000060").join(name)).unwrap();
        assert!(file("whole") == file("parts"), "{name}");
    }
    sample(root.path()).args("parts -n 2 --steps 3 --out pictures").succeed();
    assert!(root.path().join("pictures/000001.png").is_file());
}
