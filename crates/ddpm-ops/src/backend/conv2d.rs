//! The description of a convolution together with the operations around it.

use candle_core::{Result, Tensor, bail};

use crate::backend::norm::Norm;
use crate::backend::rearrange::Rearrange;
use crate::tape::value::Value;

/// A convolution at stride 1 that keeps height and width, fused with the operations that surround it in a network:
/// silu(norm(weight ∗ arrange(concat(input, skip) + added) + bias + image_bias)) + residual.
///
/// An operation whose field is `None` is left out. The tensors between these operations are never stored.
#[derive(Debug, Clone, Copy)]
pub struct FusedConv2d<'a> {
    /// The input, [batch, channel, height, width].
    pub input: &'a Value,
    /// A skip connection, whose channels follow those of the input.
    pub skip: Option<&'a Value>,
    /// A value that is added to each channel of each image before the convolution, [batch, channel]: a time embedding.
    pub added: Option<&'a Value>,
    /// How the planes are rearranged before the convolution.
    pub arrange: Rearrange,
    /// The kernel, [channel_out, channel_in, k, k] with odd k, or [channel_out, channel_in] for k = 1. The image is
    /// padded with (k − 1) / 2 zeros on every side.
    pub weight: &'a Tensor,
    /// `[channel_out]`
    pub bias: Option<&'a Tensor>,
    /// A bias that differs from image to image, [batch, channel_out]: a time embedding that is added after the
    /// convolution.
    pub image_bias: Option<&'a Value>,
    /// Group normalization of the result, followed by SiLU.
    pub norm: Option<Norm<'a>>,
    /// Added last, [batch, channel_out, height, width] of the result: the shortcut of a residual block.
    pub residual: Option<&'a Value>,
}

/// The checked shape of a [`FusedConv2d`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conv2dShape {
    pub(crate) batch: usize,
    pub(crate) input_channels: usize,
    /// Channels of the skip connection; 0 without one.
    pub(crate) skip_channels: usize,
    /// Height and width before the planes are rearranged.
    pub(crate) input_height: usize,
    pub(crate) input_width: usize,
    /// Channels that the kernel reads, after the planes have been rearranged.
    pub(crate) channels_in: usize,
    pub(crate) channels_out: usize,
    /// Height and width of what the kernel reads, and of the result.
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Side of the kernel: k.
    pub(crate) kernel: usize,
}

impl Conv2dShape {
    /// The shape of the result, [batch, channel, height, width].
    pub(crate) fn output_dims(&self) -> [usize; 4] {
        [self.batch, self.channels_out, self.height, self.width]
    }
}

impl<'a> FusedConv2d<'a> {
    /// The convolution alone, plus its bias.
    pub fn new(input: &'a Value, weight: &'a Tensor, bias: Option<&'a Tensor>) -> Self {
        let arrange = Rearrange::AsIs;
        Self { input, skip: None, added: None, arrange, weight, bias, image_bias: None, norm: None, residual: None }
    }

    /// Checks that all tensors fit together.
    pub(crate) fn shape(&self) -> Result<Conv2dShape> {
        let (batch, input_channels, input_height, input_width) = self.input.dims4()?;
        let skip_channels = match self.skip.map(Value::dims4).transpose()? {
            None => 0,
            Some((b, channels, h, w)) if (b, h, w) == (batch, input_height, input_width) => channels,
            Some(found) => bail!("conv2d: a skip of shape {found:?} beside an input of {:?}", self.input.dims()),
        };
        let joined = input_channels + skip_channels;
        self.arrange.check(input_height, input_width)?;
        expect("conv2d: added values", self.added, &[batch, joined])?;
        let (channels_in, height, width) = self.arrange.shape((joined, input_height, input_width));
        let (channels_out, kernel) = self.kernel_shape(channels_in)?;
        if let Some(bias) = self.bias
            && bias.dims() != [channels_out]
        {
            bail!("conv2d: expected a bias of shape [{channels_out}], found {:?}", bias.dims());
        }
        if let Some(norm) = &self.norm {
            norm.check(channels_out)?;
        }
        expect("conv2d: image bias", self.image_bias, &[batch, channels_out])?;
        expect("conv2d: residual", self.residual, &[batch, channels_out, height, width])?;
        Ok(Conv2dShape {
            batch,
            input_channels,
            skip_channels,
            input_height,
            input_width,
            channels_in,
            channels_out,
            height,
            width,
            kernel,
        })
    }

    /// Output channels and side of the kernel, for that many input channels.
    fn kernel_shape(&self, channels_in: usize) -> Result<(usize, usize)> {
        let (channels_out, channels, kernel, kernel_x) = match *self.weight.dims() {
            [channels_out, channels] => (channels_out, channels, 1, 1),
            _ => self.weight.dims4()?,
        };
        if channels != channels_in || kernel != kernel_x || kernel.is_multiple_of(2) {
            let found = self.weight.dims();
            bail!("conv2d: expected a weight of {channels_in} channels and odd square kernel, found shape {found:?}");
        }
        Ok((channels_out, kernel))
    }
}

/// Checks the shape of an optional value.
fn expect(name: &str, value: Option<&Value>, dims: &[usize]) -> Result<()> {
    match value {
        Some(value) if value.dims() != dims => bail!("{name}: expected shape {dims:?}, found {:?}", value.dims()),
        _ => Ok(()),
    }
}
