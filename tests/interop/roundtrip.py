"""Converts models from diffusers to this project and back, and compares their samples.

    python tests/interop/roundtrip.py [--rounds N] [--program-dir target/debug]

Makes pipelines of random configurations, samples each with diffusers and with `ddpm-sample` from the same latents, and
compares the samples. Then trains two steps with `ddpm-train --init`, loads the resulting pipeline in diffusers, and
compares samples again. Last, it trains a class-conditional network on the digits, and compares guided samples of
every sampler, and bits per dimension, with loops over the same weights in PyTorch. If the pinned versions of
`tests/golden/requirements.txt` are not installed, the script creates an environment for them.
"""

import argparse
import json
import math
import random
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "tests" / "golden" / "requirements.txt"
PINNED = dict(line.split("==") for line in REQUIREMENTS.read_text().split())
TOLERANCE = 1e-4


def installed():
    from importlib.metadata import PackageNotFoundError, version

    try:
        return all(version(name) == pinned for name, pinned in PINNED.items() if name != "numpy")
    except PackageNotFoundError:
        return False


def random_case(rng):
    levels = rng.randint(1, 3)
    channels = [rng.choice([8, 16, 24]) for _ in range(levels)]
    resampling = rng.choice(["conv", "resnet"])
    kinds = [rng.choice(["", "Attn", "Resnet"]) for _ in range(levels)]
    down = {"": "DownBlock2D", "Attn": "AttnDownBlock2D", "Resnet": "ResnetDownsampleBlock2D"}
    up = {"": "UpBlock2D", "Attn": "AttnUpBlock2D", "Resnet": "ResnetUpsampleBlock2D"}
    image_channels = rng.choice([1, 3, 4])
    return dict(
        sample_size=rng.choice([8, 16, (8, 16)]),
        in_channels=image_channels,
        out_channels=image_channels,
        block_out_channels=channels,
        down_block_types=[down[kind] for kind in kinds],
        up_block_types=[up[kind] for kind in reversed(kinds)],
        layers_per_block=rng.randint(1, 2),
        mid_block_scale_factor=rng.choice([1.0, 2**0.5]),
        downsample_padding=rng.randint(0, 1),
        downsample_type=resampling,
        upsample_type=resampling,
        act_fn=rng.choice(["silu", "swish", "gelu", "mish", "relu"]),
        attention_head_dim=rng.choice([None, 4, 8]),
        norm_num_groups=rng.choice([2, 4, 8]),
        norm_eps=rng.choice([1e-5, 1e-6]),
        resnet_time_scale_shift=rng.choice(["default", "scale_shift"]),
        add_attention=rng.random() < 0.8,
        freq_shift=rng.randint(0, 1),
        flip_sin_to_cos=rng.random() < 0.5,
    )


def theirs(pipeline, latents, steps):
    import torch
    from diffusers import DDIMScheduler

    unet = pipeline.unet.double().eval()
    scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(steps)
    clip = bool(scheduler.config.clip_sample)
    x = latents.double()
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(unet(x, t).sample, t, x, use_clipped_model_output=clip).prev_sample
    return x.clamp(-1, 1).float()


def ours(program_dir, model, latents, steps, work, options=("--sampler", "ddim")):
    from safetensors.torch import load_file, save_file

    save_file({"latents": latents}, work / "latents.safetensors")
    flags = [*options, "--steps", str(steps), "--grid-only", "-q", "--out", work / "images", "--overwrite"]
    files = ["--latents", work / "latents.safetensors", "--save-tensors", work / "samples.safetensors"]
    subprocess.run([program_dir / "ddpm-sample", model, *flags, *files], check=True)
    return load_file(work / "samples.safetensors")["samples"]


def compare(what, a, b):
    error = float((a - b).abs().max() / b.abs().max())
    print(f"{what}: largest difference {error:.1e} of the largest value")
    assert error <= TOLERANCE, what


