//! The names of weights.

use ddpm_checkpoint::Tensors;

/// The layers of the wrapper `InceptionV3` of pytorch-fid: `blocks.B.I` is entry I of list B.
const WRAPPER: [&[&str]; 4] = [
    &["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"],
    &["Conv2d_3b_1x1", "Conv2d_4a_3x3"],
    &["Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"],
    &["Mixed_7a", "Mixed_7b", "Mixed_7c"],
];

/// The tensors under the names of torchvision, which the published weights have, in place of those of the wrapper.
pub(crate) fn with_plain_names(tensors: &Tensors) -> Tensors {
    let plain = |name: &str| {
        let (block, rest) = name.strip_prefix("blocks.")?.split_once('.')?;
        let (index, rest) = rest.split_once('.')?;
        let layer = WRAPPER.get(block.parse::<usize>().ok()?)?.get(index.parse::<usize>().ok()?)?;
        Some(format!("{layer}.{rest}"))
    };
    let renamed = |(name, tensor): (&String, _)| (plain(name).unwrap_or_else(|| name.clone()), Clone::clone(tensor));
    tensors.iter().map(renamed).collect()
}

/// Whether a tensor is not needed to compute features: counters of the training, and the auxiliary classifier.
pub(crate) fn is_ignored(name: &str) -> bool {
    name.ends_with(".num_batches_tracked") || name.starts_with("AuxLogits.")
}
