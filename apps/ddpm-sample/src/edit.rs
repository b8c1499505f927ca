//! Editing of images: `--from`, `--variations-of` and `--inpaint`.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use candle_core::{DType, Tensor};
use ddpm_cli::usage_error;
use ddpm_data::{Conversion, DataConfig, Image, ImageSource, to_tensor};
use ddpm_diffusion::{Repaint, SamplerConfig};

use crate::args::Args;
use crate::model::LoadedModel;

/// Number of variations unless there is `-n`.
const DEFAULT_VARIATIONS: usize = 8;
/// Largest number of images that are edited.
const MAX_INPUTS: usize = 100_000;

/// How images are edited. Tensors are on the CPU.
#[derive(Debug)]
pub(crate) struct Edit {
    /// The images, [input, channel, height, width].
    inputs: Tensor,
    pub(crate) kind: EditKind,
}

/// What is done with the images.
#[derive(Debug)]
pub(crate) enum EditKind {
    /// The last `steps_left` steps are taken from a noisy image. `are_variations` is whether all images are made from
    /// one input.
    Noise { steps_left: usize, are_variations: bool },
    /// Unknown pixels are painted. `known` [input, 1, height, width] is 1 where a pixel is known.
    Inpaint { known: Tensor, jump_length: usize, resamplings: usize },
}

impl Edit {
    /// The edit that `args` specify; `None` if they specify none.
    ///
    /// # Errors
    /// When an image cannot be read, or an option is out of its range.
    pub(crate) fn new(args: &Args, model: &LoadedModel, sampler: &SamplerConfig) -> anyhow::Result<Option<Self>> {
        let [channels, height, width] = model.image_shape();
        let conversion = model.preparation()?.conversion(channels, [height, width]);
        if let Some(path) = &args.inpaint {
            let images = read_images("--inpaint", path, &conversion)?;
            // Black, which is kept, lies beside a mask that is padded.
            let gray = Conversion { channels: 1, background: None, ..conversion };
            let masks = read_images("--mask", args.mask.as_deref().unwrap_or(Path::new("")), &gray)?;
            let kind = EditKind::Inpaint {
                known: known_pixels(&images, masks, [height, width])?,
                jump_length: args.jump_length as usize,
                resamplings: args.resamplings as usize,
            };
            return Ok(Some(Self { inputs: batch(images)?, kind }));
        }
        let (option, path, default_strength) = match (&args.from, &args.variations_of) {
            (Some(path), _) => ("--from", path, 0.5),
            (None, Some(path)) => ("--variations-of", path, 0.6),
            (None, None) if args.strength.is_some() => {
                return Err(usage_error("--strength: expected --from or --variations-of with it, found neither"));
            }
            (None, None) => return Ok(None),
        };
        let strength = args.strength.unwrap_or(default_strength);
        let steps_left = sampler.steps_of_strength(strength).map_err(|error| usage_error(format!("--{error}")))?;
        let images = read_images(option, path, &conversion)?;
        let are_variations = args.variations_of.is_some();
        if are_variations && images.len() != 1 {
            let found = images.len();
            return Err(usage_error(format!(
                "--variations-of: expected one image, found {found} in {}",
                path.display()
            )));
        }
        let kind = EditKind::Noise { steps_left, are_variations };
        Ok(Some(Self { inputs: batch(images)?, kind }))
    }

    /// Number of images unless there is `-n`.
    pub(crate) fn default_number(&self) -> usize {
        match self.kind {
            EditKind::Noise { are_variations: true, .. } => DEFAULT_VARIATIONS,
            _ => self.inputs.dims()[0],
        }
    }

    /// Number of sampling steps of an image.
    pub(crate) fn steps(&self, steps: usize) -> usize {
        match &self.kind {
            EditKind::Noise { steps_left, .. } => *steps_left,
            EditKind::Inpaint { jump_length, resamplings, .. } => Repaint::steps(steps, *jump_length, *resamplings),
        }
    }

    /// The inputs of the images `from..from + images`: image i is made from input i modulo their number.
    pub(crate) fn inputs(&self, from: usize, images: usize) -> anyhow::Result<Tensor> {
        rows(&self.inputs, from, images)
    }

    /// The inputs as a picture shows them: with gray in place of what is painted.
    pub(crate) fn shown_inputs(&self, from: usize, images: usize) -> anyhow::Result<Tensor> {
        let inputs = self.inputs(from, images)?;
        let EditKind::Inpaint { known, .. } = &self.kind else { return Ok(inputs) };
        let known = rows(known, from, images)?.broadcast_as(inputs.shape())?;
        Ok((inputs * known)?)
    }

