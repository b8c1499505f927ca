//! The shapes of a convolution.

/// Stride 1, an odd square kernel, and as much padding as keeps height and width.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) channels_in: usize,
    pub(crate) channels_out: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) kernel: usize,
}

impl Geometry {
    pub(crate) fn padding(&self) -> usize {
        self.kernel / 2
    }

    pub(crate) fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Positions of one plane, of input and output alike.
    pub(crate) fn plane(&self) -> usize {
        self.height * self.width
    }

    /// Elements of one output image.
    pub(crate) fn image_out(&self) -> usize {
        self.channels_out * self.plane()
    }

    /// Elements of one window: the rows of the lowered matrix.
    pub(crate) fn window(&self) -> usize {
        self.channels_in * self.taps()
    }

    /// The convolution that gives the input's gradient.
    pub(crate) fn transposed(self) -> Self {
        Self { channels_in: self.channels_out, channels_out: self.channels_in, ..self }
    }
}
