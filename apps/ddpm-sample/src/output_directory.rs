//! The directory of the images: its name, and the check that it holds no other sampling.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use ddpm_cli::usage_error;
use serde::{Deserialize, Serialize};

use crate::provenance::Provenance;

/// The directory of the images below that of a sampling. Programs such as pytorch-fid read it as it is, and
/// torchvision's `ImageFolder` reads the directory above as one with a single class.
pub(crate) const IMAGES: &str = "images";
/// The file that describes the sampling.
pub(crate) const DESCRIPTION: &str = "samples.json";
/// The files that show several images.
pub(crate) const OVERVIEWS: [&str; 4] = ["grid.png", "denoising.png", "denoising.gif", "interpolation.png"];

/// The contents of [`DESCRIPTION`].
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    #[serde(flatten)]
    provenance: Provenance,
    /// Index of the first image of the last command, and their number.
    first: u64,
    images: usize,
    /// Whether all of them have been written.
    finished: bool,
}

/// The default directory: `samples/RUN-step-N-seed-S`, or the next of `…-2`, `…-3` and so on that holds no other
/// sampling.
pub(crate) fn default_directory(provenance: &Provenance, overwrite: bool) -> PathBuf {
    let Provenance { model, step, seed, .. } = provenance;
    let name = format!("{}-step-{step}-seed-{seed}", model_name(model));
    let numbered = |number: usize| match number {
        1 => Path::new("samples").join(&name),
        _ => Path::new("samples").join(format!("{name}-{number}")),
    };
    let is_free = |directory: &PathBuf| overwrite || other_sampling(directory, provenance).is_none();
    (1..).map(numbered).find(is_free).unwrap_or_else(|| numbered(1))
}

/// A short name of the model whose weights are in this file: that of the run, the pipeline or the repository.
fn model_name(file: &Path) -> String {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let text = |name: &OsStr| name.to_string_lossy().into_owned();
    let stem = file.file_stem().map(text).unwrap_or_default();
    if stem != "model" && !stem.starts_with("diffusion_pytorch_model") {
        return stem;
    }
    let is_revision = |name: &str| name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let says_nothing = |name: &str| {
        ["best", "checkpoints", "averages", "unet", "unet_ema", "pipeline", "snapshots"].contains(&name)
            || name.strip_prefix("step-").is_some_and(|step| step.bytes().all(|byte| byte.is_ascii_digit()))
            || is_revision(name)
    };
    let mut folders = file.ancestors().skip(1).filter_map(|folder| folder.file_name().map(text));
    let name = folders.find(|name| !says_nothing(name)).unwrap_or_else(|| "model".to_owned());
    name.strip_prefix("models--").map_or(name.clone(), |name| name.replace("--", "-"))
}

/// Checks that `directory` holds no images of another sampling, or removes them if `overwrite` is set.
///
/// # Errors
/// When it does, or they cannot be removed.
pub(crate) fn claim(directory: &Path, provenance: &Provenance, overwrite: bool) -> anyhow::Result<()> {
    let Some(found) = other_sampling(directory, provenance) else { return Ok(()) };
    if !overwrite {
        return Err(usage_error(format!(
            "--out: {} holds {found}: choose another directory, or replace its images with --overwrite",
            directory.display()
        )));
    }
    remove_images(directory).with_context(|| format!("--overwrite: {} cannot be emptied", directory.display()))
}

/// The number of images of the sampling `provenance` that `directory` holds, from the first one without a gap.
pub(crate) fn finished_images(directory: &Path, provenance: &Provenance) -> usize {
    let Ok(text) = fs::read_to_string(directory.join(DESCRIPTION)) else { return 0 };
    let fits = serde_json::from_str::<Description>(&text).is_ok_and(|found| found.provenance.fits(provenance));
    let exists = |index: &usize| directory.join(IMAGES).join(format!("{index:06}.{}", provenance.format)).is_file();
    if fits { (0..).take_while(exists).count() } else { 0 }
}

