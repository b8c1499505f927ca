//! GIF files.

use std::path::{Path, PathBuf};

use crate::decode::decode;
use crate::png_file::write_whole;
use crate::{DataError, Image};

/// Writes images of one size as an animation that repeats for ever. The last one stays for a second and a half.
///
/// Either all images are grey or none is. Grey ones keep every value; coloured ones are reduced to 256 colours a frame. Alpha is dropped.
///
/// # Errors
/// When there is no image, one is larger than a GIF can be, or the file cannot be written.
pub fn save_gif(path: &Path, frames: &[Image], frame_ms: u16) -> Result<(), DataError> {
    let damaged = |problem: String| DataError::damaged(path.display(), problem);
    let Some(first) = frames.first() else { return Err(damaged("no frames to draw".into())) };
    let (Ok(width), Ok(height)) = (u16::try_from(first.width), u16::try_from(first.height)) else {
        return Err(damaged(format!("a GIF has at most 65535×65535 pixels, found {}×{}", first.width, first.height)));
    };
    let mut bytes = Vec::new();
    let mut encode = || -> Result<(), gif::EncodingError> {
        // Pillow takes the file's own palette for grey frames, whatever palette they bring.
        let grey: Vec<u8> = if first.channels == 1 { (0..=255).flat_map(|v| [v; 3]).collect() } else { Vec::new() };
        let mut encoder = gif::Encoder::new(&mut bytes, width, height, &grey)?;
        encoder.set_repeat(gif::Repeat::Infinite)?;
        for (i, image) in frames.iter().enumerate() {
            let last = i + 1 == frames.len();
            let mut frame = frame(image, width, height);
            // In hundredths of a second.
            frame.delay = if last { 150 } else { (frame_ms / 10).max(2) };
            encoder.write_frame(&frame)?;
        }
        Ok(())
    };
    encode().map_err(|error| damaged(error.to_string()))?;
    write_whole(path, &bytes)
}

fn frame(image: &Image, width: u16, height: u16) -> gif::Frame<'static> {
    if image.channels == 1 {
        return gif::Frame::from_indexed_pixels(width, height, image.samples.clone(), None);
    }
    let rgb: Vec<u8> = image.samples.chunks_exact(image.channels).flat_map(|p| [p[0], p[1], p[2]]).collect();
    gif::Frame::from_rgb_speed(width, height, &rgb, 10)
}

/// Writes `samples.gif` from the `step-*.png` grids in a folder, in the order of their steps: how the images came about.
/// Grids of another size than the newest are left out, and so are, with a warning, those that cannot be read.
///
/// # Errors
/// When the folder cannot be listed or the file cannot be written.
pub fn save_evolution_gif(folder: &Path) -> Result<(), DataError> {
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
    let read = |(_, path): &(u64, PathBuf)| {
        decode(&std::fs::read(path).map_err(DataError::io(path))?, &path.display().to_string())
    };
    // One bad image is no reason to lose the others, nor to stop a training.
    let readable =
        |grid: &(u64, PathBuf)| read(grid).inspect_err(|error| tracing::warn!("left out of samples.gif: {error}")).ok();
    let mut frames: Vec<Image> = grids.iter().filter_map(readable).collect();
    let Some((width, height, channels)) = frames.last().map(|p| (p.width, p.height, p.channels)) else {
        return Ok(());
    };
    frames.retain(|p| (p.width, p.height, p.channels) == (width, height, channels));
    save_gif(&folder.join("samples.gif"), &frames, 400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_that_cannot_be_read_is_left_out() {
        let folder = tempfile::tempdir().expect("temp dir");
        let image = Image { width: 2, height: 2, channels: 1, samples: vec![0, 80, 160, 255] };
        crate::save_png(&folder.path().join("step-000002.png"), &image).expect("room");
        std::fs::write(folder.path().join("step-000001.png"), "").expect("room");
        save_evolution_gif(folder.path()).expect("one is whole");
        assert!(folder.path().join("samples.gif").is_file());
    }
    #[test]
    fn grey_frames_have_the_palette_of_the_file() {
        let folder = tempfile::tempdir().expect("temp dir");
        let path = folder.path().join("a.gif");
        let image = Image { width: 2, height: 2, channels: 1, samples: vec![0, 80, 160, 255] };
        save_gif(&path, &[image.clone(), image], 100).expect("room");
        let bytes = std::fs::read(&path).expect("it was written");
        // The flags of the header: a palette of 2^(7 + 1) colours.
        assert_eq!(bytes[10] & 0x87, 0x87);
        assert_eq!(bytes[13 + 3 * 160..][..3], [160; 3]);
    }
}
