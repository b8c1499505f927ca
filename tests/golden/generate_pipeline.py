"""Writes pipeline/: a pipeline saved by diffusers, its weights in pickle format too, and its samples. See README.md."""

import json
from pathlib import Path

import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors.torch import save_file

HERE = Path(__file__).parent / "pipeline"


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        norm_eps=1e-6,
        freq_shift=1,
        flip_sin_to_cos=False,
        downsample_padding=0,
        attention_head_dim=None,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    scheduler = DDPMScheduler(variance_type="fixed_large")
    DDPMPipeline(unet, scheduler).save_pretrained(HERE)
    torch.save(unet.state_dict(), HERE / "diffusion_pytorch_model.bin")
    torch.save({"w": torch.tensor([1.0, float("nan")])}, HERE / "not_finite.bin")

    latents = torch.randn(2, 3, 8, 8)
    # f64, so that the samples are free of the rounding errors of f32.
    unet, x = unet.double().eval(), latents.double()
    ddim = DDIMScheduler.from_config(scheduler.config)
    ddim.set_timesteps(10)
    with torch.no_grad():
        for t in ddim.timesteps:
            x = ddim.step(unet(x, t).sample, t, x, use_clipped_model_output=True).prev_sample
    save_file({"latents": latents, "samples": x.float().contiguous()}, HERE / "sampled.safetensors")
    # Removes the path of the pipeline on this machine.
    for path in HERE.rglob("*.json"):
        document = json.loads(path.read_text())
        document.pop("_name_or_path", None)
        path.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
