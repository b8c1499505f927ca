//! The features of images.

use candle_core::{Device, Tensor};
use ddpm_cli::{Progress, StopSignal};
use ddpm_features::FeatureNetwork;
use ddpm_metrics::Features;

/// Number of images of a batch.
const BATCH: usize = 64;

/// Features, and logits if the network has a classifier.
#[derive(Debug, Clone)]
pub(crate) struct ImageFeatures {
    pub(crate) features: Features,
    pub(crate) logits: Option<Features>,
}

/// Computes the features of images [image, channel, height, width] in [−1, 1]; None if a signal stopped it.
///
/// # Errors
/// When the network fails or a feature is not finite.
pub(crate) fn image_features(
    network: &dyn FeatureNetwork,
    images: &Tensor,
    device: &Device,
    progress: &Progress,
    stop: &StopSignal,
) -> anyhow::Result<Option<ImageFeatures>> {
    let count = images.dim(0)?;
    let bar = progress.bar(0, count as u64, "images");
    let (mut features, mut logits) = (Vec::new(), Vec::new());
    for from in (0..count).step_by(BATCH) {
        if stop.received().is_some() {
            return Ok(None);
        }
        let size = BATCH.min(count - from);
        let batch = network.features(&rgb(&images.narrow(0, from, size)?)?.to_device(device)?)?;
        features.extend(batch.features.flatten_all()?.to_vec1::<f32>()?);
        if let Some(values) = batch.logits {
            logits.extend(values.flatten_all()?.to_vec1::<f32>()?);
        }
        bar.inc(size as u64);
    }
    bar.finish_and_clear();
    let logits = network.class_count().map(|classes| Features::new(logits, classes)).transpose()?;
    Ok(Some(ImageFeatures { features: Features::new(features, network.feature_width())?, logits }))
}

/// 8-bit values of red, green and blue. Gray images have their values three times; transparent pixels are composited
/// over white.
fn rgb(images: &Tensor) -> candle_core::Result<Tensor> {
    let values = images.affine(127.5, 127.5)?.clamp(0.0, 255.0)?.round()?;
    match values.dim(1)? {
        1 => Tensor::cat(&[&values, &values, &values], 1),
        4 => {
            let (color, alpha) = (values.narrow(1, 0, 3)?, (values.narrow(1, 3, 1)? / 255.0)?);
            color.broadcast_mul(&alpha)?.broadcast_add(&alpha.affine(-255.0, 255.0)?)?.round()
        }
        _ => Ok(values),
    }
}