/// Removes the temporary files of a process that was killed while it wrote an image. Those of another process that
/// writes to the same directory are younger.
pub(crate) fn remove_leftovers(directory: &Path) {
    const MIN_AGE: Duration = Duration::from_secs(60);
    let is_leftover = |entry: &fs::DirEntry| {
        let is_temporary = entry.file_name().as_encoded_bytes().starts_with(b".ddpm-tmp-");
        let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
        is_temporary && age.is_some_and(|age| age > MIN_AGE)
    };
    for folder in [directory, &directory.join(IMAGES)] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten().filter(is_leftover) {
            // A file that cannot be removed only takes up space.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// What the directory holds instead of images of this sampling; `None` if nothing.
fn other_sampling(directory: &Path, provenance: &Provenance) -> Option<String> {
    match fs::read_to_string(directory.join(DESCRIPTION)) {
        Ok(text) => match serde_json::from_str::<Description>(&text) {
            Ok(found) if found.provenance.fits(provenance) => None,
            Ok(Description { provenance, .. }) => {
                let Provenance { model, step, seed, .. } = provenance;
                let name = model_name(&model);
                Some(format!("another sampling ({name}, step {step}, seed {seed}, or other settings)"))
            }
            Err(_) => Some(format!("a {DESCRIPTION} of something else")),
        },
        Err(_) => {
            let overview = OVERVIEWS.iter().find(|name| directory.join(name).exists());
            let images = has_images(&directory.join(IMAGES)).then_some(&IMAGES);
            overview.or(images).map(|name| format!("images of unknown origin ({name})"))
        }
    }
}

fn has_images(directory: &Path) -> bool {
    fs::read_dir(directory)
        .is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(|entry| is_image(&entry.path()))))
}

/// Whether a file is named like an image of a sampling: a number of at least six digits.
pub(crate) fn is_image(path: &Path) -> bool {
    let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
    let known =
        path.extension().is_some_and(|extension| ["png", "webp", "jpg"].iter().any(|known| extension == *known));
    known && stem.len() >= 6 && stem.bytes().all(|byte| byte.is_ascii_digit())
}

/// Removes the images of a sampling and the files that show several; other files stay.
fn remove_images(directory: &Path) -> std::io::Result<()> {
    let names = OVERVIEWS.iter().chain([&DESCRIPTION]);
    let mut files: Vec<PathBuf> = names.map(|name| directory.join(name)).filter(|path| path.is_file()).collect();
    if let Ok(entries) = fs::read_dir(directory.join(IMAGES)) {
        for entry in entries {
            let path = entry?.path();
            if is_image(&path) {
                files.push(path);
            }
        }
    }
    files.into_iter().try_for_each(fs::remove_file)
}

/// Writes the description of a sampling of `images` images from index `first` on.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write_description(
    directory: &Path,
    provenance: &Provenance,
    first: u64,
    images: usize,
    finished: bool,
) -> anyhow::Result<()> {
    let description = Description { provenance: provenance.clone(), first, images, finished };
    let text = serde_json::to_string_pretty(&description).context("the description of the samples")?;
    ddpm_checkpoint::write_atomically(&directory.join(DESCRIPTION), |out| writeln!(out, "{text}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_named_after_their_run_pipeline_or_repository() {
        for (path, name) in [
            ("runs/digits/checkpoints/step-003000/model.safetensors", "digits"),
            ("runs/digits/pipeline/unet/diffusion_pytorch_model.safetensors", "digits"),
            ("ddpm-cifar10/unet/diffusion_pytorch_model.safetensors.index.json", "ddpm-cifar10"),
            (
                "models--google--ddpm-cat/snapshots/0123456789abcdef0123456789abcdef01234567/model.safetensors",
                "google-ddpm-cat",
            ),
            ("weights/birds.safetensors", "birds"),
        ] {
            assert_eq!(model_name(Path::new(path)), name, "{path}");
        }
    }
}
