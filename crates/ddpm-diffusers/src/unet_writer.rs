//! Writing the configuration of a `UNet2DModel`, `config.json`.

use std::path::Path;

use ddpm_unet::{MidBlockType, UNet2dConfig};
use serde_json::Value;

use crate::error::{DiffusersError, Result};
use crate::version::DIFFUSERS_VERSION;

/// The configuration with the fields that diffusers requires. `path` is the file that errors name.
///
/// # Errors
/// [`DiffusersError::Field`] if a value has no representation in JSON.
pub(crate) fn unet_config(network: &UNet2dConfig, path: &Path) -> Result<Value> {
    let value = serde_json::to_value(network);
    let mut config = value.map_err(|error| DiffusersError::field(path, "network", error.to_string()))?;
    config["_class_name"] = "UNet2DModel".into();
    config["_diffusers_version"] = DIFFUSERS_VERSION.into();
    // diffusers takes an absent field for 8, and null for one head.
    config["attention_head_dim"] = network.attention_head_dim.into();
    if network.mid_block_type == MidBlockType::None {
        config["mid_block_type"] = Value::Null;
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of the file are those of [`UNet2dConfig`], under diffusers' names; a new field changes the file.
    #[test]
    fn the_file_has_the_fields_of_diffusers() {
        let config = unet_config(&UNet2dConfig::cifar10(), Path::new("config.json")).expect("a configuration");
        let keys: Vec<&str> = config.as_object().expect("an object").keys().map(String::as_str).collect();
        let expected = "_class_name _diffusers_version act_fn add_attention attention_head_dim block_out_channels \
            center_input_sample down_block_types downsample_padding downsample_type dropout flip_sin_to_cos freq_shift \
            in_channels layers_per_block mid_block_scale_factor mid_block_type norm_eps norm_num_groups out_channels \
            resnet_time_scale_shift sample_size time_embedding_type up_block_types upsample_type";
        assert_eq!(keys.join(" "), expected);
    }
}