class Guided:
    """Classifier-free guidance in PyTorch (Ho & Salimans 2022): predicted noise for classes."""

    def __init__(self, unet, labels, without_class, scale):
        import torch

        self.unet, self.scale = unet, scale
        self.labels = torch.cat([labels, torch.full_like(labels, without_class)])

    def __call__(self, x, t):
        import torch

        conditional, unconditional = self.unet(torch.cat([x, x]), t, class_labels=self.labels).sample.chunk(2)
        return unconditional + self.scale * (conditional - unconditional)


def guided(model, scheduler, latents, **options):
    """The samples of a scheduler, from latents."""
    import torch

    x = latents.double()
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(model(x, t), t, x, **options).prev_sample.double()
    return x.clamp(-1, 1).float()


def heun(model, scheduler, latents):
    """Heun's method on the probability-flow ODE (Karras et al. 2022, algorithm 1) at the timesteps of `scheduler`."""
    import torch

    timesteps, alpha_bar = scheduler.timesteps, scheduler.alphas_cumprod.double()
    sigma = ((1 - alpha_bar) / alpha_bar).sqrt()
    y = latents.double() / alpha_bar[timesteps[0]].sqrt()
    with torch.no_grad():
        for t, after in zip(timesteps, timesteps[1:]):
            slope = model(y * alpha_bar[t].sqrt(), t)
            euler = y + (sigma[after] - sigma[t]) * slope
            corrected = model(euler * alpha_bar[after].sqrt(), after)
            y = y + (sigma[after] - sigma[t]) * (slope + corrected) / 2
        last = timesteps[-1]
        x_0 = y - sigma[last] * model(y * alpha_bar[last].sqrt(), last)
    return x_0.clamp(-1, 1).float()


