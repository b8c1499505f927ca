//! The programs with a fake Hub in this process: they sample and fine-tune models, train on datasets and upload
//! pipelines.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, safetensors};
use ddpm_data::{Image, save_png};
use ddpm_testkit::{FakeHub, Fault, TOKEN, assert_close};
use ddpm_tests::{Program, sample, train};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};

const MODEL: &str = "models/someone/tiny";
const DATASET: &str = "datasets/someone/images";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/pipeline")
}

/// The golden pipeline as a repository. With `flat`, all files are at the top level, as in the first pipelines of
/// diffusers.
fn pipeline(flat: bool) -> Vec<(String, Vec<u8>)> {
    let names = [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "scheduler/scheduler_config.json",
    ];
    let place = |name: &str| if flat { name.rsplit('/').next().unwrap().to_owned() } else { name.to_owned() };
    names.iter().map(|name| (place(name), fs::read(golden().join(name)).unwrap())).collect()
}

fn add(hub: &FakeHub, repository: &str, files: &[(String, Vec<u8>)], card: Value) {
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    hub.add(repository, &files, card);
}

/// Uses this Hub and a cache of its own, without a token.
fn at(program: Program, hub: &str, root: &Path) -> Program {
    let program = program.env("HF_ENDPOINT", hub).env("HF_HOME", root.join("hf")).env("NO_PROXY", "127.0.0.1");
    ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HF_HUB_OFFLINE"]
        .iter()
        .fold(program, |program, name| program.without_env(name))
}

/// Samples a model from the golden latents and compares the result with that of diffusers.
fn compare(root: &Path, program: Program) {
    let theirs = safetensors::load(golden().join("sampled.safetensors"), &Device::Cpu).unwrap();
    let latents = root.join("latents.safetensors");
    safetensors::save(&HashMap::from([("latents", theirs["latents"].clone())]), &latents).unwrap();
    let args = "--sampler ddim --steps 10 --grid-only --save-tensors s.safetensors --latents latents.safetensors";
    program.args(args).succeed();
    let ours = safetensors::load(root.join("s.safetensors"), &Device::Cpu).unwrap().remove("samples").unwrap();
    assert_close("from the Hub", &ours, &theirs["samples"], 1e-4);
    fs::remove_file(root.join("s.safetensors")).unwrap();
}

#[test]
fn a_model_of_the_hub_is_sampled_with_and_without_a_network() {
    let root = tempfile::tempdir().unwrap();
    let (hub, root) = (FakeHub::start(), root.path());
    add(&hub, MODEL, &pipeline(false), Value::Null);
    let url = hub.url();
    let run = || at(sample(root), &url, root).arg("someone/tiny");
    hub.inject(Some(Fault::Status(503, 1)));
    compare(root, run());
    let commit = hub.commit(MODEL);
    compare(root, at(sample(root), &url, root).arg(format!("someone/tiny@{commit}")));
    assert!(root.join("hf/hub/models--someone--tiny/refs/main").is_file());
    // The first pipelines of diffusers have their files at the top level.
    add(&hub, "models/someone/flat", &pipeline(true), Value::Null);
    compare(root, at(sample(root), &url, root).arg("hub:someone/flat"));
    compare(root, at(sample(root), &url, root).arg("https://huggingface.co/someone/flat"));
    let error = at(sample(root), &url, root).arg("hub:flat").fail(2);
    assert!(error.contains("MODEL hub:flat: expected OWNER/NAME"), "{error}");
    // An existing path takes precedence.
    fs::create_dir_all(root.join("someone/tiny")).unwrap();
    let error = run().fail(1);
    assert!(error.contains("is no model: an empty directory"), "{error}");
    fs::remove_dir(root.join("someone/tiny")).unwrap();
    // The same model without a network, and in offline mode.
    drop(hub);
    let output = run().args("-n 1 --steps 1 --grid-only").output();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && log.contains("cannot be reached") && log.contains("from the cache"), "{log}");
    compare(root, run().env("HF_HUB_OFFLINE", "1"));
    let error = at(sample(root), &url, root).env("HF_HUB_OFFLINE", "1").arg("someone/other").fail(1);
    assert!(error.contains("HF_HUB_OFFLINE") && error.contains("someone/other"), "{error}");
    let error = at(sample(root), &url, root).arg("someone/other").fail(1);
    assert!(error.contains("no such path, so a model of the Hub") && error.contains("connection refused"), "{error}");
}

