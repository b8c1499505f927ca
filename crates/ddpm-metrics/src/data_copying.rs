//! A test of whether generated samples are closer to the training images than held-out images are.

use crate::error::{MetricsError, Result, check_samples};

/// The comparison of two sets of distances to the nearest training image.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DataCopying {
    /// The probability that a generated sample is closer to the training images than a held-out image is, from 0 to 1;
    /// ties count half. 0.5 without copying.
    pub share_closer: f64,
    /// The Mann–Whitney statistic U: the number of pairs in which the generated sample is farther; ties count half.
    pub u: f64,
    /// U minus its mean, divided by its standard deviation, where both sets have the same distribution: C_T over one
    /// cell. Clearly below 0, such as −3: copying. Clearly above 0: samples far from the data.
    pub z_score: f64,
}

/// The data-copying statistic C_T ([Meehan et al. 2020](https://arxiv.org/abs/2004.05675), section 3) over a single
/// cell, the whole space. It takes the distances of m generated samples and n held-out images to their nearest training
/// images, such as [`NearestNeighbors::nearest_distances`](crate::NearestNeighbors::nearest_distances) returns:
///
/// z = (U − m n / 2) / σ_U, σ_U² = m n / 12 · (m + n + 1 − Σ (t³ − t) / ((m + n) (m + n − 1)))
///
/// U is that of [Mann & Whitney 1947](https://doi.org/10.1214/aoms/1177730491), and the sum over groups of t equal
/// distances corrects for ties. z is normal for more than about 20 distances of each set. It is 0 where all distances
/// are equal.
///
/// Held-out images must come from the same distribution as the training images and must not be among them. Near
/// duplicates between the two sets hide copying.
///
/// DIFFERENCE: the paper divides the space into cells and averages z over them, which [`data_copying_over_cells`] does
/// for cells that the caller chooses. One cell finds copying that prevails, not copying of a part of the data.
///
/// # Errors
/// [`MetricsError::TooFewSamples`] for an empty set; [`MetricsError::NotFinite`] for a distance that is not finite.
///
/// # Examples
/// ```
/// use ddpm_metrics::data_copying;
///
/// let copying = data_copying(&[0.1, 0.2, 0.3], &[1.0, 2.0, 0.25])?;
/// assert_eq!((copying.u, copying.share_closer), (1.0, 8.0 / 9.0));
/// assert!(copying.z_score < -1.5);
/// # Ok::<(), ddpm_metrics::MetricsError>(())
/// ```
pub fn data_copying(generated: &[f64], held_out: &[f64]) -> Result<DataCopying> {
    check(generated, "distances of generated samples")?;
    check(held_out, "distances of held-out images")?;
    let (m, n) = (generated.len() as f64, held_out.len() as f64);
    let of = |distances: &[f64], is_generated| distances.iter().map(move |&d| (d, is_generated)).collect::<Vec<_>>();
    let mut distances = [of(generated, true), of(held_out, false)].concat();
    distances.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut u, mut closer, mut tie_sum) = (0.0, 0.0, 0.0);
    for group in distances.chunk_by(|a, b| a.0 == b.0) {
        let generated = group.iter().filter(|(_, is_generated)| *is_generated).count() as f64;
        let size = group.len() as f64;
        u += generated * (closer + (size - generated) / 2.0);
        closer += size - generated;
        tie_sum += size.powi(3) - size;
    }
    let total = m + n;
    let variance = m * n / 12.0 * (total + 1.0 - tie_sum / (total * (total - 1.0)));
    let z_score = if variance > 0.0 { (u - m * n / 2.0) / variance.sqrt() } else { 0.0 };
    Ok(DataCopying { share_closer: 1.0 - u / (m * n), u, z_score })
}

/// The distances of one cell of the space.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CellDistances<'a> {
    /// The distances of the generated samples in the cell to their nearest training images.
    pub generated: &'a [f64],
    /// The distances of the held-out images in the cell.
    pub held_out: &'a [f64],
}

/// C_T over several cells: the mean of their z-scores, weighted by their numbers of held-out images
/// ([Meehan et al. 2020](https://arxiv.org/abs/2004.05675), section 3). Cells without distances of both sets are
/// skipped; the paper skips those with few generated samples, whose z-scores say little.
///
/// # Errors
/// [`MetricsError::TooFewSamples`] if no cell has distances of both sets; [`MetricsError::NotFinite`].
pub fn data_copying_over_cells(cells: &[CellDistances<'_>]) -> Result<f64> {
    let (mut sum, mut weight) = (0.0, 0.0);
    for cell in cells.iter().filter(|cell| !cell.generated.is_empty() && !cell.held_out.is_empty()) {
        let count = cell.held_out.len() as f64;
        sum += count * data_copying(cell.generated, cell.held_out)?.z_score;
        weight += count;
    }
    check_samples("cells with distances of both sets", usize::from(weight > 0.0), 1)?;
    Ok(sum / weight)
}

fn check(distances: &[f64], what: &'static str) -> Result<()> {
    check_samples(what, distances.len(), 1)?;
    match distances.iter().position(|distance| !distance.is_finite()) {
        Some(row) => Err(MetricsError::NotFinite { row, column: 0, value: distances[row] }),
        None => Ok(()),
    }
}
