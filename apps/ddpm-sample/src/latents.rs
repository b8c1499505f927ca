//! Latents from a file.

use std::path::Path;

use candle_core::Tensor;
use ddpm_checkpoint::read_tensors;
use ddpm_cli::usage_error;

/// Reads the tensor `latents` of a safetensors file: x_T of every image.
///
/// # Shapes
/// [image, channel, height, width], where the last three are `image_shape`.
///
/// # Errors
/// When the file cannot be read, has no such tensor, or the tensor has another shape.
pub(crate) fn read_latents(path: &Path, image_shape: [usize; 3]) -> anyhow::Result<Tensor> {
    let file = path.display();
    let mut tensors = read_tensors(path).map_err(|error| usage_error(format!("--latents: {error}")))?;
    let names = tensors.keys().cloned().collect::<Vec<_>>().join(", ");
    let latents = tensors
        .remove("latents")
        .ok_or_else(|| usage_error(format!("--latents {file}: expected a tensor named latents, found {names}")))?;
    let [channels, height, width] = image_shape;
    if latents.rank() != 4 || latents.dims()[1..] != image_shape || latents.dims()[0] == 0 {
        let found = latents.dims();
        return Err(usage_error(format!(
            "--latents {file}: expected [n, {channels}, {height}, {width}], found {found:?}"
        )));
    }
    Ok(latents)
}
