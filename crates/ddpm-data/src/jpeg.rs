//! Decoding of JPEG files with libjpeg, which Pillow and torchvision use too: at full size the pixels are the same.

use std::io::{BufRead, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use image::{DynamicImage, GrayImage, RgbImage};
use mozjpeg::{ColorSpace, Decompress};

use crate::decode_request::DecodeRequest;
use crate::jpeg_segments::JpegSegments;

/// Decodes a gray or color JPEG file, without its orientation. `None` for other color spaces (CMYK).
///
/// If the image is much larger than requested, it is decoded at 1/2, 1/4 or 1/8 of its size, which is faster: each
/// block of 8×8 pixels then becomes a block of 4×4, 2×2 or 1×1 by a smaller inverse transform.
///
/// # Errors
/// When the file is damaged, or the compressed data ends before the image does. libjpeg itself fills the rest of such
/// an image with gray and reports success.
pub(crate) fn decode_jpeg(
    bytes: &[u8],
    segments: &JpegSegments<'_>,
    max_side: u32,
    request: &mut DecodeRequest<'_>,
) -> Result<Option<DynamicImage>, String> {
    let end = segments.end.ok_or("truncated JPEG: its end marker is missing")?;
    let exhausted = AtomicBool::new(false);
    // Without its end marker, a complete image makes the decoder ask for more only in its last rows.
    let input = Input { rest: &bytes[..end], exhausted: &exhausted };
    let mut decoder = Decompress::new_reader(input).map_err(|error| error.to_string())?;
    if !matches!(decoder.color_space(), ColorSpace::JCS_GRAYSCALE | ColorSpace::JCS_YCbCr | ColorSpace::JCS_RGB) {
        return Ok(None);
    }
    let (width, height) = decoder.size();
    if width.max(height) > max_side as usize {
        return Err(format!("expected at most {max_side} pixels in a row or column, found {width}×{height}"));
    }
    let eighths = eighths(width.min(height), request.shorter_side());
    // A progressive file is kept in memory as a whole, whatever size it is decoded at.
    let divisor = if segments.is_sequential { (8 / u64::from(eighths)).pow(2) } else { 1 };
    request.reserve((width as u64 * height as u64).div_ceil(divisor))?;
    decoder.scale(eighths);
    let vertical_blocks = decoder.components().iter().map(|component| component.v_samp_factor).max().unwrap_or(1);
    let block_rows = usize::from(eighths) * vertical_blocks.max(1) as usize;
    let is_gray = decoder.color_space() == ColorSpace::JCS_GRAYSCALE;
    let started = if is_gray { decoder.grayscale() } else { decoder.rgb() };
    let mut started = started.map_err(|error| error.to_string())?;

    let (width, height) = (started.width(), started.height());
    let row = width * if is_gray { 1 } else { 3 };
    let mut samples = vec![0; row * height];
    // A file of several scans is read to its end before the first row.
    let mut is_checked = segments.is_sequential && !exhausted.load(Ordering::Relaxed);
    // The compressed data are decoded in rows of blocks, at most one such row ahead.
    let mut done = 0;
    for rows in samples.chunks_mut(row * block_rows) {
        started.read_scanlines_into(rows).map_err(|error| error.to_string())?;
        done += rows.len() / row;
        if is_checked && exhausted.load(Ordering::Relaxed) {
            if done + block_rows < height {
                return Err(format!("truncated JPEG: its data ends at row {done} of {height}"));
            }
            is_checked = false;
        }
    }
    let holds = "the samples of an image fill its size";
    Ok(Some(match is_gray {
        true => GrayImage::from_raw(width as u32, height as u32, samples).expect(holds).into(),
        false => RgbImage::from_raw(width as u32, height as u32, samples).expect(holds).into(),
    }))
}

/// The smallest of the sizes 1/8, 2/8, 4/8 and 8/8 whose shorter side has at least the requested length.
fn eighths(shorter_side: usize, requested: usize) -> u8 {
    let is_enough = |eighths: &u8| (shorter_side * usize::from(*eighths)) / 8 >= requested;
    [1, 2, 4].into_iter().find(is_enough).unwrap_or(8)
}

/// The compressed bytes, which record whether a reader asked for more than there are.
struct Input<'a> {
    rest: &'a [u8],
    exhausted: &'a AtomicBool,
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.rest.read(buffer)
    }
}

impl BufRead for Input<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.rest.is_empty() {
            self.exhausted.store(true, Ordering::Relaxed);
        }
        Ok(self.rest)
    }

    fn consume(&mut self, amount: usize) {
        self.rest = &self.rest[amount..];
    }
}

#[cfg(test)]
mod tests {
    use super::eighths;

    #[test]
    fn the_smallest_sufficient_size_is_chosen() {
        assert_eq!(eighths(3000, 128), 1);
        assert_eq!(eighths(1024, 128), 1);
        assert_eq!(eighths(1023, 128), 2);
        assert_eq!(eighths(256, 128), 4);
        assert_eq!(eighths(255, 128), 8);
        assert_eq!(eighths(100, usize::MAX), 8);
    }
}
