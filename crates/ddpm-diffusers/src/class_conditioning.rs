//! Networks that are conditioned on a class.

use ddpm_checkpoint::SavedModel;
use ddpm_unet::NetworkConfig;
use serde_json::json;

use crate::error::{DiffusersError, Result};

/// Refuses a network that is conditioned on a class, for programs that have no class to pass to it.
///
/// # Errors
/// [`DiffusersError::Field`] naming the file that describes the network and the field that makes it conditional;
/// [`CheckpointError::WrongField`](ddpm_checkpoint::CheckpointError::WrongField) if the description does not hold a
/// [`NetworkConfig`].
pub fn check_unconditional(model: &SavedModel) -> Result<()> {
    let network = match model.network()? {
        NetworkConfig::NoiseNet(_) => return Ok(()),
        NetworkConfig::UNet2d(network) => network,
    };
    for (field, value) in
        [("num_class_embeds", json!(network.num_class_embeds)), ("class_embed_type", json!(network.class_embed_type))]
    {
        if !value.is_null() {
            let problem = format!("expected null, found {value}: class-conditional networks are not supported");
            return Err(DiffusersError::field(&model.network_path, field, problem));
        }
    }
    Ok(())
}
