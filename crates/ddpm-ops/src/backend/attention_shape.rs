//! The shape of scaled dot-product attention.

/// The checked shape of an attention operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttentionShape {
    pub(crate) batch: usize,
    pub(crate) heads: usize,
    /// Channels of each head's queries, keys and values: d.
    pub(crate) head_channels: usize,
    pub(crate) positions: usize,
}
