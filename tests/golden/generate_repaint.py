"""Writes repaint.safetensors: images inpainted by diffusers' RePaintScheduler. See README.md.

The scheduler uses one draw of noise for known and unknown pixels. It gets a draw whose known pixels are of one stream
and whose unknown pixels are of another, which is what this project uses.
"""

import json
import subprocess
from pathlib import Path

import torch
from diffusers import RePaintScheduler
from diffusers.schedulers import scheduling_repaint
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]
SEED, SHAPE, DRAWS = 5, (2, 1, 4, 6), 400
SCHEDULE = {"timesteps": 20, "beta_schedule": "linear", "beta_start": 1e-3, "beta_end": 0.3}
JUMP_LENGTH, RESAMPLINGS = 3, 4


def noise(*purpose):
    words = [*purpose, *map(str, [SEED, SHAPE[0], DRAWS, *SHAPE[1:]])]
    command = ["cargo", "run", "-q", "-p", "ddpm-rng", "--example", "sampling_noise", "--", *words]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return iter([torch.tensor(json.loads(line)).reshape(SHAPE).double() for line in lines])


def network(scheduler, x, t):
    """A nonlinear denoiser, nearly the optimal one for data N(0.3, 0.6²). Predicts ε."""
    alpha_bar = scheduler.alphas_cumprod[int(t)]
    signal, deviation = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    return (x - signal * 0.3) * deviation / (alpha_bar * 0.36 + 1 - alpha_bar) + 0.05 * torch.sin(3 * x)


def inpaint(eta, clip, x_0, known):
    scheduler = RePaintScheduler(
        SCHEDULE["timesteps"], SCHEDULE["beta_start"], SCHEDULE["beta_end"], eta=eta, clip_sample=clip
    )
    scheduler.betas = scheduler.betas.double()
    scheduler.alphas_cumprod = torch.cumprod(1 - scheduler.betas, 0)
    scheduler.set_timesteps(SCHEDULE["timesteps"], JUMP_LENGTH, RESAMPLINGS)
    sampling, inpainting = noise(), noise("inpainting")
    x, last = next(sampling), int(scheduler.timesteps[0]) + 1
    for t in map(int, scheduler.timesteps):
        if t < last:
            # The last step adds no noise, and a deterministic one only that of the known pixels.
            drawn = torch.zeros(SHAPE).double()
            if t > 0:
                drawn = known * next(inpainting) + ((1 - known) * next(sampling) if eta > 0 else 0)
            scheduling_repaint.randn_tensor = lambda *_, **__: drawn
            x = scheduler.step(network(scheduler, x, t), t, x, x_0, known).prev_sample
        else:
            drawn = next(inpainting)
            scheduling_repaint.randn_tensor = lambda *_, **__: drawn
            x = scheduler.undo_step(x, last)
        last = t
    return x


generator = torch.Generator().manual_seed(0)
x_0 = (torch.rand(SHAPE, generator=generator) * 2 - 1).double()
known = (torch.rand((SHAPE[0], 1, *SHAPE[2:]), generator=generator) < 0.5).double()
tensors = {"x_0": x_0, "known": known}
cases = {}
for eta in (0.0, 1.0):
    for clip in (False, True):
        name = f"eta_{eta:.0f}{'_clipped' if clip else ''}"
        sampler = {"method": "ddim", "eta": eta, "steps": SCHEDULE["timesteps"], "spacing": "leading"}
        sampler |= {"clip": "fixed" if clip else "none", "variance": "fixed-small", "eps_after_clip": "predicted"}
        cases[name] = sampler
        tensors[name] = inpaint(eta, clip, x_0, known)
config = {"seed": SEED, "schedule": SCHEDULE, "jump_length": JUMP_LENGTH, "resamplings": RESAMPLINGS, "cases": cases}
tensors = {name: tensor.float().contiguous() for name, tensor in tensors.items()}
save_file(tensors, Path(__file__).with_name("repaint.safetensors"), {"config": json.dumps(config)})
