//! Writes the results of a sampling: images, grid, denoising strip and tensors.

use std::path::Path;

use anyhow::Context;
use candle_core::Tensor;
use ddpm_checkpoint::write_tensors;
use ddpm_cli::StopSignal;
use ddpm_data::{Image, ImageFormat, grid, labeled_grid, save_gif, square_columns, strip, to_images};
use tracing::info;

use crate::args::Args;
use crate::edit::EditKind;
use crate::output_directory::{IMAGES, write_description};
use crate::plan::Plan;
use crate::provenance::ImageProvenance;

/// The name of the tensor that `--save-tensors` writes.
pub(crate) const SAMPLES: &str = "samples";

/// Milliseconds for which the animation shows each image.
const FRAME_MS: u16 = 150;
/// Largest number of images in the grid; more would need too much memory.
const MAX_GRID_IMAGES: usize = 4096;

/// Receives images as they are finished, and writes them.
pub(crate) struct ImageWriter<'a> {
    args: &'a Args,
    plan: &'a Plan,
    stop: &'a StopSignal,
    /// The images of the grid, or all images if the tensors are to be saved. Each is [image, channel, height, width].
    kept: Vec<Tensor>,
    /// Number of images received.
    received: usize,
    /// Number of image files written.
    written: usize,
    /// Number of images with values that are not finite.
    not_finite: usize,
}

impl<'a> ImageWriter<'a> {
    pub(crate) fn new(args: &'a Args, plan: &'a Plan, stop: &'a StopSignal) -> Self {
        Self { args, plan, stop, kept: Vec::new(), received: 0, written: 0, not_finite: 0 }
    }

    /// Receives the images of the plan from index `from` on, [image, channel, height, width], and writes each to a
    /// file until a signal arrives.
    pub(crate) fn write(&mut self, from: usize, images: &Tensor) -> anyhow::Result<()> {
        let rows = images.flatten_from(1)?.to_vec2::<f32>()?;
        self.not_finite += rows.iter().filter(|values| values.iter().any(|value| !value.is_finite())).count();
        if self.args.save_tensors.is_some() || self.args.interpolate.is_some() {
            self.kept.push(images.clone());
        } else if self.received < MAX_GRID_IMAGES {
            self.kept.push(images.narrow(0, 0, rows.len().min(MAX_GRID_IMAGES - self.received))?);
        }
        self.received += rows.len();
        if self.args.grid_only || self.args.interpolate.is_some() || !self.plan.writes_images() {
            return Ok(());
        }
        for (i, image) in to_images(images)?.iter().enumerate() {
            if self.stop.received().is_some() {
                break;
            }
            let index = self.plan.first + (from + i) as u64;
            let file = format!("{index:06}.{}", self.args.format.extension());
            let image = image.upsampled(self.args.scale as usize);
            self.save(&self.plan.out.join(IMAGES).join(file), &image, self.args.format, Some(index))?;
            self.written += 1;
        }
        Ok(())
    }

    /// Writes an image with its provenance: that of one image, or of all if `index` is `None`.
    fn save(&self, path: &Path, image: &Image, format: ImageFormat, index: Option<u64>) -> anyhow::Result<()> {
        let class = index.zip(self.plan.classes.as_ref()).map(|(index, classes)| classes.name(index));
        let provenance = ImageProvenance { index, class, sampling: &self.plan.provenance };
        let text = serde_json::to_string(&provenance).context("the provenance of an image")?;
        Ok(format.save(path, image, &[("Software", &self.plan.provenance.software), ("ddpm", &text)])?)
    }

    /// Writes the files that show all images together. The tensors come last, so that the images are complete if an
    /// error occurs there.
    ///
    /// `moments` are the first images at several timesteps, from x_T to x_0.
    pub(crate) fn finish(&self, moments: &[Tensor]) -> anyhow::Result<()> {
        let images = Tensor::cat(&self.kept, 0)?;
        match self.args.interpolate {
            _ if !self.plan.writes_images() => {}
            Some(_) => self.write_interpolation(&images)?,
            None => self.write_grid_and_strip(&images, moments)?,
        }
        let Plan { out, provenance, first, .. } = self.plan;
        write_description(out, provenance, *first, self.plan.images(), self.stop.received().is_none())?;
        if self.not_finite > 0 {
            let (model, bad, all) = (self.plan.model_path.display(), self.not_finite, self.received);
            anyhow::bail!(
                "{bad} of {all} images hold values that are not finite: expected weights of {model} and latents \
                 that keep all values finite"
            );
        }
        match &self.args.save_tensors {
            Some(path) if self.stop.received().is_none() => {
                if path.exists() && !path.is_file() {
                    // Writing to a pipe that has no reader waits forever. A signal has to end it.
                    self.stop.stop_immediately();
                }
                save_tensors(path, &images)
            }
            _ => Ok(()),
        }
    }

