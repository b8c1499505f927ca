//! Image files in, batches in [−1, 1] out, and image files out.
//!
//! Owns every image format and everything that happens to a pixel on its way to the network and back. A set of images is
//! an [`ImageSource`]: it decodes one image at a time, by index, so the decoded set is never in memory. A [`Loader`] turns
//! it into batches on threads of its own; the batch at position k is a function of (seed, k) alone, so a run resumes at any
//! batch.
//!
//! It leaves out: labels, downloads, networks. What it reads is not trusted: sizes are bounded before memory is taken, and
//! damage is an error that names the file.
//!
//! Reading order: [`DataConfig`], [`open`], [`ImageSource`], [`Loader`]; then images out: [`to_images`], [`save_png`],
//! [`save_grid`], [`save_strip`], [`save_gif`], [`save_evolution_gif`], [`save_loss_curve`].

mod animation;
mod archive;
mod byte_store;
mod bytes;
#[cfg(feature = "candle-datasets")]
mod candle_dataset;
#[cfg(feature = "candle-datasets")]
mod candle_images;
mod cifar_binary;
mod config;
mod convert;
mod decode;
mod decompression;
mod digits;
mod error;
mod file_kind;
mod folder;
mod grid;
mod idx;
mod image;
mod jpeg_end;
mod loader;
mod loss_curve;
mod open;
mod parquet_source;
mod pixels;
mod png_file;
mod raw_records;
mod sample_order;
mod source;

pub use crate::image::Image;
pub use animation::{save_evolution_gif, save_gif};
#[cfg(feature = "candle-datasets")]
pub use candle_dataset::{CandleDataset, CandleSplit};
#[cfg(feature = "candle-datasets")]
pub use candle_images::CandleImages;
pub use config::{DataConfig, Fit};
pub use convert::Conversion;
pub use error::DataError;
pub use grid::{grid, save_grid, save_strip};
pub use loader::{Batch, Loader, LoaderConfig};
pub use loss_curve::save_loss_curve;
pub use open::{open, open_files};
pub use pixels::{pixel_to_value, to_images, value_to_pixel};
pub use png_file::save_png;
pub use source::ImageSource;
