//! The kernel of KID and weighted sums of it.

use rayon::prelude::*;

use crate::blocks::blocks;
use crate::error::{Result, check_parameter};
use crate::features::Features;
use crate::linear_algebra::{inner_products, product};

/// Rows of the first set that one thread takes at a time, and rows of the second set that it compares them with.
const ROWS: [usize; 2] = [256, 1024];

/// The kernel k(x, y) = (γ xᵀy + c)^p.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PolynomialKernel {
    /// p, at least 1.
    pub degree: u32,
    /// γ > 0; `None` is 1 / width.
    pub gamma: Option<f64>,
    /// c.
    pub coef0: f64,
}

impl PolynomialKernel {
    /// (xᵀy / width + 1)³ of [Bińkowski et al. 2018](https://arxiv.org/abs/1801.01401), section 4.
    pub const fn cubic() -> Self {
        Self { degree: 3, gamma: None, coef0: 1.0 }
    }

    /// An error if a parameter is out of its range.
    pub(crate) fn check(&self) -> Result<()> {
        check_parameter(self.degree >= 1, "degree", f64::from(self.degree), "at least 1")?;
        let gamma = self.gamma.unwrap_or(1.0);
        check_parameter(gamma > 0.0 && gamma.is_finite(), "gamma", gamma, "a positive number")?;
        check_parameter(self.coef0.is_finite(), "coef0", self.coef0, "a finite number")
    }

    /// For each column b of the weights v [rows of x, columns] and w [rows of y, columns]: Σ_ij v_ib w_jb k(x_i, y_j).
    /// With `same`, x and y are one set and the terms i = j are left out.
    ///
    /// The cost is rows of x times rows of y times (width + columns). The sums of the blocks are added in order, with
    /// any number of threads.
    pub(crate) fn weighted_sums(&self, x: Weighted<'_>, y: Weighted<'_>, same: bool) -> Vec<f64> {
        let (width, columns) = (x.features.width(), x.weights.len() / x.features.rows());
        let gamma = self.gamma.unwrap_or(1.0 / width as f64);
        let degree = i32::try_from(self.degree).unwrap_or(i32::MAX);
        let of_block = |rows: std::ops::Range<usize>| {
            let mut sums = vec![0.0; columns];
            let left = x.features.block(rows.clone());
            for others in blocks(y.features.rows(), ROWS[1]) {
                let mut kernel = inner_products(&left, &y.features.block(others.clone()), width);
                kernel.iter_mut().for_each(|value| *value = (gamma * *value + self.coef0).powi(degree));
                if same {
                    let diagonal = rows.clone().filter(|row| others.contains(row));
                    diagonal.for_each(|i| kernel[(i - rows.start) * others.len() + i - others.start] = 0.0);
                }
                let weights = &y.weights[others.start * columns..others.end * columns];
                let weighted = product(&kernel, weights, others.len());
                let own = &x.weights[rows.start * columns..rows.end * columns];
                for (own, weighted) in own.chunks_exact(columns).zip(weighted.chunks_exact(columns)) {
                    for (sum, (v, kw)) in sums.iter_mut().zip(own.iter().zip(weighted)) {
                        *sum += v * kw;
                    }
                }
            }
            sums
        };
        let parts: Vec<Vec<f64>> = blocks(x.features.rows(), ROWS[0]).into_par_iter().map(of_block).collect();
        let mut total = vec![0.0; columns];
        for part in parts {
            total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
        }
        total
    }
}

/// Features with one or several weights for each row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weighted<'a> {
    pub(crate) features: &'a Features,
    /// [rows, columns].
    pub(crate) weights: &'a [f64],
}
