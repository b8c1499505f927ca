//! Checks before the sampling, which may take hours, that its results can be written.

use std::path::Path;

use anyhow::Context;
use ddpm_checkpoint::{is_checkpoint, read_tensors};
use ddpm_cli::usage_error;

use crate::args::Args;
use crate::images::SAMPLES;
use crate::output_directory::{DESCRIPTION, IMAGES, OVERVIEWS, claim, is_image, remove_leftovers, write_description};
use crate::plan::Plan;

/// Largest number of values that `--save-tensors` writes: 16 GiB.
const MAX_VALUES: usize = 1 << 32;

/// Creates the folders of the results and checks that files can be written to them.
pub(crate) fn prepare_outputs(args: &Args, plan: &Plan) -> anyhow::Result<()> {
    if let Some(path) = &args.save_tensors {
        check_save_tensors(path, args, plan)?;
    }
    let tensors = args.save_tensors.as_deref().and_then(Path::parent).filter(|folder| *folder != Path::new(""));
    claim(&plan.out, &plan.provenance, args.overwrite)?;
    remove_leftovers(&plan.out);
    for (option, folder) in [("--out", Some(plan.out.as_path())), ("--save-tensors", tensors)] {
        let Some(folder) = folder else { continue };
        let try_to_write = || -> std::io::Result<()> {
            std::fs::create_dir_all(folder)?;
            tempfile::tempfile_in(folder).map(drop)
        };
        try_to_write().with_context(|| format!("{option}: nothing can be written to {}", folder.display()))?;
    }
    write_description(&plan.out, &plan.provenance, plan.first, plan.images(), false)
}

/// Checks that the file of `--save-tensors` replaces nothing but the tensors of an earlier sampling, and that it is
/// not too large.
fn check_save_tensors(path: &Path, args: &Args, plan: &Plan) -> anyhow::Result<()> {
    if let Some(found) = other_use(path, args, plan) {
        return Err(usage_error(format!("--save-tensors: expected a file of its own, found {found}")));
    }
    let most = MAX_VALUES / plan.image_shape.iter().product::<usize>().max(1);
    if plan.images() > most {
        return Err(usage_error(format!("--save-tensors: expected at most {most} images, found {}", plan.images())));
    }
    Ok(())
}

/// The use of `path` that forbids writing to it, for the error message; `None` if it may be written to.
fn other_use(path: &Path, args: &Args, plan: &Plan) -> Option<String> {
    let shown = path.display();
    if path.is_dir() || path.file_name().is_none() {
        return Some(format!("the directory {shown}"));
    }
    let same = |other: &Path| matches!((path.canonicalize(), other.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if same(&plan.model_path) || args.latents.as_deref().is_some_and(same) {
        return Some(format!("{shown}, which is an input"));
    }
    let folder = path.canonicalize().ok().and_then(|path| path.parent().map(Path::to_path_buf));
    if folder.is_some_and(is_checkpoint) {
        return Some(format!("{shown}, which belongs to a checkpoint"));
    }
    let is_earlier_result = || read_tensors(path).is_ok_and(|tensors| tensors.keys().eq([SAMPLES]));
    if path.is_file() && !is_earlier_result() {
        return Some(format!("{shown}, which holds something else than samples"));
    }
    // A folder that does not exist yet has no canonical form.
    let place = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
    let folder = path.parent().map(|folder| if folder == Path::new("") { Path::new(".") } else { folder });
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let in_out = folder.and_then(place);
    let is_overview = in_out == place(&plan.out) && (OVERVIEWS.contains(&name) || name == DESCRIPTION);
    if is_overview || in_out == place(&plan.out.join(IMAGES)) && is_image(path) {
        return Some(format!("{shown}, which is the name of a file of --out"));
    }
    None
}
