//! What is left of a sampling: files.

use std::path::Path;

use anyhow::Context;
use candle_core::Tensor;
use ddpm_checkpoint::write_tensors;
use ddpm_data::{grid, save_gif, save_grid, save_png, save_strip, to_pictures};
use tracing::info;

use crate::args::Args;
use crate::plan::Plan;
use crate::sampling::Sampled;

/// Milliseconds that a moment of the denoising is shown.
const FRAME_MS: u16 = 150;

/// Makes the folders that will be written to, and finds out whether they can be: sampling may take hours.
pub(crate) fn prepare(args: &Args) -> anyhow::Result<()> {
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

/// Writes what was asked for.
pub(crate) fn write(args: &Args, plan: &Plan, sampled: &Sampled) -> anyhow::Result<()> {
    if let Some(path) = &args.save_tensors {
        save_tensors(path, &sampled.images)?;
    }
    let out = &args.out;
    if args.interpolate.is_some() {
        let path = out.join("interpolation.png");
        save_png(&path, &grid(&sampled.images, plan.images())?)?;
        info!("{}: from picture {} to {}", path.display(), plan.first, plan.first + 1);
        return Ok(());
    }
    if !args.grid_only {
        for (i, picture) in to_pictures(&sampled.images)?.iter().enumerate() {
            save_png(&out.join(format!("{:06}.png", plan.first + i as u64)), picture)?;
        }
    }
    save_grid(&out.join("grid.png"), &sampled.images)?;
    save_strip(&out.join("denoising.png"), &sampled.moments)?;
    if args.gif {
        let frame = |moment: &Tensor| grid(moment, 4);
        let frames = sampled.moments.iter().map(frame).collect::<Result<Vec<_>, _>>()?;
        save_gif(&out.join("denoising.gif"), &frames, FRAME_MS)?;
    }
    info!("pictures: {}", out.join("grid.png").display());
    Ok(())
}

/// Tensor `samples`, before any rounding to pixels.
fn save_tensors(path: &Path, images: &Tensor) -> anyhow::Result<()> {
    let samples = [("samples".to_string(), images.clamp(-1.0, 1.0)?)];
    write_tensors(path, &samples.into_iter().collect()).with_context(|| format!("--save-tensors {}", path.display()))
}
