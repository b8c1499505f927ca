//! Decoding of image files.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::decode_request::DecodeRequest;
use crate::error::DataError;
use crate::image::Image;
use crate::jpeg::decode_jpeg;
use crate::jpeg_segments::JpegSegments;

/// The largest encoded image, in bytes.
pub(crate) const MAX_ENCODED_BYTES: u64 = 256 << 20;
/// The largest width and height of an image, in pixels.
pub(crate) const MAX_SIDE: u32 = 32_768;
/// The largest amount of memory for decoding one image, in bytes.
pub(crate) const MAX_DECODED_BYTES: u64 = 1 << 28;

/// Decodes an image. The format is recognized by the first bytes, not by the name. The first frame of an animation is
/// decoded.
///
/// A JPEG image that is much larger than requested is decoded at a reduced size.
///
/// 16-bit samples are rounded to 8 bits, the orientation that a camera recorded (EXIF) is applied, and palettes are
/// resolved. A gray image stays gray; a gray image with alpha becomes RGBA.
///
/// # Errors
/// [`DataError::Invalid`] when the bytes are not an image in a supported format, are corrupt or truncated, or the image
/// is too large.
pub(crate) fn decode(bytes: &[u8], name: &str, request: &mut DecodeRequest<'_>) -> Result<Image, DataError> {
    // A decoder may panic on malicious bytes. Such a file counts as corrupt and must not end the program. The closure
    // changes nothing but the request, which stays consistent.
    let decoded = catch_unwind(AssertUnwindSafe(|| decode_image(bytes, request)));
    let image = match decoded {
        Ok(Ok(image)) => image,
        Ok(Err(problem)) => return Err(DataError::invalid(name, problem)),
        // libjpeg reports errors by unwinding with a message.
        Err(payload) => {
            let message = payload.downcast_ref::<String>().filter(|message| message.starts_with("libjpeg"));
            let problem = message.map_or("the decoder panicked on the bytes of this image", String::as_str);
            return Err(DataError::invalid(name, problem));
        }
    };
    Ok(to_image(image))
}

fn decode_image(bytes: &[u8], request: &mut DecodeRequest<'_>) -> Result<DynamicImage, String> {
    let format = image::guess_format(bytes).map_err(|_| "not an image in a supported format".to_string())?;
    if format == ImageFormat::Jpeg {
        let segments = JpegSegments::read(bytes);
        if let Some(mut image) = decode_jpeg(bytes, &segments, MAX_SIDE, request)? {
            let orientation = segments.exif.and_then(Orientation::from_exif_chunk);
            image.apply_orientation(orientation.unwrap_or(Orientation::NoTransforms));
            return Ok(image);
        }
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(|error| error.to_string())?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(format!("expected at least one pixel, found {width}×{height}"));
    }
    if decoder.total_bytes() > MAX_DECODED_BYTES {
        return Err(format!("{width}×{height} pixels are more than {} MiB", MAX_DECODED_BYTES >> 20));
    }
    request.reserve(u64::from(width) * u64::from(height))?;
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
