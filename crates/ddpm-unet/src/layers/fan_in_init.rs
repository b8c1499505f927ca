//! PyTorch's default initialization of convolutions and linear layers.

use candle_nn::Init;

/// The uniform distribution on ±1/√`fan_in`, for weight and bias alike.
///
/// `fan_in` is the number of inputs that one output sums over. PyTorch's `kaiming_uniform_(a=√5)` is the same
/// distribution.
pub(crate) fn fan_in_init(fan_in: usize) -> Init {
    let bound = (fan_in as f64).sqrt().recip();
    Init::Uniform { lo: -bound, up: bound }
}
