//! The nearest rows of a reference set.

use rayon::prelude::*;

use crate::blocks::blocks;
use crate::error::{Result, check_parameter, check_samples, check_widths};
use crate::features::Features;
use crate::squared_distances::SquaredDistances;

/// Queries that one thread takes at a time, and references that it compares them with.
const ROWS: [usize; 2] = [128, 1024];

/// The k nearest references of each query, nearest first. Of references at the same distance, the one with the smaller
/// index comes first.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct NearestNeighbors {
    neighbors: usize,
    indices: Vec<usize>,
    squared_distances: Vec<f64>,
}

impl NearestNeighbors {
    /// The number of queries.
    pub fn queries(&self) -> usize {
        self.indices.len() / self.neighbors
    }

    /// k, the number of neighbors of each query.
    pub fn neighbors(&self) -> usize {
        self.neighbors
    }

    /// The indices of the k nearest references of a query.
    ///
    /// # Panics
    /// If `query` is not below [`NearestNeighbors::queries`].
    pub fn indices(&self, query: usize) -> &[usize] {
        &self.indices[query * self.neighbors..][..self.neighbors]
    }

    /// The squared Euclidean distances to the k nearest references of a query, in increasing order.
    ///
    /// # Panics
    /// If `query` is not below [`NearestNeighbors::queries`].
    pub fn squared_distances(&self, query: usize) -> &[f64] {
        &self.squared_distances[query * self.neighbors..][..self.neighbors]
    }

    /// The distance of each query to its nearest reference, `[queries]`. It is not squared.
    pub fn nearest_distances(&self) -> Vec<f64> {
        self.squared_distances.iter().step_by(self.neighbors).map(|distance| distance.sqrt()).collect()
    }
}

/// The k nearest rows of `references` for each row of `queries`, by squared Euclidean distance.
///
/// Distances are computed by matrix products in f64, and those of the candidates again as Σ (a − b)², so neither
/// indices nor distances depend on the number of threads, and equal rows have the distance 0. 50,000 queries among
/// 50,000 references of width 2048 take 5·10¹² multiplications and less than 1 GiB besides the features.
///
/// # Errors
/// [`MetricsError::Widths`](crate::MetricsError::Widths);
/// [`MetricsError::Parameter`](crate::MetricsError::Parameter) if k is 0;
/// [`MetricsError::TooFewSamples`](crate::MetricsError::TooFewSamples) for fewer than k references.
///
/// # Examples
/// ```
/// use ddpm_metrics::{Features, nearest_neighbors};
///
/// let references = Features::new(vec![0.0, 10.0, 4.0], 1)?;
/// let neighbors = nearest_neighbors(&Features::new(vec![5.0], 1)?, &references, 2)?;
/// assert_eq!(neighbors.indices(0), [2, 0]);
/// assert_eq!(neighbors.squared_distances(0), [1.0, 25.0]);
/// # Ok::<(), ddpm_metrics::MetricsError>(())
/// ```
pub fn nearest_neighbors(queries: &Features, references: &Features, neighbors: usize) -> Result<NearestNeighbors> {
    check_widths(queries.width(), references.width())?;
    search(queries, references, neighbors, false)
}

/// The k nearest other rows of the same set for each row. A duplicate of a row is another row, at the distance 0.
///
/// # Errors
/// [`MetricsError::Parameter`](crate::MetricsError::Parameter) if k is 0;
/// [`MetricsError::TooFewSamples`](crate::MetricsError::TooFewSamples) for fewer than k + 1 rows.
pub fn nearest_neighbors_within(features: &Features, neighbors: usize) -> Result<NearestNeighbors> {
    search(features, features, neighbors, true)
}

fn search(queries: &Features, references: &Features, neighbors: usize, within: bool) -> Result<NearestNeighbors> {
    check_parameter(neighbors >= 1, "the number of neighbors", neighbors as f64, "at least 1")?;
    let needed = neighbors.saturating_add(usize::from(within));
    check_samples("nearest neighbors", references.rows(), needed)?;
    let distances = SquaredDistances::new(queries, references);
    let of_block = |rows: std::ops::Range<usize>| {
        let prepared = distances.prepared_queries(rows.clone());
        let mut candidates: Vec<Candidates> = rows.clone().map(|_| Candidates::new(neighbors)).collect();
        for others in blocks(references.rows(), ROWS[1]) {
            let block = distances.block(&prepared, rows.clone(), others.clone());
            for ((query, candidates), row) in rows.clone().zip(&mut candidates).zip(block.chunks_exact(others.len())) {
                for (reference, &distance) in others.clone().zip(row) {
                    if !(within && reference == query) {
                        candidates.offer(reference, distance, distances.slack(query, reference));
                    }
                }
            }
        }
        let nearest = |(query, found): (usize, Candidates)| found.nearest(|i| distances.exact(query, i));
        rows.zip(candidates).flat_map(nearest).collect::<Vec<_>>()
    };
    let found: Vec<_> = blocks(queries.rows(), ROWS[0]).into_par_iter().flat_map_iter(of_block).collect();
    let (indices, squared_distances) = found.into_iter().unzip();
    Ok(NearestNeighbors { neighbors, indices, squared_distances })
}

/// The references that can be among the k nearest of a query, given distances with bounded errors.
#[derive(Debug)]
struct Candidates {
    neighbors: usize,
    /// No reference whose distance is certainly larger than this can be among the nearest.
    bound: f64,
    /// Lower bounds of distances, upper bounds, and indices.
    found: Vec<(f64, f64, usize)>,
}

impl Candidates {
    fn new(neighbors: usize) -> Self {
        Self { neighbors, bound: f64::INFINITY, found: Vec::new() }
    }

    fn offer(&mut self, index: usize, distance: f64, slack: f64) {
        if distance - slack <= self.bound {
            self.found.push((distance - slack, distance + slack, index));
            let len = self.found.len();
            if len >= 2 * self.neighbors + 32 && len.is_power_of_two() {
                self.prune();
            }
        }
    }

    /// Lowers the bound to the k-th smallest upper bound and drops what is above it.
    fn prune(&mut self) {
        if self.found.len() > self.neighbors {
            let upper = |a: &(f64, f64, usize), b: &(f64, f64, usize)| a.1.total_cmp(&b.1);
            self.bound = self.found.select_nth_unstable_by(self.neighbors - 1, upper).1.1;
            self.found.retain(|candidate| candidate.0 <= self.bound);
        }
    }

    /// The indices and exact distances of the k nearest.
    fn nearest(mut self, exact: impl Fn(usize) -> f64) -> Vec<(usize, f64)> {
        self.prune();
        let mut nearest: Vec<(usize, f64)> = self.found.iter().map(|&(_, _, i)| (i, exact(i))).collect();
        nearest.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        nearest.truncate(self.neighbors);
        nearest
    }
}