#[test]
fn errors_are_one_line_that_names_the_cause() {
    let root = tempfile::tempdir().unwrap();
    let (hub, root) = (FakeHub::start(), root.path());
    add(&hub, MODEL, &pipeline(false), Value::Null);
    let run = |name: &str| at(sample(root), &hub.url(), root).arg(name);
    let error = run("someone/absent").fail(2);
    assert!(error.contains("MODEL someone/absent") && error.contains("no such model (404)"), "{error}");
    hub.inject(Some(Fault::Private));
    // The Hub answers in the same way for names that do not exist, so a mistyped path is the most likely cause.
    let error = run("someone/tiny").fail(2);
    assert!(error.contains("MODEL someone/tiny: no such path, and the Hub shows no such model"), "{error}");
    assert!(error.contains("set HF_TOKEN"), "{error}");
    let error = run("someone/tiny").env("HF_TOKEN", "hf_wrong").fail(2);
    assert!(error.contains("refuses the token") && !error.contains("hf_wrong"), "{error}");
    hub.inject(Some(Fault::WrongBytes(u32::MAX)));
    assert!(run("someone/tiny").fail(1).contains("is damaged: expected "));
    // The token in the file that `hf auth login` writes. The debug log does not contain it.
    hub.inject(Some(Fault::Private));
    fs::create_dir_all(root.join("hf")).unwrap();
    fs::write(root.join("hf/token"), format!("{TOKEN}\n")).unwrap();
    let output = run("someone/tiny").args("-n 1 --steps 1 --grid-only -vv").output();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && log.contains("/api/models/someone/tiny") && !log.contains(TOKEN), "{log}");
    let mut hostile = pipeline(false);
    hostile.push(("../../../../evil".into(), b"evil".to_vec()));
    hub.inject(None);
    add(&hub, MODEL, &hostile, Value::Null);
    assert!(run("someone/tiny").fail(1).contains("no plain file name"));
    assert!(!root.join("evil").exists());
}

/// A Parquet file of images of one color, 8 × 8, in the second of two columns of bytes.
fn parquet(shades: std::ops::Range<u8>) -> Vec<u8> {
    let root = tempfile::tempdir().unwrap();
    let encoded = shades.map(|shade| {
        let file = root.path().join("a.png");
        save_png(&file, &Image { width: 8, height: 8, channels: 3, samples: vec![shade; 192] }).unwrap();
        ByteArray::from(fs::read(file).unwrap())
    });
    let encoded: Vec<ByteArray> = encoded.collect();
    let schema = "message schema { required binary mask; required binary scan; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(WriterProperties::default())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for values in [vec![ByteArray::from("no image"); encoded.len()], encoded] {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

fn card() -> Value {
    json!({
        "configs": [{ "config_name": "default", "data_files": [
            { "split": "train", "path": "data/train-*" }, { "split": "test", "path": "data/test-*" },
        ] }],
        "dataset_info": { "features": [{ "name": "mask", "dtype": "binary" }, { "name": "scan", "dtype": "image" }] },
    })
}

#[test]
fn a_run_on_a_dataset_of_the_hub_resumes_with_the_same_images() {
    let root = tempfile::tempdir().unwrap();
    let (hub, root) = (FakeHub::start(), root.path());
    let shard = |name: &str, shades| (format!("data/{name}.parquet"), parquet(shades));
    let files = [shard("train-0-of-2", 0..6), shard("train-1-of-2", 6..10), shard("test-0-of-1", 0..3)];
    add(&hub, DATASET, &files, card());
    let url = hub.url();
    let run = |args: &str| {
        at(train(root), &url, root)
            .args("--preset digits --batch-size 2 --set sample.preview_images=0 --set model.base_channels=8")
            .args("--data hub:someone/images")
            .args(args)
    };
    let log = |args: &str| {
        let output = run(args).output();
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{log}");
        log
    };
    let pinned = format!("hub:someone/images@{}", hub.commit(DATASET));
    let first = log("--out run --steps 1");
    assert!(first.contains(&format!("10 images from {pinned}")), "{first}");
    assert!(first.contains("split train, as the metadata of default say: 2 files; left out 1"), "{first}");
    assert!(first.contains("downloading 2 files"), "{first}");
    // The branch is recorded as well, for use without a network.
    let offline = run("--out offline --steps 1").env("HF_HUB_OFFLINE", "1").output();
    assert!(String::from_utf8(offline.stderr).unwrap().contains(&format!("10 images from {pinned}")));
    // Files that were added later do not change the run.
    add(&hub, DATASET, &[shard("train-0-of-1", 0..4)], card());
    // The fake Hub keeps no history, so the old commit is only in the cache.
    drop(hub);
    let second = log("--out run --steps 2");
    assert!(second.contains("continues from step 1") && second.contains(&pinned), "{second}");
    at(train(root), &url, root).args("--resume run --steps 3").succeed();
    assert!(root.join("run/checkpoints/step-000003").is_dir());
}

#[test]
fn splits_and_columns_can_be_selected() {
    let root = tempfile::tempdir().unwrap();
    let (hub, root) = (FakeHub::start(), root.path());
    let files = [("data/train-0.parquet".to_owned(), parquet(0..6)), ("data/test-0.parquet".to_owned(), parquet(0..3))];
    add(&hub, DATASET, &files, card());
    let run = |args: &str| {
        at(train(root), &hub.url(), root)
            .args("--preset digits --batch-size 2 --steps 1 --set sample.preview_images=0 --out run")
            .args("--set model.base_channels=8 --data hub:someone/images")
            .args(args)
    };
    let error = run("--set data.split=dev").fail(2);
    assert!(error.contains("data.split") && error.contains("train, test"), "{error}");
    let error = run("--set data.column=photo").fail(1);
    assert!(error.contains("expected a column photo") && error.contains("mask, scan"), "{error}");
    assert!(!root.join("run/config.toml").exists());
    let output = run("--set data.split=test").output();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && log.contains("3 images"), "{log}");
    let error = at(train(root), &hub.url(), root).args("--data hub:nothing").fail(2);
    assert!(error.contains("data.path: hub:nothing: expected OWNER/NAME"), "{error}");
    for typed in ["someone/images", "https://huggingface.co/datasets/someone/images"] {
        let error = at(train(root), &hub.url(), root).arg("--data").arg(typed).fail(2);
        assert!(error.contains("found nothing there; a dataset of the Hub is hub:someone/images"), "{error}");
    }
}

