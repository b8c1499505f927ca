//! Whether samples are copies of training images.

use std::path::Path;

use candle_core::Tensor;
use ddpm_data::{PreparedImages, labeled_grid, save_png};
use ddpm_metrics::{
    COPY_RATIO, DataCopying, Features, NearestNeighbors, data_copying, nearest_neighbors, nearest_to_second_ratio,
};
use serde::{Deserialize, Serialize};

use crate::evaluation_images::pixel_rows;

/// Number of pairs that the figure shows.
const PAIRS: usize = 10;
/// The z-score of the data-copying test below which samples count as copies: three standard deviations.
const Z_SCORE: f64 = -3.0;
/// The share of samples with a ratio below [`COPY_RATIO`] from which samples count as copies.
const COPY_SHARE: f64 = 0.05;

/// The distances of samples to their nearest training images, and those of held-out images for comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memorization {
    /// Whether the samples are reported as copies.
    pub(crate) copies: bool,
    /// What was compared: `pixels`, or the name of a feature network.
    pub(crate) features: String,
    pub(crate) samples: Distances,
    /// None if no images are held out.
    pub(crate) held_out: Option<Distances>,
    /// The test whether samples are closer to training images than held-out images are.
    pub(crate) test: Option<DataCopying>,
}

/// Quantiles over the images of one side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Distances {
    pub(crate) images: usize,
    /// The distance to the nearest training image, the root of the mean squared difference of a value (pixels are in
    /// [−1, 1]): its quantiles 0, 0.05, 0.25, 0.5, 0.75, 0.95 and 1.
    pub(crate) nearest: Vec<f64>,
    /// The same quantiles of the ratio of the distances to the nearest and the second nearest training image.
    pub(crate) ratio: Vec<f64>,
    /// The share of images whose ratio is below 1/3.
    pub(crate) copy_share: f64,
}

const QUANTILES: [f64; 7] = [0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0];

/// Images with a row of values for each: their pixels or features.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// [image, channel, height, width].
    pub(crate) images: &'a Tensor,
    pub(crate) values: &'a Features,
}

/// The images of one side and their nearest training images.
struct Side<'a> {
    images: &'a Tensor,
    neighbors: NearestNeighbors,
    distances: Distances,
}

impl<'a> Side<'a> {
    fn new(Rows { images, values: rows }: Rows<'a>, training: &Features) -> anyhow::Result<Self> {
        let neighbors = nearest_neighbors(rows, training, 2.min(training.rows()))?;
        let root = (rows.width() as f64).sqrt();
        let nearest: Vec<f64> = neighbors.nearest_distances().iter().map(|distance| distance / root).collect();
        let ratio = if training.rows() > 1 { nearest_to_second_ratio(&neighbors)? } else { vec![1.0; rows.rows()] };
        let copies = ratio.iter().filter(|ratio| **ratio < COPY_RATIO).count();
        let distances = Distances {
            images: rows.rows(),
            copy_share: copies as f64 / rows.rows() as f64,
            nearest: quantiles(nearest),
            ratio: quantiles(ratio),
        };
        Ok(Self { images, neighbors, distances })
    }

    /// The images that are closest to a training image, each followed by it: rows of `labels`.
    fn closest(&self, training: &Tensor) -> anyhow::Result<[Tensor; 2]> {
        let distances = self.neighbors.nearest_distances();
        let mut order: Vec<usize> = (0..distances.len()).collect();
        order.sort_by(|a, b| distances[*a].total_cmp(&distances[*b]));
        order.truncate(PAIRS);
        let nearest: Vec<u32> = order.iter().map(|query| self.neighbors.indices(*query)[0] as u32).collect();
        let order: Vec<u32> = order.into_iter().map(|query| query as u32).collect();
        let rows = |of: &Tensor, indices: Vec<u32>| of.index_select(&Tensor::new(indices, of.device())?, 0);
        Ok([rows(self.images, order)?, rows(training, nearest)?])
    }
}

/// [`memorization`] by the pixels of the images.
///
/// # Errors
/// When the images have different sizes or the figure cannot be written.
pub(crate) fn pixel_memorization(
    samples: &PreparedImages,
    training: &PreparedImages,
    held_out: Option<&PreparedImages>,
    figure: &Path,
) -> anyhow::Result<Memorization> {
    let held_out_rows = held_out.map(|held_out| pixel_rows(&held_out.images)).transpose()?;
    let held_out = held_out.zip(held_out_rows.as_ref());
    memorization(
        "pixels",
        Rows { images: &samples.images, values: &pixel_rows(&samples.images)? },
        Rows { images: &training.images, values: &pixel_rows(&training.images)? },
        held_out.map(|(held_out, values)| Rows { images: &held_out.images, values }),
        figure,
    )
}

/// Compares `samples` with the training images, and held-out images too, by the values called `features`, and writes a
/// figure of the closest pairs.
///
/// # Errors
/// When the values have different widths or the figure cannot be written.
pub(crate) fn memorization(
    features: &str,
    samples: Rows<'_>,
    training: Rows<'_>,
    held_out: Option<Rows<'_>>,
    figure: &Path,
) -> anyhow::Result<Memorization> {
    let sampled = Side::new(samples, training.values)?;
    let held_out = held_out.map(|held_out| Side::new(held_out, training.values)).transpose()?;
    let test = held_out
        .as_ref()
        .map(|held_out| data_copying(&sampled.neighbors.nearest_distances(), &held_out.neighbors.nearest_distances()));
    let test = test.transpose()?;
    draw(&sampled, held_out.as_ref(), training.images, figure)?;
    let usual = held_out.as_ref().map_or(0.0, |held_out| held_out.distances.copy_share);
    let many_copies = sampled.distances.copy_share > COPY_SHARE.max(3.0 * usual);
    Ok(Memorization {
        copies: many_copies || test.is_some_and(|test| test.z_score < Z_SCORE),
        features: features.to_owned(),
        samples: sampled.distances,
        held_out: held_out.map(|held_out| held_out.distances),
        test,
    })
}

/// Writes the closest pairs: a row of images above a row of their nearest training images, for each side.
fn draw(sampled: &Side<'_>, held_out: Option<&Side<'_>>, training: &Tensor, figure: &Path) -> anyhow::Result<()> {
    let (mut images, mut rows) = (Vec::new(), Vec::new());
    let mut labels = vec!["sample", "nearest training"];
    let sides = [Some(sampled), held_out];
    for side in sides.into_iter().flatten() {
        for pictures in side.closest(training)? {
            rows.extend(std::iter::repeat_n(images.len(), pictures.dim(0)?));
            images.push(pictures);
        }
    }
    if held_out.is_some() {
        labels.extend(["held-out", "nearest training"]);
    }
    Ok(save_png(figure, &labeled_grid(&Tensor::cat(&images, 0)?, &rows, &labels)?)?)
}

fn quantiles(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    QUANTILES.iter().map(|quantile| values[(quantile * last as f64).round() as usize]).collect()
}
