//! What is left of a sampling: files.

use std::path::Path;

use anyhow::Context;
use candle_core::Tensor;
use ddpm_checkpoint::write_tensors;
use ddpm_cli::usage;
use ddpm_data::{grid, save_gif, save_grid, save_png, save_strip, to_pictures};
use tracing::info;

use crate::args::Args;
use crate::plan::Plan;
use crate::sampling::Sampled;

/// Milliseconds that a moment of the denoising is shown.
const FRAME_MS: u16 = 150;

/// Makes the folders that will be written to, and finds out whether they can be: sampling may take hours.
pub(crate) fn prepare(args: &Args) -> anyhow::Result<()> {
    if let Some(path) = args.save_tensors.as_deref().filter(|path| path.is_dir() || path.file_name().is_none()) {
        return Err(usage(format!("--save-tensors: expected a file, found the directory {}", path.display())));
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

/// Writes what was asked for: the pictures first, so that they are there whatever happens to the tensors.
pub(crate) fn write(args: &Args, plan: &Plan, sampled: &Sampled) -> anyhow::Result<()> {
    save_pictures(args, plan, sampled)?;
    check_finite(plan, &sampled.images)?;
    match &args.save_tensors {
        Some(path) => save_tensors(path, &sampled.images),
        None => Ok(()),
    }
}

/// NaN and infinities make pictures too, only none that anybody asked for.
fn check_finite(plan: &Plan, images: &Tensor) -> anyhow::Result<()> {
    let rows = images.flatten_from(1)?.to_vec2::<f32>()?;
    let bad = rows.iter().filter(|values| values.iter().any(|value| !value.is_finite())).count();
    if bad > 0 {
        let (model, all) = (plan.model_path.display(), rows.len());
        anyhow::bail!(
            "{bad} of {all} pictures hold values that are not finite: expected weights of {model} and latents that keep within bounds"
        );
    }
    Ok(())
}

fn save_pictures(args: &Args, plan: &Plan, sampled: &Sampled) -> anyhow::Result<()> {
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
