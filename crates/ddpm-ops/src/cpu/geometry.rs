//! The sizes of a convolution.

/// A convolution at stride 1 with an odd square kernel and the zero padding that preserves height and width.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) channels_in: usize,
    pub(crate) channels_out: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// The number of rows and columns of the kernel.
    pub(crate) kernel: usize,
}

impl Geometry {
    /// The number of zeros on each side of a plane.
    pub(crate) fn padding(&self) -> usize {
        self.kernel / 2
    }

    /// The number of taps of the kernel for one pair of channels.
    pub(crate) fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// The number of positions of one plane, which is that of the input and of the output.
    pub(crate) fn plane(&self) -> usize {
        self.height * self.width
    }

    /// The number of elements of one output image.
    pub(crate) fn image_out(&self) -> usize {
        self.channels_out * self.plane()
    }

    /// The number of input elements that one output depends on: the rows of the im2col matrix.
    pub(crate) fn window(&self) -> usize {
        self.channels_in * self.taps()
    }

    /// The convolution that computes the gradient with respect to the input from that with respect to the output.
    pub(crate) fn transposed(self) -> Self {
        Self { channels_in: self.channels_out, channels_out: self.channels_in, ..self }
    }
}
