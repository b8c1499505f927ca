//! Activation functions.

/// An activation function, applied to every element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// x σ(x)
    Silu,
    /// x Φ(x), with the distribution function Φ of the standard normal distribution
    Gelu,
    /// x tanh(ln(1 + e^x))
    Mish,
    /// max(x, 0)
    Relu,
}
