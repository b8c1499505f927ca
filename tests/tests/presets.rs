//! The presets of `ddpm-train` are those that the documentation describes.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;

use ddpm_tests::train;
use ddpm_unet::NetworkConfig;
use toml::{Table, Value};

/// A preset and its resolved configuration.
struct Preset {
    name: &'static str,
    parameters: usize,
    /// The key, as `TABLE.KEY`.
    values: &'static [(&'static str, &'static str)],
}

const PRESETS: [Preset; 7] = [
    Preset {
        name: "digits",
        parameters: 698_209,
        values: &[
            ("model.image_size", "8"),
            ("data.path", "\"digits\""),
            ("diffusion.beta_schedule", "\"cosine\""),
            ("train.steps", "3000"),
            ("train.batch_size", "64"),
            ("sample.variance", "\"fixed-small\""),
        ],
    },
    Preset {
        name: "pictures",
        parameters: 2_383_363,
        values: &[
            ("model.channels", "3"),
            ("model.image_size", "32"),
            ("data.fit", "\"crop\""),
            ("train.steps", "8000"),
            ("train.batch_size", "32"),
        ],
    },
    Preset {
        name: "mnist",
        parameters: 2_380_161,
        values: &[
            ("model.image_size", "32"),
            ("data.fit", "\"pad\""),
            ("train.steps", "20000"),
            ("train.batch_size", "64"),
            ("sample.variance", "\"fixed-small\""),
        ],
    },
    Preset {
        name: "cifar10",
        parameters: 34_295_811,
        values: &[
            ("model.channels", "3"),
            ("model.image_size", "32"),
            ("data.horizontal_flip", "true"),
            ("train.steps", "800000"),
            ("train.learning_rate", "0.0002"),
            ("train.ema_decay", "0.9999"),
            ("sample.variance", "\"fixed-large\""),
        ],
    },
    Preset {
        name: "article",
        parameters: 132_864_579,
        values: &[
            ("model.channels", "3"),
            ("model.image_size", "64"),
            ("model.channel_multipliers", "[1, 2, 4, 8, 16]"),
            ("train.epochs", "10"),
            ("train.learning_rate", "2e-5"),
            ("sample.clip", "\"none\""),
        ],
    },
    Preset {
        name: "ddpm-cifar10",
        parameters: 35_746_307,
        values: &[
            ("model.sample_size", "32"),
            ("model.dropout", "0.1"),
            ("data.horizontal_flip", "true"),
            ("train.steps", "800000"),
            ("train.batch_size", "128"),
            ("train.learning_rate", "0.0002"),
            ("train.warmup_steps", "5000"),
            ("train.ema_decay", "0.9999"),
            ("sample.variance", "\"fixed-large\""),
        ],
    },
    Preset {
        name: "ddpm-256",
        parameters: 113_673_219,
        values: &[
            ("model.sample_size", "256"),
            ("train.batch_size", "64"),
            ("train.learning_rate", "2e-5"),
            ("sample.variance", "\"fixed-small\""),
        ],
    },
];

/// The values that all presets share.
const ALL: [(&str, &str); 2] = [("diffusion.timesteps", "1000"), ("train.gradient_clip_norm", "1.0")];

/// The values that all presets except `digits` share: the noise schedule of Ho et al. 2020.
const LINEAR: [(&str, &str); 3] =
    [("diffusion.beta_schedule", "\"linear\""), ("diffusion.beta_start", "0.0001"), ("diffusion.beta_end", "0.02")];

/// The value of a TOML text. A square image size may be written as one number or as two.
fn value(text: &str) -> Value {
    format!("v = {text}").parse::<Table>().unwrap()["v"].clone()
}

fn sides(value: &Value) -> Vec<i64> {
    match value {
        Value::Array(sides) => sides.iter().map(|side| side.as_integer().unwrap()).collect(),
        side => vec![side.as_integer().unwrap(); 2],
    }
}

#[test]
fn every_preset_is_as_documented() {
    let root = tempfile::tempdir().unwrap();
    for Preset { name, parameters, values } in PRESETS {
        // A dry run does not open the images; `digits` has its own.
        let data = if name == "digits" { "" } else { "--data x" };
        let text = train(root.path()).args("--dry-run --preset").arg(name).args(data).succeed();
        let document: Table = text.parse().unwrap();
        let linear = if name == "digits" { &[][..] } else { &LINEAR };
        for (key, expected) in ALL.iter().chain(linear).chain(values) {
            let (table, key) = key.split_once('.').unwrap();
            let (found, expected) = (&document[table][key], value(expected));
            let same = if key.ends_with("_size") && found.is_array() {
                sides(found) == sides(&expected)
            } else {
                *found == expected
            };
            assert!(same, "{name}, {table}.{key}: expected {expected}, found {found}");
        }
        let network: NetworkConfig = document["model"].clone().try_into().unwrap();
        assert_eq!(network.parameter_count().unwrap(), parameters, "{name}");
        // The number in the comment of the preset.
        let digits = parameters.to_string();
        let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).unwrap()).collect();
        let path = format!("{}/../assets/presets/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        let comment = std::fs::read_to_string(path).unwrap();
        assert!(comment.contains(&format!("{} parameters", groups.join(","))), "{name}");
    }
}

/// Keys that no preset has, because they have no default value.
const OPTIONAL: [&str; 19] = [
    "attention_head_dim",
    "attn_norm_num_groups",
    "background",
    "betas",
    "class_embed_type",
    "column",
    "epochs",
    "guidance_interval",
    "guidance_rescale",
    "guidance_scale",
    "holdout",
    "holdout_share",
    "label_column",
    "num_class_embeds",
    "num_train_timesteps",
    "split",
    "subset",
    "time_embedding_dim",
    "validate_every_steps",
];

#[test]
fn exactly_the_existing_keys_are_documented() {
    let page = std::fs::read_to_string(format!("{}/../docs/configuration.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    // The names in the first column of every row.
    let written: BTreeSet<&str> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| line.split('|').nth(1).unwrap().split('`').skip(1).step_by(2))
        .collect();
    let root = tempfile::tempdir().unwrap();
    let mut known: BTreeSet<String> = OPTIONAL.into_iter().map(str::to_string).collect();
    for Preset { name, .. } in PRESETS {
        let text = train(root.path()).args("--dry-run --data x --preset").arg(name).succeed();
        let document: Table = text.parse().unwrap();
        known.extend(document.values().flat_map(|table| table.as_table().unwrap().keys().cloned()));
    }
    assert_eq!(written, known.iter().map(String::as_str).collect());
}
