//! The layout of the matrices of a product, and what happens to its output.

/// The strides of a matrix in a slice: element (row, column) is at `row * rows + column * columns`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strides {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl Strides {
    /// A row-major matrix with this number of columns.
    pub(crate) fn row_major(columns: usize) -> Self {
        Self { rows: columns, columns: 1 }
    }

    /// The transpose of a row-major matrix with this number of columns.
    pub(crate) fn transposed(columns: usize) -> Self {
        Self { rows: 1, columns }
    }

    /// The number of elements from the first to the last of a matrix of this size.
    pub(super) fn span(self, rows: usize, columns: usize) -> usize {
        if rows == 0 || columns == 0 { 0 } else { (rows - 1) * self.rows + (columns - 1) * self.columns + 1 }
    }
}

/// How the product is written to the output.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WriteMode {
    /// `out = a b`
    Replace,
    /// `out += a b`
    Add,
}
