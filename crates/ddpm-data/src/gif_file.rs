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
    if u16::try_from(first.width.max(first.height)).is_err() {
        return Err(invalid(format!("a GIF has at most 65535×65535 pixels, found {}×{}", first.width, first.height)));
    }
    let mut bytes = Vec::new();
    encode(&mut bytes, frames, frame_ms).map_err(|error| invalid(error.to_string()))?;
    write_atomically(path, &bytes)
}

fn encode(bytes: &mut Vec<u8>, frames: &[Image], frame_ms: u16) -> Result<(), gif::EncodingError> {
    let Some(first) = frames.first() else { return Ok(()) };
    let (width, height) = (first.width as u16, first.height as u16);
    let mut encoder = gif::Encoder::new(bytes, width, height, &palette_of(first))?;
    encoder.set_repeat(gif::Repeat::Infinite)?;
    for (i, image) in frames.iter().enumerate() {
        let mut frame = frame(image, width, height);
        frame.delay = if i + 1 == frames.len() { LAST_FRAME_DELAY } else { delay(frame_ms) };
        encoder.write_frame(&frame)?;
    }
    Ok(())
}

/// The global palette. Gray frames use one: Pillow would ignore palettes of their own.
fn palette_of(image: &Image) -> Vec<u8> {
    if image.channels == 1 { (0..=255).flat_map(|v| [v; 3]).collect() } else { Vec::new() }
}

/// A delay in hundredths of a second. Viewers replace smaller delays than two by a much longer one.
fn delay(ms: u16) -> u16 {
    (ms / 10).max(2)
}

/// Appends an image to an animation that [`save_gif`] wrote, without encoding its frames again. Returns false, and
/// changes nothing, if the file is no animation of `frames` frames of this size.
///
/// # Errors
/// [`DataError`] when the file cannot be written.
pub(crate) fn append_to_gif(path: &Path, image: &Image, frames: usize, frame_ms: u16) -> Result<bool, DataError> {
    let Some(mut bytes) = repeat_frames(path, image, frames, frame_ms) else { return Ok(false) };
    // The trailer is one byte.
    bytes.pop();
    let mut single = Vec::new();
    let encoded = encode(&mut single, std::slice::from_ref(image), frame_ms);
    let header = encode_header(image).ok().filter(|header| encoded.is_ok() && single.starts_with(header));
    let Some(frame) = header.and_then(|header| single.get(header.len()..)) else { return Ok(false) };
    bytes.extend(frame);
    write_atomically(path, &bytes)?;
    Ok(true)
}

/// The file with `frame_ms` for its last frame too. `None` unless it has `frames` frames of the size of `image`.
fn repeat_frames(path: &Path, image: &Image, frames: usize, frame_ms: u16) -> Option<Vec<u8>> {
    let written = std::fs::read(path).ok()?;
    // The header contains the size and the palette.
    let mut bytes = encode_header(image).ok().filter(|header| written.starts_with(header))?;
    let mut options = gif::DecodeOptions::new();
    options.skip_frame_decoding(true);
    let mut decoder = options.read_info(&written[..]).ok()?;
    let (width, height) = (decoder.width(), decoder.height());
    let mut encoder = gif::Encoder::new(Vec::new(), width, height, &palette_of(image)).ok()?;
    let start = encoder.get_ref().len();
    let mut found = 0;
    while let Some(frame) = decoder.read_next_frame().ok()? {
        let mut frame = frame.clone();
        frame.delay = delay(frame_ms);
        encoder.write_lzw_pre_encoded_frame(&frame).ok()?;
        found += 1;
    }
    let encoded = encoder.into_inner().ok()?;
    bytes.extend(encoded.get(start..)?);
    (found == frames).then_some(bytes)
}

/// What [`save_gif`] writes before the first frame.
fn encode_header(image: &Image) -> Result<Vec<u8>, gif::EncodingError> {
    let mut encoder = gif::Encoder::new(Vec::new(), image.width as u16, image.height as u16, &palette_of(image))?;
    encoder.set_repeat(gif::Repeat::Infinite)?;
    let mut header = encoder.into_inner()?;
    header.pop();
    Ok(header)
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

    #[test]
    fn appending_gives_the_bytes_of_writing_all_frames() {
        let folder = tempfile::tempdir().expect("temp dir");
        let (appended, whole) = (folder.path().join("a.gif"), folder.path().join("b.gif"));
        for channels in [1, 3] {
            let samples = |i: usize| (0..30 * channels).map(|j| (j * (7 + i)) as u8).collect();
            let frames: Vec<Image> =
                (0..4).map(|i| Image { width: 6, height: 5, channels, samples: samples(i) }).collect();
            save_gif(&appended, &frames[..1], 400).expect("room");
            for (i, frame) in frames.iter().enumerate().skip(1) {
                assert!(append_to_gif(&appended, frame, i, 400).expect("room"));
            }
            save_gif(&whole, &frames, 400).expect("room");
            let bytes = |path| std::fs::read(path).expect("it was written");
            assert!(bytes(&appended) == bytes(&whole), "{channels} channels");
            // Another number of frames, another size, and a file that is no animation.
            assert!(!append_to_gif(&appended, &frames[0], 3, 400).expect("nothing is written"));
            let large = Image { width: 5, height: 6, channels, samples: samples(0) };
            assert!(!append_to_gif(&appended, &large, 4, 400).expect("nothing is written"));
            assert!(bytes(&appended) == bytes(&whole));
            std::fs::write(&appended, b"GIF89a").expect("room");
            assert!(!append_to_gif(&appended, &frames[0], 4, 400).expect("nothing is written"));
        }
    }
}
