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
