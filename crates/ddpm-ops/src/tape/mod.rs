//! The values of a forward pass, the record of its operations, and their gradients.
//!
//! Nothing here depends on how an operation is computed. A [`value::Value`] holds its elements behind a trait object,
//! and a [`record::Record`] is generic over the type of its gradients, so every backend uses both as they are.
//!
//! candle has a record of its own, but a custom operation of candle takes at most three inputs, and its backward pass
//! adds every gradient to a tensor of zeros first. A residual block has a dozen inputs, and the gradients of its
//! activations are megabytes each. Operations are therefore recorded here, gradients are moved instead of added
//! wherever a value has one reader, and candle sees a whole forward pass as one operation (`candle_op.rs`).

pub(crate) mod gradient;
pub(crate) mod gradients;
pub(crate) mod pass;
pub(crate) mod recompute;
pub(crate) mod record;
pub(crate) mod value;
