//! Weights of a whole feature network.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::formula_weights::formula_tensor;

/// Weights of EfficientNet-Lite0 from the formula of [`formula_tensor`], under the names of the package
/// efficientnet-lite-pytorch.
pub fn efficientnet_lite0_weights() -> BTreeMap<String, Tensor> {
    let mut tensors = BTreeMap::new();
    let mut add = |name: String, shape: &[usize]| {
        tensors.insert(name.clone(), formula_tensor(&name, shape));
    };
    let mut layer = |conv: String, norm: String, shape: [usize; 4]| {
        add(format!("{conv}.weight"), &shape);
        for part in ["weight", "bias", "running_mean", "running_var"] {
            add(format!("{norm}.{part}"), &shape[..1]);
        }
    };
    layer("_conv_stem".into(), "_bn0".into(), [32, 3, 3, 3]);
    let stages =
        [(1, 3, 1, 16), (2, 3, 6, 24), (2, 5, 6, 40), (3, 3, 6, 80), (3, 5, 6, 112), (4, 5, 6, 192), (1, 3, 6, 320)];
    let (mut block, mut channels) = (0, 32);
    for (count, kernel, expansion, out) in stages {
        for _ in 0..count {
            let hidden = channels * expansion;
            let name = |part: &str| format!("_blocks.{block}.{part}");
            if expansion > 1 {
                layer(name("_expand_conv"), name("_bn0"), [hidden, channels, 1, 1]);
            }
            layer(name("_depthwise_conv"), name("_bn1"), [hidden, 1, kernel, kernel]);
            layer(name("_project_conv"), name("_bn2"), [out, hidden, 1, 1]);
            (block, channels) = (block + 1, out);
        }
    }
    layer("_conv_head".into(), "_bn1".into(), [1280, 320, 1, 1]);
    add("_fc.weight".into(), &[1000, 1280]);
    add("_fc.bias".into(), &[1000]);
    tensors
}
