//! Encoded bytes to an image.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::jpeg_end::has_end_marker;
use crate::{DataError, Image};

/// The largest encoded image, in bytes.
pub(crate) const MAX_ENCODED: u64 = 256 << 20;
/// The largest side of an image, in pixels.
pub(crate) const MAX_SIDE: u32 = 32_768;
/// The most memory that decoding one image may take, in bytes.
pub(crate) const MAX_ALLOC: u64 = 1 << 28;

/// Decodes an image, whatever it is called: the format is read off its first bytes. Of an animation it is the first frame.
///
/// 16-bit samples are rounded to 8 bits; the orientation that a camera recorded (EXIF) is applied; palettes are resolved.
/// Grey stays grey, grey with alpha becomes RGBA.
///
/// # Errors
/// When the bytes are no image of a known format, are damaged or truncated, or the image is too large.
pub(crate) fn decode(bytes: &[u8], name: &str) -> Result<Image, DataError> {
    // A decoder that meets hostile bytes may panic: such a file is damaged, not a reason to end a run. The closure touches
    // nothing that a panic could leave half-changed.
    let decoded = catch_unwind(AssertUnwindSafe(|| decode_image(bytes)));
    let image = match decoded {
        Ok(Ok(image)) => image,
        Ok(Err(problem)) => return Err(DataError::damaged(name, problem)),
        Err(_) => return Err(DataError::damaged(name, "its decoder failed on these bytes")),
    };
    Ok(to_image(image))
}

fn decode_image(bytes: &[u8]) -> Result<DynamicImage, String> {
    let format = image::guess_format(bytes).map_err(|_| "no image of a known format".to_string())?;
    if format == ImageFormat::Jpeg && !has_end_marker(bytes) {
        return Err("truncated JPEG: its end marker is missing".into());
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_ALLOC);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(|error| error.to_string())?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(format!("expected at least one pixel, found {width}×{height}"));
    }
    if decoder.total_bytes() > MAX_ALLOC {
        return Err(format!("{width}×{height} pixels are more than {} MiB", MAX_ALLOC >> 20));
    }
    decoder.set_limits(limits).map_err(|error| error.to_string())?;
    let orientation = decoder.orientation().map_err(|error| error.to_string())?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| error.to_string())?;
    image.apply_orientation(orientation);
    Ok(image)
}

fn to_image(image: DynamicImage) -> Image {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let (channels, samples) = match image.color() {
        ColorType::L8 | ColorType::L16 => (1, image.into_luma8().into_raw()),
        color if color.has_alpha() => (4, image.into_rgba8().into_raw()),
        _ => (3, image.into_rgb8().into_raw()),
    };
    Image { width, height, channels, samples }
}
