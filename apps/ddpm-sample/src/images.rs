//! What is left of a sampling: files.

use std::path::Path;

use anyhow::Context;
use candle_core::Tensor;
use ddpm_checkpoint::{is_checkpoint, read_tensors, write_tensors};
use ddpm_cli::{StopSignal, usage};
use ddpm_data::{grid, save_gif, save_grid, save_png, save_strip, to_images};
use tracing::info;

use crate::args::Args;
use crate::plan::Plan;

/// Milliseconds that a moment of the denoising is shown.
const FRAME_MS: u16 = 150;
/// Images that a grid shows at most; nobody looks at more, and more would not fit in memory.
const GRID_MOST: usize = 4096;
/// What --save-tensors may come to, in values: 16 GiB.
const MOST_VALUES: usize = 1 << 32;

/// Makes the folders that will be written to, and finds out whether they can be: sampling may take hours.
pub(crate) fn prepare(args: &Args, plan: &Plan) -> anyhow::Result<()> {
    if let Some(path) = &args.save_tensors {
        check_save_tensors(path, args, plan)?;
    }
    let of_tensors = args.save_tensors.as_deref().and_then(Path::parent).filter(|folder| *folder != Path::new(""));
    for (flag, folder) in [("--out", Some(args.out.as_path())), ("--save-tensors", of_tensors)] {
        let Some(folder) = folder else { continue };
        let try_it = || -> std::io::Result<()> {
            std::fs::create_dir_all(folder)?;
            tempfile::tempfile_in(folder).map(drop)
        };
        try_it().with_context(|| format!("{flag}: nothing can be written to {}", folder.display()))?;
    }
    Ok(())
}

