//! Squared Euclidean distances between rows, by matrix products and exactly.

use std::ops::Range;

use crate::features::Features;
use crate::linear_algebra::inner_products;

/// Two sets of features whose distances are computed block by block as ‖a‖² + ‖b‖² − 2 aᵀb.
///
/// The mean of the second set is subtracted from both first, which leaves the distances as they are and makes the terms
/// small, so that little cancels. Where a comparison could still depend on rounding, callers compute the distance with
/// [`SquaredDistances::exact`] again: a block's distance differs from it by at most [`SquaredDistances::slack`].
#[derive(Debug)]
pub(crate) struct SquaredDistances<'a> {
    queries: &'a Features,
    references: &'a Features,
    center: Vec<f64>,
    query_norms: Vec<f64>,
    reference_norms: Vec<f64>,
}

impl<'a> SquaredDistances<'a> {
    /// Both sets have the same width.
    pub(crate) fn new(queries: &'a Features, references: &'a Features) -> Self {
        let center = references.mean();
        let norms = |features: &Features| {
            let norm = |row: usize| features.centered(row..row + 1, &center).iter().map(|value| value * value).sum();
            (0..features.rows()).map(norm).collect()
        };
        Self { query_norms: norms(queries), reference_norms: norms(references), queries, references, center }
    }

    /// The rows of the queries that [`SquaredDistances::block`] takes.
    pub(crate) fn prepared_queries(&self, rows: Range<usize>) -> Vec<f64> {
        self.queries.centered(rows, &self.center)
    }

    /// The squared distances [queries, references] of two ranges of rows, up to [`SquaredDistances::slack`].
    pub(crate) fn block(&self, prepared: &[f64], queries: Range<usize>, references: Range<usize>) -> Vec<f64> {
        let others = self.references.centered(references.clone(), &self.center);
        let mut distances = inner_products(prepared, &others, self.center.len());
        for (query, row) in queries.zip(distances.chunks_exact_mut(references.len())) {
            let norm = self.query_norms[query];
            for (value, other) in row.iter_mut().zip(&self.reference_norms[references.clone()]) {
                *value = (norm + other - 2.0 * *value).max(0.0);
            }
        }
        distances
    }

    /// A bound of the rounding error of a block's distance: the error of a sum of `width` products.
    pub(crate) fn slack(&self, query: usize, reference: usize) -> f64 {
        let terms = 2.0 * self.center.len() as f64 + 8.0;
        terms * f64::EPSILON * (self.query_norms[query] + self.reference_norms[reference])
    }

    /// Σ (a − b)², added in the order of the columns. It is 0 exactly where two rows are equal.
    pub(crate) fn exact(&self, query: usize, reference: usize) -> f64 {
        let (a, b) = (self.queries.row(query), self.references.row(reference));
        a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
    }
}
