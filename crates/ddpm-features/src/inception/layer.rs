//! The layers whose features are used.

use serde::{Deserialize, Serialize};

/// A layer of [`InceptionV3`](crate::InceptionV3), of whose maps the mean of all pixels is taken. pytorch-fid selects
/// the same layers by their width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InceptionLayer {
    /// The first max pooling, 64 features.
    FirstPooling,
    /// The second max pooling, 192 features.
    SecondPooling,
    /// The block before the auxiliary classifier, 768 features.
    Auxiliary,
    /// The last pooling, 2048 features: those of the FID (Heusel et al. 2017).
    LastPooling,
}

impl InceptionLayer {
    /// All layers in the order of the network.
    pub const ALL: [Self; 4] = [Self::FirstPooling, Self::SecondPooling, Self::Auxiliary, Self::LastPooling];

    /// The number of features.
    pub fn width(self) -> usize {
        match self {
            Self::FirstPooling => 64,
            Self::SecondPooling => 192,
            Self::Auxiliary => 768,
            Self::LastPooling => 2048,
        }
    }
}
