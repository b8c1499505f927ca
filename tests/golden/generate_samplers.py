"""Writes samplers.safetensors: whole trajectories of diffusers' schedulers over a denoiser in closed form. See README.md."""

from pathlib import Path

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from safetensors.torch import save_file

BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
ALPHA_BAR = torch.cumprod(1 - BETAS, 0)


def denoiser(x, t):
    """Nearly the best one for data that is N(0.3, 0.2²), and not linear."""
    alpha_bar = ALPHA_BAR[t]
    centred = x - alpha_bar.sqrt() * 0.3
    return centred * (1 - alpha_bar).sqrt() / (alpha_bar * 0.04 + 1 - alpha_bar) + 0.05 * torch.sin(3 * x)


def walk(scheduler, steps, x, **options):
    scheduler.set_timesteps(steps)
    moments = []
    for t in scheduler.timesteps:
        x = scheduler.step(denoiser(x, t), t, x, **options).prev_sample
        moments.append(x)
    return torch.stack(moments)


def main():
    torch.manual_seed(0)
    x_T = torch.randn(2, 1, 3, 5).double()
    tensors = {"x_T": x_T}
    # Seven trailing steps are no comparison: the step before is not where DDIMScheduler looks for it.
    for spacing, numbers in (("leading", (7, 50)), ("trailing", (10, 50))):
        for steps in numbers:
            for clip in (True, False):
                scheduler = DDIMScheduler(clip_sample=clip, timestep_spacing=spacing)
                name = f"ddim.{spacing}.{steps}.{'clipped' if clip else 'plain'}"
                tensors[name] = walk(scheduler, steps, x_T, use_clipped_model_output=clip)
    for steps in (7, 20):
        scheduler = DPMSolverMultistepScheduler(
            beta_start=1e-4, beta_end=0.02, timestep_spacing="trailing", final_sigmas_type="zero"
        )
        tensors[f"dpm-solver.trailing.{steps}.plain"] = walk(scheduler, steps, x_T)
    path = Path(__file__).parent / "samplers.safetensors"
    save_file({name: tensor.float().contiguous() for name, tensor in tensors.items()}, path)
    for name, tensor in tensors.items():
        print(name, tuple(tensor.shape), float(tensor.abs().max()))


if __name__ == "__main__":
    main()