def draw_noise(*words):
    """The draws of this project's noise, each [2, 1, 8, 8]."""
    import torch

    lines = subprocess.run(
        ["cargo", "run", "-q", "-p", "ddpm-rng", "--example", "sampling_noise", "--", *words],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.splitlines()
    return [torch.tensor(json.loads(line)).reshape(2, 1, 8, 8).double() for line in lines]


def bits_per_dim(program_dir, run, unet, config, work):
    """The variational bound of two images, as `ddpm-sample evaluate` and PyTorch compute it with the same noise."""
    import torch
    from PIL import Image

    (work / "test").mkdir()
    pixels = torch.arange(2 * 64).mul(37).remainder(256).reshape(2, 1, 8, 8)
    for index, image in enumerate(pixels):
        Image.fromarray(image[0].to(torch.uint8).numpy()).save(work / "test" / f"{index}.png")
    out = work / "evaluated"
    flags = ["--data", work / "test", "--metrics", "bits-per-dim", "-n", "1", "--steps", "1", "--out", out, "-q"]
    subprocess.run([program_dir / "ddpm-sample", "evaluate", run, *flags], check=True, stdout=subprocess.DEVNULL)
    here = json.loads((out / "evaluation.json").read_text())["results"]["bits_per_dim"]

    # Those of the scheduler are f32, in which 1 - alpha_bar has three digits at the first timestep.
    assert config.beta_schedule == "linear"
    beta = torch.linspace(config.beta_start, config.beta_end, config.num_train_timesteps, dtype=torch.float64)
    x_0, alpha_bar = pixels.double() / 127.5 - 1, torch.cumprod(1 - beta, 0)
    before = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
    variance = beta * (1 - before) / (1 - alpha_bar)
    variance[0] = variance[1]

    def posterior_mean(x_0, x_t, t):
        of_x_0, of_x_t = beta[t] * before[t].sqrt(), (1 - beta[t]).sqrt() * (1 - before[t])
        return (of_x_0 * x_0 + of_x_t * x_t) / (1 - alpha_bar[t])

    cdf, labels, transitions = torch.special.ndtr, torch.full((2,), 10), 0.0
    noise = draw_noise("evaluation", "0", "2", str(len(beta)), "1", "8", "8")
    with torch.no_grad():
        for t, eps in zip(reversed(range(len(beta))), noise):
            x_t = alpha_bar[t].sqrt() * x_0 + (1 - alpha_bar[t]).sqrt() * eps
            output = unet(x_t, t, class_labels=labels).sample
            predicted = ((x_t - (1 - alpha_bar[t]).sqrt() * output) / alpha_bar[t].sqrt()).clamp(-1, 1)
            mean = posterior_mean(predicted, x_t, t)
            if t > 0:
                transitions += (posterior_mean(x_0, x_t, t) - mean).square().mean().item() / (2 * variance[t].item())
                continue
            high, low = [(x_0 + step / 255 - mean) / variance[0].sqrt() for step in (1, -1)]
            # In the upper tail the distribution function rounds to 1: the lower tail has the same probabilities.
            probability = torch.where(low > 0, cdf(-low) - cdf(-high), cdf(high) - cdf(low))
            probability = torch.where(x_0 > 0.999, cdf(-low), probability)
            probability = torch.where(x_0 < -0.999, cdf(high), probability)
            decoder = -probability.clamp(min=torch.finfo(torch.float64).tiny).log().mean().item()
    for term, there in (("transitions", transitions), ("decoder", decoder)):
        there /= math.log(2)
        difference = abs(here[term] / there - 1)
        print(f"bits per dimension, {term}: {here[term]:.5f} and {there:.5f}, relative difference {difference:.1e}")
        assert difference < TOLERANCE, term


def class_conditional(program_dir, work):
    import torch
    from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
    from diffusers.schedulers import scheduling_ddpm, scheduling_dpmsolver_multistep

    run = work / "conditional"
    network = dict(in_channels=1, out_channels=1, block_out_channels=[16, 16], norm_num_groups=4)
    network |= dict(down_block_types=["DownBlock2D", "AttnDownBlock2D"], up_block_types=["AttnUpBlock2D", "UpBlock2D"])
    keys = [f"model.{key}={str(value).replace(chr(39), chr(34))}" for key, value in network.items()]
    keys += ["sample.preview_images=0", "sample.spacing=leading", "sample.variance=fixed-small"]
    flags = ["--preset", "ddpm-cifar10", "--image-size", "8", "--data", "digits"]
    flags += ["--batch-size", "16", "--steps", "800"]
    # With trained weights, most values of unclipped samples lie in [−1, 1], to which samples are clamped.
    flags += ["--lr", "2e-3", "--set", "train.ema_decay=0"]
    flags += [word for key in keys for word in ("--set", key)]
    subprocess.run([program_dir / "ddpm-train", *flags, "--out", run, "-q"], check=True)
    unet = UNet2DModel.from_pretrained(run / "pipeline", subfolder="unet").double().eval()
    assert unet.config.num_class_embeds == 11
    config = DDPMScheduler.from_pretrained(run / "pipeline", subfolder="scheduler").config
    bits_per_dim(program_dir, run, unet, config, work)
    # x_T and the noise of every step, of two images.
    noise = draw_noise("0", "2", "40", "1", "8", "8")
    for module in (scheduling_ddpm, scheduling_dpmsolver_multistep):
        draws = iter(noise[1:])
        module.randn_tensor = lambda *_, draws=draws, **__: next(draws)
    # Images 0 and 1 of a command are of its first and its second class.
    labels, steps, scale = torch.tensor([7, 2]), 20, 1.5
    solvers = [
        DPMSolverMultistepScheduler.from_config(config, algorithm_type=algorithm, solver_order=2)
        for algorithm in ("dpmsolver++", "sde-dpmsolver++")
    ]
    cases = {
        "ddim": (DDIMScheduler.from_config(config), {"use_clipped_model_output": True}),
        "ddpm": (DDPMScheduler.from_config(config), {}),
        "dpm-solver --clip none": (solvers[0], {}),
        "dpm-solver-sde --clip none": (solvers[1], {}),
        "heun --clip none": (DDIMScheduler.from_config(config), None),
    }
    model = Guided(unet, labels, 10, scale)
    for sampler, (scheduler, options) in cases.items():
        scheduler.set_timesteps(steps)
        if options is None:
            there = heun(model, scheduler, noise[0])
        else:
            there = guided(model, scheduler, noise[0], **options)
        here = ours(
            program_dir, run, noise[0].float(), steps, work,
            ["--class", "7,2", "--guidance", str(scale), "--sampler", *sampler.split()],
        )
        compare(f"guided {sampler}", here, there)
        inside = float((there.abs() < 1).float().mean())
        assert inside > 0.2, f"{inside:.0%} of the values are not clamped"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--program-dir", type=Path, default=ROOT / "target" / "debug")
    args = parser.parse_args()
    if not installed():
        environment = Path(tempfile.mkdtemp(prefix="ddpm-interop-"))
        venv.create(environment, with_pip=True)
        python = environment / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", REQUIREMENTS, "pillow"], check=True)
        sys.exit(subprocess.run([python, __file__, *sys.argv[1:]]).returncode)

    import torch
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
    from diffusers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    rng = random.Random(args.seed)
    for i in range(args.rounds):
        torch.manual_seed(args.seed + i)
        case = random_case(rng)
        print(f"\n{i}: {case}")
        # DDIMScheduler has no sigmoid schedule.
        schedule = rng.choice(["linear", "scaled_linear", "squaredcos_cap_v2"])
        variance = rng.choice(["fixed_small", "fixed_large"])
        unet = UNet2DModel(**case)
        prediction = rng.choice(["epsilon", "sample", "v_prediction"])
        print(f"{schedule}, {variance}, {prediction}")
        # Without clipping, the values of a random network's trajectory grow without bound.
        scheduler = DDPMScheduler(
            beta_schedule=schedule, variance_type=variance, clip_sample=True, prediction_type=prediction
        )
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            DDPMPipeline(unet, scheduler).save_pretrained(work / "pipeline")
            size = case["sample_size"]
            height, width = size if isinstance(size, tuple) else (size, size)
            latents = torch.randn(2, case["in_channels"], height, width)
            pipeline = DDPMPipeline.from_pretrained(work / "pipeline")
            here = ours(args.program_dir, work / "pipeline", latents, 10, work)
            compare("theirs, here", here, theirs(pipeline, latents, 10))

            # Leading timestep spacing, as in the pipeline. It leaves out the last timestep of a cosine schedule, where
            # the predicted x_0 amplifies the rounding error of the predicted noise by a factor of 20,000.
            flags = ["--data", "digits", "--batch-size", "4", "--steps", "2", "-q", "--set", "sample.preview_images=0"]
            flags += ["--set", "sample.spacing=leading"]
            run = work / "run"
            subprocess.run(
                [args.program_dir / "ddpm-train", "--init", work / "pipeline", *flags, "--out", run], check=True
            )
            back = DDPMPipeline.from_pretrained(run / "pipeline")
            here = ours(args.program_dir, run / "pipeline", latents, 10, work)
            compare("trained here, there", here, theirs(back, latents, 10))
            t, x = torch.tensor([17, 801]), latents
            mine = UNet2DModel.from_pretrained(run / "pipeline", subfolder="unet")
            with torch.no_grad():
                moved = float((mine(x, t).sample - unet(x, t).sample).abs().max())
            print(f"two steps moved the prediction by up to {moved:.1e}")
            assert moved > 0
    with tempfile.TemporaryDirectory() as folder:
        print("\nclass-conditional")
        class_conditional(args.program_dir, Path(folder))


if __name__ == "__main__":
    main()
