//! Selection of the files of a repository that make up a model.

use std::path::Path;

use serde_json::Value;

use crate::error::{HubError, IoContext, Result};
use crate::listing::some_names;
use crate::plain_path::check_plain_path;
use crate::repo_id::RepoId;

const INDEX: &str = "model_index.json";
const CONFIG: &str = "config.json";
const SCHEDULERS: [&str; 2] = ["scheduler/scheduler_config.json", "scheduler_config.json"];
const OWN: &str = "model.safetensors";
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
const SHARDS: &str = "diffusion_pytorch_model.safetensors.index.json";
const PICKLE: &str = "diffusion_pytorch_model.bin";
const PICKLE_SHARDS: &str = "diffusion_pytorch_model.bin.index.json";

/// The files of a model.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ModelFiles {
    pub(crate) paths: Vec<String>,
    /// The index of sharded weights, which lists further files in its directory.
    pub(crate) shards: Option<String>,
    /// Whether this is a model file of this workspace, as opposed to a directory of diffusers.
    pub(crate) own: bool,
}

/// Selects a diffusers pipeline with its UNet in `unet/` (or at the top level, as in early pipelines), a UNet
/// directory, or a model file of this workspace.
pub(crate) fn model_files(names: &[&str], id: &RepoId) -> Result<ModelFiles> {
    let has = |name: &str| names.contains(&name);
    let pipeline = has(INDEX);
    let directories: &[&str] = if pipeline { &["unet/", ""] } else { &[""] };
    for directory in directories {
        let config = format!("{directory}{CONFIG}");
        let weights =
            [WEIGHTS, SHARDS, PICKLE, PICKLE_SHARDS].into_iter().find(|name| has(&format!("{directory}{name}")));
        let weights = weights.or_else(|| only_variant(names, directory));
        let (true, Some(weights)) = (has(&config), weights) else { continue };
        let weights_path = format!("{directory}{weights}");
        let mut paths = vec![config, weights_path.clone()];
        paths.extend(pipeline.then(|| INDEX.to_owned()));
        paths.extend(SCHEDULERS.into_iter().find(|name| has(name)).map(str::to_owned));
        return Ok(ModelFiles {
            paths,
            shards: [SHARDS, PICKLE_SHARDS].contains(&weights).then_some(weights_path),
            own: false,
        });
    }
    if has(OWN) && !pipeline {
        return Ok(ModelFiles { paths: vec![OWN.to_owned()], shards: None, own: true });
    }
    Err(HubError::NoModel { repository: id.to_string(), found: some_names(names) })
}

/// The only file in `directory` with a variant of the weights, such as `diffusion_pytorch_model.fp16.safetensors`.
fn only_variant<'a>(names: &[&'a str], directory: &str) -> Option<&'a str> {
    let is_variant = |name: &&str| {
        let variant = name.strip_prefix("diffusion_pytorch_model.").and_then(|rest| rest.strip_suffix(".safetensors"));
        variant.is_some_and(|variant| !variant.contains(['.', '/']) && !variant.contains("-of-"))
    };
    let mut variants = names.iter().filter_map(|name| name.strip_prefix(directory)).filter(is_variant);
    variants.next().filter(|_| variants.next().is_none())
}

/// The files that an index of shards lists, all of them in its directory.
pub(crate) fn shards(index: &Path, index_path: &str, id: &RepoId) -> Result<Vec<String>> {
    let bytes = std::fs::read(index).on("read", index)?;
    let bad = |problem: &str| HubError::BadAnswer { what: format!("{id}, file {index_path}"), problem: problem.into() };
    let document: Value = serde_json::from_slice(&bytes).map_err(|_| bad("expected JSON"))?;
    let map = document.get("weight_map").and_then(Value::as_object).ok_or_else(|| bad("expected a weight_map"))?;
    let directory = index_path.rsplit_once('/').map_or(String::new(), |(directory, _)| format!("{directory}/"));
    let mut paths = Vec::new();
    for name in map.values() {
        let name = name.as_str().ok_or_else(|| bad("expected names of files in weight_map"))?;
        let path = format!("{directory}{}", check_plain_path(name, id.name())?);
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str]) -> Result<ModelFiles> {
        model_files(names, &"a/b".parse().expect("an id"))
    }

    #[test]
    fn only_needed_files_are_selected() {
        let pipeline = [INDEX, "unet/config.json", "scheduler/scheduler_config.json", "README.md", "vae/config.json"];
        let (tensors, shards, pickle) = (format!("unet/{WEIGHTS}"), format!("unet/{SHARDS}"), format!("unet/{PICKLE}"));
        let with = |weights: &[&str]| chosen(&[&pipeline[..], weights].concat()).expect("a pipeline");
        let all = with(&[&pickle, &shards, &tensors, "unet/diffusion_pytorch_model.fp16.safetensors"]);
        let paths = ["unet/config.json", &tensors, INDEX, "scheduler/scheduler_config.json"].map(str::to_owned);
        assert_eq!(all, ModelFiles { paths: paths.to_vec(), shards: None, own: false });
        assert_eq!(with(&[&pickle, &shards]).shards, Some(shards.clone()));
        assert!(with(&[&pickle]).paths.contains(&pickle));
        let pickled_shards = format!("unet/{PICKLE_SHARDS}");
        assert_eq!(with(&[&pickled_shards]).shards, Some(pickled_shards.clone()));
        assert!(chosen(&pipeline).is_err());
        // A variant is read if there are no other weights.
        let half = "unet/diffusion_pytorch_model.fp16.safetensors";
        assert!(with(&[half]).paths.contains(&half.to_owned()));
        let two = [half, "unet/diffusion_pytorch_model.non_ema.safetensors"];
        assert!(chosen(&[&pipeline[..], &two].concat()).is_err());
    }

    #[test]
    fn early_pipelines_have_all_files_at_the_top_level() {
        let found = chosen(&[INDEX, CONFIG, "scheduler_config.json", PICKLE, WEIGHTS]).expect("a pipeline");
        assert_eq!(found.paths, [CONFIG, WEIGHTS, INDEX, "scheduler_config.json"]);
        assert_eq!(chosen(&[CONFIG, WEIGHTS]).expect("a UNet").paths, [CONFIG, WEIGHTS]);
        assert!(chosen(&[OWN, "README.md"]).expect("a model file").own);
        let error = chosen(&["README.md", "pytorch_model.bin"]).expect_err("neither").to_string();
        assert!(error.contains("a/b") && error.contains("pytorch_model.bin"), "{error}");
    }

    #[test]
    fn shards_are_in_the_directory_of_their_index() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (path, id) = (dir.path().join("i"), "a/b".parse().expect("an id"));
        let named = |text: &str| {
            std::fs::write(&path, text).expect("room");
            shards(&path, "unet/i", &id)
        };
        let found = named(r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "1.safetensors"}}"#);
        assert_eq!(found.expect("names"), ["unet/1.safetensors", "unet/2.safetensors"]);
        assert!(named(r#"{"weight_map": {"a": "../1.safetensors"}}"#).is_err());
        assert!(named("[]").is_err());
    }
}
