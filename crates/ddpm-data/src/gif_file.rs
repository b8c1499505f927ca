//! Animated GIF files.

use std::path::Path;

use crate::atomic_write::write_atomically;
use crate::error::DataError;
use crate::image::Image;

/// How long the last frame is shown, in hundredths of a second.
const LAST_FRAME_DELAY: u16 = 150;

/// Writes images of one size as an animation that repeats forever. Each frame is shown for `frame_ms` milliseconds, the
/// last one for 1.5 seconds.
///
/// Either all images are gray or none is. Gray images keep all of their values; RGB and RGBA images are reduced to 256
/// colors per frame, and their alpha channel is ignored.
///
/// # Errors
/// [`DataError`] when there is no image, the images are larger than a GIF file allows, or the file cannot be written.
pub fn save_gif(path: &Path, frames: &[Image], frame_ms: u16) -> Result<(), DataError> {
    let invalid = |problem: String| DataError::invalid(path.display(), problem);
    let Some(first) = frames.first() else { return Err(invalid("expected at least one frame, found none".into())) };
    let (Ok(width), Ok(height)) = (u16::try_from(first.width), u16::try_from(first.height)) else {
        return Err(invalid(format!("a GIF has at most 65535×65535 pixels, found {}×{}", first.width, first.height)));
    };
    let mut bytes = Vec::new();
    let mut encode = || -> Result<(), gif::EncodingError> {
        // Gray frames use a global palette: Pillow would ignore palettes of their own.
        let palette: Vec<u8> = if first.channels == 1 { (0..=255).flat_map(|v| [v; 3]).collect() } else { Vec::new() };
        let mut encoder = gif::Encoder::new(&mut bytes, width, height, &palette)?;
        encoder.set_repeat(gif::Repeat::Infinite)?;
        for (i, image) in frames.iter().enumerate() {
            let last = i + 1 == frames.len();
            let mut frame = frame(image, width, height);
            // The unit is a hundredth of a second. Viewers replace smaller delays than two by a much longer one.
            frame.delay = if last { LAST_FRAME_DELAY } else { (frame_ms / 10).max(2) };
            encoder.write_frame(&frame)?;
        }
        Ok(())
    };
    encode().map_err(|error| invalid(error.to_string()))?;
    write_atomically(path, &bytes)
}

fn frame(image: &Image, width: u16, height: u16) -> gif::Frame<'static> {
    if image.channels == 1 {
        return gif::Frame::from_indexed_pixels(width, height, image.samples.clone(), None);
    }
    let rgb: Vec<u8> = image.samples.chunks_exact(image.channels).flat_map(|p| [p[0], p[1], p[2]]).collect();
    gif::Frame::from_rgb_speed(width, height, &rgb, 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gray_frames_use_the_global_palette() {
        let folder = tempfile::tempdir().expect("temp dir");
        let path = folder.path().join("a.gif");
        let image = Image { width: 2, height: 2, channels: 1, samples: vec![0, 80, 160, 255] };
        save_gif(&path, &[image.clone(), image], 100).expect("room");
        let bytes = std::fs::read(&path).expect("it was written");
        // The flags of the header declare a global palette of 2^(7 + 1) colors.
        assert_eq!(bytes[10] & 0x87, 0x87);
        assert_eq!(bytes[13 + 3 * 160..][..3], [160; 3]);
    }
}