    fn write_interpolation(&self, images: &Tensor) -> anyhow::Result<()> {
        let (path, first) = (self.plan.out.join("interpolation.png"), self.plan.first);
        let columns = self.args.grid_columns.map_or(self.plan.images(), |columns| columns as usize);
        self.save(&path, &grid(images, columns)?, ImageFormat::Png, None)?;
        info!("interpolation from image {first} to image {}: {}", first + 1, path.display());
        Ok(())
    }

    fn write_grid_and_strip(&self, images: &Tensor, moments: &[Tensor]) -> anyhow::Result<()> {
        let out = &self.plan.out;
        let mut also = vec!["denoising.png"];
        let images = images.narrow(0, 0, images.dim(0)?.min(MAX_GRID_IMAGES))?;
        let columns =
            self.args.grid_columns.map_or_else(|| square_columns(images.dims()[0]), |columns| columns as usize);
        let grid_image = match (&self.plan.classes, self.args.grid_columns) {
            _ if self.plan.edit.is_some() => self.edit_grid(&images, columns)?,
            (Some(classes), None) => {
                let indices = (0..images.dim(0)?).map(|image| self.plan.first + image as u64);
                labeled_grid(&images, &indices.map(|index| classes.row(index)).collect::<Vec<_>>(), classes.names())?
            }
            _ => grid(&images, columns)?,
        };
        self.save(&out.join("grid.png"), &grid_image, ImageFormat::Png, None)?;
        self.save(&out.join("denoising.png"), &strip(moments)?, ImageFormat::Png, None)?;
        if self.args.gif && self.stop.received().is_none() {
            let frame = |moment: &Tensor| grid(moment, 4);
            let frames = moments.iter().map(frame).collect::<Result<Vec<_>, _>>()?;
            save_gif(&out.join("denoising.gif"), &frames, FRAME_MS)?;
            also.push("denoising.gif");
        }
        if !self.args.grid_only {
            also.push("images/ with one file per image");
        }
        info!("images: {}; in the same directory: {}", out.join("grid.png").display(), also.join(", "));
        Ok(())
    }

    /// Edited images beside the images that they were made from: rows of input and result, or all variations after
    /// their input.
    fn edit_grid(&self, images: &Tensor, columns: usize) -> anyhow::Result<Image> {
        let edit = self.plan.edit.as_ref().context("no images are edited")?;
        let (first, count) = (self.plan.first as usize, images.dim(0)?);
        match &edit.kind {
            EditKind::Noise { are_variations: true, .. } => {
                let all = Tensor::cat(&[&edit.inputs(0, 1)?, images], 0)?;
                let columns = self.args.grid_columns.map_or_else(|| square_columns(count + 1), |_| columns);
                Ok(grid(&all, columns)?)
            }
            EditKind::Noise { .. } => Ok(strip(&[edit.inputs(first, count)?, images.clone()])?),
            EditKind::Inpaint { .. } => {
                let states = [edit.inputs(first, count)?, edit.shown_inputs(first, count)?, images.clone()];
                Ok(strip(&states)?)
            }
        }
    }

    /// Logs what was written before a signal stopped the sampling.
    pub(crate) fn log_stopped(&self) {
        match self.written {
            0 => info!("stopped before an image was written"),
            n => {
                let directory = self.plan.out.join(IMAGES);
                info!("stopped: {n} of {} images are in {}", self.plan.images(), directory.display());
            }
        }
    }
}

/// Writes x_0 as the tensor `samples`, clamped to [−1, 1] and not rounded to pixel values.
fn save_tensors(path: &Path, images: &Tensor) -> anyhow::Result<()> {
    let samples = [(SAMPLES.to_string(), images.clamp(-1.0, 1.0)?)];
    write_tensors(path, &samples.into_iter().collect()).with_context(|| format!("--save-tensors {}", path.display()))
}