    /// The inpainting of the images `from..from + images`; `None` for another kind of edit.
    pub(crate) fn repaint(&self, from: usize, images: usize) -> anyhow::Result<Option<Repaint>> {
        let EditKind::Inpaint { known, jump_length, resamplings } = &self.kind else { return Ok(None) };
        Ok(Some(Repaint {
            x_0: self.inputs(from, images)?,
            known: rows(known, from, images)?,
            jump_length: *jump_length,
            resamplings: *resamplings,
        }))
    }
}

/// The rows `from..from + count` of a tensor whose rows repeat.
fn rows(tensor: &Tensor, from: usize, count: usize) -> anyhow::Result<Tensor> {
    let inputs = tensor.dim(0)?;
    let indices: Vec<u32> = (from..from + count).map(|image| (image % inputs) as u32).collect();
    Ok(tensor.index_select(&Tensor::new(indices, tensor.device())?, 0)?)
}

/// An image that was read.
pub(crate) struct Input {
    name: String,
    /// Width and height of the file, in pixels.
    size: [usize; 2],
    /// The image in the size and with the channels of the network.
    converted: Image,
}

/// Reads the images at a path. Each is converted as soon as it is decoded, because a folder of photographs would not
/// fit into memory.
pub(crate) fn read_images(option: &str, path: &Path, conversion: &Conversion) -> anyhow::Result<Vec<Input>> {
    if !path.exists() {
        return Err(usage_error(format!("{option}: expected images at {}, found nothing there", path.display())));
    }
    let Some(text) = path.to_str() else {
        return Err(usage_error(format!("{option} {}: expected a path in UTF-8", path.display())));
    };
    // A folder named digits is not the embedded scans.
    let text = if text == "digits" { "./digits" } else { text };
    let config = serde_json::json!({ "path": text, "labels": "none" });
    let config: DataConfig = serde_json::from_value(config).context("the configuration of images")?;
    let source: Arc<dyn ImageSource> =
        ddpm_data::open(&config).map_err(|error| usage_error(format!("{option}: {error}")))?;
    if source.len() > MAX_INPUTS {
        let found = source.len();
        return Err(usage_error(format!("{option}: expected at most {MAX_INPUTS} images, found {found}")));
    }
    let read = |index| {
        let image = source.decode(index).with_context(|| option.to_owned())?;
        let (name, size) = (source.name(index), [image.width, image.height]);
        Ok(Input { name, size, converted: conversion.apply(&image, CENTER) })
    };
    (0..source.len()).map(read).collect()
}

/// The images as a batch, [image, channel, height, width].
pub(crate) fn batch(images: Vec<Input>) -> anyhow::Result<Tensor> {
    Ok(to_tensor(&images.into_iter().map(|input| input.converted).collect::<Vec<_>>())?)
}

/// The position of a crop.
const CENTER: (f64, f64) = (0.5, 0.5);

/// 1 where a pixel is known and 0 where it is painted, [image, 1, height, width]: the size of the network.
fn known_pixels(images: &[Input], masks: Vec<Input>, [height, width]: [usize; 2]) -> anyhow::Result<Tensor> {
    if masks.len() != 1 && masks.len() != images.len() {
        let (expected, found) = (images.len(), masks.len());
        return Err(usage_error(format!(
            "--mask: expected one mask, or one for each of {expected} images, found {found}"
        )));
    }
    let shown = |[width, height]: [usize; 2]| format!("{width}×{height}");
    for (i, image) in images.iter().enumerate() {
        let mask = &masks[i % masks.len()];
        if mask.size != image.size {
            let (expected, found) = (shown(image.size), shown(mask.size));
            return Err(usage_error(format!(
                "--mask {}: expected {expected}, the size of {}, found {found}",
                mask.name, image.name
            )));
        }
    }
    let names: Vec<String> = masks.iter().map(|mask| mask.name.clone()).collect();
    let known = batch(masks)?.lt(0.0)?.to_dtype(DType::F32)?;
    for (i, name) in names.iter().enumerate() {
        let share = known.get(i)?.mean_all()?.to_scalar::<f32>()?;
        let size = format!("at the size of the model, {height}×{width}");
        if share == 1.0 {
            return Err(usage_error(format!(
                "--mask {name}: expected white parts, which are painted, found none {size}"
            )));
        }
        if share == 0.0 {
            return Err(usage_error(format!("--mask {name}: expected black parts, which are kept, found none {size}")));
        }
    }
    rows(&known, 0, images.len())
}
