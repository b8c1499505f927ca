//! The names of the networks.

use std::fmt;
use std::str::FromStr;

use crate::dino_v2::DinoV2;
use crate::efficientnet_lite0::EfficientNetLite0;
use crate::inception::InceptionV3;
use crate::preprocessing::Preprocessing;

/// A network with published weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NetworkKind {
    /// [`InceptionV3`] of TensorFlow's graph of 2015, features of the last pooling layer.
    InceptionV3,
    /// [`EfficientNetLite0`].
    EfficientNetLite0,
    /// [`DinoV2`] with a ViT-L/14.
    DinoV2VitL14,
}

impl NetworkKind {
    /// All networks.
    pub const ALL: [Self; 3] = [Self::InceptionV3, Self::EfficientNetLite0, Self::DinoV2VitL14];

    /// The name, which [`FromStr`] reads and [`FeatureNetwork::name`](crate::FeatureNetwork::name) returns.
    pub fn name(self) -> &'static str {
        match self {
            Self::InceptionV3 => InceptionV3::NAME,
            Self::EfficientNetLite0 => EfficientNetLite0::NAME,
            Self::DinoV2VitL14 => DinoV2::NAME,
        }
    }

    /// The usual preprocessing: TensorFlow's for Inception, and that of the published weights for the others.
    pub fn preprocessing(self) -> Preprocessing {
        match self {
            Self::InceptionV3 => Preprocessing::tensorflow_inception(),
            Self::EfficientNetLite0 => Preprocessing::efficientnet_lite0(),
            Self::DinoV2VitL14 => Preprocessing::dino_v2(),
        }
    }
}

impl fmt::Display for NetworkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The error for a name that is not the name of a network. Its message lists the names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown feature network `{name}`, expected one of {}", NetworkKind::ALL.map(NetworkKind::name).join(", "))]
pub struct UnknownNetwork {
    /// The name.
    pub name: String,
}

impl FromStr for NetworkKind {
    type Err = UnknownNetwork;

    fn from_str(name: &str) -> Result<Self, UnknownNetwork> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| UnknownNetwork { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for kind in NetworkKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        let error = "resnet".parse::<NetworkKind>().expect_err("no such network").to_string();
        assert!(error.contains("`resnet`") && error.contains("efficientnet-lite0"), "{error}");
    }
}
