//! The formats of image files that are written.

use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::str::FromStr;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::atomic_write::write_atomically;
use crate::error::DataError;
use crate::image::Image;

/// The format of an image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImageFormat {
    /// PNG: lossless, and the only format here that holds text.
    #[default]
    Png,
    /// WebP, lossless.
    WebP,
    /// JPEG, without alpha channel.
    Jpeg {
        /// From 1, the smallest file, to 100, the fewest losses.
        quality: u8,
    },
}

/// A text that names no format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownImageFormat(String);

impl Display for UnknownImageFormat {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "expected png, webp, jpeg or jpeg:QUALITY with a quality from 1 to 100, found {}", self.0)
    }
}

impl std::error::Error for UnknownImageFormat {}

impl Display for ImageFormat {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Png => f.pad("png"),
            Self::WebP => f.pad("webp"),
            Self::Jpeg { quality } => write!(f, "jpeg:{quality}"),
        }
    }
}

impl FromStr for ImageFormat {
    type Err = UnknownImageFormat;

    fn from_str(text: &str) -> Result<Self, UnknownImageFormat> {
        match text.split_once(':') {
            None if text == "png" => Ok(Self::Png),
            None if text == "webp" => Ok(Self::WebP),
            None if text == "jpeg" => Ok(Self::Jpeg { quality: 90 }),
            Some(("jpeg", quality)) => match quality.parse() {
                Ok(quality @ 1..=100) => Ok(Self::Jpeg { quality }),
                _ => Err(UnknownImageFormat(text.to_owned())),
            },
            _ => Err(UnknownImageFormat(text.to_owned())),
        }
    }
}

impl ImageFormat {
    /// The ending of the names of files, without its dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::WebP => "webp",
            Self::Jpeg { .. } => "jpg",
        }
    }

    /// Whether images of that many channels can be written.
    pub fn supports(self, channels: usize) -> bool {
        match self {
            Self::Png | Self::WebP => [1, 3, 4].contains(&channels),
            Self::Jpeg { .. } => [1, 3].contains(&channels),
        }
    }

    /// Writes an image. An existing file is replaced in one step, so a reader never sees a part of an image.
    ///
    /// `texts` are pairs of a keyword, at most 79 characters of Latin-1, and a text. PNG files hold them in text
    /// chunks; the other formats leave them out.
    ///
    /// # Errors
    /// [`DataError`] when the image cannot be encoded or the file cannot be written.
    pub fn save(self, path: &Path, image: &Image, texts: &[(&str, &str)]) -> Result<(), DataError> {
        let invalid = |error: String| DataError::invalid(path.display(), error);
        let (width, height) = (image.width as u32, image.height as u32);
        let color = match image.channels {
            1 => ExtendedColorType::L8,
            3 => ExtendedColorType::Rgb8,
            _ => ExtendedColorType::Rgba8,
        };
        let mut bytes = Vec::new();
        match self {
            Self::Png => encode_png(&mut bytes, image, texts).map_err(|error| invalid(error.to_string()))?,
            Self::WebP => WebPEncoder::new_lossless(&mut bytes)
                .write_image(&image.samples, width, height, color)
                .map_err(|error| invalid(error.to_string()))?,
            Self::Jpeg { quality } => JpegEncoder::new_with_quality(&mut bytes, quality)
                .write_image(&image.samples, width, height, color)
                .map_err(|error| invalid(error.to_string()))?,
        }
        write_atomically(path, &bytes)
    }
}

fn encode_png(bytes: &mut Vec<u8>, image: &Image, texts: &[(&str, &str)]) -> Result<(), png::EncodingError> {
    let mut encoder = png::Encoder::new(bytes, image.width as u32, image.height as u32);
    encoder.set_color(match image.channels {
        1 => png::ColorType::Grayscale,
        3 => png::ColorType::Rgb,
        _ => png::ColorType::Rgba,
    });
    encoder.set_depth(png::BitDepth::Eight);
    for (keyword, text) in texts {
        // iTXt, because texts are UTF-8.
        encoder.add_itxt_chunk((*keyword).to_owned(), (*text).to_owned())?;
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&image.samples)?;
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for name in ["png", "webp", "jpeg:1", "jpeg:100"] {
            assert_eq!(name.parse::<ImageFormat>().map(|format| format.to_string()), Ok(name.to_owned()));
        }
        assert_eq!("jpeg".parse(), Ok(ImageFormat::Jpeg { quality: 90 }));
        for wrong in ["", "PNG", "jpg", "jpeg:0", "jpeg:101", "jpeg:", "png:9"] {
            assert_eq!(wrong.parse::<ImageFormat>(), Err(UnknownImageFormat(wrong.to_owned())));
        }
    }
}
