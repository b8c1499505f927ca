//! Checked features: one row of numbers per image.

use std::ops::Range;

use crate::error::{MetricsError, Result, check_widths};

/// Features of images, such as the 2048 pooled activations of Inception-v3, or logits: f32 values [rows, width], row by
/// row.
///
/// There is at least one row and one column, and all values are finite.
///
/// # Examples
/// ```
/// use ddpm_metrics::Features;
///
/// let features = Features::new(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 3)?;
/// assert_eq!((features.rows(), features.width()), (2, 3));
///
/// let error = Features::new(vec![0.0, f32::NAN], 1).unwrap_err();
/// assert_eq!(error.to_string(), "row 1, column 0 is NaN, expected a finite number");
/// # Ok::<(), ddpm_metrics::MetricsError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    values: Vec<f32>,
    width: usize,
}

impl Features {
    /// Takes values [rows, width] in row-major order.
    ///
    /// # Errors
    /// [`MetricsError::NoWidth`], [`MetricsError::NoRows`], [`MetricsError::Length`] if the values do not fill rows,
    /// [`MetricsError::NotFinite`].
    pub fn new(values: Vec<f32>, width: usize) -> Result<Self> {
        if width == 0 {
            return Err(MetricsError::NoWidth);
        }
        if values.is_empty() {
            return Err(MetricsError::NoRows);
        }
        if !values.len().is_multiple_of(width) {
            return Err(MetricsError::Length { values: values.len(), width });
        }
        if let Some(i) = values.iter().position(|value| !value.is_finite()) {
            let (row, column) = (i / width, i % width);
            return Err(MetricsError::NotFinite { row, column, value: f64::from(values[i]) });
        }
        Ok(Self { values, width })
    }

    /// Copies rows of equal width.
    ///
    /// # Errors
    /// [`MetricsError::RowWidth`] for the first row of another width than row 0, and the errors of [`Features::new`].
    pub fn from_rows<R: AsRef<[f32]>>(rows: &[R]) -> Result<Self> {
        let width = rows.first().ok_or(MetricsError::NoRows)?.as_ref().len();
        let mut values = Vec::with_capacity(rows.len() * width);
        for (i, row) in rows.iter().enumerate() {
            let row = row.as_ref();
            if row.len() != width {
                return Err(MetricsError::RowWidth { row: i, found: row.len(), expected: width });
            }
            values.extend_from_slice(row);
        }
        Self::new(values, width)
    }

    /// Appends the rows of another set, such as the next batch.
    ///
    /// # Errors
    /// [`MetricsError::Widths`] if the widths differ.
    pub fn append(&mut self, other: &Self) -> Result<()> {
        check_widths(self.width, other.width)?;
        self.values.extend_from_slice(&other.values);
        Ok(())
    }

    /// The number of rows, at least 1.
    pub fn rows(&self) -> usize {
        self.values.len() / self.width
    }

    /// The number of values in a row, at least 1.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The values of one row.
    ///
    /// # Panics
    /// If `row` is not below [`Features::rows`].
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..][..self.width]
    }

    /// All values [rows, width], row by row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The rows with these indices, in this order. An index may occur several times.
    ///
    /// # Errors
    /// [`MetricsError::NoRows`] if there are no indices.
    ///
    /// # Panics
    /// If an index is not below [`Features::rows`].
    pub fn select(&self, rows: &[usize]) -> Result<Self> {
        if rows.is_empty() {
            return Err(MetricsError::NoRows);
        }
        let values = rows.iter().flat_map(|&row| self.row(row)).copied().collect();
        Ok(Self { values, width: self.width })
    }

    /// The mean of all rows, in f64.
    pub(crate) fn mean(&self) -> Vec<f64> {
        let mut sum = vec![0.0; self.width];
        for row in self.values.chunks_exact(self.width) {
            sum.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        let rows = self.rows() as f64;
        sum.iter_mut().for_each(|sum| *sum /= rows);
        sum
    }

    /// Some rows as f64 with `center` subtracted, [rows, width].
    pub(crate) fn centered(&self, rows: Range<usize>, center: &[f64]) -> Vec<f64> {
        let values = &self.values[rows.start * self.width..rows.end * self.width];
        let rows = values.chunks_exact(self.width);
        rows.flat_map(|row| row.iter().zip(center).map(|(&value, center)| f64::from(value) - center)).collect()
    }

    /// Some rows as f64, [rows, width].
    pub(crate) fn block(&self, rows: Range<usize>) -> Vec<f64> {
        self.values[rows.start * self.width..rows.end * self.width].iter().map(|&value| f64::from(value)).collect()
    }
}
