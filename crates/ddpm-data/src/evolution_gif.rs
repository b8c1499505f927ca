//! An animation of the sample grids of a training run.

use std::path::{Path, PathBuf};

use crate::decode::decode;
use crate::decode_request::DecodeRequest;
use crate::error::DataError;
use crate::gif_file::{append_to_gif, save_gif};
use crate::image::Image;

/// How long each grid is shown, in milliseconds.
const FRAME_MS: u16 = 400;

/// Writes `samples.gif`, an animation of the grids `step-*.png` in a directory in the order of their training steps.
///
/// Grids that differ in size from the newest one are left out. Grids that cannot be read are left out with a warning.
///
/// # Errors
/// [`DataError`] when the directory cannot be listed or the file cannot be written.
pub fn save_evolution_gif(folder: &Path) -> Result<(), DataError> {
    let grids = grids_of(folder)?;
    let read = |(_, path): &(u64, PathBuf)| {
        decode(
            &std::fs::read(path).map_err(DataError::io(path))?,
            &path.display().to_string(),
            &mut DecodeRequest::full_size(),
        )
    };
    let gif = folder.join("samples.gif");
    if let Some((newest, earlier)) = grids.split_last()
        && is_up_to_date(&gif, earlier.iter().map(|(_, path)| path.as_path()))
        && let Ok(image) = read(newest)
        && append_to_gif(&gif, &image, earlier.len(), FRAME_MS)?
    {
        return Ok(());
    }
    // An unreadable grid must not stop the training, nor prevent the animation of the others.
    let readable =
        |grid: &(u64, PathBuf)| read(grid).inspect_err(|error| tracing::warn!("left out of samples.gif: {error}")).ok();
    let mut frames: Vec<Image> = grids.iter().filter_map(readable).collect();
    let Some((width, height, channels)) = frames.last().map(|image| (image.width, image.height, image.channels)) else {
        return Ok(());
    };
    frames.retain(|image| (image.width, image.height, image.channels) == (width, height, channels));
    save_gif(&gif, &frames, FRAME_MS)
}

/// The grids in a directory in the order of their training steps.
fn grids_of(folder: &Path) -> Result<Vec<(u64, PathBuf)>, DataError> {
    let mut grids: Vec<(u64, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(DataError::io(folder))? {
        let path = entry.map_err(DataError::io(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let step = name.strip_prefix("step-").and_then(|rest| rest.strip_suffix(".png")).map(str::parse);
        if let Some(Ok(step)) = step {
            grids.push((step, path));
        }
    }
    grids.sort();
    Ok(grids)
}

/// Whether the animation was written after all of these grids.
fn is_up_to_date<'a>(gif: &Path, mut grids: impl Iterator<Item = &'a Path>) -> bool {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|found| found.modified());
    modified(gif).is_ok_and(|written| grids.all(|grid| modified(grid).is_ok_and(|grid| grid <= written)))
}

/// Writes `samples.gif` as [`save_evolution_gif`] does, unless it is newer than all grids.
///
/// # Errors
/// Those of [`save_evolution_gif`].
pub fn update_evolution_gif(folder: &Path) -> Result<(), DataError> {
    let grids = grids_of(folder)?;
    match is_up_to_date(&folder.join("samples.gif"), grids.iter().map(|(_, path)| path.as_path())) {
        true => Ok(()),
        false => save_evolution_gif(folder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::png_file::save_png;

    #[test]
    fn a_grid_that_cannot_be_read_is_left_out() {
        let folder = tempfile::tempdir().expect("temp dir");
        let image = Image { width: 2, height: 2, channels: 1, samples: vec![0, 80, 160, 255] };
        save_png(&folder.path().join("step-000002.png"), &image).expect("room");
        std::fs::write(folder.path().join("step-000001.png"), "").expect("room");
        save_evolution_gif(folder.path()).expect("one is whole");
        assert!(folder.path().join("samples.gif").is_file());
    }
}
