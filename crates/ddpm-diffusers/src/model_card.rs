//! The model card of a pipeline, `README.md`.

use ddpm_checkpoint::ModelDescription;

/// The text of the model card, with the metadata that the Hugging Face Hub reads.
pub(crate) fn model_card(description: &ModelDescription) -> String {
    let ModelDescription { channels, image_size: [height, width], training_step, .. } = description;
    let version = &description.library_version;
    if !description.classes.is_empty() {
        return class_conditional_card(description);
    }
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

/// The card of a class-conditional model. diffusers' `DDPMPipeline` cannot pass class labels, so the card shows the
/// loop.
fn class_conditional_card(description: &ModelDescription) -> String {
    let ModelDescription { channels, image_size: [height, width], training_step, classes, .. } = description;
    let (version, without_class) = (&description.library_version, classes.len());
    let names: Vec<String> = classes.iter().enumerate().map(|(i, class)| format!("{i}: {}", class.name)).collect();
    let names = names.join(", ");
    format!(
        "---\nlibrary_name: diffusers\ntags:\n- ddpm\n- class-conditional-image-generation\n---\n\n\
         # Class-conditional denoising diffusion model\n\n\
         Images of {height}×{width} pixels and {channels} channels, after {training_step} steps of training (weights: \
         their exponential moving average). Written by ddpm-train {version}.\n\n\
         Classes: {names}. If `num_class_embeds` is {}, label {without_class} stands for no class.\n\n\
         `DDPMPipeline` passes no class labels. This loop samples four images of class 0 with classifier-free \
         guidance:\n\n\
         ```python\nimport torch\nfrom diffusers import DDPMScheduler, UNet2DModel\n\n\
         unet = UNet2DModel.from_pretrained(\"PATH\", subfolder=\"unet\")\n\
         scheduler = DDPMScheduler.from_pretrained(\"PATH\", subfolder=\"scheduler\")\n\
         scheduler.set_timesteps(50)\n\
         guidance_scale, label, no_class = 2.0, 0, {without_class}\n\
         labels = torch.tensor([label] * 4 + [no_class] * 4)\n\
         x = torch.randn(4, {channels}, {height}, {width})\n\
         for t in scheduler.timesteps:\n\
         \x20   with torch.no_grad():\n\
         \x20       conditional, unconditional = unet(torch.cat([x, x]), t, class_labels=labels).sample.chunk(2)\n\
         \x20   output = unconditional + guidance_scale * (conditional - unconditional)\n\
         \x20   x = scheduler.step(output, t, x).prev_sample\n```\n",
        without_class + 1
    )
}
