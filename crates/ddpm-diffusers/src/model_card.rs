//! The model card of a pipeline, `README.md`.

use ddpm_checkpoint::ModelDescription;

/// The text of the model card, with the metadata that the Hugging Face Hub reads.
pub(crate) fn model_card(description: &ModelDescription) -> String {
    let ModelDescription { channels, image_size: [height, width], training_step, .. } = description;
    let version = &description.library_version;
    format!(
        "---\nlibrary_name: diffusers\npipeline_tag: unconditional-image-generation\ntags:\n- ddpm\n---\n\n\
         # Denoising diffusion model\n\n\
         Images of {height}×{width} pixels and {channels} channels, after {training_step} steps of training (weights: \
         their exponential moving average). Written by ddpm-train {version}.\n\n\
         ```python\nfrom diffusers import DDPMPipeline\n\n\
         pipeline = DDPMPipeline.from_pretrained(\"PATH\")\n\
         pipeline(batch_size=4).images[0].save(\"image.png\")\n```\n"
    )
}
