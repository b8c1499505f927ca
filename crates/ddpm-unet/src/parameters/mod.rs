//! The named parameters of a network: their list, their initial values, and the check of given tensors.
//!
//! Layers request their parameters from a [`candle_nn::VarBuilder`], so any backend of candle can provide them. This
//! module adds three backends of its own, each behind one function or type:
//!
//! - [`list_parameters`] lists names and shapes without allocating the parameters;
//! - [`InitialWeights`] draws reproducible initial values from named random streams;
//! - [`build_from_tensors`] takes a map of tensors and reports every missing, unknown or mis-shaped tensor in one
//!   error.

mod build_from_tensors;
mod initial_weights;
mod list_parameters;
mod parameter_spec;

pub use build_from_tensors::build_from_tensors;
pub use initial_weights::InitialWeights;
pub use list_parameters::list_parameters;
pub use parameter_spec::ParameterSpec;