#[test]
fn a_fine_tuned_model_is_uploaded_as_a_pipeline() {
    let root = tempfile::tempdir().unwrap();
    let (hub, root) = (FakeHub::start(), root.path());
    add(&hub, MODEL, &pipeline(false), Value::Null);
    let run = |args: &str| {
        at(train(root), &hub.url(), root)
            .args("--data digits --batch-size 2 --steps 1 --set sample.preview_images=0 --out run --init someone/tiny")
            .args(args)
    };
    let error = run("--push-to-hub someone/mine").fail(2);
    assert!(error.contains("--push-to-hub") && error.contains("set HF_TOKEN"), "{error}");
    let error = run("--push-to-hub mine").env("HF_TOKEN", TOKEN).fail(2);
    assert!(error.contains("--push-to-hub: expected OWNER/NAME"), "{error}");
    hub.inject(Some(Fault::Private));
    let error = run("--push-to-hub someone/mine").env("HF_TOKEN", "hf_wrong").fail(2);
    assert!(error.contains("refuses the token (401)"), "{error}");
    hub.inject(Some(Fault::ReadOnly));
    let error = run("--push-to-hub someone/mine").env("HF_TOKEN", TOKEN).fail(2);
    assert!(error.contains("--push-to-hub: someone/mine: an upload needs another token"), "{error}");
    hub.inject(None);
    let error = at(train(root), &hub.url(), root).args("--push-to-hub someone/mine").env("HF_TOKEN", TOKEN).fail(2);
    assert!(error.contains("unet2d"), "{error}");
    assert!(!root.join("run/config.toml").exists());
    run("--push-to-hub someone/mine").env("HF_TOKEN", TOKEN).succeed();
    let commits = hub.commits();
    let paths = |key: &str| {
        let lines = commits[0].iter().filter(|line| line["key"] == key);
        lines.map(|line| line["value"]["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(paths("file").contains(&"model_index.json".to_owned()), "{commits:?}");
    assert_eq!(paths("lfsFile"), ["unet/diffusion_pytorch_model.safetensors"]);
    let weights = fs::read(root.join("run/pipeline/unet/diffusion_pytorch_model.safetensors")).unwrap();
    assert!(hub.uploads().into_values().any(|uploaded| uploaded == weights));
    // A completed run is uploaded again.
    run("--push-to-hub someone/mine").env("HF_TOKEN", TOKEN).succeed();
    assert_eq!(hub.commits().len(), 2);
    let error = at(train(root), &hub.url(), root).args("--out other --init someone/absent").fail(2);
    assert!(error.contains("--init someone/absent: no such path, and the Hub shows no such model"), "{error}");
}

/// Programs of the default build name the feature that the datasets of candle-datasets need.
#[test]
#[cfg(not(feature = "candle-datasets"))]
fn a_dataset_of_candle_datasets_needs_a_feature() {
    let root = tempfile::tempdir().unwrap();
    let error = train(root.path()).args("--data candle:mnist").fail(2);
    assert!(error.contains("data.path: candle:mnist: this program was built without the feature"), "{error}");
    assert!(error.contains("--features candle-datasets"), "{error}");
}
