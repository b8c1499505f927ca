//! Dense f64 linear algebra: the only module that calls faer.
//!
//! Matrices are slices in row-major order, as features are. Every call to faer runs in one thread (`Par::Seq`), so its
//! order of summation depends on shapes alone. Threads work on separate parts of a result.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::matmul::matmul;
use faer::linalg::svd::{ComputeSvdVectors, svd, svd_scratch};
use faer::{Accum, Mat, MatMut, MatRef, Par, Spec};
use rayon::prelude::*;

use crate::error::{MetricsError, Result};

/// The number of columns of a scatter matrix that one thread computes at a time.
const PANEL: usize = 128;

/// a bᵀ: the inner products of the rows of `a` [n, width] with those of `b` [m, width], as [n, m].
pub(crate) fn inner_products(a: &[f64], b: &[f64], width: usize) -> Vec<f64> {
    let (n, m) = (a.len() / width, b.len() / width);
    let mut products = vec![0.0; n * m];
    let (a, b) = (MatRef::from_row_major_slice(a, n, width), MatRef::from_row_major_slice(b, m, width));
    let into = MatMut::from_row_major_slice_mut(&mut products, n, m);
    matmul(into, Accum::Replace, a, b.transpose(), 1.0, Par::Seq);
    products
}

/// a b, for `a` [n, k] and `b` [k, m], as [n, m].
pub(crate) fn product(a: &[f64], b: &[f64], k: usize) -> Vec<f64> {
    let (n, m) = (a.len() / k, b.len() / k);
    let mut products = vec![0.0; n * m];
    let (a, b) = (MatRef::from_row_major_slice(a, n, k), MatRef::from_row_major_slice(b, k, m));
    matmul(MatMut::from_row_major_slice_mut(&mut products, n, m), Accum::Replace, a, b, 1.0, Par::Seq);
    products
}

/// aᵀ b, for `a` [k, n] and `b` [k, m], as [n, m].
pub(crate) fn transposed_product(a: &[f64], b: &[f64], k: usize) -> Vec<f64> {
    let (n, m) = (a.len() / k, b.len() / k);
    let mut products = vec![0.0; n * m];
    let (a, b) = (MatRef::from_row_major_slice(a, k, n), MatRef::from_row_major_slice(b, k, m));
    matmul(MatMut::from_row_major_slice_mut(&mut products, n, m), Accum::Replace, a.transpose(), b, 1.0, Par::Seq);
    products
}

/// Adds aᵀ a to the upper triangle of `scatter` [width, width], for `a` [n, width].
///
/// Threads compute separate panels of rows, so each element is the same sum with any number of threads.
pub(crate) fn add_scatter(scatter: &mut [f64], a: &[f64], width: usize) {
    let a = MatRef::from_row_major_slice(a, a.len() / width, width);
    scatter.par_chunks_mut(PANEL * width).enumerate().for_each(|(i, panel)| {
        let (start, rows) = (i * PANEL, panel.len() / width);
        let into = MatMut::from_row_major_slice_mut(panel, rows, width).subcols_mut(start, width - start);
        let (left, right) = (a.subcols(start, rows), a.subcols(start, width - start));
        matmul(into, Accum::Add, left.transpose(), right, 1.0, Par::Seq);
    });
}

/// Copies the upper triangle of a square matrix to the lower one.
pub(crate) fn mirror_upper(matrix: &mut [f64], width: usize) {
    for row in 1..width {
        for column in 0..row {
            matrix[row * width + column] = matrix[column * width + row];
        }
    }
}

/// The eigenvalues of a symmetric matrix [width, width] in increasing order. Only its upper triangle is read.
///
/// # Errors
/// [`MetricsError::NoConvergence`].
pub(crate) fn eigenvalues(matrix: &[f64], width: usize) -> Result<Vec<f64>> {
    decompose(matrix, width, None)
}

/// The eigenvalues λ of a symmetric matrix [width, width] in increasing order, and the eigenvectors as the columns of
/// U [width, width]. Only the upper triangle is read.
///
/// # Errors
/// [`MetricsError::NoConvergence`].
pub(crate) fn eigenvectors(matrix: &[f64], width: usize) -> Result<(Vec<f64>, Mat<f64>)> {
    let mut vectors = Mat::zeros(width, width);
    let values = decompose(matrix, width, Some(vectors.as_mut()))?;
    Ok((values, vectors))
}

fn decompose(matrix: &[f64], width: usize, vectors: Option<MatMut<'_, f64>>) -> Result<Vec<f64>> {
    // faer reads the lower triangle; a row-major matrix read by columns is its transpose.
    let matrix = MatRef::from_column_major_slice(matrix, width, width);
    let compute = if vectors.is_some() { ComputeEigenvectors::Yes } else { ComputeEigenvectors::No };
    let scratch = self_adjoint_evd_scratch::<f64>(width, compute, Par::Seq, Spec::default());
    let mut values = Diag::<f64>::zeros(width);
    let mut memory = MemBuffer::new(scratch);
    self_adjoint_evd(matrix, values.as_mut(), vectors, Par::Seq, MemStack::new(&mut memory), Spec::default())
        .map_err(|_| MetricsError::NoConvergence("eigenvalues"))?;
    Ok(values.column_vector().iter().copied().collect())
}

/// The singular values of a matrix [n, m], largest first.
///
/// # Errors
/// [`MetricsError::NoConvergence`].
pub(crate) fn singular_values(matrix: &[f64], n: usize, m: usize) -> Result<Vec<f64>> {
    let no = ComputeSvdVectors::No;
    let scratch = svd_scratch::<f64>(n, m, no, no, Par::Seq, Spec::default());
    let mut values = Diag::<f64>::zeros(n.min(m));
    let mut memory = MemBuffer::new(scratch);
    let matrix = MatRef::from_row_major_slice(matrix, n, m);
    svd(matrix, values.as_mut(), None, None, Par::Seq, MemStack::new(&mut memory), Spec::default())
        .map_err(|_| MetricsError::NoConvergence("singular values"))?;
    Ok(values.column_vector().iter().copied().collect())
}
