//! `--show-data N`: a grid of the first training images, as the network will see them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use candle_core::Tensor;
use ddpm_cli::{ExitReason, Progress, grouped, pluralize};
use ddpm_data::{Loader, LoaderConfig};
use tracing::info;

use crate::run_config::RunConfig;
use crate::run_images::RunImages;

/// The name of the grid, in the directory of `--out` or the working directory.
const FILE_NAME: &str = "training-images.png";

/// Writes a grid of the first `count` images of the training, after decoding, resizing, cropping and flipping.
pub(crate) fn show_data(
    config: &RunConfig,
    count: usize,
    directory: Option<&Path>,
    progress: &Progress,
) -> anyhow::Result<ExitReason> {
    let mut config = config.clone();
    let source = RunImages::open(&mut config, progress)?.training;
    let config = &config;
    let RunConfig { model, data, train, .. } = config;
    let size = model.image_size();
    let batch_size = train.batch_size.min(source.len());
    let loading = LoaderConfig::new(data, batch_size, train.seed, model.channels(), [size.height, size.width]);
    let total = source.len();
    let mut loader = Loader::new(source, loading, 0).context("the training data")?;
    let mut batches = Vec::new();
    while batches.len() * batch_size < count {
        let Some(batch) = loader.next() else { break };
        batches.push(batch.context("the training data")?.images);
    }
    let images = Tensor::cat(&batches, 0)?;
    let images = images.narrow(0, 0, count.min(images.dim(0)?))?;
    let path = directory.map_or_else(|| PathBuf::from(FILE_NAME), |directory| directory.join(FILE_NAME));
    ddpm_data::save_grid(&path, &images)?;
    let shown = pluralize(images.dim(0)?, "training image");
    info!("{shown}, {size}, of the {} in {}: {}", grouped(total), data.path, path.display());
    Ok(ExitReason::Completed)
}
