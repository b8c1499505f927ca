//! The tables of a configuration document.

/// A table of a configuration document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConfigTable {
    /// The network.
    Model,
    /// The diffusion process.
    Diffusion,
    /// The training images.
    Data,
    /// The optimizer and the length of the run.
    Train,
    /// The sampler and the previews.
    Sample,
}

impl ConfigTable {
    /// All tables, in the order in which they are written.
    pub(crate) const ALL: &[Self] = &[Self::Model, Self::Diffusion, Self::Data, Self::Train, Self::Sample];

    /// The name of the table in the document.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Diffusion => "diffusion",
            Self::Data => "data",
            Self::Train => "train",
            Self::Sample => "sample",
        }
    }

    /// The names of all tables, separated by commas.
    pub(crate) fn list() -> String {
        Self::ALL.iter().map(|table| table.name()).collect::<Vec<_>>().join(", ")
    }
}
