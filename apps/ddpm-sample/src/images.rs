//! Writes the results of a sampling: images, grid, denoising strip and tensors.

use std::path::Path;

use anyhow::Context;
use candle_core::Tensor;
use ddpm_checkpoint::write_tensors;
use ddpm_cli::StopSignal;
use ddpm_data::{grid, save_gif, save_grid, save_png, save_strip, to_images};
use tracing::info;

use crate::args::Args;
use crate::plan::Plan;

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
        if self.args.grid_only || self.args.interpolate.is_some() {
            return Ok(());
        }
        for (i, image) in to_images(images)?.iter().enumerate() {
            if self.stop.received().is_some() {
                break;
            }
            let index = self.plan.first + (from + i) as u64;
            save_png(&self.args.out.join(format!("{index:06}.png")), image)?;
            self.written += 1;
        }
        Ok(())
    }

    /// Writes the files that show all images together. The tensors come last, so that the images are complete if an
    /// error occurs there.
    ///
    /// `moments` are the first images at several timesteps, from x_T to x_0.
    pub(crate) fn finish(&self, moments: &[Tensor]) -> anyhow::Result<()> {
        let images = Tensor::cat(&self.kept, 0)?;
        match self.args.interpolate {
            Some(_) => self.write_interpolation(&images)?,
            None => self.write_grid_and_strip(&images, moments)?,
        }
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
        let (path, first) = (self.args.out.join("interpolation.png"), self.plan.first);
        save_png(&path, &grid(images, self.plan.images())?)?;
        info!("interpolation from image {first} to image {}: {}", first + 1, path.display());
        Ok(())
    }

    fn write_grid_and_strip(&self, images: &Tensor, moments: &[Tensor]) -> anyhow::Result<()> {
        let out = &self.args.out;
        let mut also = vec!["denoising.png"];
        save_grid(&out.join("grid.png"), &images.narrow(0, 0, images.dim(0)?.min(MAX_GRID_IMAGES))?)?;
        save_strip(&out.join("denoising.png"), moments)?;
        if self.args.gif && self.stop.received().is_none() {
            let frame = |moment: &Tensor| grid(moment, 4);
            let frames = moments.iter().map(frame).collect::<Result<Vec<_>, _>>()?;
            save_gif(&out.join("denoising.gif"), &frames, FRAME_MS)?;
            also.push("denoising.gif");
        }
        if !self.args.grid_only {
            also.push("one file per image");
        }
        info!("images: {}; in the same directory: {}", out.join("grid.png").display(), also.join(", "));
        Ok(())
    }

    /// Logs what was written before a signal stopped the sampling.
    pub(crate) fn log_stopped(&self) {
        match self.written {
            0 => info!("stopped before an image was written"),
            n => info!("stopped: {n} of {} images are in {}", self.plan.images(), self.args.out.display()),
        }
    }
}

/// Writes x_0 as the tensor `samples`, clamped to [−1, 1] and not rounded to pixel values.
fn save_tensors(path: &Path, images: &Tensor) -> anyhow::Result<()> {
    let samples = [(SAMPLES.to_string(), images.clamp(-1.0, 1.0)?)];
    write_tensors(path, &samples.into_iter().collect()).with_context(|| format!("--save-tensors {}", path.display()))
}
