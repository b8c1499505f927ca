//! `--data candle:NAME` with a server of this process in the place of the Hugging Face Hub.
//!
//! ```text
//! cargo test -p ddpm-tests --features candle-datasets --test candle_datasets
//! ```

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![cfg(feature = "candle-datasets")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ddpm_data::{Image, save_png};
use ddpm_testkit::FakeHub;
use ddpm_tests::{Program, train};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::Value;

/// A Parquet file with the columns of the Hub's conversions: a struct of encoded bytes and a path, and a label.
fn parquet(images: u8) -> Vec<u8> {
    let root = tempfile::tempdir().unwrap();
    let encoded = |shade: u8| {
        let file = root.path().join("a.png");
        save_png(&file, &Image { width: 28, height: 28, channels: 1, samples: vec![shade; 784] }).unwrap();
        ByteArray::from(fs::read(file).unwrap())
    };
    let encoded: Vec<ByteArray> = (0..images).map(encoded).collect();
    let schema = "message schema { required group image { required binary bytes; required binary path (STRING); } \
                  required int64 label; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(WriterProperties::default())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for values in [encoded.clone(), vec![ByteArray::from("a.png"); encoded.len()]] {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
        column.close().unwrap();
    }
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&vec![0; encoded.len()], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

fn program(hub: &str, root: &Path, args: &str) -> Program {
    let program = train(root)
        .env("HF_ENDPOINT", hub)
        .env("HF_HOME", root.join("hf"))
        .env("NO_PROXY", "127.0.0.1")
        .args("--preset digits --batch-size 2 --set sample.preview_images=0 --set model.base_channels=8")
        .args(args);
    ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HF_HUB_OFFLINE"]
        .iter()
        .fold(program, |program, name| program.without_env(name))
}

fn log(program: Program) -> String {
    let output = program.output();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{log}");
    log
}

#[test]
fn the_named_datasets_are_downloaded_and_a_run_keeps_their_commit() {
    let root = tempfile::tempdir().unwrap();
    let (hub, root) = (FakeHub::start(), root.path());
    for (name, repository, folder) in [
        ("mnist", "ylecun/mnist", "mnist"),
        ("fashion-mnist", "zalando-datasets/fashion_mnist", "fashion_mnist"),
        ("cifar10", "uoft-cs/cifar10", "plain_text"),
    ] {
        let (train_file, test_file) = (format!("{folder}/train/0000.parquet"), format!("{folder}/test/0000.parquet"));
        let (train_images, test_images) = (parquet(6), parquet(3));
        let files: [(&str, &[u8]); 2] = [(&train_file, &train_images), (&test_file, &test_images)];
        let repository = format!("datasets/{repository}");
        hub.add(&repository, &files, Value::Null);
        let pinned = format!("candle:{name}@{}", hub.commit(&repository));
        let run = |args: &str| program(&hub.url(), root, &format!("--data candle:{name} {args}"));
        let first = log(run(&format!("--out {name} --steps 1")));
        assert!(first.contains(&format!("6 images from {pinned}")), "{first}");
        let test = log(run(&format!("--out {name}-test --steps 1 --set data.split=test")));
        assert!(test.contains(&format!("3 images from {pinned}")), "{test}");
        let offline = log(run(&format!("--out {name}-offline --steps 1")).env("HF_HUB_OFFLINE", "1"));
        assert!(offline.contains(&format!("6 images from {pinned}")), "{offline}");
        // The branch moves on; the continued run reads the images that it started with.
        hub.add(&repository, &[(&train_file, &parquet(4))], Value::Null);
        let second = log(run(&format!("--out {name} --steps 2")).env("HF_HUB_OFFLINE", "1"));
        assert!(second.contains(&pinned), "{second}");
    }
}

#[test]
fn wrong_names_and_splits_are_usage_errors() {
    let root = tempfile::tempdir().unwrap();
    let (hub, root) = (FakeHub::start(), root.path());
    let error = program(&hub.url(), root, "--data candle:imagenet").fail(2);
    assert!(error.contains("expected candle:mnist, candle:fashion-mnist or candle:cifar10"), "{error}");
    let error = program(&hub.url(), root, "--data candle:mnist --set data.split=validation").fail(2);
    assert!(error.contains("data.split: expected train or test"), "{error}");
    let error = program(&hub.url(), root, "--data candle:mnist@../../x").fail(2);
    assert!(error.contains("data.path: candle:mnist@../../x"), "{error}");
    assert!(hub.requests().is_empty());
}

#[test]
fn a_corrupt_file_is_an_error_and_not_a_hang() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let whole = parquet(6);
    let mut no_pages = whole.clone();
    // The column chunks become noise; the footer, which is at the end, stays.
    no_pages[4..whole.len() / 2].iter_mut().for_each(|byte| *byte ^= 0xa5);
    for (corrupt, expected) in [(whole[..whole.len() - 9].to_vec(), "0000.parquet"), (no_pages, "0000.parquet")] {
        let hub = FakeHub::start();
        hub.add("datasets/ylecun/mnist", &[("mnist/train/0000.parquet", &corrupt)], Value::Null);
        let error = program(&hub.url(), root, "--data candle:mnist --out corrupt --steps 1").fail(1);
        assert!(error.contains("the training data") && error.contains(expected), "{error}");
    }
}

#[test]
fn a_file_other_than_the_listed_one_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let (hub, root) = (FakeHub::start(), root.path());
    hub.add("datasets/ylecun/mnist", &[("mnist/train/0000.parquet", &parquet(6))], Value::Null);
    hub.inject(Some(ddpm_testkit::Fault::WrongBytes(u32::MAX)));
    let error = program(&hub.url(), root, "--data candle:mnist --out refused --steps 1").fail(1);
    assert!(error.contains("is damaged: expected "), "{error}");
}
