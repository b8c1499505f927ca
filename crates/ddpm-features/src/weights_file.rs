//! Files of weights in any format.

use std::path::Path;

use candle_core::Device;
use ddpm_checkpoint::{Tensors, read_tensors};

use crate::dino_v2::{DinoV2, DinoV2Config};
use crate::efficientnet_lite0::EfficientNetLite0;
use crate::error::{FeaturesError, Result};
use crate::feature_network::FeatureNetwork;
use crate::inception::{InceptionLayer, InceptionV3};
use crate::network_kind::NetworkKind;
use crate::preprocessing::Preprocessing;
use crate::pth::{describe, detect_pth, file_start, read_pth};

/// Loads a network with the weights of a safetensors file or of a file of `torch.save`. The content of the file
/// decides, not its name.
///
/// # Examples
/// ```
/// use candle_core::Device;
/// use ddpm_features::{NetworkKind, load};
///
/// let kind = NetworkKind::EfficientNetLite0;
/// let error = load("no-such-file.pth", kind, kind.preprocessing(), &Device::Cpu).unwrap_err();
/// assert!(error.to_string().contains("no-such-file.pth"));
/// ```
///
/// # Errors
/// Those of [`read_weights`]; [`FeaturesError::OtherNetwork`] with the file and the first tensors that differ;
/// [`FeaturesError::Config`] for a size that the network does not take.
pub fn load(
    path: impl AsRef<Path>,
    kind: NetworkKind,
    preprocessing: Preprocessing,
    device: &Device,
) -> Result<Box<dyn FeatureNetwork>> {
    let path = path.as_ref();
    let tensors = read_weights(path)?;
    let network = || -> Result<Box<dyn FeatureNetwork>> {
        Ok(match kind {
            NetworkKind::InceptionV3 => {
                Box::new(InceptionV3::from_tensors(&tensors, InceptionLayer::LastPooling, preprocessing, device)?)
            }
            NetworkKind::EfficientNetLite0 => {
                Box::new(EfficientNetLite0::from_tensors(&tensors, preprocessing, device)?)
            }
            NetworkKind::DinoV2VitL14 => {
                Box::new(DinoV2::from_tensors(&tensors, &DinoV2Config::vit_l14(), preprocessing, device)?)
            }
        })
    };
    network().map_err(|error| error.of_file(path))
}

/// Reads the tensors of a safetensors file or of a file of `torch.save` as f32 tensors on the CPU.
///
/// # Errors
/// Those of [`read_tensors`] and [`read_pth`]; [`FeaturesError::UnknownFormat`] for any other file;
/// [`FeaturesError::Io`].
pub fn read_weights(path: impl AsRef<Path>) -> Result<Tensors> {
    let path = path.as_ref();
    let start = file_start(path)?;
    if detect_pth(&start).is_some() {
        return read_pth(path);
    }
    // A safetensors file begins with the length of its header, of eight bytes, and the header with a brace.
    match start.get(8) {
        Some(b'{') => Ok(read_tensors(path)?),
        _ => Err(FeaturesError::UnknownFormat { path: path.to_owned(), found: describe(&start) }),
    }
}