/// A file, none that is read here or belongs to a checkpoint, and no more than fits.
fn check_save_tensors(path: &Path, args: &Args, plan: &Plan) -> anyhow::Result<()> {
    let wrong = |found: String| Err(usage(format!("--save-tensors: expected a file of its own, found {found}")));
    if path.is_dir() || path.file_name().is_none() {
        return wrong(format!("the directory {}", path.display()));
    }
    let same = |other: &Path| matches!((path.canonicalize(), other.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if same(&plan.model_path) || args.latents.as_deref().is_some_and(same) {
        return wrong(format!("{}, which is read", path.display()));
    }
    let folder = path.canonicalize().ok().and_then(|path| path.parent().map(Path::to_path_buf));
    if folder.is_some_and(is_checkpoint) {
        return wrong(format!("{} of a checkpoint", path.display()));
    }
    // Of a run or a pipeline, or whatever else it is.
    let is_earlier = || read_tensors(path).is_ok_and(|tensors| tensors.keys().eq([SAMPLES]));
    if path.is_file() && !is_earlier() {
        return wrong(format!("{}, which holds something else than samples", path.display()));
    }
    // A folder that is not there yet has no canonical form.
    let place = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
    let folder = path.parent().map(|folder| if folder == Path::new("") { Path::new(".") } else { folder });
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if folder.and_then(place) == place(&args.out) && is_image(name) {
        return wrong(format!("{}, which is the name of an image of --out", path.display()));
    }
    let most = MOST_VALUES / plan.image_shape.iter().product::<usize>().max(1);
    if plan.images() > most {
        return Err(usage(format!("--save-tensors: expected at most {most} images, found {}", plan.images())));
    }
    Ok(())
}

/// Whether a file of that name in `--out` may be one of the images.
fn is_image(name: &str) -> bool {
    let stem = name.strip_suffix(".png").unwrap_or_default();
    let is_index = stem.len() >= 6 && stem.bytes().all(|byte| byte.is_ascii_digit());
    is_index || ["grid.png", "denoising.png", "denoising.gif", "interpolation.png"].contains(&name)
}

/// Takes images as they are finished, and writes what was asked for.
pub(crate) struct Images<'a> {
    args: &'a Args,
    plan: &'a Plan,
    stop: &'a StopSignal,
    /// Those for the grid, or all of them where the tensors are to be saved; [image, channel, height, width] each.
    kept: Vec<Tensor>,
    /// How many there were, how many of them are files by now, and how many hold values that are not finite.
    taken: usize,
    written: usize,
    not_finite: usize,
}

impl<'a> Images<'a> {
    pub(crate) fn new(args: &'a Args, plan: &'a Plan, stop: &'a StopSignal) -> Self {
        Self { args, plan, stop, kept: Vec::new(), taken: 0, written: 0, not_finite: 0 }
    }

    /// Takes images `from..` of the plan, [image, channel, height, width], and writes each, until a signal comes.
    pub(crate) fn take(&mut self, from: usize, images: &Tensor) -> anyhow::Result<()> {
        let rows = images.flatten_from(1)?.to_vec2::<f32>()?;
        self.not_finite += rows.iter().filter(|values| values.iter().any(|value| !value.is_finite())).count();
        if self.args.save_tensors.is_some() || self.args.interpolate.is_some() {
            self.kept.push(images.clone());
        } else if self.taken < GRID_MOST {
            self.kept.push(images.narrow(0, 0, rows.len().min(GRID_MOST - self.taken))?);
        }
        self.taken += rows.len();
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

    /// What the images make together: the tensors last, so that the images are there whatever happens to them.
    pub(crate) fn finish(&self, moments: &[Tensor]) -> anyhow::Result<()> {
        let images = Tensor::cat(&self.kept, 0)?;
        self.draw(&images, moments)?;
        if self.not_finite > 0 {
            let (model, bad, all) = (self.plan.model_path.display(), self.not_finite, self.taken);
            // NaN and infinities make images too, only none that anybody asked for.
            anyhow::bail!(
                "{bad} of {all} images hold values that are not finite: expected weights of {model} and latents that keep within bounds"
            );
        }
        match &self.args.save_tensors {
            Some(path) if self.stop.received().is_none() => {
                if path.exists() && !path.is_file() {
                    // A pipe may have no reader for ever.
                    self.stop.at_once();
                }
                save_tensors(path, &images)
            }
            _ => Ok(()),
        }
    }

    /// The grid, the strip and the animation, or the way between two images.
    fn draw(&self, images: &Tensor, moments: &[Tensor]) -> anyhow::Result<()> {
        let (out, first) = (&self.args.out, self.plan.first);
        if self.args.interpolate.is_some() {
            let path = out.join("interpolation.png");
            save_png(&path, &grid(images, self.plan.images())?)?;
            info!("{}: from image {first} to {}", path.display(), first + 1);
            return Ok(());
        }
        save_grid(&out.join("grid.png"), &images.narrow(0, 0, images.dim(0)?.min(GRID_MOST))?)?;
        save_strip(&out.join("denoising.png"), moments)?;
        if self.args.gif && self.stop.received().is_none() {
            let frame = |moment: &Tensor| grid(moment, 4);
            let frames = moments.iter().map(frame).collect::<Result<Vec<_>, _>>()?;
            save_gif(&out.join("denoising.gif"), &frames, FRAME_MS)?;
        }
        let mut also = vec!["denoising.png"];
        if self.args.gif && self.stop.received().is_none() {
            also.push("denoising.gif");
        }
        if !self.args.grid_only {
            also.push("each image of its own");
        }
        info!("images: {}; beside it {}", out.join("grid.png").display(), also.join(", "));
        Ok(())
    }

    /// The last word where a signal came first.
    pub(crate) fn stopped(&self) {
        match self.written {
            0 => info!("stopped, nothing written"),
            n => info!("stopped: {n} of {} images are in {}", self.plan.images(), self.args.out.display()),
        }
    }
}

/// What `--save-tensors` calls its tensor.
const SAMPLES: &str = "samples";

/// Tensor `samples`, before any rounding to pixels.
fn save_tensors(path: &Path, images: &Tensor) -> anyhow::Result<()> {
    let samples = [(SAMPLES.to_string(), images.clamp(-1.0, 1.0)?)];
    write_tensors(path, &samples.into_iter().collect()).with_context(|| format!("--save-tensors {}", path.display()))
}
