//! Reads sets of images and prepares batches of them for training; writes samples as image files.
//!
//! This crate owns every image format and every conversion of an image on its way to the network and back.
//!
//! - A set of images is an [`ImageSource`]. It decodes one image at a time, by index, so the decoded set is never in
//!   memory. [`open`] returns the source of a folder or a file: PNG, JPEG, WebP, GIF, BMP and TIFF images, IDX files
//!   (the format of MNIST), CIFAR-10 binary files, Parquet files with encoded images, and zip and tar archives.
//! - The images of a set may have classes, [`Labels`]: folders of their own, files of labels, or a column of labels.
//! - A [`Loader`] decodes, augments and converts the images on threads of its own, and returns tensors
//!   \[batch, channel, height, width\] in \[−1, 1\]. Batch number k is a function of (seed, k) alone, so a run can
//!   resume at any batch.
//! - [`to_images`], [`ImageFormat`], [`save_png`], [`save_grid`], [`save_gif`] and [`save_evolution_gif`] write
//!   samples; [`save_loss_curve`] plots the training loss.
//!
//! The crate does not access the network and does not depend on a model. Input files are not
//! trusted: sizes are checked before memory is allocated, and a corrupt file is a [`DataError`] that names the file.
//!
//! With the feature `candle-datasets`, a `candle_datasets::vision::Dataset` is an image source as well: see
//! `CandleImages`.
//!
//! Reading order: [`DataConfig`], [`open`], [`ImageSource`], [`LoaderConfig`], [`Loader`], [`Conversion`]; then the
//! functions that write files.

mod archive_images;
mod atomic_write;
mod batch;
mod batch_share;
mod byte_storage;
#[cfg(feature = "candle-datasets")]
mod candle_dataset;
#[cfg(feature = "candle-datasets")]
mod candle_images;
mod chained_sources;
mod channels;
mod cifar_binary;
mod color;
mod config;
mod conversion;
mod decode;
mod decode_request;
mod decompression_limit;
mod digits;
mod encoded_images;
mod error;
mod evolution_gif;
mod file_kind;
mod fingerprint;
mod fit;
mod folder;
mod folder_labels;
mod gif_file;
mod holdout;
mod idx;
mod idx_labels;
mod image;
mod image_cache;
mod image_format;
mod image_grid;
mod image_source;
mod jpeg;
mod jpeg_segments;
mod label_table;
mod labeling;
mod labels;
mod loader;
mod loader_config;
mod log_ticks;
mod loss_curve;
mod open;
mod parquet_column;
mod parquet_labels;
mod parquet_source;
mod pixels;
mod png_file;
mod preparation;
mod prepared_images;
mod raw_images;
mod resize;
mod resize_filter;
mod sample_order;
mod tar_archive;
mod text_label;
mod zip_archive;

pub use batch::Batch;
pub use batch_share::BatchShare;
#[cfg(feature = "candle-datasets")]
pub use candle_dataset::{CandleDataset, CandleSplit};
#[cfg(feature = "candle-datasets")]
pub use candle_images::CandleImages;
pub use color::Color;
pub use config::DataConfig;
pub use conversion::Conversion;
pub use decode_request::{DecodeRequest, PixelBudget};
pub use error::DataError;
pub use evolution_gif::{save_evolution_gif, update_evolution_gif};
pub use fingerprint::DataFingerprint;
pub use fit::Fit;
pub use gif_file::save_gif;
pub use holdout::{HoldoutSplit, default_holdout_share};
pub use image_cache::ImageCache;
pub use image_format::{ImageFormat, UnknownImageFormat};
pub use image_grid::{grid, labeled_grid, save_grid, side_by_side, square_columns, strip};
pub use image_source::ImageSource;
pub use labeling::{ClassBalance, Labeling};
pub use labels::Labels;
pub use loader::Loader;
pub use loader_config::{CacheConfig, LoaderConfig};
pub use loss_curve::{LossCurves, save_loss_curve};
pub use open::{open, open_files};
pub use pixels::{pixel_to_value, to_images, to_tensor, value_to_pixel};
pub use png_file::save_png;
pub use preparation::Preparation;
pub use prepared_images::{PreparedImages, prepared_images};
pub use resize_filter::ResizeFilter;

pub use crate::image::Image;

/// Compiles the examples of the README as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
