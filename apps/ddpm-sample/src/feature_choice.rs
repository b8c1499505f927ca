//! The network whose features an evaluation compares, and its weights: `--features`.

use std::path::{Path, PathBuf};

use candle_core::Device;
use clap::ValueEnum;
use ddpm_checkpoint::sha256_of_files;
use ddpm_cli::usage_error;
use ddpm_features::{FeatureNetwork, FeaturesError, NetworkKind, Preprocessing, load};
use serde::{Deserialize, Serialize};
use tracing::info;

/// The directory of weights, instead of `features` in the user's directory of caches.
const DIRECTORY: &str = "DDPM_FEATURES_DIR";

/// The names of the networks on the command line.
const NAMES: [(&str, NetworkKind); 3] = [
    ("inception", NetworkKind::InceptionV3),
    ("efficientnet-lite0", NetworkKind::EfficientNetLite0),
    ("dinov2", NetworkKind::DinoV2VitL14),
];

/// How images are prepared for Inception.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InceptionPreprocessing {
    /// As in TensorFlow's graph: torch-fidelity and the code of StyleGAN
    Tensorflow,
    /// As pytorch-fid does it
    PytorchFid,
    /// As clean-fid does it
    CleanFid,
}

/// A network with its weights.
#[derive(Debug)]
pub(crate) struct FeatureExtractor {
    pub(crate) network: Box<dyn FeatureNetwork>,
    pub(crate) record: FeatureRecord,
}

/// What the protocol of an evaluation states about the features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FeatureRecord {
    pub(crate) network: String,
    pub(crate) weights_sha256: String,
    pub(crate) preprocessing: Preprocessing,
}

impl FeatureExtractor {
    /// The network that `choice` names, or whose weights are in the file `choice`. Without a choice, the first one of
    /// which there are weights in the directory of weights; None if there are none.
    ///
    /// # Errors
    /// When there are no weights of a network that is named, or they cannot be read.
    pub(crate) fn find(
        choice: Option<&str>,
        preprocessing: Option<InceptionPreprocessing>,
        device: &Device,
    ) -> anyhow::Result<Option<Self>> {
        let Some(choice) = choice else {
            let found = NAMES.into_iter().find_map(|(name, kind)| Some((weights_of(name)?, kind)));
            return found.map(|(path, kind)| Self::load(&path, kind, preprocessing, device)).transpose();
        };
        if let Some((name, kind)) = NAMES.into_iter().find(|(name, _)| *name == choice) {
            let path = weights_of(name).ok_or_else(|| {
                let directory = directory().map_or_else(|| "the cache".to_owned(), |path| path.display().to_string());
                usage_error(format!(
                    "--features {name}: expected its weights in {directory} as {name}.safetensors or {name}.pth, found \
                     neither; --features FILE names them, {DIRECTORY} another directory"
                ))
            })?;
            return Self::load(&path, kind, preprocessing, device).map(Some);
        }
        let path = Path::new(choice);
        if !path.is_file() {
            let names = NAMES.map(|(name, _)| name).join(", ");
            return Err(usage_error(format!(
                "--features {choice}: expected {names} or a file of weights, found neither"
            )));
        }
        let of_other =
            |kind| matches!(load(path, kind, kind.preprocessing(), device), Err(FeaturesError::OtherNetwork { .. }));
        // A file of which no network is known fails with the error of the first one, unless it has weights of others.
        match NAMES.into_iter().find(|(_, kind)| !of_other(*kind)) {
            Some((_, kind)) => Self::load(path, kind, preprocessing, device).map(Some),
            None => {
                let names = NAMES.map(|(name, _)| name).join(", ");
                Err(usage_error(format!(
                    "--features {choice}: expected the weights of {names}, found those of another network"
                )))
            }
        }
    }

    fn load(
        path: &Path,
        kind: NetworkKind,
        preprocessing: Option<InceptionPreprocessing>,
        device: &Device,
    ) -> anyhow::Result<Self> {
        let preprocessing = match (kind, preprocessing) {
            (_, None) => kind.preprocessing(),
            (NetworkKind::InceptionV3, Some(InceptionPreprocessing::Tensorflow)) => {
                Preprocessing::tensorflow_inception()
            }
            (NetworkKind::InceptionV3, Some(InceptionPreprocessing::PytorchFid)) => Preprocessing::pytorch_fid(),
            (NetworkKind::InceptionV3, Some(InceptionPreprocessing::CleanFid)) => Preprocessing::clean_fid(),
            (kind, Some(_)) => {
                return Err(usage_error(format!("--preprocessing: expected --features inception, found {kind}")));
            }
        };
        let network = load(path, kind, preprocessing.clone(), device)
            .map_err(|error| usage_error(format!("--features: {error}")))?;
        info!("features of {kind} with the weights of {}", path.display());
        let weights_sha256 = sha256_of_files(&[path.to_owned()])?;
        let record = FeatureRecord { network: kind.name().to_owned(), weights_sha256, preprocessing };
        Ok(Self { network, record })
    }

    /// What the Fréchet distance of these features is called. Only that of Inception is FID.
    pub(crate) fn distance_name(&self) -> String {
        match self.record.network.parse() {
            Ok(NetworkKind::InceptionV3) => "FID".to_owned(),
            Ok(NetworkKind::EfficientNetLite0) => "FD-EfficientNet-Lite0".to_owned(),
            Ok(NetworkKind::DinoV2VitL14) => "FD-DINOv2".to_owned(),
            _ => format!("FD-{}", self.record.network),
        }
    }
}

/// The file of the weights of the network `name`.
fn weights_of(name: &str) -> Option<PathBuf> {
    let directory = directory()?;
    ["safetensors", "pth"]
        .into_iter()
        .map(|extension| directory.join(format!("{name}.{extension}")))
        .find(|path| path.is_file())
}

fn directory() -> Option<PathBuf> {
    match std::env::var_os(DIRECTORY) {
        Some(directory) => Some(PathBuf::from(directory)),
        None => Some(dirs::cache_dir()?.join("ddpm").join("features")),
    }
}
